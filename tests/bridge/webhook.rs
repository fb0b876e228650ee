//! Inbound: from a signed request to a tool call, and everything that is refused on the way.

use crate::support::{Bridge, Reply, Stub, eventually};
use serde_json::json;

/// A bridge whose source `hooks` (scheme `openclaw`) leads to one tool at `stub`.
pub(crate) fn config(stub: &Stub) -> String {
    format!(
        r#"
[tools.record]
method = "POST"
url = "{url}/records"
idempotency_header = "Idempotency-Key"
timeout = "5s"

[[routes]]
name = "all"
source = "hooks"
tool = "record"
input = '.body'

[network]
allow = ["127.0.0.1"]
"#,
        url = stub.url
    )
}

const SECRET: &str = "a-signing-secret";

#[tokio::test]
async fn a_signed_webhook_becomes_one_tool_call_however_often_it_is_delivered() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({"ok": true}))).await;
    let bridge = Bridge::start(&config(&stub)).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    let body = json!({"event": "task.completed", "data": {"task_id": "t1"}}).to_string();
    for _ in 0..3 {
        let (status, answer) = bridge.deliver("hooks", SECRET, body.as_bytes()).await;
        assert_eq!((status, &answer["received"]), (200, &json!(true)));
    }
    bridge.lines("event.repeated", 2).await;
    let call = eventually("the call", || async { stub.calls().first().cloned() }).await;
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/records"));
    assert_eq!(call.json(), json!({"event": "task.completed", "data": {"task_id": "t1"}}));
    assert!(call.header("idempotency-key").starts_with("task_"));
    bridge.line("the task succeeded", |line| line["kind"] == "task.attempt" && line["decision"] == "succeeded").await;
    assert_eq!(stub.calls().len(), 1);
    assert_eq!(bridge.dead_letters().await, 0);
}
