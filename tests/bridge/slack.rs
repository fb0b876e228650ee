//! "Slack in one file": README.md's own block, and a stand-in for Slack.

use crate::readme::block_with;
use crate::support::{Bridge, Options, client, eventually};
use crate::tool_commands::set_secret;
use serde_json::Value;
use tempfile::TempDir;

/// What Slack answers: 200 also where it does nothing. <https://docs.slack.dev/reference/methods/chat.postMessage>
const SLACK: &str = r#"
[[answer]]
host = "slack.com"
path = "/api/chat.postMessage"
method = "POST"
body = '.channel == "C0123456789"'
json = { ok = true, channel = "C0123456789", ts = "1503435956.000247" }

[[answer]]
host = "slack.com"
json = { ok = false, error = "channel_not_found" }

[[answer]]
echo = true
"#;

const TOKEN: &str = "xoxb-a-token-of-slack";

async fn started(config: &str) -> (Bridge, TempDir) {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("slack.toml");
    std::fs::write(&path, SLACK).expect("a script");
    let args = vec!["--stub".to_owned(), path.to_str().expect("a path").to_owned()];
    let bridge = Bridge::start_with(Options { config: Some(config.to_owned()), args }).await;
    set_secret(&bridge, "slack", TOKEN);
    (bridge, dir)
}

async fn requests(bridge: &Bridge) -> Vec<Value> {
    let answer = client().get(format!("{}/__stub", bridge.private)).send().await.expect("an answer");
    let page: Value = serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON");
    let of_slack = |one: &&Value| one.to_string().contains("chat.postMessage");
    page["requests"].as_array().expect("requests").iter().filter(of_slack).cloned().collect()
}

#[tokio::test]
async fn a_completed_task_is_a_message_in_slack_with_nothing_but_the_readmes_file() {
    let readme = block_with("chat.postMessage");
    let config = format!(
        "{readme}\n[tools.list_files]\nmethod = \"POST\"\nurl = \"https://files.example.com/\"\neffect = \"idempotent\"\n"
    );
    let (bridge, _dir) = started(&config).await;
    let ran = bridge.run(&["tasks", "submit", "list_files", "--input", "{}", "--wait", "30s"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let sent = eventually("a message", || async { requests(&bridge).await.into_iter().next() }).await;
    let text = sent.to_string();
    assert!(text.contains("OpenClaw task completed") && text.contains("list_files"), "{sent}");
    bridge.line("Slack has it", |line| line["tool"] == "slack" && line["decision"] == "succeeded").await;
    // The message is a task that completes as well, and is not told in turn.
    assert_eq!(requests(&bridge).await.len(), 1);
    assert!(!format!("{:?}", bridge.journal()).contains(TOKEN));
}

#[tokio::test]
async fn what_slack_refuses_with_a_200_is_a_failure() {
    let config = block_with("chat.postMessage").replace("C0123456789", "C0000000000");
    let (bridge, _dir) = started(&config).await;
    let ran = bridge.run(&["tasks", "submit", "slack", "--input", r#"{"text": "hello"}"#, "--wait", "30s"]);
    assert_eq!(ran.status, 1, "{ran:?}");
    let line = bridge.line("it failed", |line| line["tool"] == "slack" && line["decision"] == "failed").await;
    assert_eq!(line["code"], "UNEXPECTED_RESPONSE", "{line}");
}
