//! How many calls are under way at one time, and how many of them are retries.

use crate::support::work::{ALLOW, attempts, bridge, keys, send, show, status, tool};
use crate::support::{Bridge, Call, Reply, Stub, eventually};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How many calls were under way at one time, each for at least so long after it came.
fn under_way(calls: &[Call], each: Duration) -> usize {
    let of = |now: Instant| calls.iter().filter(|call| call.at <= now && now < call.at + each).count();
    calls.iter().map(|call| of(call.at)).max().unwrap_or(0)
}

fn is_held_up(line: &Value, code: &str) -> bool {
    line["code"] == code || line["reason"].as_str().is_some_and(|reason| reason.contains(code))
}

async fn all_succeed(bridge: &Bridge, tool: &str, count: usize) -> Vec<Value> {
    eventually(&format!("all {count}"), || async {
        let lines = attempts(bridge, tool);
        let done: Vec<Value> = lines.into_iter().filter(|line| line["decision"] == "succeeded").collect();
        (done.len() == count).then_some(done)
    })
    .await
}

/// What `limits list` has under a key.
fn listed(bridge: &Bridge, scope: &str) -> Value {
    let list = bridge.run(&["limits", "list", "--json"]).json();
    list.as_array().and_then(|list| list.iter().find(|kept| kept["scope"] == scope)).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_calls_are_under_way_than_the_tool_allows_and_all_are_made() {
    const EACH: Duration = Duration::from_millis(400);
    let stub = Stub::start(|_, _| Reply::Late(EACH, Box::new(status(200)))).await;
    let config = tool("few", "POST", &stub.url, "attempts = 1\nlimit = { concurrency = 5 }") + ALLOW;
    let bridge = bridge(&config).await;
    for n in 0..40 {
        send(&bridge, "few", json!({"n": n})).await;
    }
    bridge.line("one that waits", |line| is_held_up(line, "CONCURRENCY_REACHED")).await;
    let done = all_succeed(&bridge, "few", 40).await;
    let calls = stub.calls();
    assert_eq!(calls.len(), 40, "each was called once");
    let most = under_way(&calls, EACH);
    assert!((2..=5).contains(&most), "{most} at one time");
    for line in done.iter().take(3) {
        let record = show(&bridge, line);
        assert_eq!(record["attempts"].as_array().map(Vec::len), Some(1), "{record}");
    }
    let kept = eventually("free slots", || async {
        let kept = listed(&bridge, "slots/tool/few");
        (kept["slots"]["held"] == 0).then_some(kept)
    })
    .await;
    assert_eq!((&kept["slots"], &kept["tools"]), (&json!({"held": 0, "of": 5}), &json!(["few"])));
    assert!(kept["limit"].is_null() && kept["retry_budget"].is_null(), "{kept}");
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_slot_of_a_bridge_that_was_killed_frees_itself() {
    let stub = Stub::start(|_, before| if before == 0 { Reply::Silence } else { status(200) }).await;
    let only = "timeout = \"6s\"\nidempotency_header = \"X-Key\"\nlimit = { concurrency = 1 }";
    let config = tool("one", "POST", &stub.url, only) + ALLOW;
    let mut bridge = bridge(&config).await;
    send(&bridge, "one", json!({"n": 0})).await;
    eventually("a call under way", || async { (stub.calls().len() == 1).then_some(()) }).await;
    bridge.kill();
    bridge.restart().await;
    assert_eq!(listed(&bridge, "slots/tool/one")["slots"], json!({"held": 1, "of": 1}));
    assert!(bridge.run(&["limits", "list"]).out.contains("1 of 1 under way"));
    send(&bridge, "one", json!({"n": 1})).await;
    bridge.line("one that waits", |line| is_held_up(line, "CONCURRENCY_REACHED")).await;
    // The attempt that was lost is made again when its message comes back, which is another matter.
    all_succeed(&bridge, "one", 1).await;
    let calls = stub.calls();
    assert_eq!((calls.len(), keys(&calls).len()), (2, 2));
    // The lease: the time limit and five seconds. It began a moment before the call.
    let waited = calls[1].at.duration_since(calls[0].at);
    assert!(waited >= Duration::from_secs(9), "after {waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_fails_gets_no_more_retries_than_the_budget_has_and_first_attempts_go_on() {
    let down = Arc::new(AtomicBool::new(true));
    let still = down.clone();
    let stub = Stub::start(move |_, _| status(if still.load(Ordering::SeqCst) { 500 } else { 200 })).await;
    let careful = "attempts = 20\nidempotency_header = \"X-Key\"\nretry_budget = { share = \"20%\", rate = \"4/s\" }";
    let config = tool("broken", "POST", &stub.url, careful) + ALLOW;
    let bridge = bridge(&config).await;
    for n in 0..40 {
        send(&bridge, "broken", json!({"n": n})).await;
    }
    bridge.line("a spent budget", |line| is_held_up(line, "RETRY_BUDGET_SPENT")).await;
    for n in 40..50 {
        send(&bridge, "broken", json!({"n": n})).await;
    }
    eventually("all first attempts", || async { (keys(&stub.calls()).len() == 50).then_some(()) }).await;
    let kept = listed(&bridge, "retries/broken");
    assert_eq!((&kept["retry_budget"]["burst"], &kept["limit"]), (&json!(4), &Value::Null), "{kept}");
    // Long enough that each task would have been tried three times more.
    let begun = stub.calls()[0].at;
    eventually("five seconds", || async { (begun.elapsed() >= Duration::from_secs(5)).then_some(()) }).await;
    let (calls, gone) = (stub.calls(), begun.elapsed());
    let retries = calls.len() - 50;
    // A fifth of the first attempts, four at once, four a second, and the second that a token may be used in.
    let allowed = 10.0 + 4.0 + 4.0 * (gone.as_secs_f64() + 1.0);
    assert!(retries > 0 && retries as f64 <= allowed, "{retries} retries in {gone:?}");
    down.store(false, Ordering::SeqCst);
    let done = all_succeed(&bridge, "broken", 50).await;
    let held_up = attempts(&bridge, "broken").iter().filter(|line| is_held_up(line, "RETRY_BUDGET_SPENT")).count();
    assert!(held_up > 0);
    // To be put off is no attempt: what is recorded are the calls.
    let recorded = |line: &Value| show(&bridge, line)["attempts"].as_array().map_or(0, Vec::len);
    let key = |line: &Value| line["task"].as_str().unwrap_or_default().to_owned();
    for line in done.iter().rev().take(3) {
        let made = stub.calls().iter().filter(|call| call.header("x-key") == key(line)).count();
        assert_eq!(recorded(line), made, "{line}");
    }
    let reset = bridge.run(&["limits", "reset", "retries/broken", "--json"]);
    assert_eq!((reset.status, reset.json()), (0, json!({"reset": true, "scope": "retries/broken"})));
    assert_eq!(listed(&bridge, "retries/broken"), Value::Null);
    assert_eq!(bridge.dead_letters().await, 0);
}
