use super::*;
use crate::testing::follow;
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_millis(1_795_000_000_000);

fn at(millis: u64) -> Timestamp {
    START.plus(Duration::from_millis(millis))
}

fn machine_with(policy: Policy) -> Machine {
    let (id, session) = (ResponseId::new("resp_1").unwrap(), SessionId::new("s1").unwrap());
    Machine::new(id, session, Settings::of_model("agent"), policy, START)
}

fn machine() -> Machine {
    machine_with(Policy::default())
}

fn text(text: &str) -> AgentEvent {
    AgentEvent::Text { text: text.to_owned() }
}

fn snapshot(text: &str) -> AgentEvent {
    AgentEvent::Snapshot { text: text.to_owned() }
}

fn cumulative(text: &str) -> AgentEvent {
    AgentEvent::Cumulative { text: text.to_owned() }
}

fn done(text: Option<&str>) -> AgentEvent {
    AgentEvent::TextDone { text: text.map(str::to_owned) }
}

fn item(key: &str) -> AgentEvent {
    AgentEvent::ItemAdded { key: Some(key.to_owned()), phase: None }
}

fn call(call_id: &str) -> AgentEvent {
    let (name, arguments) = ("f".to_owned(), r#"{"a":1}"#.to_owned());
    AgentEvent::FunctionCall(AgentFunctionCall { call_id: call_id.to_owned(), name, arguments })
}

fn completed(text: Option<&str>) -> AgentEvent {
    AgentEvent::Completed { text: text.map(str::to_owned), usage: None }
}

fn failed() -> AgentEvent {
    AgentEvent::Failed { code: "SDK_ERROR".to_owned(), message: "no\n at /x/y.js".to_owned() }
}

/// Everything at the same moment, and then time goes by until the answer is over.
fn run(machine: &mut Machine, events: Vec<AgentEvent>) -> Vec<StreamEvent> {
    let mut out = machine.accept(false);
    machine.dispatched(START);
    for event in events {
        out.extend(machine.apply(event, START));
    }
    while let Some(at) = machine.deadline() {
        out.extend(machine.tick(at));
    }
    out
}

#[test]
fn a_streamed_answer_has_the_order_that_clients_expect() {
    let mut machine = machine();
    let out =
        run(&mut machine, vec![AgentEvent::Began, item("i"), text("Hel"), text("lo"), done(None), completed(None)]);
    let seen = follow(&out);
    assert_eq!(
        seen.kinds,
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "completed"
        ]
    );
    assert_eq!((seen.deltas.as_str(), seen.end().text().as_str()), ("Hello", "Hello"));
    assert_eq!(seen.end().completed_at, Some(START));
}

#[test]
fn every_way_to_say_a_text_says_it_once() {
    for (events, expected) in [
        (vec![text("a"), text("b"), completed(None)], "ab"),
        (vec![snapshot("a"), snapshot("ab"), completed(None)], "ab"),
        (vec![snapshot("ab"), snapshot("a"), completed(None)], "ab"),
        (vec![cumulative("re "), cumulative("re to "), cumulative("re to x"), completed(None)], "re to x"),
        (
            vec![cumulative("twenty characters ok "), cumulative("and more"), completed(None)],
            "twenty characters ok and more",
        ),
        (vec![done(Some("ab")), completed(None)], "ab"),
        (vec![text("a"), done(Some("ab")), completed(Some("ab"))], "ab"),
        (vec![completed(Some("ab"))], "ab"),
        (vec![text("ab "), completed(Some("ab"))], "ab "),
        (vec![text("first "), text("last"), completed(Some("last"))], "first last"),
        (vec![done(None), item("i"), completed(None), text("late")], "late"),
        (vec![text("a"), completed(None), completed(None)], "a"),
        (vec![text("a"), completed(None), text("late")], "a"),
        (vec![completed(Some(""))], ""),
        (vec![item("1"), text("a"), item("2"), text("b"), completed(Some("ab"))], "ab"),
        (vec![item("1"), text("a"), item("1"), text("b"), completed(None)], "ab"),
        (vec![text("a"), call("c"), text("b"), completed(Some("ab"))], "ab"),
    ] {
        let mut machine = machine();
        let name = format!("{events:?}");
        let seen = follow(&run(&mut machine, events));
        assert_eq!(seen.end().status, Status::Completed, "{name}");
        assert_eq!((seen.deltas.as_str(), seen.end().text().as_str()), (expected, expected), "{name}");
        assert!(!seen.end().output.is_empty() && !machine.has_diverged(), "{name}");
    }
}

#[test]
fn what_an_agent_takes_back_stands_corrected_at_the_end() {
    for events in [
        vec![snapshot("the cat sits"), snapshot("the cow sits"), snapshot("the cow sits there"), completed(None)],
        vec![cumulative("the cat sits"), cumulative("the cat runs"), completed(Some("the cow sits there"))],
        vec![text("the cat"), done(Some("the cow sits there")), completed(None)],
    ] {
        let mut machine = machine();
        let seen = follow(&run(&mut machine, events));
        assert_eq!(seen.end().text(), "the cow sits there");
        assert!(machine.has_diverged());
        assert_ne!(seen.deltas, seen.end().text());
    }
}

#[test]
fn an_answer_that_breaks_off_says_so() {
    for (events, status, why) in [
        (vec![], Status::Failed, "agent_timeout"),
        (vec![AgentEvent::Began], Status::Failed, "agent_timeout"),
        (vec![text("half")], Status::Incomplete, "agent_timeout"),
        (vec![completed(None)], Status::Incomplete, "text_missing"),
        (vec![failed()], Status::Failed, "agent_error"),
        (vec![text("half"), failed()], Status::Failed, "agent_error"),
        (vec![completed(None), failed()], Status::Failed, "agent_error"),
        (
            vec![text("half"), AgentEvent::Incomplete { reason: "max_output_tokens".into() }],
            Status::Incomplete,
            "max_output_tokens",
        ),
    ] {
        let name = format!("{events:?}");
        let seen = follow(&run(&mut machine(), events));
        let end = seen.end();
        assert_eq!(end.status, status, "{name}");
        let said = end.error.as_ref().map(|error| error.code.clone()).or(end.incomplete_reason.clone());
        assert_eq!(said.as_deref(), Some(why), "{name}");
        assert!(!end.resource().to_string().contains("/x/y.js"));
    }
}

#[test]
fn a_lost_agent_fails_what_it_has_not_begun_and_leaves_the_rest_incomplete() {
    for (before, status) in [
        (vec![], Status::Failed),
        (vec![text("half")], Status::Incomplete),
        (vec![call("c")], Status::Incomplete),
        (vec![completed(None)], Status::Incomplete),
    ] {
        let mut machine = machine();
        let mut out = machine.accept(true);
        for event in before {
            out.extend(machine.apply(event, START));
        }
        out.extend(machine.lost("agent_disconnected", "The agent's connection was lost.", at(1)));
        assert_eq!(follow(&out).end().status, status);
        assert_eq!(machine.lost("agent_disconnected", "", at(2)), []);
    }
}

#[test]
fn an_end_without_text_waits_for_its_text_and_no_longer() {
    let mut machine = machine();
    let mut out = machine.accept(false);
    out.extend(machine.apply(completed(None), START));
    assert!(!machine.is_over());
    assert_eq!(machine.deadline(), Some(at(3000)));
    out.extend(machine.tick(at(2999)));
    assert!(!machine.is_over());
    out.extend(machine.apply(text("late"), at(2999)));
    assert!(machine.is_over());
    assert_eq!(follow(&out).end().text(), "late");
    assert_eq!(machine.apply(text("later"), at(2999)), []);
    assert_eq!(machine.late(), 1);
}

#[test]
fn stragglers_are_waited_for_where_frames_may_overtake_each_other() {
    let mut machine = machine_with(Policy { straggling: Duration::from_millis(500), ..Policy::default() });
    let mut out = machine.accept(false);
    out.extend(machine.apply(text("a"), START));
    out.extend(machine.apply(completed(None), START));
    assert_eq!(machine.deadline(), Some(at(500)));
    out.extend(machine.apply(text("b"), at(400)));
    assert_eq!(machine.deadline(), Some(at(900)));
    out.extend(machine.tick(at(900)));
    assert_eq!(follow(&out).end().text(), "ab");
}

#[test]
fn a_turn_that_waits_is_queued_and_may_be_silent() {
    let mut machine = machine();
    let mut out = machine.accept(true);
    assert_eq!(machine.accept(true), []);
    assert_eq!((out[0].to_value()["response"]["status"].as_str(), machine.deadline()), (Some("queued"), None));
    machine.dispatched(at(10));
    assert_eq!(machine.deadline(), Some(at(10).plus(Policy::default().silence)));
    out.extend(machine.apply(completed(Some("x")), at(20)));
    assert_eq!(follow(&out).kinds[..3], ["created", "queued", "in_progress"]);
}

#[test]
fn a_function_call_comes_with_its_arguments_and_once() {
    let events = vec![item("m"), done(Some("")), call("c1"), call("c1"), completed(Some(""))];
    let out = run(&mut machine(), events);
    let seen = follow(&out);
    assert_eq!(
        seen.kinds,
        [
            "created",
            "in_progress",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed"
        ]
    );
    assert_eq!(out[2].to_value()["item"]["type"], "function_call");
    assert_eq!(out[2].to_value()["item"]["arguments"], "");
}

#[test]
fn a_cancelled_answer_keeps_what_there_is() {
    let mut machine = machine();
    let mut out = machine.accept(false);
    out.extend(machine.apply(text("half"), START));
    out.extend(machine.cancel());
    let end = follow(&out).last.unwrap();
    assert_eq!((end.status, end.text().as_str()), (Status::Cancelled, "half"));
    assert_eq!(machine.cancel(), []);
}

#[test]
fn numbered_frames_count_once_and_in_order() {
    let mut machine = machine();
    let mut out = machine.accept(false);
    assert_eq!(machine.apply_numbered(1, vec![text("b")], START), Applied::Gap { expected: 0 });
    let Applied::Next(events) = machine.apply_numbered(0, vec![text("a")], START) else { panic!() };
    out.extend(events);
    assert_eq!(machine.apply_numbered(0, vec![text("a")], START), Applied::Duplicate);
    let Applied::Next(events) = machine.apply_numbered(1, vec![text("b"), completed(None)], START) else { panic!() };
    out.extend(events);
    assert_eq!(follow(&out).end().text(), "ab");
    // The connector must learn that it was taken, though nothing comes of it.
    assert_eq!(machine.apply_numbered(2, vec![text("c")], START), Applied::Next(vec![]));
}

#[test]
fn too_much_text_ends_the_answer_before_its_last_event_is_too_large() {
    for piece in ["word ", "\u{1}", "\"\\", "日本"] {
        let policy = Policy { max_event_bytes: 20_000, max_delta_bytes: 100, ..Policy::default() };
        let mut machine = machine_with(policy);
        let out = run(&mut machine, vec![text(&piece.repeat(1000)); 20]);
        let seen = follow(&out);
        assert_eq!(seen.end().incomplete_reason.as_deref(), Some("max_output_size"));
        let largest = out.iter().map(|event| event.to_frame().len()).max().unwrap();
        assert!((15_000..=20_000).contains(&largest), "{largest}");
        assert!(piece.repeat(20_000).starts_with(&seen.deltas));
    }
}

fn any_event() -> impl Strategy<Value = AgentEvent> {
    let words = prop::sample::select(vec!["", "a", "ab", "abc", "b", "xy\u{e9}", "\n"]);
    prop_oneof![
        Just(AgentEvent::Began),
        words.clone().prop_map(text),
        words.clone().prop_map(text),
        words.clone().prop_map(snapshot),
        words.clone().prop_map(cumulative),
        prop::option::of(words.clone()).prop_map(done),
        prop::sample::select(vec!["1", "2"]).prop_map(item),
        Just(AgentEvent::ItemAdded { key: None, phase: Some(Phase::Commentary) }),
        prop::sample::select(vec!["c1", "c2"]).prop_map(call),
        prop::option::of(words.clone()).prop_map(completed),
        Just(failed()),
        words.prop_map(|reason| AgentEvent::Incomplete { reason: reason.to_owned() }),
    ]
}

proptest! {
    #[test]
    fn whatever_an_agent_says_a_strict_client_can_follow(
        events in prop::collection::vec((any_event(), 0..5000_u64), 0..30),
        queued: bool,
        straggling in prop::sample::select(vec![0_u64, 700]),
        max_event_bytes in prop::sample::select(vec![0_usize, 3800, 8000]),
    ) {
        let straggling = Duration::from_millis(straggling);
        let policy = Policy { straggling, max_event_bytes, max_delta_bytes: 8, ..Policy::default() };
        let mut machine = machine_with(policy);
        let mut out = machine.accept(queued);
        let mut now = START;
        machine.dispatched(now);
        for (event, millis) in events {
            now = now.plus(Duration::from_millis(millis));
            out.extend(machine.tick(now));
            // A machine that is put away and fetched again is the same.
            let stored = serde_json::to_string(&machine).unwrap();
            machine = serde_json::from_str(&stored).unwrap();
            out.extend(machine.apply(event, now));
        }
        while let Some(at) = machine.deadline() {
            out.extend(machine.tick(at));
        }
        let seen = follow(&out);
        let end = seen.end();
        prop_assert_eq!(end, machine.response());
        if !machine.has_diverged() {
            prop_assert_eq!(&seen.deltas, &end.text());
        }
        if max_event_bytes > 3000 {
            for event in &out {
                prop_assert!(event.to_frame().len() <= max_event_bytes, "{}", event.to_frame());
            }
        }
    }

    #[test]
    fn text_comes_out_as_it_was_said(pieces in prop::collection::vec(any::<String>(), 0..20), how in 0..4) {
        let whole = pieces.concat();
        let mut said = String::new();
        let mut events: Vec<AgentEvent> = pieces.iter().map(|piece| {
            said.push_str(piece);
            if how == 1 { snapshot(&said) } else { text(piece) }
        }).collect();
        match how {
            2 => events.push(completed(Some(&whole))),
            3 => events = vec![completed(None), text(&whole)],
            _ => events.push(completed(None)),
        }
        let seen = follow(&run(&mut machine(), events));
        prop_assert_eq!(&seen.deltas, &whole);
        prop_assert_eq!(seen.end().text(), whole);
    }
}
