//! The operator's commands, as a person or a script uses them.

use crate::support::{Bridge, root};

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
