//! A user's side of the channel, without its I/O: frames and happenings in, what to send and what to show out.
//!
//! One turn at a time ([`Turns::ask`]). Its events count from 0 ([`StreamEvent`](clawbridge_responses::model::StreamEvent)): each is shown once and
//! in its place, whatever comes twice, early or over another connection. What is missing is asked for with `response.resume`.
//!
//! A turn whose connection broke before the bridge said that it has it is looked for (`session.join` names the session's latest response; the turn's
//! own mark in `metadata.turn` says whether that is it). It is not sent again: nobody could tell whether the agent then acts twice.

use clawbridge_responses::{ResponseId, SessionId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};

/// How many events are kept that came before their turn.
const MAX_EARLY: usize = 4096;

/// How often nothing may come of asking for what is missing.
const MAX_STALLS: u8 = 3;

/// How many messages of other members are remembered, to show each once.
const MAX_HEARD: usize = 256;

/// What a client is to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Act {
    /// Send this text frame.
    Send(String),
    /// Leave this connection and make another.
    Reconnect,
    /// An event of the answer, or an error, as it came: each once, in order.
    Event(Value),
    /// Show this.
    Show(Shown),
}

/// What there is to be shown.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shown {
    /// The bridge has the turn.
    Accepted(ResponseId),
    /// The agent is not connected, or something else comes first.
    Queued,
    /// The agent has it.
    Started,
    /// A message begins.
    Message {
        /// It is said on the way, and is not the answer.
        is_commentary: bool,
    },
    /// What comes next of the message.
    Text(String),
    /// The agent has thought better of the message's text: this is all of it.
    Replaced(String),
    /// The agent calls a function of its client's. This client has none.
    Call(String),
    /// What the agent says to somebody else in the session.
    Heard(String),
    /// The bridge complains of something that ends no turn.
    Notice(Refusal),
    /// The turn is over.
    Ended(End),
}

/// How a turn ends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum End {
    /// With an answer.
    Completed,
    /// With a part of one, for this reason.
    Incomplete(String),
    /// It was given up, as was asked.
    Cancelled,
    /// The agent, or the bridge, could not.
    Failed(Refusal),
    /// The bridge did not take it.
    Refused(Refusal),
    /// The connection broke while it was handed over; whether the agent gets it is not known.
    Unknown,
    /// The bridge took it, and the rest of its answer cannot be had.
    Lost(Refusal),
    /// There was nothing to catch up with.
    Nothing,
}

/// Why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// A stable word.
    pub(crate) code: String,
    /// For a person.
    pub(crate) message: String,
}

impl Refusal {
    fn new(code: &str, message: &str) -> Refusal {
        Refusal { code: code.to_owned(), message: message.to_owned() }
    }

    /// The `error` of a frame or a response.
    fn read(error: &Value, fallback: &str) -> Refusal {
        let text = |name: &str| error.get(name).and_then(Value::as_str);
        Refusal::new(text("code").unwrap_or("unknown"), text("message").unwrap_or(fallback))
    }
}

/// A conversation, over one connection after another.
#[derive(Debug)]
pub(crate) struct Turns {
    agent: String,
    session: SessionId,
    is_connected: bool,
    turn: Option<Turn>,
    /// The session's response before the turn under way.
    latest: Option<ResponseId>,
    heard: VecDeque<String>,
}

#[derive(Debug)]
struct Turn {
    /// What its `metadata.turn` says; none: whatever the session's latest turn is.
    mark: Option<String>,
    prompt: String,
    place: Place,
    /// The sequence number of the event that comes next.
    next: u64,
    early: BTreeMap<u64, Value>,
    /// It was asked for what comes from here on, and nothing came of it yet.
    asked_from: Option<u64>,
    stalls: u8,
    is_unwanted: bool,
    /// The bridge said that the connection is too old: it did not take the turn.
    was_too_late: bool,
    messages: Vec<Message>,
}

#[derive(Debug, PartialEq)]
enum Place {
    Unsent,
    Sent,
    /// The session was asked for its latest response.
    Looking,
    /// This response, which is that, was asked for its events.
    Comparing(ResponseId),
    Known(ResponseId),
}

#[derive(Debug)]
struct Message {
    id: String,
    text: String,
}

impl Turns {
    /// A conversation with `agent` (`model`; the text is free where the token may ask one agent only).
    pub(crate) fn new(agent: String, session: SessionId) -> Turns {
        Turns { agent, session, is_connected: false, turn: None, latest: None, heard: VecDeque::new() }
    }

    /// Its session.
    pub(crate) fn session(&self) -> &SessionId {
        &self.session
    }

    /// Its agent.
    pub(crate) fn agent(&self) -> &str {
        &self.agent
    }

    /// Whether a turn is under way.
    pub(crate) fn is_busy(&self) -> bool {
        self.turn.is_some()
    }

    /// Whether the session is a group's, whose members hear what is said in it.
    pub(crate) fn is_member(&self) -> bool {
        is_group(&self.session)
    }

    /// Whether something is due from the bridge at once, not only when the agent gets to it.
    pub(crate) fn is_waiting_for_bridge(&self) -> bool {
        let is_due = |turn: &Turn| !matches!(turn.place, Place::Known(_)) || !turn.early.is_empty();
        self.is_connected && self.turn.as_ref().is_some_and(is_due)
    }

    /// Goes on in another session, or with another agent. Only where no turn is under way.
    pub(crate) fn go_to(&mut self, agent: String, session: SessionId) -> Vec<Act> {
        let left = self.about_session("session.leave");
        let is_member = self.is_member();
        *self = Turns { is_connected: self.is_connected, ..Turns::new(agent, session) };
        let mut acts = Vec::new();
        if self.is_connected && is_member {
            acts.push(left);
        }
        acts.extend(self.enter());
        acts
    }

    /// A turn begins. `mark` is its own and nobody else's.
    pub(crate) fn ask(&mut self, prompt: String, mark: String) -> Vec<Act> {
        self.begin(Turn::new(Some(mark), prompt, Place::Unsent))
    }

    /// Shows the session's latest answer, however far it is.
    pub(crate) fn catch_up(&mut self) -> Vec<Act> {
        self.begin(Turn::new(None, String::new(), Place::Looking))
    }

    fn begin(&mut self, turn: Turn) -> Vec<Act> {
        if self.turn.is_some() {
            return Vec::new();
        }
        self.turn = Some(turn);
        if self.is_connected { self.go_on() } else { Vec::new() }
    }

    /// There is a connection.
    pub(crate) fn connected(&mut self) -> Vec<Act> {
        self.is_connected = true;
        let mut acts = self.enter();
        acts.extend(self.go_on());
        acts
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self) {
        self.is_connected = false;
        if let Some(turn) = &mut self.turn {
            turn.asked_from = None;
        }
    }

    /// The turn is not wanted any more.
    pub(crate) fn cancel(&mut self) -> Vec<Act> {
        let Some(turn) = &mut self.turn else { return Vec::new() };
        turn.is_unwanted = true;
        match &turn.place {
            Place::Unsent => self.end(End::Cancelled),
            Place::Known(id) if self.is_connected => vec![cancel(id)],
            // Once it is known, or there is a connection.
            Place::Sent | Place::Looking | Place::Comparing(_) | Place::Known(_) => Vec::new(),
        }
    }

    /// What is due from the bridge did not come.
    pub(crate) fn stalled(&mut self) -> Vec<Act> {
        let Some(turn) = &mut self.turn else { return Vec::new() };
        turn.stalls += 1;
        let is_hopeless = turn.stalls > MAX_STALLS;
        match &turn.place {
            Place::Unsent => Vec::new(),
            Place::Sent if !is_hopeless => self.look(),
            Place::Looking | Place::Comparing(_) | Place::Known(_) if !is_hopeless => vec![Act::Reconnect],
            Place::Known(_) => {
                let message = "the bridge does not give the events that are missing";
                self.end(End::Lost(Refusal::new("events_missing", message)))
            }
            Place::Sent | Place::Looking | Place::Comparing(_) => self.not_found(),
        }
    }

    /// A text frame came.
    pub(crate) fn frame(&mut self, frame: &str) -> Vec<Act> {
        let Ok(value) = serde_json::from_str::<Value>(frame) else { return Vec::new() };
        let kind = value.get("type").and_then(Value::as_str);
        match kind {
            Some("error") => self.error(&value),
            Some("session.joined") => self.joined(&value),
            Some(kind) if kind.starts_with("response.") => self.event(kind.to_owned(), value),
            // What is new is for clients that know it.
            Some(_) => Vec::new(),
            None => self.gateway(&value),
        }
    }

    /// Members of a group's session hear what is said in it.
    fn enter(&self) -> Vec<Act> {
        if self.is_connected && self.is_member() { vec![self.join()] } else { Vec::new() }
    }

    fn join(&self) -> Act {
        self.about_session("session.join")
    }

    fn about_session(&self, kind: &str) -> Act {
        let mut frame = json!({"type": kind, "session_id": self.session.as_str()});
        if !self.agent.is_empty() {
            frame["agent"] = self.agent.as_str().into();
        }
        Act::Send(frame.to_string())
    }

    /// Does on a connection what the turn is at.
    fn go_on(&mut self) -> Vec<Act> {
        let Some(turn) = &mut self.turn else { return Vec::new() };
        match &turn.place {
            Place::Unsent => {
                turn.place = Place::Sent;
                let create = create(&self.agent, &self.session, turn);
                vec![create]
            }
            Place::Sent | Place::Looking | Place::Comparing(_) => self.look(),
            Place::Known(id) => {
                turn.asked_from = Some(turn.next);
                let mut acts = vec![resume(id, turn.next)];
                if turn.is_unwanted {
                    acts.push(cancel(id));
                }
                acts
            }
        }
    }

    fn look(&mut self) -> Vec<Act> {
        if let Some(turn) = &mut self.turn {
            turn.place = Place::Looking;
        }
        vec![self.join()]
    }

    fn joined(&mut self, frame: &Value) -> Vec<Act> {
        let latest = frame.get("latest_response_id").and_then(Value::as_str);
        let latest = latest.and_then(|id| ResponseId::new(id).ok());
        let is_other = latest != self.latest;
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.place == Place::Looking) else { return Vec::new() };
        match latest {
            Some(id) if is_other => {
                let acts = vec![resume(&id, 0)];
                turn.place = Place::Comparing(id);
                acts
            }
            _ => self.not_found(),
        }
    }

    /// The session's latest response is not the turn.
    fn not_found(&mut self) -> Vec<Act> {
        match &mut self.turn {
            Some(turn) if turn.mark.is_none() => self.end(End::Nothing),
            Some(turn) if turn.is_unwanted && turn.was_too_late => self.end(End::Cancelled),
            Some(turn) if turn.was_too_late => {
                turn.was_too_late = false;
                turn.place = Place::Unsent;
                self.go_on()
            }
            Some(_) => self.end(End::Unknown),
            None => Vec::new(),
        }
    }

    fn error(&mut self, frame: &Value) -> Vec<Act> {
        let refusal = Refusal::read(&frame["error"], "the bridge refuses it and does not say why");
        let mut acts = vec![Act::Event(frame.clone())];
        if refusal.code == "websocket_connection_limit_reached" {
            if let Some(turn) = self.turn.as_mut().filter(|turn| turn.place == Place::Sent) {
                turn.was_too_late = true;
            }
            acts.push(Act::Reconnect);
            return acts;
        }
        let status = frame["status"].as_u64().unwrap_or_default();
        // Too many requests, or a fault of the bridge's: the question stands, and is asked again.
        let is_passing = status == 429 || status >= 500;
        let was_resumed = self.turn.as_ref().is_some_and(|turn| turn.asked_from.is_some());
        acts.extend(match self.turn.as_ref().map(|turn| &turn.place) {
            Some(Place::Sent) => self.end(End::Refused(refusal)),
            Some(Place::Looking | Place::Comparing(_)) if !is_passing => self.not_found(),
            // Others are about something else: that there is nothing left to be cancelled, for example.
            Some(Place::Known(_)) if was_resumed && status == 404 => self.end(End::Lost(refusal)),
            _ => vec![Act::Show(Shown::Notice(refusal))],
        });
        acts
    }

    /// What API Gateway says where the function did not answer: `{"message", "connectionId", "requestId"}`.
    fn gateway(&mut self, frame: &Value) -> Vec<Act> {
        let Some(message) = frame.get("message").and_then(Value::as_str) else { return Vec::new() };
        let mut acts = vec![Act::Event(frame.clone())];
        if self.turn.as_ref().is_some_and(|turn| turn.place == Place::Sent) {
            acts.extend(self.look());
        } else {
            acts.push(Act::Show(Shown::Notice(Refusal::new("gateway", message))));
        }
        acts
    }

    fn event(&mut self, kind: String, event: Value) -> Vec<Act> {
        let number = event.get("sequence_number").and_then(Value::as_u64);
        if kind == "response.created"
            && let Some(acts) = self.recognise(&event)
        {
            return acts;
        }
        let Some(turn) = self.turn.as_mut().filter(|turn| turn.is_of(&event)) else {
            return self.overhear(&kind, &event);
        };
        match number {
            // An event that nobody counted is as good as its place.
            None => self.apply(&kind, event),
            Some(number) if number < turn.next => Vec::new(),
            Some(number) if number > turn.next => {
                if turn.early.len() < MAX_EARLY {
                    turn.early.insert(number, event);
                }
                self.ask_for_missing()
            }
            Some(_) => self.in_place(kind, event),
        }
    }

    /// Is it the turn that was sent, or is looked for? Then it is known from here on.
    fn recognise(&mut self, event: &Value) -> Option<Vec<Act>> {
        let turn = self.turn.as_mut()?;
        let id = ResponseId::new(event["response"]["id"].as_str()?).ok()?;
        let is_candidate = match &turn.place {
            Place::Sent | Place::Looking => false,
            Place::Comparing(candidate) => *candidate == id,
            Place::Unsent | Place::Known(_) => return None,
        };
        let mark = event["response"]["metadata"]["turn"].as_str();
        let is_it = match &turn.mark {
            Some(own) => mark == Some(own),
            None => is_candidate,
        };
        if !is_it {
            // Of other members' there may be any number; of what was asked for there is one.
            return is_candidate.then(|| self.not_found());
        }
        let mut acts = Vec::new();
        if turn.is_unwanted {
            acts.push(cancel(&id));
        }
        turn.place = Place::Known(id.clone());
        self.latest = Some(id.clone());
        acts.insert(0, Act::Show(Shown::Accepted(id)));
        acts.extend(self.in_place("response.created".to_owned(), event.clone()));
        Some(acts)
    }

    /// The event that comes next, and those after it that came before.
    fn in_place(&mut self, kind: String, event: Value) -> Vec<Act> {
        let (mut kind, mut event) = (kind, event);
        let mut acts = Vec::new();
        loop {
            if let Some(turn) = &mut self.turn {
                turn.next = event.get("sequence_number").and_then(Value::as_u64).unwrap_or(turn.next) + 1;
                turn.asked_from = None;
                turn.stalls = 0;
            }
            acts.extend(self.apply(&kind, event));
            let Some(turn) = &mut self.turn else { return acts };
            match turn.early.remove(&turn.next) {
                Some(follower) => {
                    kind = follower.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
                    event = follower;
                }
                None => break,
            }
        }
        acts.extend(self.ask_for_missing());
        acts
    }

    fn ask_for_missing(&mut self) -> Vec<Act> {
        let Some(turn) = &mut self.turn else { return Vec::new() };
        let Place::Known(id) = &turn.place else { return Vec::new() };
        if turn.early.is_empty() || turn.asked_from == Some(turn.next) {
            return Vec::new();
        }
        turn.asked_from = Some(turn.next);
        vec![resume(id, turn.next)]
    }

    fn apply(&mut self, kind: &str, event: Value) -> Vec<Act> {
        let Some(turn) = &mut self.turn else { return Vec::new() };
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let item = &event["item"];
        let shown = match kind {
            "response.queued" => vec![Shown::Queued],
            "response.in_progress" => vec![Shown::Started],
            "response.output_item.added" if item["type"] == "message" => {
                let id = item["id"].as_str().unwrap_or_default().to_owned();
                turn.messages.push(Message { id, text: String::new() });
                vec![Shown::Message { is_commentary: item["phase"] == "commentary" }]
            }
            "response.output_text.delta" => turn.more(text("item_id"), text("delta")).into_iter().collect(),
            "response.output_text.done" => turn.rest(text("item_id"), text("text")).into_iter().collect(),
            "response.output_item.done" if item["type"] == "function_call" => {
                vec![Shown::Call(item["name"].as_str().unwrap_or_default().to_owned())]
            }
            "response.completed" => vec![Shown::Ended(End::Completed)],
            "response.failed" => {
                let error = Refusal::read(&event["response"]["error"], "it failed and nobody said why");
                vec![Shown::Ended(End::Failed(error))]
            }
            "response.incomplete" => vec![Shown::Ended(incomplete(&event["response"]))],
            _ => Vec::new(),
        };
        let mut acts = vec![Act::Event(event)];
        for shown in shown {
            if matches!(shown, Shown::Ended(_)) {
                self.turn = None;
            }
            acts.push(Act::Show(shown));
        }
        acts
    }

    /// What the agent says to others in the session: whole messages, each once.
    fn overhear(&mut self, kind: &str, event: &Value) -> Vec<Act> {
        let item = &event["item"];
        let id = item["id"].as_str().unwrap_or_default();
        if kind != "response.output_item.done"
            || item["type"] != "message"
            || !self.is_member()
            || self.heard.iter().any(|heard| heard == id)
        {
            return Vec::new();
        }
        if self.heard.len() == MAX_HEARD {
            self.heard.pop_front();
        }
        self.heard.push_back(id.to_owned());
        let parts = item["content"].as_array().into_iter().flatten();
        let text: String = parts.filter_map(|part| part["text"].as_str()).collect();
        vec![Act::Show(Shown::Heard(text))]
    }

    fn end(&mut self, end: End) -> Vec<Act> {
        self.turn = None;
        vec![Act::Show(Shown::Ended(end))]
    }
}

impl Turn {
    fn new(mark: Option<String>, prompt: String, place: Place) -> Turn {
        Turn {
            mark,
            prompt,
            place,
            next: 0,
            early: BTreeMap::new(),
            asked_from: None,
            stalls: 0,
            is_unwanted: false,
            was_too_late: false,
            messages: Vec::new(),
        }
    }

    /// Whether an event is of this turn: it names the response, or one of the items, whose names follow from the response's.
    fn is_of(&self, event: &Value) -> bool {
        let Place::Known(id) = &self.place else { return false };
        if let Some(named) = event["response"]["id"].as_str() {
            return named == id.as_str();
        }
        let item = event["item_id"].as_str().or_else(|| event["item"]["id"].as_str()).unwrap_or_default();
        let index = event["output_index"].as_u64().and_then(|index| usize::try_from(index).ok()).unwrap_or_default();
        ["msg", "fc"].iter().any(|prefix| id.item(prefix, index) == item)
    }

    fn message(&mut self, id: &str) -> &mut Message {
        let place = self.messages.iter().position(|message| message.id == id);
        let place = place.unwrap_or_else(|| {
            self.messages.push(Message { id: id.to_owned(), text: String::new() });
            self.messages.len() - 1
        });
        &mut self.messages[place]
    }

    fn more(&mut self, id: &str, delta: &str) -> Option<Shown> {
        self.message(id).text.push_str(delta);
        (!delta.is_empty()).then(|| Shown::Text(delta.to_owned()))
    }

    /// What the whole text has beyond what came.
    fn rest(&mut self, id: &str, whole: &str) -> Option<Shown> {
        let message = self.message(id);
        let shown = match whole.strip_prefix(message.text.as_str()) {
            Some("") => return None,
            Some(rest) => Shown::Text(rest.to_owned()),
            None => Shown::Replaced(whole.to_owned()),
        };
        whole.clone_into(&mut message.text);
        Some(shown)
    }
}

/// Whether a session belongs to its agent, and several may be in it.
fn is_group(session: &SessionId) -> bool {
    session.as_str().starts_with("group:")
}

fn create(agent: &str, session: &SessionId, turn: &Turn) -> Act {
    // A text is needed even where there is one agent only.
    let model = if agent.is_empty() { "agent" } else { agent };
    let metadata = json!({"session_id": session.as_str(), "turn": turn.mark});
    let frame =
        json!({"type": "response.create", "model": model, "input": turn.prompt, "store": false, "metadata": metadata});
    Act::Send(frame.to_string())
}

/// Asks for the events from `next` on.
fn resume(id: &ResponseId, next: u64) -> Act {
    let mut frame = json!({"type": "response.resume", "response_id": id.as_str()});
    if let Some(last) = next.checked_sub(1) {
        frame["starting_after"] = last.into();
    }
    Act::Send(frame.to_string())
}

fn cancel(id: &ResponseId) -> Act {
    Act::Send(json!({"type": "response.cancel", "response_id": id.as_str()}).to_string())
}

fn incomplete(response: &Value) -> End {
    let reason = response["incomplete_details"]["reason"].as_str().unwrap_or("unknown");
    if response["status"] == "cancelled" || reason == "cancelled" {
        End::Cancelled
    } else {
        End::Incomplete(reason.to_owned())
    }
}

#[cfg(test)]
#[path = "turns_tests.rs"]
mod tests;
