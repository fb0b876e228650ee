//! Tools, their events and their tasks, as several tests need them.

use super::{Bridge, Call, Reply, Stub, eventually};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

pub(crate) const SECRET: &str = "a-signing-secret";

/// The table of addresses that the stubs stand on.
pub(crate) const ALLOW: &str = "\n[network]\nallow = [\"127.0.0.1\"]\n";

/// A tool of this name and a route that calls it with the body's `input` for events of the type of the same name.
pub(crate) fn tool(name: &str, method: &str, url: &str, more: &str) -> String {
    format!(
        r#"
[tools.{name}]
method = "{method}"
url = "{url}"
{more}

[[routes]]
name = "{route}"
source = "hooks"
type = "{name}"
tool = "{name}"
input = '.body.input'
"#,
        route = name.replace('_', "-")
    )
}

/// A bridge with this configuration and the source `hooks`.
pub(crate) async fn bridge(config: &str) -> Bridge {
    let bridge = Bridge::start(config).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    bridge
}

/// Delivers an event of this type.
pub(crate) async fn send(bridge: &Bridge, event_type: &str, input: Value) {
    let body = json!({"event": event_type, "input": input}).to_string();
    let (status, answer) = bridge.deliver("hooks", SECRET, body.as_bytes()).await;
    assert_eq!(status, 200, "{answer}");
}

/// The lines of a tool's attempts so far.
pub(crate) fn attempts(bridge: &Bridge, tool: &str) -> Vec<Value> {
    let of_tool = |line: &Value| line["kind"] == "task.attempt" && line["tool"] == tool;
    bridge.journal().into_iter().filter(of_tool).collect()
}

/// What was decided after each.
pub(crate) fn decisions(bridge: &Bridge, tool: &str) -> Vec<String> {
    attempts(bridge, tool).iter().map(|line| line["decision"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Waits until a task of this tool has ended, and returns the line that says so.
pub(crate) async fn ended(bridge: &Bridge, tool: &str) -> Value {
    bridge
        .line(&format!("the end of {tool}"), |line| {
            line["kind"] == "task.attempt"
                && line["tool"] == tool
                && ["succeeded", "failed", "parked"].iter().any(|end| line["decision"] == *end)
        })
        .await
}

/// The task's record.
pub(crate) fn show(bridge: &Bridge, line: &Value) -> Value {
    bridge.run(&["tasks", "show", line["task"].as_str().expect("a task"), "--json"]).json()
}

/// An API whose answers to each path are these, one after the other, and then `{"ok":true}`.
pub(crate) async fn scripted(script: &[(&str, Vec<Reply>)]) -> Stub {
    let script: Vec<(String, Vec<Reply>)> =
        script.iter().map(|(path, replies)| ((*path).to_owned(), replies.clone())).collect();
    let counts: Mutex<BTreeMap<String, usize>> = Mutex::default();
    Stub::start(move |call, _| {
        let mut counts = counts.lock().expect("counts");
        let count = counts.entry(call.path.clone()).or_default();
        *count += 1;
        let replies = script.iter().find(|(path, _)| *path == call.path).map(|(_, replies)| replies);
        replies.and_then(|replies| replies.get(*count - 1)).cloned().unwrap_or(Reply::Json(200, json!({"ok": true})))
    })
    .await
}

pub(crate) fn status(status: u16) -> Reply {
    Reply::Json(status, json!({"status": status}))
}

/// Waits until a tool has had this many attempts of any decision, and returns the decisions.
pub(crate) async fn decided(bridge: &Bridge, tool: &str, count: usize) -> Vec<String> {
    eventually(&format!("{count} lines of {tool}"), || {
        let decisions = decisions(bridge, tool);
        async move { (decisions.len() >= count).then_some(decisions) }
    })
    .await
}

pub(crate) fn keys(calls: &[Call]) -> BTreeSet<&str> {
    calls.iter().map(|call| call.header("x-key")).collect()
}

/// Puts a message on the queue as the functions do.
pub(crate) async fn enqueue(bridge: &Bridge, texts: &[String]) {
    let entries: Vec<Value> =
        texts.iter().enumerate().map(|(n, text)| json!({"Id": n.to_string(), "MessageBody": text})).collect();
    let url = format!("{}/000000000000/clawbridge-work", bridge.private);
    let answer = bridge.aws("AmazonSQS.SendMessageBatch", &json!({"QueueUrl": url, "Entries": entries})).await;
    assert_eq!(answer["Successful"].as_array().map(Vec::len), Some(texts.len()), "{answer}");
}

/// Waits until nothing is on the queue.
pub(crate) async fn idle(bridge: &Bridge) {
    eventually("an empty queue", || async { (bridge.messages("clawbridge-work").await == 0).then_some(()) }).await;
}

pub(crate) fn retry(bridge: &Bridge, line: &Value) {
    let answer = bridge.run(&["tasks", "retry", line["task"].as_str().expect("a task"), "--json"]);
    assert_eq!((answer.status, &answer.json()["queued"]), (0, &json!(true)), "{answer:?}");
}

/// The event that a task came from.
pub(crate) fn event_of(line: &Value) -> &str {
    line["event"].as_str().expect("an event")
}
