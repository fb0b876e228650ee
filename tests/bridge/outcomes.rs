//! Outcomes that nobody knows: verify finds them out, and a person settles the rest.

use crate::support::work::{
    ALLOW, SECRET, attempts, bridge, decided, decisions, ended, enqueue, event_of, idle, retry, scripted, send, show,
    status, tool,
};
use crate::support::{Bridge, Options, Reply, Stub, eventually};
use clawbridge_clock::Timestamp;
use clawbridge_queue::{Decision, Message, Settlement, TaskMessage};
use clawbridge_tasks::change::{Account, Change, Landed, Rule};
use clawbridge_tasks::machine::{Ask, Outcome, Policy, Wish};
use clawbridge_tasks::{Class, Code, NewTask, Origin, Record, TaskError, Tasks};
use serde_json::{Value, json};
use std::time::Duration;

/// A tool that acts, and one that it is verified with, of the names `NAME` and `NAME_find`.
fn verified(stub: &Stub, name: &str, more: &str, verify: &str) -> String {
    tool(name, "POST", &format!("{}/{name}", stub.url), &format!("timeout = \"20s\"\n{more}"))
        + &format!(
            "[tools.{name}.verify]\ntool = \"{name}_find\"\n{verify}\n\
             [tools.{name}_find]\nmethod = \"GET\"\nurl = \"{0}/{name}_find/{{reference}}\"\nattempts = 1\n",
            stub.url
        )
}

/// What the API answers to the calls and to the looks, and what must come of it.
struct Row {
    name: &'static str,
    calls: Vec<Reply>,
    looks: Vec<Reply>,
    decisions: &'static [&'static str],
    result: Value,
    reason: &'static str,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_knows_is_found_out_and_only_what_was_not_done_is_done_again() {
    let row = |name, calls, looks, decisions, result, reason| Row { name, calls, looks, decisions, result, reason };
    let cut = || vec![Reply::Raw(Vec::new())];
    let found = || Reply::Json(200, json!({"transfers": [{"id": 7}]}));
    let none = || Reply::Json(200, json!({"transfers": []}));
    let rows = vec![
        row("done", cut(), vec![found()], &["unknown", "succeeded"], json!({"id": 7, "to": "x"}), ""),
        row("broke", vec![status(500)], vec![found()], &["unknown", "succeeded"], json!({"id": 7, "to": "x"}), ""),
        row(
            "unreadable",
            vec![Reply::of(200, "text/html", "<p>")],
            vec![found()],
            &["unknown", "succeeded"],
            json!({"id": 7, "to": "x"}),
            "",
        ),
        row("not_done", cut(), vec![none()], &["unknown", "retry", "succeeded"], json!({"ok": true}), ""),
        row(
            "twice",
            vec![Reply::Raw(Vec::new()), status(502)],
            vec![none(), found()],
            &["unknown", "retry", "unknown", "succeeded"],
            json!({"id": 7, "to": "x"}),
            "",
        ),
        row(
            "never",
            vec![status(500), status(500), status(500)],
            vec![none(), none(), none()],
            &["unknown", "retry", "unknown", "retry", "unknown", "failed"],
            Value::Null,
            "not done",
        ),
        row(
            "later",
            cut(),
            vec![status(503), found()],
            &["unknown", "unknown", "succeeded"],
            json!({"id": 7, "to": "x"}),
            "",
        ),
        row(
            "silent",
            cut(),
            vec![status(503), status(500), status(503)],
            &["unknown", "unknown", "unknown", "parked"],
            Value::Null,
            "verify failed with UNAVAILABLE",
        ),
        row("refused", cut(), vec![status(403)], &["unknown", "parked"], Value::Null, "verify failed with FORBIDDEN"),
        row("gone", cut(), vec![status(404)], &["unknown", "parked"], Value::Null, "could not tell (done gave null)"),
        row(
            "odd",
            cut(),
            vec![Reply::Json(200, json!({"transfers": 1}))],
            &["unknown", "parked"],
            Value::Null,
            "could not tell (done: ",
        ),
        // What was not done is known: verify is not asked.
        row("declined", vec![status(503)], vec![], &["retry", "succeeded"], json!({"ok": true}), ""),
        row("wrong", vec![status(422)], vec![], &["failed"], Value::Null, ""),
    ];
    let paths: Vec<(String, Vec<Reply>)> = rows
        .iter()
        .flat_map(|row| {
            [(format!("/{}", row.name), row.calls.clone()), (format!("/{}_find/r-1", row.name), row.looks.clone())]
        })
        .collect();
    let script: Vec<(&str, Vec<Reply>)> =
        paths.iter().map(|(path, replies)| (path.as_str(), replies.clone())).collect();
    let stub = scripted(&script).await;
    let verify = r#"input = '{reference: .input.reference}'
done = 'if .answer == null then null else .answer.transfers | map(.id) | length > 0 end'
result = '.answer.transfers[0] + {to: .input.to}'
settle = "0s"
attempts = 3"#;
    let mut config = ALLOW.to_owned();
    for row in &rows {
        config.push_str(&verified(&stub, row.name, "attempts = 3", verify));
    }
    let bridge = bridge(&config).await;
    for row in &rows {
        send(&bridge, row.name, json!({"reference": "r-1", "to": "x"})).await;
    }
    for row in &rows {
        let line = ended(&bridge, row.name).await;
        assert_eq!(decisions(&bridge, row.name), row.decisions, "{}", row.name);
        let record = show(&bridge, &line);
        assert_eq!(record["result"], row.result, "{}: {record}", row.name);
        let message = record["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains(row.reason), "{}: {message}", row.name);
        let calls = stub.calls_of(&format!("/{}", row.name)).len();
        let looks = stub.calls_of(&format!("/{}_find/r-1", row.name)).len();
        let again = row.decisions.iter().filter(|decision| **decision == "retry").count();
        assert_eq!((calls, looks), (1 + again, row.looks.len()), "{}", row.name);
        // Who decided is on record.
        let by_verify = |attempt: &&Value| attempt["by"] == "verify";
        let attempts = record["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.iter().filter(by_verify).count(), row.looks.len(), "{}: {record}", row.name);
    }
    let unknown = bridge.run(&["tasks", "list", "--state", "unknown", "--json"]).json();
    assert_eq!((unknown, bridge.dead_letters().await), (json!([]), 0));
}

#[tokio::test]
async fn a_worker_lost_during_a_call_is_followed_by_a_look_once_the_upstream_was_left_alone() {
    let found = Reply::Json(200, json!({"state": "sent"}));
    let stub = scripted(&[("/send", vec![Reply::Silence]), ("/send_find/r-1", vec![found])]).await;
    let verify = "done = '.answer.state == \"sent\"'\nsettle = \"2s\"";
    let config = verified(&stub, "send", "", verify).replace("timeout = \"20s\"", "timeout = \"1s\"") + ALLOW;
    let options = Options { config: Some(config), args: vec!["--visibility".into(), "1".into()] };
    let mut bridge = Bridge::start_with(options).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    send(&bridge, "send", json!({"reference": "r-1"})).await;
    eventually("the call is under way", || async { (stub.calls().len() == 1).then_some(()) }).await;
    bridge.kill();
    bridge.restart().await;
    let line = ended(&bridge, "send").await;
    assert_eq!((&line["decision"], &line["reason"]), (&json!("succeeded"), &json!("verify found that it was done")));
    let record = show(&bridge, &line);
    assert_eq!((&record["attempt"], &record["result"]), (&json!(1), &json!({"state": "sent"})));
    let calls = stub.calls();
    assert_eq!(calls.iter().map(|call| call.path.as_str()).collect::<Vec<_>>(), ["/send", "/send_find/r-1"]);
    // A second for the call, five for what is around it, two for the upstream to settle.
    let waited = calls[1].at.duration_since(calls[0].at);
    assert!(waited > Duration::from_secs(7), "looked after {waited:?}");
    assert_eq!(bridge.dead_letters().await, 0);
}

/// Runs `tasks settle` or `tasks cancel`.
fn settle(bridge: &Bridge, command: &str, line: &Value, more: &[&str]) -> Value {
    let args = [&["tasks", command, line["task"].as_str().expect("a task"), "--json"], more].concat();
    let answer = bridge.run(&args);
    assert_eq!(answer.status, 0, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_person_settles_what_is_parked_and_cancels_what_is_not_to_be_done() {
    let names = ["done", "done_silently", "failed", "again", "taken_back"];
    let paths: Vec<String> = names.iter().map(|name| format!("/{name}")).collect();
    let mut script: Vec<(&str, Vec<Reply>)> = paths.iter().map(|path| (path.as_str(), vec![status(500)])).collect();
    let wait = Reply::With(503, vec![("retry-after".into(), "600".into())], String::new());
    script.push(("/waits", vec![wait]));
    let stub = scripted(&script).await;
    let mut config = format!("[tools.tell]\nmethod = \"PUT\"\nurl = \"{}/tell\"\n", stub.url) + ALLOW;
    for name in names.iter().chain(&["waits"]) {
        config.push_str(&tool(name, "POST", &format!("{}/{name}", stub.url), "effect = \"unsafe\""));
    }
    config.push_str("[[routes]]\nname = \"ends\"\nsource = \"bridge\"\ntype = \"task.*\"\ntool = \"tell\"\nfilter = '.body.data.tool != \"tell\"'\n");
    let bridge = bridge(&config).await;
    for name in names {
        send(&bridge, name, json!({"n": 1})).await;
    }
    let mut lines = Vec::new();
    for name in names {
        lines.push(ended(&bridge, name).await);
    }
    send(&bridge, "waits", json!({"n": 1})).await;
    decided(&bridge, "waits", 1).await;
    lines.push(attempts(&bridge, "waits").remove(0));

    let asked = settle(&bridge, "settle", &lines[0], &["--done", "--result", "{\"id\":7}"]);
    assert_eq!(asked, json!({"queued": true, "task": lines[0]["task"], "after_attempt": 1}));
    settle(&bridge, "settle", &lines[1], &["--done"]);
    settle(&bridge, "settle", &lines[2], &["--fail", "--reason", "the customer has left"]);
    settle(&bridge, "settle", &lines[3], &["--retry"]);
    settle(&bridge, "cancel", &lines[4], &[]);
    settle(&bridge, "cancel", &lines[5], &["--reason", "a mistake"]);
    // (state, result, error code, error message, claims, calls)
    let expected = [
        ("succeeded", json!({"id": 7}), Value::Null, Value::Null, 1, 1),
        ("succeeded", Value::Null, Value::Null, Value::Null, 1, 1),
        ("failed", Value::Null, json!("GIVEN_UP"), json!("the customer has left"), 1, 1),
        ("succeeded", json!({"ok": true}), Value::Null, Value::Null, 2, 2),
        ("cancelled", Value::Null, json!("CANCELLED"), json!("a person took it back"), 1, 1),
        ("cancelled", Value::Null, json!("CANCELLED"), json!("a mistake"), 1, 1),
    ];
    for (n, (state, result, code, message, claims, calls)) in expected.into_iter().enumerate() {
        let (line, bridge) = (&lines[n], &bridge);
        let record = eventually(&format!("task {n} is {state}"), || async move {
            Some(show(bridge, line)).filter(|record| record["state"] == state)
        })
        .await;
        let found = (&record["result"], &record["error"]["code"], &record["error"]["message"], &record["attempt"]);
        assert_eq!(found, (&result, &code, &message, &json!(claims)), "task {n}");
        let path = format!("/{}", line["tool"].as_str().expect("a tool"));
        assert_eq!(stub.calls_of(&path).len(), calls, "task {n}");
        if n != 3 {
            let last = record["attempts"].as_array().and_then(|attempts| attempts.last()).expect("attempts");
            assert_eq!((&last["by"], &last["decision"]), (&json!("person"), &json!(state)), "task {n}");
        }
    }
    // Each end was told: five times parked, and then as the person wanted.
    let told = eventually("all ends are told", || async {
        let told: Vec<String> =
            stub.calls_of("/tell").iter().map(|call| call.json()["event"].as_str().unwrap_or("?").to_owned()).collect();
        // That they were made and begun is told as well.
        let told: Vec<String> =
            told.into_iter().filter(|event| !["task.created", "task.started"].contains(&event.as_str())).collect();
        (told.len() >= 11).then_some(told)
    })
    .await;
    let count = |event: &str| told.iter().filter(|told| *told == event).count();
    let counts = ["task.parked", "task.completed", "task.failed", "task.cancelled"].map(count);
    assert_eq!(counts, [5, 3, 1, 2], "{told:?}");

    // What has ended is not settled again, and what a person took back is run only if a person wants it.
    for (command, n, more, code) in [
        ("settle", 0, &["--done"][..], "NOT_SETTLEABLE"),
        ("settle", 5, &["--fail"], "NOT_SETTLEABLE"),
        ("cancel", 3, &[], "NOT_CANCELLABLE"),
        ("cancel", 4, &[], "NOT_CANCELLABLE"),
    ] {
        let args = [&["tasks", command, lines[n]["task"].as_str().expect("a task"), "--json"], more].concat();
        let refused = bridge.run(&args);
        assert_eq!((refused.status, refused.error_code().as_str()), (1, code), "{command} {n}");
    }
    assert_eq!(bridge.run(&["events", "replay", event_of(&lines[4])]).status, 0);
    assert_eq!(decided(&bridge, "taken_back", 3).await, ["parked", "cancelled", "reused"]);
    retry(&bridge, &lines[4]);
    assert_eq!(decided(&bridge, "taken_back", 4).await[3], "succeeded");
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn what_a_person_decided_counts_once_and_only_for_what_they_saw() {
    let stub = scripted(&[("/call", vec![status(500), status(500)])]).await;
    let config = tool("call", "POST", &format!("{}/call", stub.url), "effect = \"unsafe\"") + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "call", json!({})).await;
    let line = ended(&bridge, "call").await;
    let message = |after_attempt, decision: &Decision| {
        let settle = Some(Settlement { after_attempt, decision: decision.clone() });
        let task = line["task"].as_str().expect("a task");
        Message::Task(TaskMessage { settle, ..TaskMessage::due(task) }).encode().expect("a message")
    };
    let done = Decision::Done { result: json!("theirs") };
    // Run again in the meantime, and parked again: that is another outcome than the one that they looked at.
    retry(&bridge, &line);
    decided(&bridge, "call", 2).await;
    enqueue(&bridge, &[message(1, &done)]).await;
    assert_eq!(decided(&bridge, "call", 3).await, ["parked", "parked", "reused"]);
    assert_eq!(show(&bridge, &line)["state"], "parked");
    // What they saw: once, whatever comes later.
    enqueue(&bridge, &[message(2, &done)]).await;
    decided(&bridge, "call", 4).await;
    for (count, decision) in
        [(5, &done), (6, &Decision::Fail { reason: None }), (7, &Decision::Cancel { reason: None })]
    {
        enqueue(&bridge, &[message(2, decision)]).await;
        assert_eq!(decided(&bridge, "call", count).await[count - 1], "reused");
    }
    let record = show(&bridge, &line);
    assert_eq!((&record["state"], &record["result"]), (&json!("succeeded"), &json!("theirs")));
    idle(&bridge).await;
    assert_eq!((stub.calls().len(), bridge.dead_letters().await), (2, 0));
}

#[tokio::test]
async fn a_record_is_kept_as_long_as_its_tool_says() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let config = tool("short", "POST", &stub.url, "idempotency_header = \"X-Key\"\nresult_retention = \"15d\"")
        + &tool("usual", "POST", &stub.url, "idempotency_header = \"X-Key\"")
        + ALLOW;
    let bridge = bridge(&config).await;
    for (name, days) in [("short", 15), ("usual", 30)] {
        send(&bridge, name, json!({})).await;
        let record = show(&bridge, &ended(&bridge, name).await);
        let time = |field: &str| Timestamp::parse_rfc3339(record[field].as_str().expect("a time")).expect("a time");
        let kept = time("updated_at").until(time("expires_at"));
        let wanted = Duration::from_secs(days * 24 * 60 * 60);
        assert!(kept <= wanted && kept + Duration::from_secs(1) > wanted, "{name} is kept for {kept:?}");
    }
}

/// The rule that the simulation goes by is the one that the table keeps.
#[tokio::test]
async fn a_change_is_written_exactly_where_its_rule_says() {
    const POLICY: Policy = Policy { max_failures: 3, ..Policy::UNKNOWN_TOOL };
    let bridge = Bridge::start("").await;
    let sdk =
        clawbridge_aws::sdk_config(&clawbridge_aws::Environment::local(&bridge.private)).expect("a configuration");
    let tasks = Tasks::new(aws_sdk_dynamodb::Client::new(&sdk), "clawbridge-tasks".into());
    let mut dice = fastrand::Rng::with_seed(7);
    let (mut written, mut known, mut lost) = (0, 0, 0);
    for n in 0..12 {
        let origin = Origin::Route { event: "evt_1".into(), route: "r".into() };
        let new = NewTask {
            tool: "t".into(),
            key: n.to_string(),
            origin,
            input: json!({"n": n}),
            hops: 0,
            seat: None,
            trace: None,
        };
        let mut now = Timestamp::now();
        let first = Change::first(&new, None, POLICY, "w", now);
        let id = first.after.id.clone();
        // Each change that was ever thought of, and may come late, or again.
        let mut changes = vec![first];
        let mut current: Option<Record> = None;
        for _ in 0..25 {
            now = now.plus(Duration::from_millis(dice.u64(1..5_000)));
            if let Some(seen) = &current {
                let writer = dice.alphabetic().to_string();
                let error = TaskError::unsent(Code::Timeout, Class::Transient, "");
                let outcome = match dice.u32(0..12) {
                    0 => Outcome::Succeeded { result: json!([n]) },
                    1 => Outcome::Retry { error, at: now, failures: 1 },
                    2 => Outcome::Parked { error },
                    3 => Outcome::Cancelled { error },
                    4..8 => Outcome::Waiting { token: "t".into(), look_at: now, deadline: now },
                    _ => Outcome::Unknown { error, look_at: now, failures: 1 },
                };
                let ask = match dice.u32(0..2) {
                    0 => Ask::Due,
                    _ => Ask::Person { after_attempt: seen.attempt, wish: Wish::Retry },
                };
                changes.push(match dice.u32(0..5) {
                    0 => Change::claim(seen, &ask, POLICY, &writer, now),
                    _ => Change::close(seen, &outcome, Account::default(), POLICY.retention, &writer, now),
                });
            }
            let change = match dice.u32(0..3) {
                0 => changes[dice.usize(changes.len().saturating_sub(4)..changes.len())].clone(),
                _ => changes.last().expect("a change").clone(),
            };
            let landed = tasks.write(Box::new(change.clone())).await.expect("the table answers");
            match change.rule(current.as_ref()) {
                Rule::Write => {
                    assert_eq!(landed, Landed::Written(Box::new(change.after.clone())));
                    current = Some(change.after);
                    written += 1;
                }
                Rule::Written => {
                    assert_eq!(landed, Landed::Written(Box::new(change.after)));
                    known += 1;
                }
                Rule::Lost => {
                    assert_eq!(landed, Landed::Lost(current.clone().map(|record| Box::new(stored(record)))));
                    lost += 1;
                }
            }
            assert_eq!(tasks.get(&id).await.expect("the table answers"), current.clone().map(stored));
        }
    }
    assert!(written > 50 && known > 5 && lost > 20, "{written} written, {known} known again, {lost} lost");
}

/// As it is read again: the table's clock for what it forgets has whole seconds.
fn stored(record: Record) -> Record {
    Record { expires_at: Timestamp::from_millis(record.expires_at.seconds() * 1000), ..record }
}
