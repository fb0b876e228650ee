//! Calls that somebody wants: submitted, waited for, and not behind those for which nobody waits.

use crate::support::work::{ALLOW, bridge, decided, decisions, ended, enqueue, idle, scripted, show, status};
use crate::support::{Answer, Bridge, Call, Reply, Stub, eventually};
use clawbridge_queue::{Message, Priority, SubmitMessage};
use clawbridge_tasks::task_id;
use serde_json::{Value, json};
use std::time::Duration;

/// A tool of this name without a route.
fn tool(name: &str, url: &str, more: &str) -> String {
    format!("[tools.{name}]\nmethod = \"POST\"\nurl = \"{url}\"\ntimeout = \"20s\"\n{more}\n")
}

fn submit(bridge: &Bridge, more: &[&str]) -> Answer {
    bridge.run(&[&["tasks", "submit"], more].concat())
}

/// The JSON documents on standard output.
fn documents(answer: &Answer) -> Vec<Value> {
    serde_json::Deserializer::from_str(&answer.out).into_iter().map(|document| document.expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_submitted_has_an_id_at_once_and_is_called_once_for_each_key() {
    let stub = Stub::start(|call, _| Reply::Json(200, json!({"made": call.json()["n"]}))).await;
    let bridge = bridge(&(tool("call", &stub.url, "idempotency_header = \"X-Key\"") + ALLOW)).await;

    let answer = submit(&bridge, &["call", "--input", r#"{"n": 1}"#]);
    let id = answer.out.trim().to_owned();
    assert_eq!((answer.status, id.len(), id.starts_with("task_")), (0, 29, true), "{answer:?}");
    let waited = bridge.run(&["tasks", "wait", &id, "--json"]);
    assert_eq!((waited.status, &waited.json()["result"]), (0, &json!({"made": 1})), "{waited:?}");
    assert_eq!(waited.json()["origin"], json!({"submitter": "operator"}));
    // Without a key, each is a call of its own.
    assert_ne!(submit(&bridge, &["call", "--input", r#"{"n": 1}"#, "--wait"]).out.lines().next(), Some(id.as_str()));
    assert_eq!(stub.calls().len(), 2);

    // With a key the same call is the same task, however often it is wanted, and its answer is kept.
    let keyed =
        |input: &str| submit(&bridge, &["call", "--key", "order-7", "--input", input, "--wait", "60s", "--json"]);
    let (first, again) = (keyed(r#"{"n": 2, "m": 0}"#), keyed(r#"{"m": 0, "n": 2}"#));
    assert_eq!((first.status, again.status), (0, 0), "{first:?} {again:?}");
    assert_eq!(documents(&first)[0], json!({"task": task_id("call", "order-7"), "key": "order-7"}));
    assert_eq!(documents(&first), documents(&again));
    assert_eq!(documents(&first)[1]["result"], json!({"made": 2}));
    // With another input it is a conflict, and nothing is called.
    let conflict = keyed(r#"{"n": 3}"#);
    assert_eq!((conflict.status, conflict.error_code().as_str()), (1, "IDEMPOTENCY_CONFLICT"), "{conflict:?}");
    assert!(conflict.err.contains("another input"), "{conflict:?}");
    // So it is where two were submitted before either was known.
    let submitted = |n: u32| {
        let (tool, key, submitter) = ("call".into(), "race".into(), "operator".into());
        let (input, priority) = (json!({"n": n}), Priority::Background);
        Message::Submit(SubmitMessage { tool, key, input, submitter, priority, trace: None })
    };
    let texts = [4, 5].map(|n| submitted(n).encode().expect("a message"));
    enqueue(&bridge, &texts).await;
    let of_race = |line: &Value| line["task"] == task_id("call", "race").as_str() && line["decision"] == "conflict";
    let line = bridge.line("the conflict", of_race).await;
    assert_eq!(line["code"], "IDEMPOTENCY_CONFLICT");
    idle(&bridge).await;
    let keys: Vec<String> = stub.calls().iter().map(|call| call.header("x-key").to_owned()).collect();
    assert_eq!(keys.iter().filter(|key| **key == task_id("call", "race")).count(), 1);
    assert_eq!(stub.calls().len(), 4);
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_learns_how_it_ended_by_the_exit_status() {
    let script =
        [("/refuses", vec![status(422)]), ("/breaks", vec![Reply::Raw(Vec::new())]), ("/silent", vec![Reply::Silence])];
    let stub = scripted(&script).await;
    let names = ["works", "refuses", "breaks", "silent"];
    let config: String = names.map(|name| tool(name, &format!("{}/{name}", stub.url), "effect = \"unsafe\"")).concat();
    let bridge = bridge(&(config + ALLOW)).await;
    let rows = [
        ("works", "30s", 0, ""),
        ("refuses", "30s", 1, "TASK_FAILED"),
        ("breaks", "30s", 1, "TASK_PARKED"),
        ("silent", "1s", 5, "TIME_OVER"),
    ];
    for (tool, bound, exit, code) in rows {
        let answer = submit(&bridge, &[tool, "--wait", bound, "--json"]);
        assert_eq!(answer.status, exit, "{tool}: {answer:?}");
        assert!(documents(&answer)[0]["task"].as_str().is_some_and(|id| id.starts_with("task_")), "{answer:?}");
        if exit > 0 {
            assert_eq!(answer.error_code(), code, "{tool}");
        }
        if exit == 1 {
            assert!(documents(&answer)[1]["error"]["code"].is_string(), "{tool}: {answer:?}");
        }
    }
    // A task that nobody knows may still be on its way.
    let answer = bridge.run(&["tasks", "wait", "task_000000000000000000000000", "--for", "1s", "--json"]);
    assert_eq!((answer.status, answer.error_code().as_str()), (5, "TIME_OVER"));
    assert!(answer.err.contains("no record yet"), "{answer:?}");
    // What a person takes back has been cancelled for who waits.
    let parked = ended(&bridge, "breaks").await;
    let id = parked["task"].as_str().expect("a task");
    assert_eq!(bridge.run(&["tasks", "cancel", id]).status, 0);
    bridge.line("the end", |line| line["task"] == id && line["decision"] == "cancelled").await;
    let answer = bridge.run(&["tasks", "wait", id, "--json"]);
    assert_eq!((answer.status, answer.error_code().as_str()), (1, "TASK_CANCELLED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_called_is_refused_before_anything_is_sent() {
    let input = "input = { type = \"object\", required = [\"order\"] }\nidempotency_key = '.order'";
    let bridge = bridge(&(tool("charge", "http://127.0.0.1:9", input) + ALLOW)).await;
    let file = bridge.dir.path().join("input.json");
    std::fs::write(&file, "{").expect("a file");
    let file = format!("@{}", file.display());
    let rows = [
        (vec!["chrage"], 3, "UNKNOWN_TOOL"),
        (vec!["charge"], 1, "INPUT_INVALID"),
        (vec!["charge", "--input", "{\"order\": 1}", "--key", "2"], 1, "KEY_OF_INPUT"),
        (vec!["charge", "--input", "{"], 2, "INPUT_UNREADABLE"),
        (vec!["charge", "--input", file.as_str()], 2, "INPUT_UNREADABLE"),
        (vec!["charge", "--input", "@missing.json"], 2, "INPUT_UNREADABLE"),
    ];
    for (args, exit, code) in rows {
        let answer = submit(&bridge, &[args.as_slice(), &["--json"]].concat());
        assert_eq!((answer.status, answer.error_code().as_str(), answer.out.as_str()), (exit, code, ""), "{args:?}");
    }
    assert_eq!(bridge.messages("clawbridge-interactive").await + bridge.messages("clawbridge-work").await, 0);
    let piped = bridge.run_with_input(&["tasks", "submit", "charge", "--input", "-"], r#"{"order": "o-1"}"#);
    assert_eq!(piped.out.trim(), task_id("charge", "o-1"), "{piped:?}");
}

/// Puts `count` calls onto the queue for which nobody waits.
async fn background(bridge: &Bridge, tool: &str, count: u32) {
    let text = |n: u32| {
        let (tool, key, submitter) = (tool.to_owned(), format!("background-{n}"), "operator".into());
        let (input, priority) = (json!({"n": n}), Priority::Background);
        let submit = SubmitMessage { tool, key, input, submitter, priority, trace: None };
        Message::Submit(submit).encode().expect("a message")
    };
    let numbers: Vec<u32> = (0..count).collect();
    for group in numbers.chunks(10) {
        enqueue(bridge, &group.iter().map(|n| text(*n)).collect::<Vec<String>>()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_does_not_stand_behind_five_hundred_for_whom_nobody_does() {
    let stub = Stub::start(|call, _| match call.path.as_str() {
        "/slow" => Reply::Late(Duration::from_secs(1), Box::new(Reply::Json(200, json!({})))),
        _ => Reply::Json(200, json!({"ok": true})),
    })
    .await;
    let config = tool("slow", &format!("{}/slow", stub.url), "") + &tool("quick", &format!("{}/quick", stub.url), "");
    let bridge = bridge(&(config + ALLOW)).await;
    background(&bridge, "slow", 500).await;
    eventually("the first of them", || async { (!stub.calls_of("/slow").is_empty()).then_some(()) }).await;
    let answer = submit(&bridge, &["quick", "--wait"]);
    assert_eq!(answer.status, 0, "{answer:?}");
    let before = stub.calls().iter().position(|call| call.path == "/quick").expect("the call");
    // Four invocations with ten calls each work the others off: a few rounds of them, with what it takes to start a command.
    assert!(before < 250, "{before} calls went before it");
    assert!(stub.calls_of("/slow").len() < 500, "there was nothing to stand behind");
    // In the background it stands behind them.
    let answer = submit(&bridge, &["quick", "--background", "--json"]);
    let behind = answer.json()["task"].as_str().expect("an id").to_owned();
    assert_eq!(bridge.run(&["tasks", "wait", &behind, "--for", "5m"]).status, 0);
    let waited = |calls: &[Call]| calls.iter().rposition(|call| call.path == "/quick").expect("both calls");
    assert!(waited(&stub.calls()) > before + 100, "{} after {before}", waited(&stub.calls()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_within_seconds_stays_with_those_who_wait_and_a_later_one_does_not() {
    let wait = |seconds: &str| Reply::With(503, vec![("retry-after".into(), seconds.into())], String::new());
    let stub = scripted(&[("/soon", vec![wait("2")]), ("/late", vec![wait("30")])]).await;
    let config = tool("soon", &format!("{}/soon", stub.url), "") + &tool("late", &format!("{}/late", stub.url), "");
    let bridge = bridge(&(config + ALLOW)).await;
    for (tool, stays) in [("soon", true), ("late", false)] {
        let id = submit(&bridge, &[tool]).out.trim().to_owned();
        assert_eq!(decided(&bridge, tool, 1).await, ["retry"]);
        let on = |queue| bridge.messages(queue);
        eventually("one message in the right queue", || async {
            let found = (on("clawbridge-interactive").await, on("clawbridge-work").await);
            (found == if stays { (1, 0) } else { (0, 1) }).then_some(())
        })
        .await;
        if stays {
            assert_eq!(bridge.run(&["tasks", "wait", &id]).status, 0);
            assert_eq!(decisions(&bridge, tool), ["retry", "succeeded"]);
            eventually("both queues empty", || async {
                (on("clawbridge-interactive").await + on("clawbridge-work").await == 0).then_some(())
            })
            .await;
        }
        assert_eq!(show(&bridge, &json!({"task": id}))["state"], if stays { "succeeded" } else { "queued" });
    }
}
