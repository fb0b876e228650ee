//! What must hold for every stream of events that a user sees, whatever made it.

use crate::model::{EventBody, Item, ItemStatus, Response, StreamEvent};

/// What a user made of a stream.
pub(crate) struct Seen {
    /// The text of all deltas of all messages.
    pub(crate) deltas: String,
    /// The response of the last event, if there was a last event.
    pub(crate) last: Option<Response>,
    /// The types of the events, without the prefix `response.`.
    pub(crate) kinds: Vec<&'static str>,
}

impl Seen {
    pub(crate) fn end(&self) -> &Response {
        self.last.as_ref().expect("a last event")
    }
}

/// Follows a stream as a strict client would.
pub(crate) fn follow(events: &[StreamEvent]) -> Seen {
    let (mut deltas, mut last, mut kinds) = (String::new(), None, Vec::new());
    // The item that is open: its index, id, and what came of it.
    let mut open: Option<(usize, String, String, u8)> = None;
    let mut items: Vec<Item> = Vec::new();
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event.sequence_number, number as u64, "a gap");
        assert!(last.is_none(), "{} after the last event", event.body.kind());
        let kind = event.body.kind().trim_start_matches("response.");
        assert_eq!(event.to_value()["type"], event.body.kind());
        kinds.push(kind);
        assert_eq!(kind == "created", number == 0, "created is the first");
        match &event.body {
            EventBody::Created(_) | EventBody::Queued(_) | EventBody::InProgress(_) => assert!(items.is_empty()),
            EventBody::ItemAdded { output_index, item } => {
                assert!(open.is_none(), "items overlap");
                assert_eq!(*output_index, items.len());
                open = Some((*output_index, item.id().to_owned(), String::new(), 0));
            }
            EventBody::PartAdded { item_id, output_index } => step(&mut open, item_id, *output_index, 0, 1),
            EventBody::TextDelta { item_id, output_index, delta } => {
                step(&mut open, item_id, *output_index, 1, 1);
                assert!(!delta.is_empty());
                deltas.push_str(delta);
                open.as_mut().unwrap().2.push_str(delta);
            }
            EventBody::TextDone { item_id, output_index, text } => {
                step(&mut open, item_id, *output_index, 1, 2);
                open.as_mut().unwrap().2.clone_from(text);
            }
            EventBody::PartDone { item_id, output_index, text } => {
                step(&mut open, item_id, *output_index, 2, 3);
                assert_eq!(&open.as_ref().unwrap().2, text);
            }
            EventBody::ArgumentsDelta { item_id, output_index, delta } => {
                step(&mut open, item_id, *output_index, 0, 0);
                open.as_mut().unwrap().2.push_str(delta);
            }
            EventBody::ArgumentsDone { item_id, output_index, arguments } => {
                step(&mut open, item_id, *output_index, 0, 3);
                assert_eq!(&open.as_ref().unwrap().2, arguments);
            }
            EventBody::ItemDone { output_index, item } => {
                step(&mut open, item.id(), *output_index, 3, 4);
                let (_, _, text, _) = open.take().unwrap();
                match item {
                    Item::Message(message) => {
                        assert_eq!(message.text, text);
                        assert_ne!(message.status, ItemStatus::InProgress);
                    }
                    Item::FunctionCall(call) => assert_eq!(call.arguments, text),
                }
                items.push(item.clone());
            }
            EventBody::Completed(response) | EventBody::Failed(response) | EventBody::Incomplete(response) => {
                assert!(open.is_none(), "an item is open at the end");
                assert_eq!(response.output, items);
                assert!(response.status.is_terminal());
                last = Some((**response).clone());
            }
        }
    }
    Seen { deltas, last, kinds }
}

fn step(open: &mut Option<(usize, String, String, u8)>, item_id: &str, output_index: usize, from: u8, to: u8) {
    let (index, id, _, at) = open.as_mut().expect("an open item");
    assert_eq!((*index, id.as_str(), *at), (output_index, item_id, from));
    *at = to;
}
