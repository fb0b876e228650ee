//! The operator's commands on events and tasks, and `send`, as a person or a script uses them.

use crate::support::{Answer, Bridge, Reply, Stub, eventually, hmac_sha256, root, run};
use crate::webhook::config;
use serde_json::{Value, json};

const SECRET: &str = "a-signing-secret";

fn id(event: &Value) -> &str {
    event["id"].as_str().expect("an id")
}

/// A bridge whose source `hooks` leads to `stub`, with events that were delivered and worked.
async fn bridge_with_events(stub: &Stub, names: &[&str]) -> Bridge {
    let bridge = Bridge::start(&config(stub)).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    for (count, name) in names.iter().enumerate() {
        let body = json!({"event": format!("demo.{name}"), "name": name}).to_string();
        assert_eq!(bridge.deliver("hooks", SECRET, body.as_bytes()).await.0, 200);
        // One after the other, so that their order is known.
        bridge.lines("task.attempt", count + 1).await;
    }
    bridge
}

async fn obliging() -> Stub {
    Stub::start(|_, _| Reply::Json(200, json!({"ok": true}))).await
}

/// The repository's own configuration and fixtures, as a newcomer runs them.
#[tokio::test]
async fn the_first_five_minutes_work_as_the_readme_says() {
    let config = std::fs::read_to_string(root().join("bridge.toml")).expect("bridge.toml");
    let bridge = Bridge::start(&config).await;
    let fixture = "events/stripe/payment_intent.succeeded.json";
    let sent = bridge.run(&["send", fixture]);
    assert_eq!(sent.status, 0, "{sent:?}");
    bridge.line("the task succeeded", |line| line["kind"] == "task.attempt" && line["decision"] == "succeeded").await;
    let again = bridge.run(&["send", fixture]);
    assert_eq!(again.status, 0, "{again:?}");
    bridge.lines("event.repeated", 1).await;
    let tampered = bridge.run(&["send", fixture, "--tamper", "--json"]);
    assert_eq!((tampered.status, tampered.error_code().as_str()), (1, "NOT_ACCEPTED"));
    let tasks = bridge.run(&["tasks", "list", "--json"]).json();
    assert_eq!(tasks.as_array().map(Vec::len), Some(1), "{tasks}");
    assert_eq!((&tasks[0]["tool"], &tasks[0]["state"]), (&"record_payment".into(), &"succeeded".into()));
}

#[tokio::test]
async fn each_exit_status_says_what_kind_of_no_it_is() {
    let bridge = Bridge::start("").await;
    bridge.add_source("hooks", "openclaw", SECRET);
    let bad = bridge.dir.path().join("bad.toml");
    std::fs::write(&bad, "[tools.x]\n").expect("bad.toml");
    let bad = bad.to_str().expect("a path");
    let no_fixture = bridge.dir.path().join("no-fixture.json");
    std::fs::write(&no_fixture, "{}").expect("no-fixture.json");
    let no_fixture = no_fixture.to_str().expect("a path");
    let openclaw = "events/openclaw/task.completed.json";
    let rows: &[(&[&str], i32, &str)] = &[
        (&["events", "list"], 0, ""),
        (&["check", bad], 1, "CONFIG_INVALID"),
        (&["apply", bad], 1, "CONFIG_INVALID"),
        (&["send", openclaw, "--source", "hooks", "--tamper"], 1, "NOT_ACCEPTED"),
        (&["send", no_fixture], 1, "FIXTURE_INVALID"),
        (&["source", "add", "Not-a-name", "--scheme", "stripe", "--secret", "x"], 1, "SOURCE_NAME"),
        (&["secret", "set", "clawbridge/sources/hooks", "--value", "x"], 1, "SECRET_NAME"),
        (&["events", "show", "evt_none"], 3, "UNKNOWN_EVENT"),
        (&["events", "replay", "evt_none"], 3, "UNKNOWN_EVENT"),
        (&["tasks", "show", "task_none"], 3, "UNKNOWN_TASK"),
        (&["tasks", "retry", "task_none"], 3, "UNKNOWN_TASK"),
        (&["tasks", "settle", "task_none", "--done"], 3, "UNKNOWN_TASK"),
        (&["tasks", "cancel", "task_none"], 3, "UNKNOWN_TASK"),
        (&["source", "rotate", "ghost", "--generate"], 3, "UNKNOWN_SOURCE"),
        (&["send", openclaw, "--source", "ghost"], 3, "UNKNOWN_SOURCE"),
        (&["send", "events/nowhere.json"], 3, "FIXTURE_UNREADABLE"),
        (&["check", "nowhere.toml"], 3, "CONFIG_UNREADABLE"),
        (&["send", openclaw, "--source", "hooks", "--url", "http://127.0.0.1:1"], 4, "NOT_DELIVERED"),
    ];
    for (args, status, code) in rows {
        let spoken = bridge.run(args);
        assert_eq!(spoken.status, *status, "{args:?}: {spoken:?}");
        let scripted = bridge.run(&[args, &["--json"][..]].concat());
        assert_eq!(scripted.status, *status, "{args:?}: {scripted:?}");
        if *status == 0 {
            assert!(spoken.err.is_empty() && scripted.err.is_empty(), "{args:?}: {spoken:?} {scripted:?}");
        } else {
            assert!(spoken.err.contains(&format!("error[{code}]: ")), "{args:?}: {spoken:?}");
            assert_eq!(scripted.error_code(), *code, "{args:?}");
        }
    }
    // A wrong command line is clap's to explain: with what is possible.
    let wrong: &[(&[&str], &str)] = &[
        (&["evnets", "list"], "events"),
        (&["events", "list", "--limit", "0"], "1..=100"),
        (&["events", "list", "--day", "yesterday"], "2026-11-21"),
        (
            &["tasks", "list", "--state", "done"],
            "queued, running, waiting, unknown, succeeded, failed, parked, cancelled",
        ),
        (&["tasks", "settle", "task_a"], "--done|--retry|--fail"),
        (&["tasks", "settle", "task_a", "--done", "--retry"], "cannot be used with"),
        (&["tasks", "settle", "task_a", "--retry", "--result", "1"], "cannot be used with"),
        (&["tasks", "settle", "task_a", "--done", "--result", "{id: 1}"], "this is not JSON"),
        (&["tasks", "settle", "task_a", "--fail", "--reason", " "], "1 to 500 characters"),
        (&["send"], "<FIXTURE>"),
        (&["send", openclaw, "--repeat", "0"], "1..=10000"),
        (&["source", "add", "x", "--secret", "y", "--generate"], "--generate"),
        (&["dev", "--ephemeral", "--state", "x"], "--state"),
        (&["dev", "--concurrency", "1"], "2..=1000"),
        (&["events", "list", "--secret-prefix", "x"], "--stack"),
    ];
    for (args, help) in wrong {
        let answer = run(args, "");
        assert_eq!(answer.status, 2, "{args:?}: {answer:?}");
        assert!(answer.err.contains(help), "{args:?}: {answer:?}");
    }
}

#[tokio::test]
async fn where_no_bridge_runs_a_command_says_how_to_start_one() {
    let other = Stub::start(|_, _| Reply::Json(200, json!({"hello": "I am something else"}))).await;
    for (address, why) in [("http://127.0.0.1:1", "refused"), (other.url.as_str(), "is not the private port")] {
        for args in [&["events", "list"][..], &["tasks", "list"], &["source", "list"], &["apply", "bridge.toml"]] {
            // The stub answers from this thread's runtime.
            let asked: Vec<String> = args.iter().chain(&["--local", address]).map(ToString::to_string).collect();
            let answer =
                tokio::task::spawn_blocking(move || run(&asked.iter().map(String::as_str).collect::<Vec<_>>(), ""));
            let answer = answer.await.expect("an answer");
            assert_eq!(answer.status, 4, "{args:?}: {answer:?}");
            for said in ["error[NOT_RUNNING]", address, why, "cargo run", "--local"] {
                assert!(answer.err.contains(said), "{said}: {answer:?}");
            }
        }
    }
    let deployed = run(&["events", "list", "--stack", "prod", "--json"], "");
    assert_eq!((deployed.status, deployed.error_code().as_str()), (4, "NO_CREDENTIALS"));
    assert!(deployed.err.contains("aws configure export-credentials"), "{deployed:?}");
}

#[tokio::test]
async fn events_are_listed_newest_first_and_shown_whole() {
    let stub = obliging().await;
    let bridge = bridge_with_events(&stub, &["first", "second", "third"]).await;
    let listed = bridge.run(&["events", "list", "--json"]).json();
    let types: Vec<&Value> = listed.as_array().expect("a list").iter().map(|event| &event["type"]).collect();
    assert_eq!(types, ["demo.third", "demo.second", "demo.first"]);
    let today = &listed[0]["received_at"].as_str().expect("a time")[..10];
    for (args, count) in [
        (&["--limit", "2"][..], 2),
        (&["--limit", "1"], 1),
        (&["--day", today], 3),
        (&["--day", "2020-02-29"], 0),
        (&["--day", today, "--limit", "2"], 2),
    ] {
        let some = bridge.run(&[&["events", "list", "--json"], args].concat()).json();
        assert_eq!(some.as_array().map(Vec::len), Some(count), "{args:?}: {some}");
    }
    let none = bridge.run(&["events", "list", "--day", "2020-02-29"]);
    assert_eq!(none.out, "No events on 2020-02-29.\n");
    let table = bridge.run(&["events", "list"]).out;
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].starts_with("RECEIVED") && lines[1].contains("demo.third") && lines[1].contains(id(&listed[0])));

    let shown = bridge.run(&["events", "show", id(&listed[1]), "--json"]).json();
    for (name, value) in [
        ("id", &listed[1]["id"]),
        ("source", &json!("hooks")),
        ("type", &json!("demo.second")),
        ("delivery_id", &listed[1]["delivery_id"]),
        ("received_at", &listed[1]["received_at"]),
        ("headers", &json!({"content-type": "application/json"})),
        ("body", &json!({"event": "demo.second", "name": "second"})),
        ("hops", &json!(0)),
        ("repeats", &json!(0)),
    ] {
        assert_eq!(&shown[name], value, "{name}: {shown}");
    }
    let accepted = bridge.lines("webhook.accepted", 3).await;
    assert_eq!(shown["request_id"], accepted[1]["request_id"]);
    let person = bridge.run(&["events", "show", id(&listed[1])]).out;
    assert!(person.contains("type      demo.second") && person.contains("\"name\": \"second\""), "{person}");
}

#[tokio::test]
async fn a_replay_does_not_act_twice_unless_it_is_told_to() {
    let stub = obliging().await;
    let bridge = bridge_with_events(&stub, &["once"]).await;
    let event = bridge.run(&["events", "list", "--json"]).json()[0].clone();
    let replayed = bridge.run(&["events", "replay", id(&event), "--json"]).json();
    assert_eq!(
        (&replayed["event"], &replayed["again"], &replayed["queued"]),
        (&event["id"], &json!(false), &json!(true))
    );
    bridge.line("the task is known", |line| line["decision"] == "reused").await;
    let replays = bridge.lines("event.replayed", 1).await;
    assert_eq!((&replays[0]["event"], &replays[0]["tasks"]), (&event["id"], &json!(1)));
    assert_eq!(stub.calls().len(), 1);

    for count in 2..4 {
        let again = bridge.run(&["events", "replay", id(&event), "--again"]);
        assert!(again.status == 0 && again.out.contains("under new keys"), "{again:?}");
        eventually("a call", || async { (stub.calls().len() >= count).then_some(()) }).await;
    }
    let done = |line: &Value| line["decision"] == "succeeded";
    eventually("three tasks", || async {
        (bridge.journal().iter().filter(|line| done(line)).count() == 3).then_some(())
    })
    .await;
    let calls = stub.calls();
    let mut keys: Vec<&str> = calls.iter().map(|call| call.header("idempotency-key")).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!((keys.len(), calls.len()), (3, 3));
    assert!(calls.iter().all(|call| call.json() == json!({"event": "demo.once", "name": "once"})));
    let tasks = bridge.run(&["tasks", "list", "--json"]).json();
    assert_eq!(tasks.as_array().map(Vec::len), Some(3), "{tasks}");
    assert!(tasks.as_array().into_iter().flatten().all(|task| task["event"] == event["id"]));
    let events = bridge.run(&["events", "list", "--json"]).json();
    assert_eq!(events.as_array().map(Vec::len), Some(1), "a replay is no new event");
}

#[tokio::test]
async fn a_failed_task_is_found_looked_at_and_run_again_until_it_succeeds() {
    let stub = Stub::start(|call, before| match (call.json()["name"].as_str(), before) {
        (Some("bad"), 0..=2) => Reply::Json(422, json!({"error": "not today"})),
        _ => Reply::Json(200, json!({"ok": true})),
    })
    .await;
    let bridge = bridge_with_events(&stub, &["good", "bad"]).await;
    let list = |state: &str| bridge.run(&["tasks", "list", "--state", state, "--json"]).json();
    let failed = list("failed");
    assert_eq!(failed.as_array().map(Vec::len), Some(1), "{failed}");
    let (task, error) = (&failed[0], &failed[0]["error"]);
    assert_eq!((&task["tool"], &task["attempt"], error), (&json!("record"), &json!(1), &json!("VALIDATION_ERROR")));
    let succeeded = list("succeeded");
    assert_eq!(succeeded.as_array().map(Vec::len), Some(1), "{succeeded}");
    for state in ["queued", "running", "parked"] {
        assert_eq!(list(state), json!([]), "{state}");
    }
    let table = bridge.run(&["tasks", "list"]).out;
    assert!(table.contains("failed VALIDATION_ERROR") && table.contains("succeeded"), "{table}");

    let shown = bridge.run(&["tasks", "show", id(task), "--json"]).json();
    assert_eq!((&shown["state"], &shown["input"]["name"]), (&json!("failed"), &json!("bad")), "{shown}");
    assert_eq!((&shown["origin"]["event"], &shown["origin"]["route"]), (&task["event"], &json!("all")));
    assert_eq!((&shown["error"]["code"], &shown["error"]["status"]), (&json!("VALIDATION_ERROR"), &json!(422)));
    assert!(shown["created_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{shown}");
    let person = bridge.run(&["tasks", "show", id(task)]).out;
    assert!(person.contains("state     failed") && person.contains("not today"), "{person}");

    // It fails a second time, then it does not.
    for (attempt, state) in [(2, "failed"), (3, "succeeded")] {
        let retried = bridge.run(&["tasks", "retry", id(task), "--json"]).json();
        assert_eq!((&retried["queued"], &retried["after_attempt"]), (&json!(true), &json!(attempt - 1)), "{retried}");
        bridge.line("its attempt", |line| line["task"] == task["id"] && line["attempt"] == attempt).await;
        let shown = bridge.run(&["tasks", "show", id(task), "--json"]).json();
        assert_eq!((&shown["state"], &shown["attempt"]), (&json!(state), &json!(attempt)), "{shown}");
        assert_eq!(shown["attempts"].as_array().map(Vec::len), Some(attempt), "{shown}");
    }
    assert_eq!(list("failed"), json!([]));
    let refused = bridge.run(&["tasks", "retry", id(task), "--json"]);
    assert_eq!((refused.status, refused.error_code().as_str()), (1, "NOT_RETRYABLE"));
    assert_eq!(stub.calls().len(), 4);
    // All attempts at the one piece of work carry the one key.
    let calls = stub.calls();
    assert!(calls[1..].iter().all(|call| call.header("idempotency-key") == id(task)));
}

fn sent(answer: &Answer) -> Value {
    assert_eq!(answer.status, 0, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn send_delivers_once_often_freshly_late_or_tampered_with() {
    let bridge = Bridge::start("").await;
    let fixtures = [
        ("stripe", "events/stripe/payment_intent.succeeded.json"),
        ("github", "events/github/push.json"),
        ("openclaw", "events/openclaw/task.completed.json"),
        ("standard-webhooks", "events/standard-webhooks/contact.created.json"),
    ];
    let (mut events, mut repeats) = (0, 0);
    for (source, fixture) in fixtures {
        bridge.add_source(source, source, &secret_of(source));
        let once = sent(&bridge.run(&["send", fixture, "--json"]));
        assert_eq!((&once["status"], &once["accepted"], &once["source"]), (&json!(200), &json!(true), &json!(source)));
        events += 1;
        let stored = bridge.lines("event.stored", events).await;
        // What send calls it is what the bridge calls it.
        assert_eq!(stored[events - 1]["delivery_id"], once["delivery_id"], "{source}");

        let thrice = bridge.run(&["send", fixture, "--repeat", "3"]);
        assert_eq!((thrice.status, thrice.out.lines().count()), (0, 3), "{thrice:?}");
        repeats += 3;
        bridge.lines("event.repeated", repeats).await;

        let fresh = bridge.run(&["send", fixture, "--fresh", "--repeat", "2"]);
        assert_eq!(fresh.status, 0, "{fresh:?}");
        events += 2;
        bridge.lines("event.stored", events).await;

        let tampered = bridge.run(&["send", fixture, "--tamper", "--fresh", "--json"]);
        assert_eq!((tampered.status, tampered.error_code().as_str()), (1, "NOT_ACCEPTED"), "{source}");
        assert_eq!((&tampered.json()["status"], &tampered.json()["accepted"]), (&json!(401), &json!(false)));
        // Only who signs a time can tell an old delivery.
        let late = bridge.run(&["send", fixture, "--age", "3600"]);
        if ["stripe", "standard-webhooks"].contains(&source) {
            assert_eq!(late.status, 1, "{late:?}");
            bridge.line("stale", |line| line["source"] == source && line["code"] == "TIMESTAMP_STALE").await;
            let young = bridge.run(&["send", fixture, "--age", "200"]);
            assert_eq!(young.status, 0, "{young:?}");
        } else {
            assert_eq!(late.status, 0, "{late:?}");
        }
        repeats += 1;
        bridge.lines("event.repeated", repeats).await;
    }
    let all = bridge.run(&["events", "list", "--limit", "100", "--json"]).json();
    assert_eq!(all.as_array().map(Vec::len), Some(events), "{all}");
}

fn secret_of(source: &str) -> String {
    if source == "standard-webhooks" { "whsec_c2VjcmV0IG9mIHRlc3Rz".to_owned() } else { SECRET.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_goes_where_it_is_told_and_signs_for_whom_it_is_told() {
    let stub = Stub::start(|_, before| match before {
        0 => Reply::Json(202, json!({"thanks": true})),
        _ => Reply::With(500, vec![], "<p>down".into()),
    })
    .await;
    let bridge = Bridge::start("").await;
    bridge.add_source("other", "github", "another secret");
    let push = "events/github/push.json";
    let elsewhere = bridge.run(&["send", push, "--source", "other", "--url", &format!("{}/", stub.url), "--json"]);
    assert_eq!(sent(&elsewhere)["answer"], json!({"thanks": true}));
    let call = stub.calls()[0].clone();
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/hooks/other"));
    let signature = hex::encode(hmac_sha256(b"another secret", &call.body));
    assert_eq!(call.header("x-hub-signature-256"), format!("sha256={signature}"));
    assert_eq!((call.header("x-github-event"), call.header("content-type")), ("push", "application/json"));
    assert!(!call.header("x-github-delivery").is_empty());
    let down = bridge.run(&["send", push, "--source", "other", "--url", &stub.url]);
    assert_eq!((down.status, down.out.contains("500")), (1, true), "{down:?}");
    let here = bridge.run(&["send", push, "--source", "other"]);
    assert_eq!(here.status, 0, "{here:?}");
}

#[tokio::test]
async fn send_prints_the_event_that_api_gateway_would_make() {
    let bridge = Bridge::start("").await;
    bridge.add_source("openclaw", "openclaw", SECRET);
    bridge.add_source("stripe", "stripe", SECRET);
    let printed = bridge.run(&["send", "events/openclaw/task.completed.json", "--print-event"]);
    let event = sent(&printed);
    assert_eq!((&event["version"], &event["routeKey"]), (&json!("2.0"), &json!("POST /hooks/{source}")));
    assert_eq!(
        (&event["rawPath"], &event["pathParameters"]["source"]),
        (&json!("/hooks/openclaw"), &json!("openclaw"))
    );
    assert_eq!(event["requestContext"]["http"]["method"], "POST");
    let body = event["body"].as_str().expect("a body");
    assert_eq!(event["isBase64Encoded"], false);
    assert_eq!(event["headers"]["content-length"], body.len().to_string());
    assert_eq!(event["headers"]["x-openclaw-signature"], hex::encode(hmac_sha256(SECRET.as_bytes(), body.as_bytes())));
    let tampered = sent(&bridge.run(&["send", "events/openclaw/task.completed.json", "--print-event", "--tamper"]));
    assert_eq!(tampered["headers"]["x-openclaw-signature"], event["headers"]["x-openclaw-signature"]);
    assert_ne!(tampered["body"], event["body"]);
    let dated = sent(&bridge.run(&["send", "events/stripe/payment_intent.succeeded.json", "--print-event"]));
    let signature = dated["headers"]["stripe-signature"].as_str().expect("a signature");
    let (time, signature) = signature.trim_start_matches("t=").split_once(",v1=").expect("time and signature");
    let signed = format!("{time}.{}", dated["body"].as_str().expect("a body"));
    assert_eq!(signature, hex::encode(hmac_sha256(SECRET.as_bytes(), signed.as_bytes())));
    // Printed, not sent.
    assert_eq!(bridge.run(&["events", "list", "--json"]).json(), json!([]));
    assert!(bridge.journal().iter().all(|line| line["kind"] == "dev.ready"), "{:?}", bridge.journal());
}
