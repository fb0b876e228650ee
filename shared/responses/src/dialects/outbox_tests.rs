use super::*;
use crate::dialects::bridge;
use crate::machine::{Applied, Machine, Policy};
use crate::model::Settings;
use crate::testing::follow;
use crate::{AgentFunctionCall, SessionId};
use clawbridge_clock::Timestamp;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(0);

fn response() -> ResponseId {
    ResponseId::new("resp_1").unwrap()
}

fn outbox() -> Outbox {
    Outbox::new(response(), 2048)
}

fn machine() -> Machine {
    let policy = Policy { max_event_bytes: 10_000_000, ..super::super::Dialect::Bridge.policy() };
    Machine::new(response(), SessionId::new("s").unwrap(), Settings::of_model("a"), policy, NOW)
}

fn text(text: &str) -> AgentEvent {
    AgentEvent::Text { text: text.to_owned() }
}

fn events(frame: Option<FromConnector>) -> Vec<AgentEvent> {
    match frame {
        Some(FromConnector::Say { events, .. }) => events,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_frame_is_in_flight_and_the_rest_is_put_together() {
    let mut outbox = outbox();
    outbox.push(text("a"));
    assert_eq!(events(outbox.take()), [text("a")]);
    for piece in ["b", "c", "d"] {
        outbox.push(text(piece));
    }
    assert_eq!(outbox.take(), None);
    assert_eq!(events(outbox.again()), [text("a")]);
    // Neither of these is about the frame in flight.
    outbox.acknowledged(0);
    outbox.acknowledged(7);
    assert_eq!(outbox.take(), None);
    outbox.acknowledged(1);
    assert_eq!((outbox.holds().next, outbox.again()), (1, None));
    assert_eq!(events(outbox.take()), [text("bcd")]);
    assert_eq!(outbox.take_sign_of_life(), None);
    outbox.acknowledged(2);
    assert_eq!(events(outbox.take_sign_of_life()), []);
}

#[test]
fn texts_that_repeat_what_was_said_are_not_sent() {
    let mut outbox = outbox();
    for event in [
        text("ab"),
        AgentEvent::Snapshot { text: "abc".into() },
        AgentEvent::TextDone { text: Some("abcd".into()) },
        AgentEvent::Completed { text: Some("abcde".into()), usage: None },
        text("never"),
    ] {
        outbox.push(event);
    }
    let completed = AgentEvent::Completed { text: Some(String::new()), usage: None };
    assert_eq!(events(outbox.take()), [text("abcd"), AgentEvent::TextDone { text: None }, text("e"), completed]);
    assert!(!outbox.is_done());
    outbox.acknowledged(1);
    assert!(outbox.is_done());
}

#[test]
fn a_call_that_no_frame_carries_fails_the_answer() {
    let mut outbox = outbox();
    let arguments = "x".repeat(5000);
    outbox.push(AgentEvent::FunctionCall(AgentFunctionCall { call_id: "c".into(), name: "f".into(), arguments }));
    assert!(
        matches!(&events(outbox.take())[..], [AgentEvent::Failed { code, .. }] if code == "function_call_too_large")
    );
}

proptest! {
    /// Frames and acknowledgements get lost, connections change, the bridge sees frames twice: the user reads what the agent said.
    #[test]
    fn whatever_gets_lost_the_text_arrives_once_and_in_order(
        pieces in prop::collection::vec("[a-z\"\u{e9}\n]{0,900}", 0..12),
        fate in prop::collection::vec(0..4_u8, 0..60),
        is_streamed: bool,
    ) {
        let (mut outbox, mut machine) = (outbox(), machine());
        let mut out = machine.accept(false);
        let mut said: Vec<AgentEvent> = if is_streamed { pieces.iter().map(|piece| text(piece)).collect() } else { vec![] };
        said.push(AgentEvent::Completed { text: Some(pieces.concat()), usage: None });
        let mut said = said.into_iter();
        let mut fate = fate.into_iter().chain(std::iter::repeat(0));
        while !outbox.is_done() {
            let fate = fate.next().unwrap_or_default();
            if let Some(event) = said.next() {
                outbox.push(event);
            }
            // Lost frames are repeated on the next connection.
            let Some(frame) = outbox.take().or_else(|| outbox.again()) else { continue };
            prop_assert!(bridge::write(&frame).len() <= 2048);
            if fate == 1 {
                continue;
            }
            for _ in 0..=u8::from(fate == 2) {
                let FromConnector::Say { number, events, .. } = frame.clone() else { panic!() };
                match machine.apply_numbered(number, events, NOW) {
                    Applied::Next(events) => out.extend(events),
                    Applied::Duplicate => {}
                    Applied::Gap { .. } => panic!("a gap"),
                }
            }
            if fate != 3 {
                outbox.acknowledged(machine.next_frame());
            }
        }
        let seen = follow(&out);
        prop_assert_eq!(&seen.deltas, &pieces.concat());
        prop_assert_eq!(seen.end().text(), pieces.concat());
    }
}
