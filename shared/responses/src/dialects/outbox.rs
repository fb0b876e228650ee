//! What a connector of ours has to say in one answer: one frame in flight, everything else put together meanwhile.

use super::bridge::{FromConnector, Holds};
use crate::json::{escaped_text_len, split_escaped};
use crate::{AgentEvent, ResponseId};

/// What a frame costs around its events, and an event around its text; bytes, more than they do.
const FRAME_BYTES: usize = 128;
const EVENT_BYTES: usize = 64;

/// The answer to one turn on its way to the bridge.
///
/// Texts that repeat what was said are not sent: of a snapshot only what is new goes out, and the end says that all is said.
#[derive(Clone, Debug)]
pub struct Outbox {
    response: ResponseId,
    max_frame_bytes: usize,
    next: u64,
    in_flight: Option<Vec<AgentEvent>>,
    waiting: Vec<AgentEvent>,
    /// The text of the message that is open, and of all before it.
    said: String,
    before: String,
    key: Option<String>,
    has_ended: bool,
}

impl Outbox {
    /// For an answer; `max_frame_bytes` is what `welcome` named, 2048 at least.
    #[must_use]
    pub fn new(response: ResponseId, max_frame_bytes: usize) -> Outbox {
        Outbox {
            response,
            max_frame_bytes: max_frame_bytes.max(2048),
            next: 0,
            in_flight: None,
            waiting: Vec::new(),
            said: String::new(),
            before: String::new(),
            key: None,
            has_ended: false,
        }
    }

    /// The agent says something. Nothing is taken after an end.
    pub fn push(&mut self, event: AgentEvent) {
        if self.has_ended {
            return;
        }
        self.has_ended = event.is_end();
        match event {
            AgentEvent::Text { text } => self.text(&text),
            AgentEvent::Snapshot { text } | AgentEvent::Cumulative { text } => self.whole(&text),
            AgentEvent::TextDone { text } => {
                self.whole(&text.unwrap_or_default());
                self.waiting.push(AgentEvent::TextDone { text: None });
            }
            AgentEvent::Completed { text, usage } => {
                if let Some(rest) = text.as_deref().and_then(|text| text.strip_prefix(self.before.as_str())) {
                    let rest = rest.to_owned();
                    self.whole(&rest);
                }
                self.waiting.push(AgentEvent::Completed { text: Some(String::new()), usage });
            }
            AgentEvent::ItemAdded { .. } | AgentEvent::FunctionCall(_) if cost(&event) > self.room() => {
                self.has_ended = true;
                self.waiting.push(AgentEvent::Failed {
                    code: "function_call_too_large".to_owned(),
                    message: "The agent wanted a function called with more arguments than can be passed on.".to_owned(),
                });
            }
            AgentEvent::FunctionCall(_) => {
                self.close();
                self.waiting.push(event);
            }
            AgentEvent::ItemAdded { ref key, .. } => {
                if self.said.is_empty() || self.key.is_none() {
                    self.key.clone_from(key);
                } else if key.is_some() && self.key != *key {
                    self.close();
                    self.key.clone_from(key);
                }
                self.waiting.push(event);
            }
            AgentEvent::Began => self.waiting.push(event),
            AgentEvent::Incomplete { reason } => {
                self.waiting.push(AgentEvent::Incomplete { reason: crate::words::code(&reason) });
            }
            AgentEvent::Failed { code, message } => {
                let (code, message) = (crate::words::code(&code), crate::words::message(&message));
                self.waiting.push(AgentEvent::Failed { code, message });
            }
        }
    }

    /// What the events of one frame may take.
    fn room(&self) -> usize {
        self.max_frame_bytes.saturating_sub(FRAME_BYTES + escaped_text_len(self.response.as_str()))
    }

    /// The message is over; what comes next is another.
    fn close(&mut self) {
        let said = std::mem::take(&mut self.said);
        self.before.push_str(&said);
        self.key = None;
    }

    fn text(&mut self, text: &str) {
        self.said.push_str(text);
        match self.waiting.last_mut() {
            Some(AgentEvent::Text { text: last }) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.waiting.push(AgentEvent::Text { text: text.to_owned() }),
        }
    }

    /// All of the open message's text.
    fn whole(&mut self, text: &str) {
        if let Some(more) = text.strip_prefix(self.said.as_str()) {
            let more = more.to_owned();
            self.text(&more);
        } else if !self.said.trim_end().ends_with(text.trim_end()) && !self.said.starts_with(text) {
            let revised = AgentEvent::Snapshot { text: text.to_owned() };
            // What is too large to be corrected stands as it was said.
            if cost(&revised) <= self.room() {
                text.clone_into(&mut self.said);
                self.waiting.push(revised);
            }
        }
    }

    /// The frame to send now. `None`: one is in flight, or there is nothing to say.
    pub fn take(&mut self) -> Option<FromConnector> {
        if self.in_flight.is_some() || self.waiting.is_empty() {
            return None;
        }
        let mut room = self.room();
        let mut events = Vec::new();
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        for event in waiting.by_ref() {
            let bytes = cost(&event);
            if bytes <= room || (events.is_empty() && !matches!(event, AgentEvent::Text { .. })) {
                room = room.saturating_sub(bytes);
                events.push(event);
                continue;
            }
            if let AgentEvent::Text { text } = &event {
                let (fits, rest) = split_escaped(text, room.saturating_sub(EVENT_BYTES));
                if !fits.is_empty() {
                    events.push(AgentEvent::Text { text: fits.to_owned() });
                }
                self.waiting.push(AgentEvent::Text { text: rest.to_owned() });
            } else {
                self.waiting.push(event);
            }
            break;
        }
        self.waiting.extend(waiting);
        self.in_flight = Some(events);
        self.again()
    }

    /// A frame that only says that the agent works, if nothing is in flight.
    pub fn take_sign_of_life(&mut self) -> Option<FromConnector> {
        if self.in_flight.is_some() || self.has_ended {
            return None;
        }
        self.in_flight = Some(Vec::new());
        self.again()
    }

    /// The frame in flight once more: on a new connection, or when an `ack` shows that it was lost.
    #[must_use]
    pub fn again(&self) -> Option<FromConnector> {
        let events = self.in_flight.clone()?;
        Some(FromConnector::Say { response: self.response.clone(), number: self.next, events })
    }

    /// The bridge says which number comes next.
    pub fn acknowledged(&mut self, next: u64) {
        if self.in_flight.is_some() && next == self.next.saturating_add(1) {
            self.in_flight = None;
            self.next = next;
        }
    }

    /// For `hello`.
    #[must_use]
    pub fn holds(&self) -> Holds {
        Holds { response: self.response.clone(), next: self.next }
    }

    /// Whether the end is said and stored.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.has_ended && self.in_flight.is_none() && self.waiting.is_empty()
    }

    /// How much waits, bytes: an agent that is far ahead can be read more slowly.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.waiting.iter().map(cost).sum()
    }
}

fn cost(event: &AgentEvent) -> usize {
    EVENT_BYTES
        + match event {
            AgentEvent::Text { text } | AgentEvent::Snapshot { text } | AgentEvent::Cumulative { text } => {
                escaped_text_len(text)
            }
            AgentEvent::TextDone { text } => text.as_deref().map_or(0, escaped_text_len),
            AgentEvent::ItemAdded { key, .. } => key.as_deref().map_or(0, escaped_text_len),
            AgentEvent::FunctionCall(call) => {
                [&call.call_id, &call.name, &call.arguments].iter().map(|text| escaped_text_len(text)).sum()
            }
            // The usage's numbers.
            AgentEvent::Completed { text, .. } => 256 + text.as_deref().map_or(0, escaped_text_len),
            AgentEvent::Incomplete { reason } => escaped_text_len(reason),
            AgentEvent::Failed { code, message } => escaped_text_len(code) + escaped_text_len(message),
            AgentEvent::Began => 0,
        }
}

#[cfg(test)]
#[path = "outbox_tests.rs"]
mod tests;
