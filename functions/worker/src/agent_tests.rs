use super::*;
use clawbridge_tasks::Attempt;
use clawbridge_tasks::NewTask;
use clawbridge_tasks::change::{Account, Change};
use clawbridge_tasks::machine::{Outcome, Wish};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// A task that was claimed once.
fn record(origin: Origin, key: &str, input: Value) -> Record {
    let new = NewTask { tool: "agent:main".into(), key: key.into(), origin, input, hops: 0, seat: None, trace: None };
    Change::first(&new, None, POLICY, "w", NOW).after
}

fn routed(input: Value) -> Record {
    record(Origin::Route { event: "evt_1".into(), route: "r".into() }, "evt_1/r", input)
}

fn submitted(submitter: &str, input: Value) -> Record {
    record(Origin::Submitter { submitter: submitter.into() }, "k", input)
}

fn closed(seen: &Record, outcome: &Outcome) -> Record {
    Change::close(seen, outcome, Account::default(), RETENTION, "w", NOW).after
}

fn claimed(seen: &Record, ask: &Ask) -> Record {
    Change::claim(seen, ask, POLICY, "w", NOW).after
}

fn retry(after_attempt: u32) -> Ask {
    Ask::Person { after_attempt, wish: Wish::Retry }
}

#[test]
fn an_attempt_that_was_not_lived_through_asks_for_the_same_response_and_a_task_run_again_for_another() {
    let first = routed(json!("go"));
    let asked = response_of(&first);
    assert!(asked.as_str().starts_with("resp_") && asked.as_str().len() == 37, "{asked}");
    assert_eq!(response_of(&claimed(&claimed(&first, &Ask::Due), &Ask::Due)), asked);
    let put_off = closed(&first, &Outcome::Retry { error: unavailable("x"), at: NOW, failures: 0 });
    assert_eq!(response_of(&claimed(&put_off, &Ask::Due)), asked);
    let failed = closed(&first, &Outcome::Failed { error: offline("main") });
    // What has ended still means the response that it ended with.
    assert_eq!(response_of(&failed), asked);
    let again = claimed(&failed, &retry(1));
    let second = response_of(&again);
    assert_ne!(second, asked);
    assert_eq!(response_of(&claimed(&again, &Ask::Due)), second);
    let cancelled = closed(&again, &Outcome::Cancelled { error: offline("main") });
    let third = response_of(&claimed(&cancelled, &retry(2)));
    assert!(third != asked && third != second && response_of(&cancelled) == second);
    let other = record(Origin::Submitter { submitter: "o".into() }, "other", json!("go"));
    assert_ne!(response_of(&other), asked);
}

#[test]
fn a_users_prompt_that_became_a_task_keeps_its_response() {
    let task = record(Origin::Submitter { submitter: "channel".into() }, "resp_user", json!("go"));
    assert_eq!(response_of(&task).as_str(), "resp_user");
    let failed = closed(&task, &Outcome::Failed { error: offline("main") });
    assert_eq!(response_of(&failed).as_str(), "resp_user");
    assert_ne!(response_of(&claimed(&failed, &retry(1))).as_str(), "resp_user");
}

#[test]
fn sessions_of_tasks_belong_to_who_made_the_task() {
    let named = |record: &Record| {
        let input = AgentInput::read("main", &record.input).expect("an input");
        session_of(record, &input).map(|session| session.as_str().to_owned()).expect("a session")
    };
    let input = json!({"prompt": "go", "session": "s"});
    assert_eq!(named(&routed(input.clone())), "events/s");
    assert_eq!(named(&submitted("token:ci", input.clone())), "token:ci/s");
    assert_eq!(named(&submitted("operator", input)), "operator/s");
    // Nobody gets into another's by how they call their own.
    assert_eq!(named(&routed(json!({"prompt": "go", "session": "token:ci/s"}))), "events/token:ci/s");
    let long = named(&submitted("token:ci", json!({"prompt": "go", "session": "s".repeat(200)})));
    assert_eq!(long.len(), 64, "{long}");
    let alone = routed(json!("go"));
    assert_eq!(named(&alone), alone.id);
    assert_eq!(named(&submitted("token:ci", json!({"prompt": "go", "session": "group:team"}))), "group:team");
}

#[test]
fn what_a_response_came_to_is_the_tasks_result_or_says_why_there_is_none() {
    let response = ResponseId::new("resp_1").expect("an id");
    let ended = |status, error: Option<(&str, &str)>| Ended {
        status,
        text: "half".into(),
        error: error.map(|(code, message)| (code.to_owned(), message.to_owned())),
        usage: None,
    };
    let result = |status, error| outcome(&response, ended(status, error));
    assert_eq!(
        result(Status::Completed, None),
        Ok(json!({"status": "completed", "text": "half", "response_id": "resp_1"}))
    );
    assert_eq!(
        result(Status::Incomplete, Some(("max_output_tokens", "x"))).map(|it| it["status"].clone()),
        Ok(json!("incomplete"))
    );
    for (status, error, code) in [
        (Status::Failed, Some(("server_error", "boom")), Code::AgentFailed),
        (Status::Failed, None, Code::AgentFailed),
        (Status::Incomplete, Some(("agent_disconnected", "gone")), Code::AgentFailed),
        (Status::Failed, Some(("agent_offline", "x")), Code::AgentOffline),
        (Status::Failed, Some(("AGENT_TIMEOUT", "x")), Code::AgentTimeout),
        (Status::Cancelled, None, Code::Cancelled),
    ] {
        let error = result(status, error).expect_err("no answer");
        assert_eq!((error.code, error.evidence.as_deref()), (code, Some("half")), "{status:?}");
        assert_eq!(error.may_have_acted, code != Code::AgentOffline);
    }
    let usage = Ended { usage: Some(Usage { total_tokens: 7, ..Usage::default() }), ..ended(Status::Completed, None) };
    assert_eq!(outcome(&response, usage).map(|it| it["usage"]["total_tokens"].clone()), Ok(json!(7)));
}

#[test]
fn looks_become_rarer_and_none_comes_after_the_end() {
    let token = Token { response: ResponseId::new("resp_1").expect("an id"), is_sent: true };
    assert_eq!(Token::read(&token.write()), Some(token.clone()));
    assert_eq!(Token::read("sent:"), None);
    let end = NOW.plus(Duration::from_secs(86_400));
    let look = |looks, within: Option<u64>, end| {
        let Answer::Later { look_at, deadline, .. } = later(&token, looks, within.map(Duration::from_secs), end, NOW)
        else {
            panic!("it is not waited for");
        };
        assert_eq!(deadline, end.plus(GRACE));
        NOW.until(look_at).as_secs()
    };
    assert_eq!([look(0, None, end), look(2, None, end), look(50, None, end)], [15, 33, 900]);
    assert_eq!(look(50, Some(60), end), 60);
    assert_eq!(look(50, None, NOW.plus(Duration::from_secs(5))), 5);
}

#[test]
fn only_what_ended_badly_before_counts_as_asked_anew() {
    let mut task = routed(json!("go"));
    task.attempt = 5;
    let entry = |n, decision: &str| Attempt {
        n,
        at: NOW,
        ms: 0,
        decision: decision.into(),
        by: None,
        status: None,
        code: None,
        answer: None,
    };
    task.attempts = vec![entry(1, "failed"), entry(2, "waiting"), entry(3, "retry")];
    assert_eq!(asked_anew(&task), 1);
    task.attempts.push(entry(4, "cancelled"));
    assert_eq!(asked_anew(&task), 4);
    task.attempts.push(entry(5, "failed"));
    assert_eq!(asked_anew(&task), 4);
}
