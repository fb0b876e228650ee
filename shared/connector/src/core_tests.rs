//! The core against a bridge that is the channel's own machine, and a network that drops, repeats and swaps.

use crate::core::{Action, Core, Input};
use crate::link::{Again, ConnectionId, State, Unopened};
use crate::notice::Notice;
use crate::timing::{Moment, Timing};
use clawbridge_clock::Timestamp;
use clawbridge_responses::dialects::bridge::{FromConnector, ToConnector};
use clawbridge_responses::dialects::{Dialect, Turn};
use clawbridge_responses::machine::{Applied, Machine};
use clawbridge_responses::model::{EventBody, Settings, Status};
use clawbridge_responses::{AgentEvent, ResponseId, SessionId};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

fn at(seconds: f64) -> Moment {
    let up = Duration::from_secs_f64(seconds);
    Moment { up, at: Timestamp::from_millis(0).plus(up) }
}

fn response(name: &str) -> ResponseId {
    ResponseId::new(name).unwrap()
}

fn turn(name: &str, session: &str) -> ToConnector {
    ToConnector::Turn(Box::new(Turn {
        response: response(name),
        session: SessionId::new(session).unwrap(),
        at: Timestamp::from_millis(0),
        input: vec![],
        settings: Settings::of_model("openclaw"),
    }))
}

fn text(text: &str) -> AgentEvent {
    AgentEvent::Text { text: text.to_owned() }
}

fn done() -> AgentEvent {
    AgentEvent::Completed { text: None, usage: None }
}

/// A core and what it did last.
struct Driven {
    core: Core,
    out: Vec<Action>,
    states: Vec<State>,
    why: String,
}

impl Driven {
    fn new(max_running: usize) -> Driven {
        let core = Core::new("test/1", "instance", Timing::default(), max_running);
        Driven { core, out: Vec::new(), states: Vec::new(), why: String::new() }
    }

    fn step(&mut self, input: Input, seconds: f64) -> &mut Driven {
        self.out = self.core.step(input, at(seconds), 0);
        for action in &self.out {
            if let Action::Tell(Notice::State { state, why, .. }) = action {
                self.states.push(*state);
                self.why = why.clone().unwrap_or_default();
            }
        }
        self
    }

    fn opened(&self) -> Option<ConnectionId> {
        self.out.iter().find_map(|action| if let Action::Open(id) = action { Some(*id) } else { None })
    }

    fn sent(&self) -> Vec<(ConnectionId, FromConnector)> {
        let sent =
            |action: &Action| if let Action::Send(id, frame) = action { Some((*id, (**frame).clone())) } else { None };
        self.out.iter().filter_map(sent).collect()
    }

    fn says(&self) -> Vec<(u64, Vec<AgentEvent>)> {
        let say = |(_, frame)| {
            if let FromConnector::Say { number, events, .. } = frame { Some((number, events)) } else { None }
        };
        self.sent().into_iter().filter_map(say).collect()
    }

    fn begun(&self) -> Vec<String> {
        let begun =
            |action: &Action| if let Action::Begin(turn) = action { Some(turn.response.to_string()) } else { None };
        self.out.iter().filter_map(begun).collect()
    }

    fn receive(&mut self, id: ConnectionId, frame: ToConnector, seconds: f64) -> &mut Driven {
        self.step(Input::Received(id, Box::new(frame)), seconds)
    }

    fn ack(&mut self, id: ConnectionId, name: &str, next: u64, seconds: f64) -> &mut Driven {
        self.receive(id, ToConnector::Ack { response: response(name), next }, seconds)
    }

    fn said(&mut self, name: &str, events: Vec<AgentEvent>, seconds: f64) -> &mut Driven {
        self.step(Input::Said(response(name), events), seconds)
    }

    /// Opens the connection that is wanted, and is welcomed there.
    fn connect(&mut self, seconds: f64) -> ConnectionId {
        let id = self.step(Input::Tick, seconds).opened().expect("a connection is wanted");
        self.welcome(id, seconds);
        id
    }

    fn welcome(&mut self, id: ConnectionId, seconds: f64) {
        self.step(Input::Opened(id), seconds);
        assert!(matches!(self.sent()[..], [(on, FromConnector::Hello { .. })] if on == id));
        let until = at(seconds).at.plus(Duration::from_secs(7200));
        self.receive(id, ToConnector::Welcome { until, beat_seconds: 30, max_frame_bytes: 4096 }, seconds);
    }
}

#[test]
fn a_turn_is_said_to_have_come_and_one_frame_is_in_flight() {
    let mut it = Driven::new(10);
    let id = it.connect(0.0);
    it.receive(id, turn("r", "s"), 0.0);
    assert_eq!(it.begun(), ["r"]);
    assert_eq!(it.says(), [(0, vec![])]);
    it.said("r", vec![text("a")], 0.1);
    assert_eq!(it.says(), []);
    for _ in 0..200 {
        it.said("r", vec![text("b")], 0.1);
        assert_eq!(it.says(), []);
    }
    it.ack(id, "r", 1, 0.2);
    assert_eq!(it.says(), [(1, vec![text(&format!("a{}", "b".repeat(200)))])]);
    it.said("r", vec![done()], 0.3).ack(id, "r", 2, 0.3);
    assert_eq!(it.says().len(), 1);
    // It is over with the last ack, and the turn that comes again is not begun again.
    it.ack(id, "r", 3, 0.4).receive(id, turn("r", "s"), 0.5);
    assert_eq!((it.begun().len(), it.says().len()), (0, 0));
}

#[test]
fn turns_of_a_session_follow_each_other_and_only_so_many_run() {
    let mut it = Driven::new(2);
    let id = it.connect(0.0);
    assert_eq!(it.receive(id, turn("a1", "a"), 0.0).begun(), ["a1"]);
    assert_eq!(it.receive(id, turn("a2", "a"), 0.0).begun(), [""; 0]);
    assert_eq!(it.receive(id, turn("b1", "b"), 0.0).begun(), ["b1"]);
    assert_eq!(it.receive(id, turn("c1", "c"), 0.0).begun(), [""; 0]);
    assert_eq!(it.said("a1", vec![done()], 1.0).begun(), ["a2"]);
    assert_eq!(it.said("b1", vec![done()], 1.0).begun(), ["c1"]);
}

#[test]
fn a_cancelled_turn_is_aborted_and_one_that_comes_after_its_cancel_is_not_begun() {
    let mut it = Driven::new(2);
    let id = it.connect(0.0);
    it.receive(id, turn("r", "s"), 0.0).receive(id, ToConnector::Cancel { response: response("r") }, 0.1);
    assert!(it.out.iter().any(|action| matches!(action, Action::Abort(_))));
    it.receive(id, ToConnector::Cancel { response: response("q") }, 0.1).receive(id, turn("q", "s"), 0.2);
    assert_eq!(it.begun(), [""; 0]);
}

#[test]
fn a_frame_without_an_ack_is_sent_again_and_a_repeated_ack_does_not_multiply() {
    let mut it = Driven::new(2);
    let id = it.connect(0.0);
    it.receive(id, turn("r", "s"), 0.0);
    assert_eq!(it.core.deadline(), Some(Duration::from_secs(5)));
    assert_eq!(it.step(Input::Tick, 5.0).says(), [(0, vec![])]);
    // The bridge lacks it: not at once, because an ack that came twice looks the same.
    assert_eq!(it.ack(id, "r", 0, 5.1).says(), []);
    assert_eq!(it.step(Input::Tick, 6.0).says(), [(0, vec![])]);
    it.ack(id, "r", 1, 6.1);
    assert_eq!(it.step(Input::Tick, 30.0).says(), []);
    // Nothing was said for thirty seconds: a sign of life.
    assert_eq!(it.step(Input::Tick, 36.0).says(), [(1, vec![])]);
}

#[test]
fn a_lost_connection_is_opened_again_and_the_frame_in_flight_repeated() {
    let mut it = Driven::new(2);
    let first = it.connect(0.0);
    it.receive(first, turn("r", "s"), 0.0).ack(first, "r", 1, 0.1).said("r", vec![text("a")], 0.2);
    assert_eq!(it.says().len(), 1);
    it.step(Input::Closed(first, "cut".to_owned()), 1.0).said("r", vec![text("b"), done()], 1.5);
    assert_eq!(it.says(), []);
    let second = it.step(Input::Tick, 2.0).opened().unwrap();
    it.step(Input::Opened(second), 2.0);
    let (_, hello) = it.sent().remove(0);
    let FromConnector::Hello { holds, instance, .. } = hello else { panic!("{hello:?}") };
    assert_eq!((holds[0].next, instance.as_str()), (1, "instance"));
    it.welcome(second, 2.0);
    assert_eq!(it.says(), [(1, vec![text("a")])]);
    it.ack(second, "r", 2, 2.2);
    assert_eq!(it.says().len(), 1);
    assert_eq!(it.states, [State::Connecting, State::Connected, State::Reconnecting, State::Connected]);
}

#[test]
fn a_silent_connection_is_dead_after_ninety_seconds_and_beats_every_thirty() {
    let mut it = Driven::new(2);
    let id = it.connect(0.0);
    for beat in [30.0, 60.0] {
        it.step(Input::Tick, beat);
        assert!(matches!(it.sent()[..], [(_, FromConnector::Beat {})]), "{beat}");
        assert!(it.out.iter().any(|action| matches!(action, Action::Ping(_))));
    }
    it.step(Input::Tick, 90.0);
    assert!(it.out.iter().any(|action| matches!(action, Action::Cut(cut) if *cut == id)));
    assert_eq!((it.states.last(), &*it.why), (Some(&State::Reconnecting), "nothing was heard for 90 s"));
    assert!(it.step(Input::Tick, 91.0).opened().is_some());

    // Pongs alone: the connection works, and the bridge behind it does not.
    let mut it = Driven::new(2);
    let id = it.connect(0.0);
    for seconds in [40.0, 80.0] {
        it.step(Input::Pong(id), seconds);
    }
    it.step(Input::Tick, 90.0);
    assert!(it.out.iter().any(|action| matches!(action, Action::Cut(_))));
    assert!(it.why.starts_with("the bridge has answered no beat for 90 s"), "{}", it.why);

    // An answered beat keeps it.
    let mut it = Driven::new(2);
    let id = it.connect(0.0);
    it.receive(id, ToConnector::Beat {}, 30.5).step(Input::Tick, 119.0);
    assert!(!it.out.iter().any(|action| matches!(action, Action::Cut(_))));
}

#[test]
fn attempts_back_off_and_a_refused_key_is_tried_slowly() {
    let mut it = Driven::new(2);
    let mut now = 0.0;
    let fail = |it: &mut Driven, now: f64, again: Again| {
        let id = it.step(Input::Tick, now).opened().unwrap();
        it.step(Input::NotOpened(id, Unopened { why: "no".to_owned(), again }), now);
        it.core.deadline().unwrap().as_secs_f64() - now
    };
    for expected in [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
        let delay = fail(&mut it, now, Again::Soon);
        assert_eq!(delay, expected);
        now += delay;
    }
    let delay = fail(&mut it, now, Again::Mended);
    assert_eq!(delay, 60.0);
    now += delay;
    let delay = fail(&mut it, now, Again::After(Duration::from_secs(100)));
    assert_eq!(delay, 100.0);
    now += delay;
    // Success resets it.
    let id = it.connect(now);
    it.step(Input::Closed(id, "cut".to_owned()), now + 1.0);
    assert_eq!(it.core.deadline().unwrap().as_secs_f64(), now + 2.0);
}

#[test]
fn a_bridge_that_does_not_greet_is_greeted_again_and_then_left() {
    let mut it = Driven::new(2);
    let id = it.step(Input::Tick, 0.0).opened().unwrap();
    it.step(Input::Opened(id), 0.0).step(Input::Tick, 7.5);
    assert!(matches!(it.sent()[..], [(_, FromConnector::Hello { .. })]));
    it.step(Input::Tick, 15.0);
    assert!(it.out.iter().any(|action| matches!(action, Action::Cut(_))));
}

#[test]
fn a_hand_over_opens_the_second_connection_first_and_waits_for_what_is_on_the_way() {
    let mut it = Driven::new(2);
    let first = it.connect(0.0);
    it.receive(first, turn("r", "s"), 10.0);
    assert_eq!(it.says().len(), 1);
    it.receive(first, ToConnector::Drain { before: at(100.0).at }, 10.1);
    let second = it.opened().expect("the second is opened while the first lives");
    it.welcome(second, 10.2);
    assert!(!it.out.iter().any(|action| matches!(action, Action::Close(_))), "a frame is on the way there");
    it.said("r", vec![text("a")], 10.3).ack(first, "r", 1, 10.4);
    let sent = it.sent();
    assert!(sent.iter().any(|(on, frame)| *on == second && matches!(frame, FromConnector::Say { number: 1, .. })));
    assert!(sent.iter().any(|(on, frame)| *on == first && matches!(frame, FromConnector::Leaving {})));
    assert!(it.out.iter().any(|action| matches!(action, Action::Close(id) if *id == first)));
    assert_eq!(it.states, [State::Connecting, State::Connected, State::Draining, State::Connected]);
    // What was acknowledged nowhere is repeated on the second when the first is left.
    it.ack(second, "r", 2, 10.5).receive(second, ToConnector::Drain { before: at(100.0).at }, 20.0);
    let third = it.opened().unwrap();
    it.said("r", vec![text("b")], 20.0);
    it.welcome(third, 20.1);
    assert_eq!(it.step(Input::Tick, 31.0).says(), [(2, vec![text("b")])]);
}

#[test]
fn a_connection_is_handed_over_before_it_is_cut() {
    let mut it = Driven::new(2);
    let id = it.connect(0.0);
    for minute in 1..110 {
        it.receive(id, ToConnector::Beat {}, f64::from(minute) * 60.0);
        assert_eq!(it.opened(), None, "{minute}");
    }
    it.receive(id, ToConnector::Beat {}, 6600.0);
    assert!(it.opened().is_some());
}

#[test]
fn a_stopped_connector_finishes_says_leaving_and_takes_nothing_new() {
    let mut it = Driven::new(2);
    let id = it.connect(0.0);
    it.receive(id, turn("r", "s"), 0.0).ack(id, "r", 1, 0.1).step(Input::Stop, 1.0);
    assert!(!it.core.is_finished());
    assert_eq!(it.receive(id, turn("q", "t"), 1.1).begun(), [""; 0]);
    it.said("r", vec![text("a"), done()], 2.0);
    assert!(!it.core.is_finished(), "the end is not stored yet");
    it.ack(id, "r", 2, 2.1);
    assert!(it.core.is_finished());
    assert!(it.sent().iter().any(|(_, frame)| matches!(frame, FromConnector::Leaving {})));
    assert_eq!(it.states.last(), Some(&State::Disconnected));

    // What takes too long ends truthfully.
    let mut it = Driven::new(2);
    let id = it.connect(0.0);
    it.receive(id, turn("r", "s"), 0.0).ack(id, "r", 1, 0.1).step(Input::Stop, 1.0).step(Input::Tick, 31.0);
    assert!(
        matches!(&it.says()[..], [(1, events)] if matches!(&events[..], [AgentEvent::Failed { code, .. }] if code == "connector_stopped"))
    );
    assert!(it.out.iter().any(|action| matches!(action, Action::Abort(_))));
    it.step(Input::Tick, 34.0);
    assert!(it.core.is_finished());
}

/// A network between a core and a bridge that stores as the channel does.
struct World {
    core: Core,
    now: Duration,
    open: BTreeSet<ConnectionId>,
    greeted: BTreeSet<ConnectionId>,
    opening: Vec<ConnectionId>,
    to_bridge: Vec<(ConnectionId, FromConnector)>,
    to_connector: Vec<(ConnectionId, ToConnector)>,
    machines: BTreeMap<ResponseId, (Machine, String)>,
    script: BTreeMap<ResponseId, Vec<AgentEvent>>,
    begun: Vec<ResponseId>,
}

impl World {
    fn new(turns: usize, pieces: usize) -> World {
        let mut world = World {
            core: Core::new("test/1", "i", Timing::default(), 2),
            now: Duration::ZERO,
            open: BTreeSet::new(),
            greeted: BTreeSet::new(),
            opening: Vec::new(),
            to_bridge: Vec::new(),
            to_connector: Vec::new(),
            machines: BTreeMap::new(),
            script: BTreeMap::new(),
            begun: Vec::new(),
        };
        for number in 0..turns {
            let id = response(&format!("r{number}"));
            let session = SessionId::new(&format!("s{}", number % 2)).unwrap();
            let machine =
                Machine::new(id.clone(), session, Settings::of_model("openclaw"), Dialect::Bridge.policy(), at(0.0).at);
            world.machines.insert(id.clone(), (machine, String::new()));
            let mut events: Vec<AgentEvent> = (0..pieces).map(|piece| text(&format!("{number}.{piece} "))).collect();
            events.push(done());
            events.reverse();
            world.script.insert(id, events);
        }
        world
    }

    fn step(&mut self, input: Input) {
        let moment = Moment { up: self.now, at: Timestamp::from_millis(0).plus(self.now) };
        for action in self.core.step(input, moment, 7) {
            match action {
                Action::Open(id) => self.opening.push(id),
                Action::Send(id, frame) => self.to_bridge.push((id, *frame)),
                Action::Close(id) | Action::Cut(id) => {
                    self.open.remove(&id);
                }
                Action::Begin(turn) => self.begun.push(turn.response),
                Action::Ping(_) | Action::Abort(_) | Action::Pause(..) | Action::Tell(_) => {}
            }
        }
    }

    /// The bridge reads a frame, and answers on the connection that it came by.
    fn bridge(&mut self, id: ConnectionId, frame: FromConnector) {
        match frame {
            FromConnector::Hello { holds, .. } => {
                self.greeted.insert(id);
                let until = Timestamp::from_millis(0).plus(self.now + Duration::from_secs(7200));
                self.to_connector.push((id, ToConnector::Welcome { until, beat_seconds: 30, max_frame_bytes: 2048 }));
                let held: BTreeSet<_> = holds.into_iter().map(|holds| holds.response).collect();
                for (response, (machine, _)) in &self.machines {
                    if !machine.is_over() && !held.contains(response) && machine.next_frame() == 0 {
                        let session = if response.as_str().ends_with(['0', '2', '4']) { "s0" } else { "s1" };
                        self.to_connector.push((id, turn(response.as_str(), session)));
                    }
                }
            }
            FromConnector::Say { response, number, events } => {
                assert!(self.greeted.contains(&id), "a frame came before its connection's hello");
                let (machine, said) = self.machines.get_mut(&response).unwrap();
                let now = Timestamp::from_millis(0);
                if let Applied::Next(events) = machine.apply_numbered(number, events, now) {
                    for event in events {
                        if let EventBody::TextDelta { delta, .. } = event.body {
                            said.push_str(&delta);
                        }
                    }
                }
                let next = machine.next_frame();
                self.to_connector.push((id, ToConnector::Ack { response, next }));
            }
            FromConnector::Beat {} => self.to_connector.push((id, ToConnector::Beat {})),
            FromConnector::Leaving {} => {}
        }
    }

    /// One thing happens, which `choice` decides. `harm`: whether the network does harm.
    fn happen(&mut self, choice: u32, harm: bool) {
        let pick = usize::try_from(choice >> 8).unwrap();
        match choice % 16 {
            0 | 1 if !self.opening.is_empty() => {
                let id = self.opening.remove(0);
                self.open.insert(id);
                self.step(Input::Opened(id));
            }
            2..=5 if !self.to_bridge.is_empty() => {
                // Any of the next three: swapped.
                let at = if harm { pick % self.to_bridge.len().min(3) } else { 0 };
                // A hello is not overtaken: nothing is sent before it is answered.
                let (id, frame) = self.to_bridge.remove(at);
                if harm && pick % 7 == 3 && !matches!(frame, FromConnector::Hello { .. }) {
                    // The invocation failed.
                } else {
                    self.bridge(id, frame);
                }
            }
            6..=9 if !self.to_connector.is_empty() => {
                let at = if harm { pick % self.to_connector.len().min(3) } else { 0 };
                let (id, frame) = self.to_connector[at].clone();
                if !(harm && pick % 5 == 1) {
                    self.to_connector.remove(at);
                }
                if self.open.contains(&id) {
                    self.step(Input::Received(id, Box::new(frame)));
                }
            }
            10..=12 => {
                let running: Vec<ResponseId> = self
                    .begun
                    .iter()
                    .filter(|id| self.script.get(*id).is_some_and(|left| !left.is_empty()))
                    .cloned()
                    .collect();
                if !running.is_empty() {
                    let id = running[pick % running.len()].clone();
                    let event = self.script.get_mut(&id).and_then(Vec::pop).unwrap();
                    self.step(Input::Said(id, vec![event]));
                }
            }
            13 if harm && !self.open.is_empty() => {
                let id = *self.open.iter().nth(pick % self.open.len()).unwrap();
                self.open.remove(&id);
                if pick % 2 == 0 {
                    self.step(Input::Closed(id, "cut".to_owned()));
                }
            }
            14 if harm && pick % 4 == 0 => {
                if let Some(id) = self.open.iter().next().copied() {
                    self.step(Input::Received(id, Box::new(ToConnector::Drain { before: Timestamp::from_millis(0) })));
                }
            }
            _ => {
                self.now += Duration::from_secs(u64::from(choice % 5));
                self.step(Input::Tick);
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_the_network_does_every_answer_arrives_whole_and_once(choices in prop::collection::vec(any::<u32>(), 0..400)) {
        let mut world = World::new(4, 12);
        for choice in choices {
            world.happen(choice, true);
        }
        // Then the network is mended, and everything ends.
        for round in 0..6000_u32 {
            if world.machines.values().all(|(machine, _)| machine.is_over()) {
                break;
            }
            world.happen(round.wrapping_mul(2_654_435_761) >> 3, false);
        }
        let begun: BTreeSet<_> = world.begun.iter().collect();
        prop_assert_eq!(begun.len(), world.begun.len());
        for (number, (machine, said)) in world.machines.values().enumerate() {
            prop_assert_eq!(machine.response().status, Status::Completed, "{:?}", world.core);
            let expected: String = (0..12).map(|piece| format!("{number}.{piece} ")).collect();
            prop_assert_eq!(said, &expected);
        }
    }
}
