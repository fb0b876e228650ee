use super::*;
use clawbridge_clock::Timestamp;
use clawbridge_responses::AgentEvent;
use clawbridge_responses::frames::{self, Code, ErrorFrame};
use clawbridge_responses::machine::{Machine, Policy};
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

/// The bridge as a client meets it: it takes turns, keeps their events, and posts them.
#[derive(Default)]
struct Bridge {
    /// The events of the session's latest turn, all that there will be.
    events: Vec<Value>,
    id: Option<ResponseId>,
    /// How many of them there are so far.
    made: usize,
    creates: u32,
    cancels: u32,
    posted: VecDeque<String>,
}

impl Bridge {
    /// Reads a frame; `answer` is what the agent will say.
    fn read(&mut self, frame: &str, answer: &[AgentEvent]) {
        let value: Value = serde_json::from_str(frame).expect("JSON");
        match value["type"].as_str().expect("a type") {
            "response.create" => {
                let create = frames::parse(frame).expect("a frame that the bridge takes");
                self.creates += 1;
                let id = ResponseId::new(&format!("resp_{}", self.creates)).expect("an id");
                let session = create.session.expect("a session");
                let mut machine = Machine::new(id.clone(), session, create.settings, Policy::default(), NOW);
                let mut events = machine.accept(true);
                events.extend(answer.iter().flat_map(|event| machine.apply(event.clone(), NOW)));
                self.events = events.iter().map(|event| event.to_value()).collect();
                self.id = Some(id);
                self.made = 0;
                self.make(1);
            }
            "response.resume" => {
                let first = value["starting_after"].as_u64().map_or(0, |last| last + 1);
                let first = usize::try_from(first).expect("small").min(self.made);
                self.posted.extend(self.events[first..self.made].iter().map(Value::to_string));
            }
            "response.cancel" => self.cancels += 1,
            "session.join" => {
                let joined = json!({"type": "session.joined", "session_id": value["session_id"], "agent": "a",
                    "latest_response_id": self.id.as_ref().map(ResponseId::as_str)});
                self.posted.push_back(joined.to_string());
            }
            other => panic!("not in this conversation: {other}"),
        }
    }

    fn make(&mut self, count: usize) {
        let until = (self.made + count).min(self.events.len());
        self.posted.extend(self.events[self.made..until].iter().map(Value::to_string));
        self.made = until;
    }
}

fn turns() -> Turns {
    Turns::new("a".to_owned(), SessionId::new("s1").expect("an id"))
}

fn text(text: &str) -> AgentEvent {
    AgentEvent::Text { text: text.to_owned() }
}

fn completed() -> AgentEvent {
    AgentEvent::Completed { text: None, usage: None }
}

fn sent(acts: &[Act]) -> Vec<Value> {
    let frames = acts.iter().filter_map(|act| match act {
        Act::Send(frame) => serde_json::from_str(frame).ok(),
        Act::Reconnect | Act::Event(_) | Act::Show(_) => None,
    });
    frames.collect()
}

fn shown(acts: &[Act]) -> Vec<Shown> {
    let shown = acts.iter().filter_map(|act| match act {
        Act::Show(shown) => Some(shown.clone()),
        Act::Send(_) | Act::Reconnect | Act::Event(_) => None,
    });
    shown.collect()
}

fn ends(acts: &[Act]) -> Option<End> {
    shown(acts).into_iter().find_map(|shown| match shown {
        Shown::Ended(end) => Some(end),
        _ => None,
    })
}

/// A turn that the bridge has taken; what it posts next is what the agent says.
fn taken(answer: &[AgentEvent]) -> (Turns, Bridge) {
    let (mut turns, mut bridge) = (turns(), Bridge::default());
    turns.connected();
    for frame in sent(&turns.ask("hi".to_owned(), "m1".to_owned())) {
        bridge.read(&frame.to_string(), answer);
    }
    let created = bridge.posted.pop_front().expect("created");
    assert!(matches!(&shown(&turns.frame(&created))[..], [Shown::Accepted(_)]));
    (turns, bridge)
}

fn joined(latest: Option<&str>) -> String {
    json!({"type": "session.joined", "session_id": "s1", "agent": "a", "latest_response_id": latest}).to_string()
}

fn created(id: &str, mark: &str) -> String {
    json!({"type": "response.created", "sequence_number": 0, "response": {"id": id, "metadata": {"turn": mark}}})
        .to_string()
}

#[test]
fn a_turn_is_shown_as_it_comes() {
    let (mut turns, mut bridge) = taken(&[text("Good "), text("day"), completed()]);
    bridge.make(usize::MAX - 100);
    let acts: Vec<Act> = bridge.posted.iter().flat_map(|frame| turns.frame(frame)).collect();
    let expected = [
        Shown::Queued,
        Shown::Started,
        Shown::Message { is_commentary: false },
        Shown::Text("Good ".to_owned()),
        Shown::Text("day".to_owned()),
        Shown::Ended(End::Completed),
    ];
    assert_eq!(shown(&acts), expected);
    assert!(!turns.is_busy() && sent(&acts).is_empty());
}

#[test]
fn every_end_is_told_as_it_is() {
    let refusal = |code: &str, message: &str| Refusal::new(code, message);
    for (event, end) in [
        (
            AgentEvent::Incomplete { reason: "max_output_tokens".to_owned() },
            End::Incomplete("max_output_tokens".to_owned()),
        ),
        (
            AgentEvent::Failed { code: "agent_error".to_owned(), message: "It broke.".to_owned() },
            End::Failed(refusal("agent_error", "It broke.")),
        ),
    ] {
        let (mut turns, mut bridge) = taken(&[event]);
        bridge.make(100);
        let acts: Vec<Act> = bridge.posted.iter().flat_map(|frame| turns.frame(frame)).collect();
        assert_eq!(ends(&acts), Some(end));
    }
    let mut machine = {
        let settings = clawbridge_responses::model::Settings::of_model("a");
        let (id, session) = (ResponseId::new("resp_1").expect("an id"), SessionId::new("s1").expect("an id"));
        Machine::new(id, session, settings, Policy::default(), NOW)
    };
    machine.accept(false);
    let cancelled: Vec<Value> = machine.cancel().iter().map(|event| event.to_value()).collect();
    assert_eq!(incomplete(&cancelled.last().expect("an end")["response"]), End::Cancelled);
}

#[test]
fn a_refusal_ends_the_turn_only_where_it_is_about_it() {
    let frame = ErrorFrame::new(Code::QueueFull, "Too many.").to_frame();
    let refusal = Refusal::new("queue_full", "Too many.");
    let mut unanswered = turns();
    unanswered.connected();
    unanswered.ask("hi".to_owned(), "m1".to_owned());
    assert_eq!(ends(&unanswered.frame(&frame)), Some(End::Refused(refusal.clone())));
    let (mut turns, _) = taken(&[]);
    assert_eq!(shown(&turns.frame(&frame)), [Shown::Notice(refusal)]);
    assert!(turns.is_busy());
}

#[test]
fn a_turn_that_the_bridge_may_have_is_looked_for_and_not_sent_again() {
    for (latest, mark, end) in [
        // It arrived.
        (Some("resp_1"), "m1", None),
        // It did not, or is not there yet.
        (None, "", Some(End::Unknown)),
        // Somebody else's came after it, or it never came.
        (Some("resp_7"), "m9", Some(End::Unknown)),
    ] {
        let mut turns = turns();
        turns.connected();
        assert_eq!(sent(&turns.ask("hi".to_owned(), "m1".to_owned()))[0]["type"], "response.create");
        turns.lost();
        let looked = sent(&turns.connected());
        assert_eq!((looked.len(), &looked[0]["type"]), (1, &json!("session.join")));
        let mut acts = turns.frame(&joined(latest));
        if let Some(id) = latest {
            assert_eq!(sent(&acts), [json!({"type": "response.resume", "response_id": id})]);
            acts = turns.frame(&created(id, mark));
        }
        assert_eq!(ends(&acts), end, "{latest:?}");
        assert_eq!(turns.is_busy(), end.is_none());
    }
}

#[test]
fn a_turn_that_came_too_late_for_its_connection_is_sent_on_the_next() {
    let mut turns = turns();
    turns.connected();
    turns.ask("hi".to_owned(), "m1".to_owned());
    let acts = turns.frame(&ErrorFrame::connection_limit_reached().to_frame());
    assert!(acts.contains(&Act::Reconnect) && ends(&acts).is_none());
    turns.lost();
    assert_eq!(sent(&turns.connected())[0]["type"], "session.join");
    assert_eq!(sent(&turns.frame(&joined(None)))[0]["type"], "response.create");
}

#[test]
fn an_answer_goes_on_after_the_connections_hour() {
    let (mut turns, mut bridge) = taken(&[text("one"), completed()]);
    let acts = turns.frame(&ErrorFrame::connection_limit_reached().to_frame());
    assert!(acts.contains(&Act::Reconnect) && turns.is_busy());
    turns.lost();
    bridge.make(100);
    bridge.posted.clear();
    let resumed = sent(&turns.connected());
    assert_eq!(resumed, [json!({"type": "response.resume", "response_id": "resp_1", "starting_after": 0})]);
    bridge.read(&resumed[0].to_string(), &[]);
    let acts: Vec<Act> = bridge.posted.iter().flat_map(|frame| turns.frame(frame)).collect();
    assert_eq!(ends(&acts), Some(End::Completed));
}

#[test]
fn what_cannot_be_resumed_is_lost_and_said_to_be() {
    let (mut turns, _) = taken(&[]);
    turns.lost();
    turns.connected();
    for (status, code) in [(429, "rate_limit_exceeded"), (500, "server_error"), (400, "invalid_value")] {
        let other = json!({"type": "error", "status": status, "error": {"code": code, "message": "Later."}});
        assert_eq!(ends(&turns.frame(&other.to_string())), None);
    }
    let gone = json!({"type": "error", "status": 404, "error": {"code": "not_found", "message": "Gone."}});
    let end = ends(&turns.frame(&gone.to_string()));
    assert_eq!(end, Some(End::Lost(Refusal::new("not_found", "Gone."))));
}

#[test]
fn a_gap_that_nobody_fills_ends_after_a_few_connections() {
    let (mut turns, mut bridge) = taken(&[text("one"), completed()]);
    bridge.make(2);
    let acts = turns.frame(&bridge.posted[1]);
    assert_eq!(sent(&acts)[0]["starting_after"], 0);
    assert!(turns.is_waiting_for_bridge());
    for _ in 0..MAX_STALLS {
        assert_eq!(turns.stalled(), [Act::Reconnect]);
        turns.lost();
        turns.connected();
    }
    assert!(matches!(ends(&turns.stalled()), Some(End::Lost(_))));
}

#[test]
fn a_turn_is_cancelled_where_it_is() {
    let mut unsent = turns();
    unsent.ask("hi".to_owned(), "m1".to_owned());
    assert_eq!(ends(&unsent.cancel()), Some(End::Cancelled));
    let mut unanswered = turns();
    unanswered.connected();
    unanswered.ask("hi".to_owned(), "m1".to_owned());
    assert!(unanswered.cancel().is_empty());
    let cancel = json!({"type": "response.cancel", "response_id": "resp_1"});
    assert_eq!(sent(&unanswered.frame(&created("resp_1", "m1"))), std::slice::from_ref(&cancel));
    let (mut known, _) = taken(&[]);
    assert_eq!(sent(&known.cancel()), std::slice::from_ref(&cancel));
    known.lost();
    assert!(sent(&known.connected()).contains(&cancel));
}

#[test]
fn what_the_gateway_says_for_a_function_that_did_not_answer_makes_the_client_look() {
    let frame = json!({"message": "Internal server error", "connectionId": "c", "requestId": "r"}).to_string();
    let mut turns = turns();
    turns.connected();
    turns.ask("hi".to_owned(), "m1".to_owned());
    assert_eq!(sent(&turns.frame(&frame))[0]["type"], "session.join");
}

#[test]
fn the_sessions_latest_answer_is_caught_up_with() {
    let mut turns = turns();
    turns.connected();
    assert_eq!(sent(&turns.catch_up())[0]["type"], "session.join");
    assert_eq!(sent(&turns.frame(&joined(Some("resp_5"))))[0]["response_id"], "resp_5");
    assert!(matches!(&shown(&turns.frame(&created("resp_5", "whose")))[..], [Shown::Accepted(_)]));
    let mut empty = self::turns();
    empty.connected();
    empty.catch_up();
    assert_eq!(ends(&empty.frame(&joined(None))), Some(End::Nothing));
}

#[test]
fn members_of_a_group_hear_what_others_are_told_once() {
    let mut turns = Turns::new("a".to_owned(), SessionId::new("group:desk").expect("an id"));
    assert_eq!(sent(&turns.connected())[0]["type"], "session.join");
    let done = json!({"type": "response.output_item.done", "sequence_number": 5, "output_index": 0,
        "item": {"type": "message", "id": "msg_9_0", "content": [{"type": "output_text", "text": "four"}]}});
    assert_eq!(shown(&turns.frame(&done.to_string())), [Shown::Heard("four".to_owned())]);
    assert!(turns.frame(&done.to_string()).is_empty());
    let left = sent(&turns.go_to("a".to_owned(), SessionId::new("s2").expect("an id")));
    assert_eq!(left, [json!({"type": "session.leave", "session_id": "group:desk", "agent": "a"})]);
}

#[test]
fn a_text_that_the_agent_took_back_is_replaced() {
    let (mut turns, mut bridge) =
        taken(&[text("one"), AgentEvent::TextDone { text: Some("two".to_owned()) }, completed()]);
    bridge.make(100);
    let acts: Vec<Act> = bridge.posted.iter().flat_map(|frame| turns.frame(frame)).collect();
    assert!(shown(&acts).contains(&Shown::Replaced("two".to_owned())), "{acts:?}");
}

#[test]
fn what_no_client_knows_is_passed_over() {
    let (mut turns, _) = taken(&[]);
    for frame in
        ["", "x", "[]", "null", "{}", r#"{"type": 7}"#, r#"{"type": "response.new"}"#, r#"{"type":"session.left"}"#]
    {
        assert!(turns.frame(frame).is_empty(), "{frame}");
    }
}

/// What happens to the connection between two frames.
#[derive(Clone, Debug)]
enum Happening {
    Made(usize),
    Delivered,
    Repeated,
    Swapped,
    /// The connection breaks: what was on its way is lost.
    Cut,
    /// The bridge does not read for a while.
    Read,
    Stalled,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (1..4_usize).prop_map(Happening::Made),
        6 => Just(Happening::Delivered),
        1 => Just(Happening::Repeated),
        1 => Just(Happening::Swapped),
        1 => Just(Happening::Cut),
        4 => Just(Happening::Read),
        1 => Just(Happening::Stalled),
    ]
}

proptest! {
    #[test]
    fn however_the_connection_breaks_the_text_is_the_agents(
        answer in prop::collection::vec("[a-zé ]{0,6}", 0..12),
        happenings in prop::collection::vec(happening(), 0..120),
    ) {
        let mut events: Vec<AgentEvent> = answer.iter().map(|part| text(part)).collect();
        let whole: String = answer.concat();
        events.push(AgentEvent::Completed { text: Some(whole.clone()), usage: None });
        let (mut turns, mut bridge) = (turns(), Bridge::default());
        let mut outgoing: VecDeque<String> = VecDeque::new();
        let (mut all, mut reconnects, mut was_cut, mut was_stalled) = (Vec::new(), false, false, false);
        turns.connected();
        let mut pending = turns.ask("hi".to_owned(), "m1".to_owned());
        // At the end all that is on its way arrives.
        let settling = (0..200).flat_map(|_| [Happening::Read, Happening::Made(9), Happening::Delivered]);
        for happening in happenings.into_iter().chain(settling) {
            match happening {
                Happening::Made(count) => bridge.make(count),
                Happening::Delivered => if let Some(frame) = bridge.posted.pop_front() { pending.extend(turns.frame(&frame)) },
                Happening::Repeated => if let Some(frame) = bridge.posted.front() { pending.extend(turns.frame(&frame.clone())) },
                Happening::Swapped => if bridge.posted.len() > 1 { bridge.posted.swap(0, 1) },
                Happening::Cut => (reconnects, was_cut) = (true, true),
                Happening::Read => if let Some(frame) = outgoing.pop_front() { bridge.read(&frame, &events) },
                Happening::Stalled => if turns.is_waiting_for_bridge() && matches!(turns.turn.as_ref().map(|turn| turn.stalls), Some(0)) {
                    was_stalled = true;
                    pending.extend(turns.stalled());
                },
            }
            for act in pending.drain(..) {
                match act {
                    Act::Send(frame) => outgoing.push_back(frame),
                    Act::Reconnect => reconnects = true,
                    other => all.push(other),
                }
            }
            if std::mem::take(&mut reconnects) {
                outgoing.clear();
                bridge.posted.clear();
                turns.lost();
                outgoing.extend(sent(&turns.connected()).iter().map(Value::to_string));
            }
        }
        prop_assert!(bridge.creates <= 1, "sent {} times", bridge.creates);
        match ends(&all) {
            // What was lost on the way was not sent again, and whoever asked was told so.
            Some(End::Unknown) => prop_assert!(was_cut || was_stalled),
            end => {
                prop_assert_eq!(end, Some(End::Completed));
                let said: String = shown(&all).iter().map(|shown| match shown {
                    Shown::Text(text) => text.as_str(),
                    _ => "",
                }).collect();
                prop_assert_eq!(said, whole);
                let numbers: Vec<u64> = all.iter().filter_map(|act| match act {
                    Act::Event(event) => event["sequence_number"].as_u64(),
                    _ => None,
                }).collect();
                prop_assert_eq!(numbers, (0..bridge.events.len() as u64).collect::<Vec<u64>>());
            }
        }
        prop_assert!(!turns.is_busy());
    }

    #[test]
    fn no_frame_makes_the_client_panic(frames in prop::collection::vec(any::<String>(), 0..4)) {
        let (mut turns, _) = taken(&[]);
        for frame in frames {
            turns.frame(&frame);
        }
    }
}
