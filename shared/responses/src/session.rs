//! Whose turn it is, and what a turn may continue.
//!
//! **One at a time.** The turns of a session are answered one after another ([`Line`]), since connectors do not say which of two requests they
//! answer. A user's connection, too, has one response in flight; what it asks for meanwhile waits in a second line. A turn begins when it is
//! first in both.
//!
//! **Continuations** ([`Chain`]). A turn with `previous_response_id` continues that response. The connection remembers the latest one, stored
//! or not. Others are looked for in the store, where only responses with `store: true` are. A continuation that is refused or fails makes the connection
//! forget what it referred to: on this connection it is not found any more, even if it was stored. (A client that tries once more must
//! not be answered as if the failed turn had not been.)

use crate::ResponseId;
use crate::frames::ErrorFrame;
use clawbridge_clock::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

/// How old a connection of a user gets.
pub const MAX_CONNECTION_AGE: Duration = Duration::from_secs(60 * 60);

/// How many responses a connection remembers not to continue.
const MAX_EVICTED: usize = 64;

/// Whether a connection that was opened then is too old for another turn.
#[must_use]
pub fn is_too_old(opened_at: Timestamp, now: Timestamp) -> bool {
    opened_at.until(now) >= MAX_CONNECTION_AGE
}

/// What becomes of a turn that joins a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It is first.
    First,
    /// So many are before it.
    Behind(usize),
    /// The line is as long as it may be; the turn is not in it.
    Full,
}

/// Turns that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    max: usize,
    turns: VecDeque<ResponseId>,
}

impl Line {
    /// A line for at most `max` turns, the first included.
    #[must_use]
    pub fn new(max: usize) -> Line {
        Line { max, turns: VecDeque::new() }
    }

    /// A turn joins. One that is in the line keeps its place.
    pub fn join(&mut self, turn: &ResponseId) -> Joined {
        let place = match self.turns.iter().position(|waiting| waiting == turn) {
            Some(place) => place,
            None if self.turns.len() >= self.max => return Joined::Full,
            None => {
                self.turns.push_back(turn.clone());
                self.turns.len() - 1
            }
        };
        if place == 0 { Joined::First } else { Joined::Behind(place) }
    }

    /// A turn is over, or given up while it waited. The turn that is first because of that.
    pub fn leave(&mut self, turn: &ResponseId) -> Option<&ResponseId> {
        let place = self.turns.iter().position(|waiting| waiting == turn)?;
        self.turns.remove(place);
        if place == 0 { self.turns.front() } else { None }
    }

    /// The turn whose turn it is.
    #[must_use]
    pub fn first(&self) -> Option<&ResponseId> {
        self.turns.front()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.turns.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }
}

/// What a turn continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continues {
    /// Nothing: a new conversation, or the one that its session names.
    Nothing,
    /// The response that this connection made last.
    Latest(ResponseId),
    /// A response that is in the store, or nowhere: if it is not there, or was not made for this user, [`Chain::refused`] is the answer.
    AskStore(ResponseId),
}

/// What a user's connection remembers of its responses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    latest: Option<ResponseId>,
    evicted: VecDeque<ResponseId>,
}

impl Chain {
    /// What a turn continues.
    ///
    /// # Errors
    /// `previous_response_not_found`: it was evicted.
    pub fn resolve(&self, previous: Option<&ResponseId>) -> Result<Continues, ErrorFrame> {
        match previous {
            None => Ok(Continues::Nothing),
            Some(id) if self.evicted.contains(id) => Err(ErrorFrame::previous_response_not_found(id.as_str())),
            Some(id) if self.latest.as_ref() == Some(id) => Ok(Continues::Latest(id.clone())),
            Some(id) => Ok(Continues::AskStore(id.clone())),
        }
    }

    /// What a turn referred to is not in the store: the answer.
    #[must_use]
    pub fn refused(previous: &ResponseId) -> ErrorFrame {
        ErrorFrame::previous_response_not_found(previous.as_str())
    }

    /// A response was completed on this connection: it can be continued here, stored or not.
    pub fn completed(&mut self, id: &ResponseId) {
        self.latest = Some(id.clone());
    }

    /// A turn that continued `previous` was refused or has failed.
    pub fn continuation_failed(&mut self, previous: &ResponseId) {
        if self.latest.as_ref() == Some(previous) {
            self.latest = None;
        }
        if !self.evicted.contains(previous) {
            if self.evicted.len() == MAX_EVICTED {
                self.evicted.pop_front();
            }
            self.evicted.push_back(previous.clone());
        }
    }
}

/// Whether every `function_call_output` of a turn answers a call of the response that it continues. An output without its call is an error
/// that an agent could only guess around.
///
/// # Errors
/// `invalid_value`: the first one that does not.
pub fn check_outputs(
    input: &[crate::model::input::InputItem],
    calls: &std::collections::BTreeSet<String>,
) -> Result<(), ErrorFrame> {
    use crate::model::input::InputItem;
    let mut known: std::collections::BTreeSet<&str> = calls.iter().map(String::as_str).collect();
    for (index, item) in input.iter().enumerate() {
        match item {
            // A client that sends everything again brings the calls along.
            InputItem::FunctionCall { call_id, .. } => {
                known.insert(call_id);
            }
            InputItem::FunctionCallOutput { call_id, .. } if !known.contains(call_id.as_str()) => {
                let param = format!("input[{index}].call_id");
                let message = "There is no function call with this id in what the request continues.";
                return Err(ErrorFrame::about(crate::frames::Code::InvalidValue, param, message));
            }
            InputItem::FunctionCallOutput { .. } | InputItem::Message { .. } | InputItem::Opaque(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Code;
    use crate::model::input;
    use proptest::prelude::*;
    use serde_json::json;

    fn id(text: &str) -> ResponseId {
        ResponseId::new(text).unwrap()
    }

    #[test]
    fn turns_wait_for_each_other() {
        let mut line = Line::new(3);
        assert_eq!(line.join(&id("a")), Joined::First);
        assert_eq!(line.join(&id("b")), Joined::Behind(1));
        assert_eq!(line.join(&id("c")), Joined::Behind(2));
        assert_eq!(line.join(&id("d")), Joined::Full);
        assert_eq!(line.join(&id("b")), Joined::Behind(1));
        // Given up while it waited: nobody moves to the front.
        assert_eq!(line.leave(&id("b")), None);
        assert_eq!(line.leave(&id("a")), Some(&id("c")));
        assert_eq!(line.leave(&id("a")), None);
        assert_eq!((line.first(), line.len()), (Some(&id("c")), 1));
        assert_eq!(line.leave(&id("c")), None);
        assert!(line.is_empty());
    }

    #[test]
    fn the_latest_response_is_continued_from_memory_and_others_are_asked_for() {
        let mut chain = Chain::default();
        assert_eq!(chain.resolve(None), Ok(Continues::Nothing));
        chain.completed(&id("a"));
        assert_eq!(chain.resolve(Some(&id("a"))), Ok(Continues::Latest(id("a"))));
        chain.completed(&id("b"));
        assert_eq!(chain.resolve(Some(&id("a"))), Ok(Continues::AskStore(id("a"))));
        assert_eq!(chain.resolve(Some(&id("A"))), Ok(Continues::AskStore(id("A"))));
        assert_eq!(Chain::refused(&id("x")).code, Code::PreviousResponseNotFound);
    }

    #[test]
    fn what_a_failed_continuation_referred_to_is_not_found_again() {
        let mut chain = Chain::default();
        chain.completed(&id("a"));
        chain.continuation_failed(&id("a"));
        chain.continuation_failed(&id("a"));
        let refused = chain.resolve(Some(&id("a"))).unwrap_err();
        assert_eq!(refused.to_value()["error"]["code"], "previous_response_not_found");
        chain.completed(&id("b"));
        assert_eq!(chain.resolve(Some(&id("b"))), Ok(Continues::Latest(id("b"))));
        for number in 0..2 * MAX_EVICTED {
            chain.continuation_failed(&id(&format!("r{number}")));
        }
        assert_eq!(chain.evicted.len(), MAX_EVICTED);
        assert!(chain.resolve(Some(&id("b"))).is_ok());
    }

    #[test]
    fn an_output_without_its_call_is_refused() {
        let output = json!({"type": "function_call_output", "call_id": "c1", "output": "x"});
        let call = json!({"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"});
        let calls = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect();
        let alone = input::read(&json!([output])).unwrap();
        let whole = input::read(&json!([call, output])).unwrap();
        assert_eq!(check_outputs(&alone, &calls(&["c1"])), Ok(()));
        assert_eq!(check_outputs(&whole, &calls(&[])), Ok(()));
        let refused = check_outputs(&alone, &calls(&["c2"])).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some("input[0].call_id"));
    }

    #[test]
    fn a_connection_ends_after_an_hour() {
        let opened = Timestamp::from_millis(0);
        assert!(!is_too_old(opened, Timestamp::from_millis(3_599_999)));
        assert!(is_too_old(opened, Timestamp::from_millis(3_600_000)));
    }

    proptest! {
        #[test]
        fn every_turn_of_a_line_is_first_once_and_in_the_order_of_joining(steps in prop::collection::vec(any::<bool>(), 0..60)) {
            let (mut line, mut joined, mut firsts) = (Line::new(5), Vec::new(), Vec::new());
            for (number, joins) in steps.into_iter().enumerate() {
                let turn = id(&format!("r{number}"));
                if joins {
                    match line.join(&turn) {
                        Joined::First => { joined.push(turn.clone()); firsts.push(turn); }
                        Joined::Behind(_) => joined.push(turn),
                        Joined::Full => prop_assert_eq!(line.len(), 5),
                    }
                } else if let Some(first) = line.first().cloned() {
                    firsts.extend(line.leave(&first).cloned());
                }
            }
            while let Some(first) = line.first().cloned() {
                firsts.extend(line.leave(&first).cloned());
            }
            prop_assert_eq!(firsts, joined);
        }
    }
}
