//! One answer: what an agent says becomes what Open Responses says.
//!
//! ```text
//! created ─▶ (queued) ─▶ in_progress ─▶ items ─┬─────────────────────────────▶ completed
//!                                              ├─ end without text: held ─┬─▶ completed, once the text is there
//!                                              │                          └─▶ incomplete (text_missing), when the grace is over
//!                                              ├─ silence, a lost agent ──┬─▶ incomplete, if there is text
//!                                              │                          └─▶ failed, if there is none
//!                                              ├─ too much of it ─────────▶ incomplete (max_output_size)
//!                                              └─ the agent says so ──────▶ failed, incomplete
//! ```
//!
//! What holds for every order of agent events:
//!
//! - Sequence numbers count from 0 without gaps; exactly one event is the last.
//! - A message is `output_item.added`, `content_part.added`, deltas, `output_text.done`, `content_part.done`, `output_item.done`, and messages
//!   and function calls do not overlap. A message without text is not announced, unless it is all that there is.
//! - *Late text*: connectors of dialect E send the text of a block after its end. An end that does not say what the text was is therefore held
//!   for a grace ([`Policy::late_text`], or [`Policy::straggling`] if there is text already); what comes within it stands before the last event.
//!   What comes after the last event is counted and dropped.
//! - *Deltas and text*: a message's deltas together are its text, with one exception. When an agent takes back what it said (a snapshot that does
//!   not begin with the text so far), the deltas stop, and the message's `done` events and the resource have the agent's last word.
//!   [`Machine::has_diverged`] says that this happened.
//! - Frames that are numbered ([`Machine::apply_numbered`]) count once.
//!
//! The machine is a value: it can be stored after each frame, and continued elsewhere.

use crate::json::{escaped_text_len, split_escaped};
use crate::model::{
    EventBody, FunctionCall, Item, ItemStatus, Message, Phase, Response, ResponseError, Settings, Status, StreamEvent,
    Usage,
};
use crate::{AgentEvent, AgentFunctionCall, ResponseId, SessionId, words};
use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an item costs in the resource besides its texts and its id, bytes: more than it does.
const ITEM_BYTES: usize = 256;

/// What is kept free in the last event for the error, the usage and the members around the resource, bytes.
const RESERVED_BYTES: usize = 2048;

/// How long an answer waits for what, and how much it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// For how long an end without any text is held.
    pub late_text: Duration,
    /// For how long an end is held that does not say whether there is more text than came. Zero where frames come in order.
    pub straggling: Duration,
    /// For how long an agent may say nothing.
    pub silence: Duration,
    /// The largest event, bytes. The largest is always the last: it holds the whole resource.
    pub max_event_bytes: usize,
    /// The longest text in one delta, bytes as JSON.
    pub max_delta_bytes: usize,
}

impl Default for Policy {
    /// For API Gateway's WebSockets, which carry messages of 128 KiB in frames of 32 KiB.
    fn default() -> Policy {
        Policy {
            late_text: Duration::from_secs(3),
            straggling: Duration::ZERO,
            silence: Duration::from_secs(120),
            max_event_bytes: 120 * 1024,
            max_delta_bytes: 16 * 1024,
        }
    }
}

/// What became of a numbered frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// It was the next. These are the user's events, if any.
    Next(Vec<StreamEvent>),
    /// It was applied before.
    Duplicate,
    /// One before it is missing; nothing changed.
    Gap {
        /// The number that is next.
        expected: u64,
    },
}

/// The message that text goes to: the last item of the output.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    key: Option<String>,
    /// How much of its text was sent in deltas, bytes.
    sent: usize,
    diverged: bool,
}

/// An end that waits for late text.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
    until: Timestamp,
    usage: Option<Usage>,
}

/// The state of one answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    response: Response,
    policy: Policy,
    next_sequence: u64,
    next_frame: u64,
    open: Option<Open>,
    /// A message that was announced without text.
    announced: Option<(Option<String>, Option<Phase>)>,
    held: Option<Held>,
    /// When the agent was last heard, or asked.
    heard_at: Option<Timestamp>,
    /// How much the output may take and takes, bytes of JSON.
    room: usize,
    used: usize,
    diverged: bool,
    late: u32,
}

impl Machine {
    /// The answer to a turn that was accepted at `now`. Nothing is sent yet: see [`Machine::accept`].
    #[must_use]
    pub fn new(id: ResponseId, session: SessionId, settings: Settings, policy: Policy, now: Timestamp) -> Machine {
        let response = Response::new(id, session, now, settings);
        let base = response.resource().to_string().len();
        let room = policy.max_event_bytes.saturating_sub(base + RESERVED_BYTES);
        Machine {
            response,
            policy,
            next_sequence: 0,
            next_frame: 0,
            open: None,
            announced: None,
            held: None,
            heard_at: None,
            room,
            used: 0,
            diverged: false,
            late: 0,
        }
    }

    /// The response as it is.
    #[must_use]
    pub fn response(&self) -> &Response {
        &self.response
    }

    /// Whether the last event was emitted.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.response.status.is_terminal()
    }

    /// Whether the agent took back something that had been sent in deltas.
    #[must_use]
    pub fn has_diverged(&self) -> bool {
        self.diverged
    }

    /// How many events came after the last and had something to say.
    #[must_use]
    pub fn late(&self) -> u32 {
        self.late
    }

    /// The number of the numbered frame that is next.
    #[must_use]
    pub fn next_frame(&self) -> u64 {
        self.next_frame
    }

    /// The sequence number of the event that is next.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// When [`Machine::tick`] has something to do, if nothing else happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        if self.is_over() {
            return None;
        }
        match &self.held {
            Some(held) => Some(held.until),
            None => self.heard_at.map(|at| at.plus(self.policy.silence)),
        }
    }

    /// The turn is accepted: `response.created`, and `response.queued` if something comes first. Once.
    pub fn accept(&mut self, queued: bool) -> Vec<StreamEvent> {
        let mut out = Vec::new();
        if self.next_sequence == 0 {
            self.create(&mut out, queued);
            if queued {
                let response = Box::new(self.response.clone());
                self.emit(&mut out, EventBody::Queued(response));
            }
        }
        out
    }

    /// It is answered in another way than it was made for: how long it waits for what is that one's. How large it may be stays.
    pub fn follow(&mut self, policy: Policy) {
        let Policy { max_event_bytes, max_delta_bytes, .. } = self.policy;
        self.policy = Policy { max_event_bytes, max_delta_bytes, ..policy };
    }

    /// The turn was sent to the agent: from now on it may not be silent for too long.
    pub fn dispatched(&mut self, now: Timestamp) {
        self.heard_at = Some(now);
    }

    /// The agent says something.
    pub fn apply(&mut self, event: AgentEvent, now: Timestamp) -> Vec<StreamEvent> {
        let mut out = Vec::new();
        if self.is_over() {
            let says_something = match &event {
                AgentEvent::Text { text } | AgentEvent::Snapshot { text } | AgentEvent::Cumulative { text } => {
                    !text.is_empty()
                }
                AgentEvent::FunctionCall(_) => true,
                AgentEvent::Began
                | AgentEvent::TextDone { .. }
                | AgentEvent::ItemAdded { .. }
                | AgentEvent::Completed { .. }
                | AgentEvent::Incomplete { .. }
                | AgentEvent::Failed { .. } => false,
            };
            self.late = self.late.saturating_add(u32::from(says_something));
            return out;
        }
        self.heard_at = Some(now);
        self.begin(&mut out);
        match event {
            AgentEvent::Began => {}
            AgentEvent::Text { text } => self.append(&mut out, &text, now),
            AgentEvent::Snapshot { text } => self.snapshot(&mut out, &text, now),
            AgentEvent::Cumulative { text } => self.cumulative(&mut out, &text, now),
            AgentEvent::TextDone { text: Some(text) } => self.settle(&mut out, &text, now),
            AgentEvent::TextDone { text: None } => {}
            AgentEvent::ItemAdded { key, phase } => self.add_item(&mut out, key, phase),
            AgentEvent::FunctionCall(call) => self.call(&mut out, call, now),
            AgentEvent::Completed { text, usage } => self.complete(&mut out, text.as_deref(), usage, now),
            AgentEvent::Incomplete { reason } => self.stop(&mut out, &words::code(&reason)),
            AgentEvent::Failed { code, message } => {
                // What had ended well before does not fail afterwards.
                if self.held.is_some() && self.has_output() {
                    self.finish(&mut out, now);
                } else {
                    self.fail(&mut out, &code, &message);
                }
            }
        }
        out
    }

    /// The agent says something in a frame that is numbered from 0 within the response.
    pub fn apply_numbered(&mut self, number: u64, events: Vec<AgentEvent>, now: Timestamp) -> Applied {
        if number < self.next_frame {
            return Applied::Duplicate;
        }
        if number > self.next_frame {
            return Applied::Gap { expected: self.next_frame };
        }
        self.next_frame += 1;
        if !self.is_over() {
            // A frame without events is a sign of life.
            self.heard_at = Some(now);
        }
        Applied::Next(events.into_iter().flat_map(|event| self.apply(event, now)).collect())
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Timestamp) -> Vec<StreamEvent> {
        let mut out = Vec::new();
        match self.deadline() {
            Some(at) if at <= now && self.held.is_some() => self.finish(&mut out, now),
            Some(at) if at <= now => {
                self.break_off(&mut out, "agent_timeout", "The agent was silent for too long.", now);
            }
            _ => {}
        }
        out
    }

    /// The agent is gone, or cannot be asked: nothing more will come from it. `code` and `message` say why.
    pub fn lost(&mut self, code: &str, message: &str, now: Timestamp) -> Vec<StreamEvent> {
        let mut out = Vec::new();
        if !self.is_over() {
            self.break_off(&mut out, code, message, now);
        }
        out
    }

    /// Nobody wants the answer any more.
    pub fn cancel(&mut self) -> Vec<StreamEvent> {
        let mut out = Vec::new();
        if !self.is_over() {
            self.begin(&mut out);
            self.close(&mut out, ItemStatus::Incomplete);
            self.response.incomplete_reason = Some("cancelled".to_owned());
            self.end(&mut out, Status::Cancelled);
        }
        out
    }

    fn emit(&mut self, out: &mut Vec<StreamEvent>, body: EventBody) {
        out.push(StreamEvent { sequence_number: self.next_sequence, body });
        self.next_sequence += 1;
    }

    fn create(&mut self, out: &mut Vec<StreamEvent>, queued: bool) {
        self.response.status = if queued { Status::Queued } else { Status::InProgress };
        let response = Box::new(self.response.clone());
        self.emit(out, EventBody::Created(response));
        // in_progress is said once the agent has it; until then only `created` claims it, as every server's does.
        self.response.status = Status::Queued;
    }

    fn begin(&mut self, out: &mut Vec<StreamEvent>) {
        if self.next_sequence == 0 {
            self.create(out, false);
        }
        if self.response.status == Status::Queued {
            self.response.status = Status::InProgress;
            let response = Box::new(self.response.clone());
            self.emit(out, EventBody::InProgress(response));
        }
    }

    /// What the next item costs besides its texts.
    fn item_bytes(&self) -> usize {
        ITEM_BYTES + escaped_text_len(self.response.id.as_str())
    }

    fn has_output(&self) -> bool {
        !self.response.output.is_empty()
    }

    fn last_index(&self) -> usize {
        self.response.output.len().saturating_sub(1)
    }

    /// The message that is open, and what has been sent of it.
    fn open(&mut self) -> Option<(&mut Message, &mut Open)> {
        match (self.response.output.last_mut(), &mut self.open) {
            (Some(Item::Message(message)), Some(open)) => Some((message, open)),
            _ => None,
        }
    }

    fn said(&self) -> &str {
        match (self.response.output.last(), &self.open) {
            (Some(Item::Message(message)), Some(_)) => &message.text,
            _ => "",
        }
    }

    fn open_message(&mut self, out: &mut Vec<StreamEvent>) {
        if self.open.is_some() {
            return;
        }
        let (key, phase) = self.announced.take().unwrap_or_default();
        let output_index = self.response.output.len();
        let id = self.response.id.item("msg", output_index);
        let message = Message { id: id.clone(), status: ItemStatus::InProgress, text: String::new(), phase };
        self.response.output.push(Item::Message(message.clone()));
        self.used += self.item_bytes();
        self.open = Some(Open { key, sent: 0, diverged: false });
        self.emit(out, EventBody::ItemAdded { output_index, item: Item::Message(message) });
        self.emit(out, EventBody::PartAdded { item_id: id, output_index });
    }

    fn close(&mut self, out: &mut Vec<StreamEvent>, status: ItemStatus) {
        let output_index = self.last_index();
        let Some((message, _)) = self.open() else { return };
        message.status = status;
        let message = message.clone();
        self.open = None;
        let (item_id, text) = (message.id.clone(), message.text.clone());
        self.emit(out, EventBody::TextDone { item_id: item_id.clone(), output_index, text: text.clone() });
        self.emit(out, EventBody::PartDone { item_id, output_index, text });
        self.emit(out, EventBody::ItemDone { output_index, item: Item::Message(message) });
    }

    /// Sends what the open message has beyond its deltas.
    fn flush(&mut self, out: &mut Vec<StreamEvent>) {
        let (output_index, max) = (self.last_index(), self.policy.max_delta_bytes.max(8));
        let Some((message, open)) = self.open() else { return };
        if open.diverged {
            return;
        }
        let (item_id, mut rest) = (message.id.clone(), message.text[open.sent..].to_owned());
        open.sent = message.text.len();
        while !rest.is_empty() {
            let (delta, tail) = split_escaped(&rest, max);
            let (delta, tail) = (delta.to_owned(), tail.to_owned());
            self.emit(out, EventBody::TextDelta { item_id: item_id.clone(), output_index, delta });
            rest = tail;
        }
    }

    fn append(&mut self, out: &mut Vec<StreamEvent>, text: &str, now: Timestamp) {
        if text.is_empty() {
            return;
        }
        let opening = if self.open.is_none() { self.item_bytes() } else { 0 };
        let (fits, rest) = split_escaped(text, self.room.saturating_sub(self.used + opening));
        if !fits.is_empty() {
            self.open_message(out);
            self.used += escaped_text_len(fits);
            if let Some((message, _)) = self.open() {
                message.text.push_str(fits);
            }
            self.flush(out);
        }
        if rest.is_empty() {
            self.release(out, now);
        } else {
            self.stop(out, "max_output_size");
        }
    }

    fn snapshot(&mut self, out: &mut Vec<StreamEvent>, text: &str, now: Timestamp) {
        if let Some(more) = text.strip_prefix(self.said()) {
            let more = more.to_owned();
            self.append(out, &more, now);
        } else if !self.said().starts_with(text) {
            self.replace(out, text, now);
        }
    }

    fn cumulative(&mut self, out: &mut Vec<StreamEvent>, text: &str, now: Timestamp) {
        let said = self.said();
        if text.starts_with(said) || said.starts_with(text) || is_revised(said, text) {
            self.snapshot(out, text, now);
        } else {
            self.append(out, text, now);
        }
    }

    /// The agent's last word on a message's text.
    fn settle(&mut self, out: &mut Vec<StreamEvent>, text: &str, now: Timestamp) {
        let said = self.said();
        if let Some(more) = text.strip_prefix(said) {
            let more = more.to_owned();
            self.append(out, &more, now);
        } else if said.trim() != text.trim() && !said.ends_with(text) {
            // One that repeats but the end of it, or trims it, takes nothing back.
            self.replace(out, text, now);
        }
    }

    fn replace(&mut self, out: &mut Vec<StreamEvent>, text: &str, now: Timestamp) {
        let before = self.used - escaped_text_len(self.said());
        let (fits, rest) = split_escaped(text, self.room.saturating_sub(before));
        let (fits, cut) = (fits.to_owned(), !rest.is_empty());
        self.used = before + escaped_text_len(&fits);
        if let Some((message, open)) = self.open() {
            open.diverged = open.diverged || !fits.starts_with(&message.text[..open.sent]);
            message.text = fits;
            self.diverged = self.diverged || open_diverged(&self.open);
        }
        self.flush(out);
        if cut {
            self.stop(out, "max_output_size");
        } else {
            self.release(out, now);
        }
    }

    fn add_item(&mut self, out: &mut Vec<StreamEvent>, key: Option<String>, phase: Option<Phase>) {
        match self.open() {
            // A message that is added again, or that its text came before.
            Some((message, open)) if open.key.is_none() || key.is_none() || open.key == key => {
                open.key = open.key.take().or(key);
                message.phase = message.phase.or(phase);
            }
            Some(_) => {
                self.close(out, ItemStatus::Completed);
                self.announced = Some((key, phase));
            }
            None => self.announced = Some((key, phase)),
        }
    }

    fn call(&mut self, out: &mut Vec<StreamEvent>, call: AgentFunctionCall, now: Timestamp) {
        if self.response.function_calls().any(|known| known.call_id == call.call_id) {
            return;
        }
        let bytes =
            [&call.call_id, &call.name, &call.arguments].map(|text| escaped_text_len(text)).iter().sum::<usize>();
        if self.used + bytes + self.item_bytes() > self.room {
            // Half a call is none.
            return self.stop(out, "max_output_size");
        }
        self.close(out, ItemStatus::Completed);
        self.announced = None;
        self.used += bytes + self.item_bytes();
        let output_index = self.response.output.len();
        let id = self.response.id.item("fc", output_index);
        let AgentFunctionCall { call_id, name, arguments } = call;
        let begun =
            FunctionCall { id: id.clone(), call_id, name, arguments: String::new(), status: ItemStatus::InProgress };
        let done = FunctionCall { arguments: arguments.clone(), status: ItemStatus::Completed, ..begun.clone() };
        self.response.output.push(Item::FunctionCall(done.clone()));
        self.emit(out, EventBody::ItemAdded { output_index, item: Item::FunctionCall(begun) });
        let mut rest = arguments.as_str();
        while !rest.is_empty() {
            let (delta, tail) = split_escaped(rest, self.policy.max_delta_bytes.max(8));
            let delta = delta.to_owned();
            self.emit(out, EventBody::ArgumentsDelta { item_id: id.clone(), output_index, delta });
            rest = tail;
        }
        self.emit(out, EventBody::ArgumentsDone { item_id: id, output_index, arguments: arguments.clone() });
        self.emit(out, EventBody::ItemDone { output_index, item: Item::FunctionCall(done) });
        self.release(out, now);
    }

    fn complete(&mut self, out: &mut Vec<StreamEvent>, text: Option<&str>, usage: Option<Usage>, now: Timestamp) {
        match text {
            Some(text) => {
                self.held = None;
                let open = self.said().len();
                let all = self.response.text();
                let closed = &all[..all.len() - open];
                match text.strip_prefix(closed) {
                    Some(rest) => self.settle(out, rest, now),
                    // Nothing beyond what was said.
                    None if text.is_empty() => {}
                    None => self.diverged = true,
                }
                if self.is_over() {
                    return;
                }
                if !self.has_output() {
                    // The agent says that there is nothing to say.
                    self.open_message(out);
                }
                self.held = Some(Held { until: now, usage });
                self.finish(out, now);
            }
            None if self.held.is_some() => {}
            None => {
                let grace = if self.has_output() { self.policy.straggling } else { self.policy.late_text };
                self.held = Some(Held { until: now.plus(grace), usage });
                if grace.is_zero() {
                    self.finish(out, now);
                }
            }
        }
    }

    /// Text came: an end that waited for it need not wait for longer than for stragglers.
    fn release(&mut self, out: &mut Vec<StreamEvent>, now: Timestamp) {
        if let Some(held) = &mut self.held {
            held.until = now.plus(self.policy.straggling);
            if self.policy.straggling.is_zero() {
                self.finish(out, now);
            }
        }
    }

    /// The held end takes place.
    fn finish(&mut self, out: &mut Vec<StreamEvent>, now: Timestamp) {
        if let Some(held) = self.held.take() {
            self.response.usage = held.usage;
        }
        if !self.has_output() {
            return self.stop(out, "text_missing");
        }
        self.close(out, ItemStatus::Completed);
        self.response.completed_at = Some(now);
        self.end(out, Status::Completed);
    }

    fn break_off(&mut self, out: &mut Vec<StreamEvent>, code: &str, message: &str, now: Timestamp) {
        self.begin(out);
        if self.held.is_some() {
            self.finish(out, now);
        } else if self.has_output() {
            self.stop(out, code);
        } else {
            self.fail(out, code, message);
        }
    }

    fn stop(&mut self, out: &mut Vec<StreamEvent>, reason: &str) {
        self.close(out, ItemStatus::Incomplete);
        self.response.incomplete_reason = Some(reason.to_owned());
        self.end(out, Status::Incomplete);
    }

    fn fail(&mut self, out: &mut Vec<StreamEvent>, code: &str, message: &str) {
        self.close(out, ItemStatus::Incomplete);
        self.response.error = Some(ResponseError { code: words::code(code), message: words::message(message) });
        self.end(out, Status::Failed);
    }

    fn end(&mut self, out: &mut Vec<StreamEvent>, status: Status) {
        self.held = None;
        self.announced = None;
        self.response.status = status;
        let response = Box::new(self.response.clone());
        self.emit(
            out,
            match status {
                Status::Completed => EventBody::Completed(response),
                Status::Failed => EventBody::Failed(response),
                Status::Queued | Status::InProgress | Status::Incomplete | Status::Cancelled => {
                    EventBody::Incomplete(response)
                }
            },
        );
    }
}

fn open_diverged(open: &Option<Open>) -> bool {
    open.as_ref().is_some_and(|open| open.diverged)
}

/// Whether `text` is `said` with a change further back, rather than what comes next: more than half of what was said is at its beginning.
fn is_revised(said: &str, text: &str) -> bool {
    let common = said.bytes().zip(text.bytes()).take_while(|(one, other)| one == other).count();
    common * 2 > said.len()
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
