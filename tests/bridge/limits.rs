//! Limits and circuits: what they hold up, and the operator's view of it.

use crate::support::work::{ALLOW, attempts, bridge, idle, send, show, status, tool};
use crate::support::{Bridge, Call, Stub, eventually};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_limits::{Acquired, Attempt, Ended, Guard, Limits, Said};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CONFIG: &str = r#"
[tools.one]
method = "GET"
url = "https://a.example"
limit = "api"
circuit = { failures = 1, open = "15m" }

[tools.two]
method = "GET"
url = "https://a.example"
limit = "api"

[tools.free]
method = "GET"
url = "https://a.example"

[limits.api]
rate = "10/h"
burst = 5
"#;

#[tokio::test]
async fn an_operator_sees_what_holds_calls_up_and_can_end_it() {
    let bridge = Bridge::start(CONFIG).await;
    assert_eq!(bridge.run(&["limits", "list", "--json"]).json(), json!([]));
    assert_eq!(bridge.run(&["limits", "list"]).out.trim(), "No tool was held up lately.");

    // A call of the tool that fails, and says when to come back.
    let config = clawbridge_config::check(CONFIG).0.expect("a configuration").compile().expect("the same");
    let guard = Guard::of(config.tool("one").expect("the tool"), None);
    let tables = sdk_config(&Environment::local(&bridge.private)).expect("a configuration");
    let tables = aws_sdk_dynamodb::Client::new(&tables);
    let limits = Limits::new(&tables, "clawbridge-limits".to_owned(), "test".to_owned());
    let Acquired::Granted(permit) = limits.acquire(&guard, Attempt::First, Timestamp::now(), 0.0).await else {
        panic!("no token")
    };
    let said = Said { retry_after: Some(Duration::from_secs(600)), ..Said::default() };
    assert_eq!(limits.report(&guard, permit, Ended::Failed, said, Timestamp::now(), 0.0).await, None);

    let list = bridge.run(&["limits", "list", "--json"]).json();
    assert_eq!(list.as_array().map(Vec::len), Some(2), "{list}");
    let [circuit, limit] = [&list[0], &list[1]];
    assert_eq!((&circuit["scope"], &circuit["tools"]), (&json!("circuit/one"), &json!(["one"])));
    assert_eq!(circuit["circuit"]["state"], "open");
    assert!(circuit["circuit"]["open_until"].is_string() && circuit["limit"].is_null(), "{circuit}");
    assert_eq!((&limit["scope"], &limit["tools"]), (&json!("limit/api"), &json!(["one", "two"])));
    assert_eq!(limit["limit"], json!({"left": 4, "burst": 5}));
    assert!(limit["paused_until"].is_string() && limit["circuit"].is_null(), "{limit}");
    let shown = bridge.run(&["limits", "list"]).out;
    assert!(shown.contains("paused") && shown.contains("open") && shown.contains("one, two"), "{shown}");

    let reset = bridge.run(&["limits", "reset", "limit/api", "--json"]);
    assert_eq!((reset.status, reset.json()), (0, json!({"reset": true, "scope": "limit/api"})));
    assert_eq!(bridge.run(&["limits", "reset", "circuit/one"]).status, 0);
    assert_eq!(bridge.run(&["limits", "list", "--json"]).json(), json!([]));
    let again = bridge.run(&["limits", "reset", "circuit/one", "--json"]);
    assert_eq!((again.status, again.error_code().as_str()), (3, "UNKNOWN_SCOPE"));
}

/// How far apart the first and the last of some calls were.
fn spread(calls: &[Call]) -> Duration {
    let times = calls.iter().map(|call| call.at);
    times.clone().max().zip(times.min()).map_or(Duration::ZERO, |(last, first)| last.duration_since(first))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_keep_to_their_rate_and_waiting_costs_a_task_no_attempt() {
    let stub = Stub::start(|_, _| status(200)).await;
    let limited = "attempts = 1\nlimit = { rate = \"4/s\", burst = 2 }";
    let config = tool("paced", "POST", &stub.url, limited) + ALLOW;
    let bridge = bridge(&config).await;
    for n in 0..12 {
        send(&bridge, "paced", json!({"n": n})).await;
    }
    eventually("all twelve", || async { (stub.calls().len() == 12).then_some(()) }).await;
    // Two at once, the other ten a quarter of a second apart: no upper bound is looked at, a machine may be slow.
    assert!(spread(&stub.calls()) >= Duration::from_millis(2400), "{:?}", spread(&stub.calls()));
    idle(&bridge).await;
    let lines = attempts(&bridge, "paced");
    let succeeded = lines.iter().filter(|line| line["decision"] == "succeeded").count();
    assert_eq!(succeeded, 12, "one attempt was enough for each: {lines:?}");
    assert!(lines.iter().any(|line| line["code"] == "LIMIT_REACHED" || line["code"] == "RATE_LIMITED"), "{lines:?}");
    let record = show(&bridge, lines.last().expect("a line"));
    assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1), "{record}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_fails_is_left_alone_and_then_asked_by_one_call() {
    let down = Arc::new(AtomicBool::new(true));
    let still = down.clone();
    let stub = Stub::start(move |_, _| status(if still.load(Ordering::SeqCst) { 500 } else { 200 })).await;
    let guarded = "attempts = 20\nidempotency_header = \"X-Key\"\ncircuit = { failures = 3, window = \"60s\", open = \"10s\", probes = 1 }";
    let config = tool("broken", "POST", &stub.url, guarded) + ALLOW;
    let bridge = bridge(&config).await;
    for n in 0..10 {
        send(&bridge, "broken", json!({"n": n})).await;
    }
    let is_open = |line: &Value| line["tool"] == "broken" && line["code"] == "CIRCUIT_OPEN";
    bridge
        .line("the circuit to open", |line| {
            is_open(line) || line["reason"].as_str().is_some_and(|r| r.contains("CIRCUIT_OPEN"))
        })
        .await;
    // Ten tasks of up to twenty attempts each would have called a hundred times by now and then.
    let while_open = stub.calls().len();
    assert!(while_open <= 3 + 10, "{while_open} calls before it was noticed");
    down.store(false, Ordering::SeqCst);
    eventually("all ten done", || async {
        let lines = attempts(&bridge, "broken");
        (lines.iter().filter(|line| line["decision"] == "succeeded").count() == 10).then_some(())
    })
    .await;
    assert_eq!(bridge.run(&["limits", "list", "--json"]).json()[0]["circuit"]["state"], "closed");
    assert_eq!(bridge.dead_letters().await, 0);
}
