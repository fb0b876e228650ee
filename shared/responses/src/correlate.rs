//! To which response a frame belongs that does not say so.
//!
//! Connectors other than ours answer with a key of their own making. A key is bound to the turn that it answers when something ties the two
//! together:
//!
//! | the frame has | it belongs to |
//! |---|---|
//! | a key that is bound | that turn |
//! | a session | the session's turn under way; there is one at most ([`Serial::OfSession`]) |
//! | no session, in a dialect without sessions | the connection's turn under way; there is one at most ([`Serial::OfConnection`]) |
//! | no session, `in_progress`, in a dialect with sessions | nobody's turn: a message that was not asked for |
//! | no session, anything else | kept until another frame of its key tells |
//!
//! A second key for a session whose turn is bound already is a second answer to the same request (a connector that is connected twice gives two),
//! and is dropped. So is what comes for a key whose turn is over.

use crate::dialects::{Dialect, Said, Serial};
use crate::{AgentEvent, AgentKey, ResponseId, SessionId};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// How many keys are remembered whose turns are over.
const MAX_OVER: usize = 64;

/// How many frames are kept that belong nowhere yet.
pub const MAX_KEPT: usize = 256;

/// A turn that was sent to a connector.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct UnderWay {
    response: ResponseId,
    session: SessionId,
    key: Option<AgentKey>,
    /// Nobody waits for the answer any more.
    #[serde(default)]
    is_abandoned: bool,
}

/// The turns of one agent that are under way.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Turns {
    under_way: Vec<UnderWay>,
    /// Messages that were not asked for and have not ended.
    pushes: VecDeque<(AgentKey, Option<SessionId>)>,
    over: VecDeque<AgentKey>,
    kept: VecDeque<Kept>,
}

/// A frame that belongs nowhere yet: its key, and what it says.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    key: AgentKey,
    events: Vec<AgentEvent>,
}

/// What a frame is a part of.
#[derive(Clone, Debug, PartialEq)]
pub enum Belongs {
    /// The answer to a turn. These are its events, with those of earlier frames that had been kept.
    To(ResponseId, Vec<AgentEvent>),
    /// A message that nobody asked for.
    Push {
        /// What the agent's side calls it.
        key: AgentKey,
        /// The session, where the connector names one.
        session: Option<SessionId>,
        /// Its events, with those that had been kept.
        events: Vec<AgentEvent>,
    },
    /// It is kept until its key is bound.
    Unclear,
    /// It is dropped: its turn is over, answered by somebody else, or cannot be told.
    Nowhere,
}

impl Turns {
    /// A turn is sent.
    pub fn dispatched(&mut self, response: ResponseId, session: SessionId) {
        if !self.under_way.iter().any(|turn| turn.response == response) {
            self.under_way.push(UnderWay { response, session, key: None, is_abandoned: false });
        }
    }

    /// Nobody wants the answer any more, and the connector cannot be told. The turn stays in its place until its answer has ended, or the
    /// connector is gone: the next answer of the session would be taken for the next turn's.
    pub fn abandoned(&mut self, response: &ResponseId) {
        for turn in self.under_way.iter_mut().filter(|turn| turn.response == *response) {
            turn.is_abandoned = true;
        }
    }

    /// A turn is over, because its answer has ended or its connector is gone: what still comes for it is dropped.
    pub fn over(&mut self, response: &ResponseId) {
        if let Some(at) = self.under_way.iter().position(|turn| turn.response == *response)
            && let Some(key) = self.under_way.remove(at).key
        {
            self.forget(key);
        }
    }

    /// How many turns are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether another turn of `session` may be sent now, if its answer is to be told from the others.
    #[must_use]
    pub fn admits(&self, dialect: Dialect, session: &SessionId) -> bool {
        match dialect.serial() {
            Serial::No => true,
            Serial::OfSession => !self.under_way.iter().any(|turn| turn.session == *session),
            Serial::OfConnection => self.under_way.is_empty(),
        }
    }

    /// Where a frame belongs.
    pub fn place(&mut self, dialect: Dialect, said: Said) -> Belongs {
        let Said { key, session, events, .. } = said;
        let Some(key) = key else {
            // Nothing in it says more than what stands around it.
            let turn = self.unbound(dialect, session.as_ref());
            return turn.map_or(Belongs::Nowhere, |turn| Belongs::To(turn.response.clone(), events));
        };
        if self.over.contains(&key) {
            return Belongs::Nowhere;
        }
        if let Some(turn) = self.under_way.iter().find(|turn| turn.key.as_ref() == Some(&key)) {
            let response = turn.response.clone();
            return self.answer(response, events);
        }
        if let Some(at) = self.pushes.iter().position(|(push, _)| *push == key) {
            return self.push(at, events);
        }
        if let Some(turn) = self.unbound(dialect, session.as_ref()) {
            turn.key = Some(key.clone());
            let response = turn.response.clone();
            let events = self.with_kept(&key, events);
            return self.answer(response, events);
        }
        let is_answered =
            session.as_ref().is_some_and(|session| self.under_way.iter().any(|turn| turn.session == *session));
        if is_answered {
            self.forget(key);
            return Belongs::Nowhere;
        }
        let names_sessions = dialect.serial() == Serial::OfSession;
        if names_sessions && session.is_none() && !events.contains(&AgentEvent::Began) {
            if self.kept.len() == MAX_KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back(Kept { key, events });
            return Belongs::Unclear;
        }
        if self.pushes.len() == MAX_OVER {
            self.pushes.pop_front();
        }
        let events = self.with_kept(&key, events);
        self.pushes.push_back((key, session));
        self.push(self.pushes.len() - 1, events)
    }

    fn answer(&mut self, response: ResponseId, events: Vec<AgentEvent>) -> Belongs {
        if !self.under_way.iter().any(|turn| turn.response == response && turn.is_abandoned) {
            return Belongs::To(response, events);
        }
        if events.iter().any(AgentEvent::is_end) {
            self.over(&response);
        }
        Belongs::Nowhere
    }

    /// The turn that an unknown key must answer, if one can be told.
    fn unbound(&mut self, dialect: Dialect, session: Option<&SessionId>) -> Option<&mut UnderWay> {
        let mut unbound = self.under_way.iter_mut().filter(|turn| turn.key.is_none());
        match (session, dialect.serial()) {
            (Some(session), _) => unbound.find(|turn| turn.session == *session),
            (None, Serial::OfConnection) => unbound.next(),
            (None, Serial::OfSession | Serial::No) => None,
        }
    }

    /// A frame of a message that was not asked for. Late text may follow its end, so the key stays known until others push it out.
    fn push(&mut self, at: usize, events: Vec<AgentEvent>) -> Belongs {
        let (key, session) = self.pushes[at].clone();
        Belongs::Push { key, session, events }
    }

    fn with_kept(&mut self, key: &AgentKey, events: Vec<AgentEvent>) -> Vec<AgentEvent> {
        let (its, others): (VecDeque<Kept>, VecDeque<Kept>) =
            std::mem::take(&mut self.kept).into_iter().partition(|kept| kept.key == *key);
        self.kept = others;
        its.into_iter().flat_map(|kept| kept.events).chain(events).collect()
    }

    fn forget(&mut self, key: AgentKey) {
        self.kept.retain(|kept| kept.key != key);
        if self.over.len() == MAX_OVER {
            self.over.pop_front();
        }
        self.over.push_back(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(text: &str) -> SessionId {
        SessionId::new(text).unwrap()
    }

    fn response(text: &str) -> ResponseId {
        ResponseId::new(text).unwrap()
    }

    fn said(key: &str, session: Option<&str>, event: AgentEvent) -> Said {
        Said {
            key: Some(AgentKey::new(key).unwrap()),
            session: session.map(|text| SessionId::new(text).unwrap()),
            sent_at: None,
            events: vec![event],
        }
    }

    fn text(text: &str) -> AgentEvent {
        AgentEvent::Text { text: text.to_owned() }
    }

    fn end() -> AgentEvent {
        AgentEvent::Completed { text: None, usage: None }
    }

    #[test]
    fn answers_of_two_sessions_are_told_apart() {
        let mut turns = Turns::default();
        turns.dispatched(response("r1"), session("A"));
        turns.dispatched(response("r2"), session("b"));
        assert!(!turns.admits(Dialect::Bare, &session("a")) && turns.admits(Dialect::Bare, &session("c")));
        for (said, to) in [
            (said("k2", Some("B"), AgentEvent::Began), "r2"),
            (said("k1", Some("a"), AgentEvent::Began), "r1"),
            (said("k2", None, text("2")), "r2"),
            (said("k1", None, text("1")), "r1"),
        ] {
            let events = said.events.clone();
            assert_eq!(turns.place(Dialect::Bare, said), Belongs::To(response(to), events));
        }
        turns.over(&response("r1"));
        assert_eq!(turns.place(Dialect::Bare, said("k1", None, text("late"))), Belongs::Nowhere);
        assert_eq!((turns.len(), turns.is_empty()), (1, false));
    }

    #[test]
    fn an_answer_without_a_beginning_is_found_by_its_end() {
        let mut turns = Turns::default();
        turns.dispatched(response("r1"), session("a"));
        assert_eq!(turns.place(Dialect::Bare, said("k", None, text("x"))), Belongs::Unclear);
        assert_eq!(turns.place(Dialect::Bare, said("other", None, text("y"))), Belongs::Unclear);
        let found = turns.place(Dialect::Bare, said("k", Some("a"), end()));
        assert_eq!(found, Belongs::To(response("r1"), vec![text("x"), end()]));
    }

    #[test]
    fn a_second_answer_to_the_same_request_is_dropped() {
        let mut turns = Turns::default();
        turns.dispatched(response("r1"), session("a"));
        assert!(matches!(turns.place(Dialect::Bare, said("k1", Some("a"), AgentEvent::Began)), Belongs::To(..)));
        assert_eq!(turns.place(Dialect::Bare, said("k2", Some("a"), AgentEvent::Began)), Belongs::Nowhere);
        assert_eq!(turns.place(Dialect::Bare, said("k2", None, text("again"))), Belongs::Nowhere);
    }

    #[test]
    fn what_nobody_asked_for_answers_nothing() {
        let mut turns = Turns::default();
        turns.dispatched(response("r1"), session("a"));
        for event in [AgentEvent::Began, text("news"), end(), text("late")] {
            let placed = turns.place(Dialect::Bare, said("p", None, event.clone()));
            let key = AgentKey::new("p").unwrap();
            assert_eq!(placed, Belongs::Push { key, session: None, events: vec![event] });
        }
        assert!(matches!(turns.place(Dialect::Bare, said("k", Some("a"), AgentEvent::Began)), Belongs::To(..)));
        let elsewhere = turns.place(Dialect::Bare, said("q", Some("z"), AgentEvent::Began));
        assert!(matches!(elsewhere, Belongs::Push { session: Some(_), .. }));
    }

    #[test]
    fn without_sessions_the_only_turn_is_meant() {
        let mut turns = Turns::default();
        turns.dispatched(response("r1"), session("a"));
        assert!(!turns.admits(Dialect::Topic, &session("b")) && turns.admits(Dialect::Bridge, &session("a")));
        assert!(matches!(turns.place(Dialect::Topic, said("k", None, text("x"))), Belongs::To(..)));
        assert!(matches!(turns.place(Dialect::Topic, said("p", None, AgentEvent::Began)), Belongs::Push { .. }));
        turns.over(&response("r1"));
        turns.dispatched(response("r2"), session("a"));
        assert_eq!(turns.place(Dialect::Topic, said("k", None, text("x"))), Belongs::Nowhere);
        assert!(matches!(turns.place(Dialect::Topic, said("k2", None, text("x"))), Belongs::To(..)));
    }

    #[test]
    fn the_answer_to_an_abandoned_turn_is_not_taken_for_the_next_ones() {
        let mut turns = Turns::default();
        turns.dispatched(response("r1"), session("a"));
        turns.abandoned(&response("r1"));
        assert!(!turns.admits(Dialect::Bare, &session("a")));
        for event in [AgentEvent::Began, text("old"), end()] {
            assert_eq!(turns.place(Dialect::Bare, said("k", Some("a"), event)), Belongs::Nowhere);
        }
        assert!(turns.admits(Dialect::Bare, &session("a")));
        turns.dispatched(response("r2"), session("a"));
        assert_eq!(turns.place(Dialect::Bare, said("k", None, text("late"))), Belongs::Nowhere);
        assert!(matches!(turns.place(Dialect::Bare, said("k2", Some("a"), AgentEvent::Began)), Belongs::To(..)));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut turns = Turns::default();
        for number in 0..2 * MAX_KEPT {
            let placed = turns.place(Dialect::Bare, said(&format!("k{number}"), None, text("x")));
            assert_eq!(placed, Belongs::Unclear);
        }
        assert_eq!(turns.kept.len(), MAX_KEPT);
    }
}
