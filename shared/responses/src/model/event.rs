//! The events in which a user sees a response come about.

use super::resource::part;
use super::{Item, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// An event of a response's stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamEvent {
    /// Counts the events of one response from 0, without gaps.
    pub sequence_number: u64,
    /// What it says.
    pub body: EventBody,
}

/// What an event says. Whole responses are as they were at that moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum EventBody {
    /// `response.created`: it was accepted.
    Created(Box<Response>),
    /// `response.queued`: something else comes first.
    Queued(Box<Response>),
    /// `response.in_progress`: the agent has it.
    InProgress(Box<Response>),
    /// `response.output_item.added`.
    ItemAdded {
        /// Which item of the output.
        output_index: usize,
        /// As it begins.
        item: Item,
    },
    /// `response.content_part.added`: the text of a message begins.
    PartAdded {
        /// Of this item.
        item_id: String,
        /// Which item of the output.
        output_index: usize,
    },
    /// `response.output_text.delta`.
    TextDelta {
        /// Of this item.
        item_id: String,
        /// Which item of the output.
        output_index: usize,
        /// What comes next.
        delta: String,
    },
    /// `response.output_text.done`.
    TextDone {
        /// Of this item.
        item_id: String,
        /// Which item of the output.
        output_index: usize,
        /// All of it.
        text: String,
    },
    /// `response.content_part.done`.
    PartDone {
        /// Of this item.
        item_id: String,
        /// Which item of the output.
        output_index: usize,
        /// All of it.
        text: String,
    },
    /// `response.function_call_arguments.delta`.
    ArgumentsDelta {
        /// Of this item.
        item_id: String,
        /// Which item of the output.
        output_index: usize,
        /// What comes next.
        delta: String,
    },
    /// `response.function_call_arguments.done`.
    ArgumentsDone {
        /// Of this item.
        item_id: String,
        /// Which item of the output.
        output_index: usize,
        /// All of them.
        arguments: String,
    },
    /// `response.output_item.done`.
    ItemDone {
        /// Which item of the output.
        output_index: usize,
        /// As it is now.
        item: Item,
    },
    /// `response.completed`: the last event.
    Completed(Box<Response>),
    /// `response.failed`: the last event.
    Failed(Box<Response>),
    /// `response.incomplete`: the last event. It ends cancelled responses too; the specification has no event of their own for them.
    Incomplete(Box<Response>),
}

impl EventBody {
    /// The event's `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            EventBody::Created(_) => "response.created",
            EventBody::Queued(_) => "response.queued",
            EventBody::InProgress(_) => "response.in_progress",
            EventBody::ItemAdded { .. } => "response.output_item.added",
            EventBody::PartAdded { .. } => "response.content_part.added",
            EventBody::TextDelta { .. } => "response.output_text.delta",
            EventBody::TextDone { .. } => "response.output_text.done",
            EventBody::PartDone { .. } => "response.content_part.done",
            EventBody::ArgumentsDelta { .. } => "response.function_call_arguments.delta",
            EventBody::ArgumentsDone { .. } => "response.function_call_arguments.done",
            EventBody::ItemDone { .. } => "response.output_item.done",
            EventBody::Completed(_) => "response.completed",
            EventBody::Failed(_) => "response.failed",
            EventBody::Incomplete(_) => "response.incomplete",
        }
    }

    /// Whether it is the last.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self, EventBody::Completed(_) | EventBody::Failed(_) | EventBody::Incomplete(_))
    }
}

impl StreamEvent {
    /// The event as a JSON object.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut event = match &self.body {
            EventBody::Created(response)
            | EventBody::Queued(response)
            | EventBody::InProgress(response)
            | EventBody::Completed(response)
            | EventBody::Failed(response)
            | EventBody::Incomplete(response) => json!({"response": response.resource()}),
            EventBody::ItemAdded { output_index, item } | EventBody::ItemDone { output_index, item } => {
                json!({"output_index": output_index, "item": item})
            }
            EventBody::PartAdded { item_id, output_index } => {
                json!({"item_id": item_id, "output_index": output_index, "content_index": 0, "part": part("")})
            }
            EventBody::TextDelta { item_id, output_index, delta } => json!({
                "item_id": item_id, "output_index": output_index, "content_index": 0, "delta": delta, "logprobs": [],
            }),
            EventBody::TextDone { item_id, output_index, text } => json!({
                "item_id": item_id, "output_index": output_index, "content_index": 0, "text": text, "logprobs": [],
            }),
            EventBody::PartDone { item_id, output_index, text } => {
                json!({"item_id": item_id, "output_index": output_index, "content_index": 0, "part": part(text)})
            }
            EventBody::ArgumentsDelta { item_id, output_index, delta } => {
                json!({"item_id": item_id, "output_index": output_index, "delta": delta})
            }
            EventBody::ArgumentsDone { item_id, output_index, arguments } => {
                json!({"item_id": item_id, "output_index": output_index, "arguments": arguments})
            }
        };
        event["type"] = self.body.kind().into();
        event["sequence_number"] = self.sequence_number.into();
        event
    }

    /// The event as a WebSocket text frame.
    #[must_use]
    pub fn to_frame(&self) -> String {
        self.to_value().to_string()
    }
}
