use super::*;
use crate::change::{Account, Change};
use proptest::prelude::*;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);
const UNSAFE: Policy = Policy {
    repeatable: false,
    max_failures: 5,
    timeout: Duration::from_secs(10),
    verify: None,
    retention: crate::RETENTION,
};
const REPEATABLE: Policy = Policy { repeatable: true, ..UNSAFE };
const SETTLE: Duration = Duration::from_secs(30);
const VERIFIED: Policy = Policy { verify: Some(Verify { settle: SETTLE, max_looks: 3 }), ..UNSAFE };

fn origin() -> Origin {
    Origin::Route { event: "evt_1".into(), route: "r".into() }
}

fn record(state: State) -> Record {
    Record {
        id: "task_1".into(),
        tool: "t".into(),
        key: "k".into(),
        origin: Some(origin()),
        input_hash: "h".into(),
        input: json!({}),
        state,
        attempt: 2,
        looks: 0,
        postponed: 0,
        failures: 1,
        lease: Duration::from_secs(15),
        lease_until: None,
        retry_at: None,
        waiting: None,
        result: None,
        result_omitted: false,
        error: None,
        attempts: Vec::new(),
        hops: 0,
        replays: Vec::new(),
        seat: None,
        trace: None,
        created_at: NOW,
        updated_at: NOW,
        expires_at: NOW,
        writer: String::new(),
    }
}

fn at(offset: i64) -> Option<Timestamp> {
    Some(Timestamp::from_millis(NOW.millis() + offset))
}

#[test]
fn each_state_answers_each_asker_as_the_design_says() {
    let here = origin();
    let there = Origin::Route { event: "evt_2".into(), route: "r".into() };
    let route = Ask::Route { origin: here.clone(), input_hash: "h".into() };
    let replay = Ask::Replay { origin: here.clone(), input_hash: "h".into(), nonce: "replay-1".into() };
    let same_person = Ask::Person { after_attempt: 2, wish: Wish::Retry };
    let late_person = Ask::Person { after_attempt: 1, wish: Wish::Retry };
    let other_event = Ask::Route { origin: there, input_hash: "other".into() };
    let other_mapping = Ask::Route { origin: here, input_hash: "other".into() };
    let held = Record { lease_until: at(1), ..record(State::Running) };
    let lost = Record { lease_until: at(0), ..record(State::Running) };
    let replayed = Record { replays: vec!["replay-1".into(), "replay-2".into()], ..record(State::Failed) };
    let resting = Record { retry_at: at(1), ..record(State::Queued) };
    let cases: Vec<(&str, Record, &Ask, Verdict)> = vec![
        ("done is done", record(State::Succeeded), &route, Verdict::Ended),
        ("done is done for a person too", record(State::Succeeded), &same_person, Verdict::Ended),
        ("failed stays failed for a repeat", record(State::Failed), &route, Verdict::Ended),
        ("failed stays failed for its own late message", record(State::Failed), &Ask::Due, Verdict::Ended),
        ("a replay runs what failed", record(State::Failed), &replay, Verdict::Run),
        ("a replay's second message does nothing, also after another replay", replayed, &replay, Verdict::Ended),
        ("a person runs what failed", record(State::Failed), &same_person, Verdict::Run),
        ("a person's second message does nothing", record(State::Failed), &late_person, Verdict::Ended),
        ("a replay leaves what is parked", record(State::Parked), &replay, Verdict::Ended),
        ("a person runs what is parked", record(State::Parked), &same_person, Verdict::Run),
        ("its time has come", record(State::Queued), &Ask::Due, Verdict::Run),
        ("its time has not come", resting.clone(), &Ask::Due, Verdict::Later { at: Timestamp::from_millis(1_000_001) }),
        ("a person does not wait", resting.clone(), &same_person, Verdict::Run),
        (
            "a person who saw an earlier attempt does",
            resting,
            &late_person,
            Verdict::Later { at: Timestamp::from_millis(1_000_001) },
        ),
        ("somebody is at it", held.clone(), &route, Verdict::Later { at: Timestamp::from_millis(1_000_001) }),
        (
            "even a person waits for a lease",
            held,
            &same_person,
            Verdict::Later { at: Timestamp::from_millis(1_000_001) },
        ),
        ("the worker was lost", lost, &Ask::Due, Verdict::Run),
        ("the same key with another input", record(State::Succeeded), &other_event, Verdict::Conflict),
        ("the same event mapped by a newer configuration", record(State::Queued), &other_mapping, Verdict::Run),
    ];
    for (name, record, ask, verdict) in cases {
        assert_eq!(consider(&record, ask, REPEATABLE, NOW), verdict, "{name}");
    }
}

#[test]
fn a_lost_attempt_of_an_unsafe_tool_is_looked_up_or_parked() {
    let lost = Record { lease_until: at(-1), ..record(State::Running) };
    let Verdict::Close(Outcome::Parked { error }) = consider(&lost, &Ask::Due, UNSAFE, NOW) else {
        panic!("not parked")
    };
    assert_eq!((error.code, error.may_have_acted), (Code::OutcomeUnknown, true));
    // Not before the upstream has been left alone for as long as it may take.
    let Verdict::Close(Outcome::Unknown { error, look_at, failures }) = consider(&lost, &Ask::Due, VERIFIED, NOW)
    else {
        panic!("not unknown")
    };
    assert_eq!((error.code, Some(look_at), failures), (Code::OutcomeUnknown, at(29_999), 1));
}

#[test]
fn what_is_unknown_is_looked_up_at_its_time_and_parked_where_nobody_can_look() {
    let unknown = Record { retry_at: at(1), ..record(State::Unknown) };
    let due = Record { retry_at: at(0), ..record(State::Unknown) };
    let later = Verdict::Later { at: Timestamp::from_millis(NOW.millis() + 1) };
    assert_eq!(consider(&unknown, &Ask::Due, VERIFIED, NOW), later);
    assert_eq!(consider(&due, &Ask::Due, VERIFIED, NOW), Verdict::Look);
    // Declared as repeatable by now.
    assert_eq!(consider(&unknown, &Ask::Due, REPEATABLE, NOW), Verdict::Run);
    let verdict = consider(&unknown, &Ask::Due, UNSAFE, NOW);
    assert!(matches!(verdict, Verdict::Close(Outcome::Parked { .. })), "{verdict:?}");
}

#[test]
fn a_look_settles_what_was_unknown_or_leaves_it_to_a_person() {
    let failed = |code, class| TaskError { may_have_acted: true, ..TaskError::unsent(code, class, "") };
    let unknown = |code, class, failures, looks| Record {
        error: Some(failed(code, class)),
        failures,
        looks,
        ..record(State::Unknown)
    };
    let lost = || unknown(Code::OutcomeUnknown, Class::Unknown, 0, 0);
    let timed_out = |failures, looks| unknown(Code::Timeout, Class::Transient, failures, looks);
    let unreadable = || unknown(Code::UnexpectedResponse, Class::Unknown, 1, 0);
    let passing = || Finding::Failed(TaskError::unsent(Code::Unavailable, Class::Transient, ""));
    let refused = || Finding::Failed(TaskError::unsent(Code::Forbidden, Class::Auth, ""));
    let done = || Finding::Done { result: json!(7) };
    let undecided = || Finding::Undecided { reason: "null".into() };
    let cases: Vec<(&str, Record, Finding, State)> = vec![
        ("lost, done", lost(), done(), State::Succeeded),
        ("lost, not done", lost(), Finding::NotDone, State::Queued),
        ("lost too often, not done", Record { attempt: 25, ..lost() }, Finding::NotDone, State::Failed),
        ("lost, nobody can say", lost(), undecided(), State::Parked),
        ("timed out, not done", timed_out(4, 0), Finding::NotDone, State::Queued),
        ("timed out for the last time, not done", timed_out(5, 0), Finding::NotDone, State::Failed),
        ("timed out for the last time, done", timed_out(5, 0), done(), State::Succeeded),
        ("unreadable, not done: no second call would be read", unreadable(), Finding::NotDone, State::Failed),
        ("unreadable, done", unreadable(), done(), State::Succeeded),
        ("the look failed", timed_out(1, 1), passing(), State::Unknown),
        ("the look failed for the last time", timed_out(1, 2), passing(), State::Parked),
        ("the look was refused", timed_out(1, 0), refused(), State::Parked),
    ];
    for (name, record, finding, state) in cases {
        let outcome = judge(&record, finding, VERIFIED, NOW, 0.5);
        assert_eq!(outcome.state(), state, "{name}: {outcome:?}");
        // Who looks at it later is told what was found, and whether the upstream may have acted.
        let acted = outcome.error().map(|error| error.may_have_acted);
        let known = matches!(state, State::Queued | State::Failed);
        assert!(acted.is_none() || acted == Some(!known), "{name}: {outcome:?}");
    }
}

#[test]
fn a_person_settles_retries_and_cancels_only_what_they_saw_and_only_where_it_fits() {
    let wishes = [
        Wish::Retry,
        Wish::Done { result: json!(1) },
        Wish::Fail { reason: None },
        Wish::Cancel { reason: Some("a mistake".into()) },
    ];
    // What each wish leads to in each state; `-`: what would happen anyway.
    let table = [
        (State::Queued, ["run", "-", "-", "cancelled"]),
        (State::Running, ["-", "-", "-", "-"]),
        (State::Waiting, ["-", "-", "-", "cancelled"]),
        (State::Unknown, ["run", "succeeded", "failed", "-"]),
        (State::Succeeded, ["-", "-", "-", "-"]),
        (State::Failed, ["run", "-", "-", "-"]),
        (State::Parked, ["run", "succeeded", "failed", "cancelled"]),
        (State::Cancelled, ["run", "-", "-", "-"]),
    ];
    assert_eq!(table.len(), State::ALL.len());
    for (state, expected) in table {
        let waiting = Some(crate::Waiting { token: "t".into(), deadline: NOW.plus(SETTLE) });
        let record = Record { retry_at: at(5), lease_until: at(5), waiting, ..record(state) };
        let anyway = consider(&record, &Ask::Due, VERIFIED, NOW);
        for (wish, expected) in wishes.iter().zip(expected) {
            let ask = |after_attempt| Ask::Person { after_attempt, wish: wish.clone() };
            let verdict = consider(&record, &ask(2), VERIFIED, NOW);
            let led_to = match &verdict {
                _ if verdict == anyway => "-",
                Verdict::Run => "run",
                Verdict::Close(outcome) => outcome.state().as_str(),
                other => panic!("{state:?} {wish:?}: {other:?}"),
            };
            assert_eq!(led_to, expected, "{state:?} {wish:?}");
            assert_eq!(consider(&record, &ask(1), VERIFIED, NOW), anyway, "{state:?} {wish:?}, too late");
        }
    }
}

#[test]
fn what_waits_goes_on_with_its_answer_or_without_one_at_its_deadline() {
    let waiting = |look, deadline| Record {
        retry_at: at(look),
        waiting: at(deadline).map(|deadline| crate::Waiting { token: "right".into(), deadline }),
        ..record(State::Waiting)
    };
    let answer = |token: &str| Ask::Answer { token: token.into(), answer: Ok(json!(7)) };
    let later = |offset| Verdict::Later { at: Timestamp::from_millis(NOW.millis() + offset) };
    assert_eq!(consider(&waiting(5, 9), &Ask::Due, UNSAFE, NOW), later(5));
    assert_eq!(consider(&waiting(9, 5), &Ask::Due, UNSAFE, NOW), later(5));
    assert_eq!(consider(&waiting(0, 9), &Ask::Due, UNSAFE, NOW), Verdict::Poll);
    assert_eq!(consider(&waiting(5, 9), &answer("right"), UNSAFE, NOW), Verdict::Resume(Ok(json!(7))));
    assert_eq!(consider(&waiting(5, 9), &answer("wrong"), UNSAFE, NOW), later(5));
    assert_eq!(consider(&record(State::Succeeded), &answer("right"), UNSAFE, NOW), Verdict::Ended);
    let Verdict::Resume(Err(error)) = consider(&waiting(5, 0), &Ask::Due, UNSAFE, NOW) else { panic!("it waits") };
    // The upstream took it: that is as open as a call that was not answered.
    assert_eq!(settle(Err(error.clone()), 0, UNSAFE, NOW, 0.5).state(), State::Parked);
    assert_eq!(settle(Err(error.clone()), 0, VERIFIED, NOW, 0.5).state(), State::Unknown);
    assert_eq!(settle(Err(error), 0, REPEATABLE, NOW, 0.5).state(), State::Queued);
}

#[test]
fn a_call_is_begun_only_while_it_can_end_within_its_lease_and_its_invocation() {
    let leased = |millis| Record { lease_until: at(millis), ..record(State::Running) };
    let seconds = Duration::from_secs;
    // (timeout, lease left, invocation left) → time for the call
    for (timeout, lease, invocation, expected) in [
        (10_000, 15_000, 60_000, Some(10_000)),
        (10_000, 12_000, 60_000, Some(9_000)),
        (10_000, 3_600, 60_000, Some(600)),
        (10_000, 3_400, 60_000, None),
        (10_000, 3_000, 60_000, None),
        (10_000, -1, 60_000, None),
        (10_000, 15_000, 700, Some(700)),
        (10_000, 15_000, 400, None),
        (100, 5_100, 60_000, Some(100)),
        (100, 3_050, 60_000, None),
    ] {
        let end = Timestamp::from_millis(NOW.millis() + invocation);
        let time = time_for_call(&leased(lease), Duration::from_millis(timeout), NOW, end);
        assert_eq!(time, expected.map(Duration::from_millis), "{timeout} {lease} {invocation}");
    }
    assert_eq!(time_for_call(&record(State::Running), seconds(1), NOW, NOW.plus(seconds(9))), None);
}

#[test]
fn a_task_that_kills_its_worker_each_time_is_given_up() {
    let killer = Record { attempt: 25, lease_until: at(-1), ..record(State::Running) };
    let Verdict::Close(Outcome::Failed { error }) = consider(&killer, &Ask::Due, REPEATABLE, NOW) else {
        panic!("not given up")
    };
    assert_eq!(error.code, Code::AttemptsExhausted);
    // What was claimed and not begun, because a limit or a circuit held it up, has not killed anybody.
    let patient = Record { postponed: 20, ..killer };
    assert_eq!(consider(&patient, &Ask::Due, REPEATABLE, NOW), Verdict::Run);
}

#[test]
fn what_is_held_up_comes_again_when_it_was_told_to_and_has_had_no_attempt() {
    let told = TaskError {
        retry_after: Some(Duration::from_secs(90)),
        ..TaskError::unsent(Code::RateLimited, Class::Transient, "")
    };
    let outcome = postpone(told, 1, NOW, 0.5);
    let Outcome::Retry { at, failures, .. } = &outcome else { panic!("{outcome:?}") };
    assert_eq!((NOW.until(*at), *failures), (Duration::from_secs(90), 1));
    let account = Account { postponed: true, ..Account::default() };
    let running = record(State::Running);
    let after = Change::close(&running, &outcome, account, RETENTION, "w", NOW).after;
    assert_eq!((after.postponed, after.attempts.len(), after.state), (1, running.attempts.len(), State::Queued));
}

#[test]
fn each_class_of_failure_leads_where_the_design_says() {
    let failure =
        |class, may_have_acted| TaskError { may_have_acted, ..TaskError::unsent(Code::Unavailable, class, "") };
    // (class, may have acted, failures before, policy) → decision
    let cases = [
        (Class::Transient, false, 0, REPEATABLE, "queued"),
        (Class::Transient, true, 3, REPEATABLE, "queued"),
        (Class::Transient, false, 4, REPEATABLE, "failed"),
        (Class::Transient, false, 0, UNSAFE, "queued"),
        (Class::Transient, true, 0, UNSAFE, "parked"),
        (Class::Server, true, 0, REPEATABLE, "queued"),
        (Class::Server, true, 0, UNSAFE, "parked"),
        (Class::Server, true, 4, UNSAFE, "parked"),
        (Class::Client, true, 0, REPEATABLE, "failed"),
        (Class::Auth, false, 0, REPEATABLE, "failed"),
        (Class::Missing, true, 0, UNSAFE, "failed"),
        (Class::Unknown, true, 0, REPEATABLE, "failed"),
        (Class::Unknown, true, 0, UNSAFE, "failed"),
        (Class::Transient, false, 0, VERIFIED, "queued"),
        (Class::Transient, true, 0, VERIFIED, "unknown"),
        (Class::Server, true, 4, VERIFIED, "unknown"),
        (Class::Unknown, true, 0, VERIFIED, "unknown"),
        (Class::Client, false, 0, VERIFIED, "failed"),
    ];
    for (class, may_have_acted, failures, policy, expected) in cases {
        let outcome = settle(Err(failure(class, may_have_acted)), failures, policy, NOW, 0.5);
        let decision = outcome.state().as_str();
        assert_eq!(decision, expected, "{class:?}, may have acted {may_have_acted}, {failures} failures, {policy:?}");
    }
}

#[test]
fn only_what_the_upstream_made_fail_is_counted() {
    let error = TaskError::unsent(Code::Timeout, Class::Transient, "");
    let count = |outcome| match outcome {
        Outcome::Retry { failures, .. } => failures,
        other => panic!("no retry: {other:?}"),
    };
    assert_eq!(count(settle(Err(error.clone()), 2, REPEATABLE, NOW, 0.5)), 3);
    assert_eq!(count(postpone(error, 4, NOW, 0.5)), 4);
}

#[test]
fn retry_after_is_honoured_up_to_a_day() {
    let asked = |seconds| TaskError {
        retry_after: Some(Duration::from_secs(seconds)),
        ..TaskError::unsent(Code::RateLimited, Class::Transient, "")
    };
    for (seconds, waited) in [(120, 120), (1_000_000, 86_400)] {
        let Outcome::Retry { at, .. } = settle(Err(asked(seconds)), 0, REPEATABLE, NOW, 0.999) else {
            panic!("no retry")
        };
        assert_eq!(NOW.until(at), Duration::from_secs(waited));
    }
}

proptest! {
    #[test]
    fn backoff_lies_between_nothing_and_its_ceiling(failures in 0u32..100, dice in 0.0f64..1.0) {
        let wait = backoff(failures, dice);
        prop_assert!(wait <= MAX_BACKOFF);
        prop_assert!(failures >= 9 || wait < Duration::from_secs(1 << failures));
    }

    #[test]
    fn an_unsafe_call_that_may_have_acted_is_never_repeated_by_itself(
        class in prop_oneof![Just(Class::Transient), Just(Class::Server), Just(Class::Client), Just(Class::Unknown)],
        failures in 0u32..10, dice in 0.0f64..1.0,
    ) {
        let error = TaskError { may_have_acted: true, ..TaskError::unsent(Code::Timeout, class, "") };
        let outcome = settle(Err(error), failures, UNSAFE, NOW, dice);
        let repeated = matches!(outcome, Outcome::Retry { .. });
        prop_assert!(!repeated);
    }
}
