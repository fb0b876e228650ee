//! Messages on the queue: those that come twice, those that nobody can read, and the batches that they come in.

use crate::support::work::{
    ALLOW, attempts, bridge, decided, decisions, ended, enqueue, event_of, idle, keys, scripted, send, show, status,
    tool,
};
use crate::support::{Bridge, Options, Reply, Stub, eventually, take_the_journal};
use clawbridge_clock::Timestamp;
use clawbridge_queue::{Body, EventMessage, Message, ReplayMessage, TaskMessage};
use clawbridge_worker::{Batch, Settings, Worker};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test]
async fn a_replay_runs_what_failed_once_however_often_its_message_comes() {
    let broken = Arc::new(AtomicBool::new(true));
    let still = broken.clone();
    let stub = Stub::start(move |call, _| {
        let fails = call.path == "/flaky" && still.load(Ordering::SeqCst);
        if fails { status(422) } else { status(200) }
    })
    .await;
    let config = format!(
        "[tools.steady]\nmethod = \"POST\"\nurl = \"{0}/steady\"\neffect = \"unsafe\"\n\
         [tools.flaky]\nmethod = \"POST\"\nurl = \"{0}/flaky\"\neffect = \"unsafe\"\n\
         [[routes]]\nname = \"steady\"\nsource = \"hooks\"\ntool = \"steady\"\n\
         [[routes]]\nname = \"flaky\"\nsource = \"hooks\"\ntool = \"flaky\"\n{ALLOW}",
        stub.url
    );
    let bridge = bridge(&config).await;
    send(&bridge, "order", json!({})).await;
    let line = ended(&bridge, "flaky").await;
    assert_eq!((&line["decision"], &line["code"]), (&json!("failed"), &json!("VALIDATION_ERROR")));
    ended(&bridge, "steady").await;

    // SQS may hand a message out twice, and does when a worker dies after the work and before the answer.
    let replay = |nonce: &str| {
        let message = ReplayMessage {
            event: event_of(&line).to_owned(),
            nonce: nonce.to_owned(),
            again: false,
            subscription: None,
        };
        Message::Replay(message).encode().expect("a message")
    };
    for count in 2..4 {
        enqueue(&bridge, &[replay("replay-1")]).await;
        decided(&bridge, "flaky", count).await;
    }
    assert_eq!(decisions(&bridge, "flaky"), ["failed", "failed", "reused"]);
    assert_eq!(stub.calls_of("/flaky").len(), 2);
    // Another replay is another wish; what succeeded stays as it is.
    broken.store(false, Ordering::SeqCst);
    assert_eq!(bridge.run(&["events", "replay", event_of(&line)]).status, 0);
    assert_eq!(decided(&bridge, "flaky", 4).await[3], "succeeded");
    bridge.lines("event.replayed", 3).await;
    idle(&bridge).await;
    assert_eq!((stub.calls_of("/flaky").len(), stub.calls_of("/steady").len()), (3, 1));
    assert_eq!(decisions(&bridge, "steady"), ["succeeded", "reused", "reused", "reused"]);
}

#[tokio::test]
async fn a_retry_asks_once_however_often_its_message_comes() {
    let stub = Stub::start(|_, _| status(422)).await;
    let config = tool("call", "POST", &stub.url, "effect = \"unsafe\"") + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "call", json!({})).await;
    let line = ended(&bridge, "call").await;
    let retry = |after_attempt| {
        let task = line["task"].as_str().expect("a task").to_owned();
        let message = TaskMessage { task, retry_after_attempt: after_attempt, ..TaskMessage::default() };
        Message::Task(message).encode().expect("a message")
    };
    for (count, message) in [(2, retry(Some(1))), (3, retry(Some(1))), (4, retry(None)), (5, retry(Some(7)))] {
        enqueue(&bridge, &[message]).await;
        decided(&bridge, "call", count).await;
    }
    assert_eq!(decisions(&bridge, "call"), ["failed", "failed", "reused", "reused", "reused"]);
    assert_eq!(stub.calls().len(), 2);
}

#[tokio::test]
async fn a_message_that_nobody_can_read_ends_in_the_dead_letter_queue_and_its_neighbours_are_worked_once() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let config = tool("call", "POST", &stub.url, "idempotency_header = \"X-Key\"") + ALLOW;
    let options = Options { config: Some(config), args: vec!["--visibility".into(), "1".into()] };
    let bridge = Bridge::start_with(options).await;
    let garbage = ["not JSON", "{\"v\":2,\"kind\":\"task\",\"task\":\"t\"}", "{\"v\":1,\"kind\":\"party\"}"];
    let batch = [
        event(1),
        garbage[0].to_owned(),
        event(2),
        garbage[1].to_owned(),
        task("task_of_another_time"),
        garbage[2].to_owned(),
        event(3),
    ];
    // One send, so that one receive takes them all.
    enqueue(&bridge, &batch).await;
    eventually("three dead letters", || async { (bridge.dead_letters().await == 3).then_some(()) }).await;
    idle(&bridge).await;

    let lines: Vec<Value> = bridge.journal().into_iter().filter(|line| line["kind"] == "bridge.failed").collect();
    let of = |code: &str| lines.iter().filter(|line| line["code"] == code).count();
    // Ten receives each, as the queue is set.
    assert_eq!(of("MESSAGE_UNREADABLE"), 30, "{lines:?}");
    // A neighbour that took longer than a message stays hidden here came again itself, and was known.
    assert!(of("TASK_GONE") >= 1 && of("TASK_GONE") + 30 == lines.len(), "{lines:?}");
    assert!(lines.iter().any(|line| line["reason"].as_str().is_some_and(|text| text.contains("has version 2"))));
    assert!(!format!("{lines:?}").contains("not JSON"), "{lines:?}");
    assert_eq!((stub.calls().len(), keys(&stub.calls()).len()), (3, 3));
    assert_eq!(decisions(&bridge, "call").iter().filter(|decision| *decision == "succeeded").count(), 3);
    let url = format!("{}/000000000000/clawbridge-dead", bridge.private);
    let received = bridge.aws("AmazonSQS.ReceiveMessage", &json!({"QueueUrl": url, "MaxNumberOfMessages": 10})).await;
    let dead: BTreeSet<&str> = received["Messages"]
        .as_array()
        .expect("messages")
        .iter()
        .filter_map(|message| message["Body"].as_str())
        .collect();
    assert_eq!(dead, garbage.into());
}

/// The message of an event of the type `call`.
fn event(n: u32) -> String {
    let body = json!({"event": "call", "input": {"n": n}}).to_string();
    let message = EventMessage {
        nonce: format!("request-{n}"),
        source: "hooks".into(),
        r#type: "call".into(),
        delivery_id: format!("delivery-{n}"),
        received_at: Timestamp::now(),
        headers: Vec::new(),
        body: Body::inline(clawbridge_packed::Packed::pack(body.as_bytes())),
        hops: 0,
        deferrals: 0,
        trace: None,
    };
    Message::Event(message).encode().expect("a message")
}

/// The worker in this process, on the services of a bridge.
fn worker(bridge: &Bridge) -> Worker {
    take_the_journal();
    let settings = Settings {
        queue_url: format!("{}/000000000000/clawbridge-work", bridge.private),
        interactive_queue_url: format!("{}/000000000000/clawbridge-interactive", bridge.private),
        events_table: "clawbridge-events".into(),
        tasks_table: "clawbridge-tasks".into(),
        limits_table: "clawbridge-limits".into(),
        channel_table: "clawbridge-channel".into(),
        channel_endpoint: "http://127.0.0.1:1/responses".into(),
        channel_look: None,
        channel_age: None,
        registry_table: "clawbridge-registry".into(),
        bridge_url: String::new(),
        metrics_namespace: None,
        public_url: String::new(),
        secret_prefix: "clawbridge".into(),
        upstreams: None,
    };
    Worker::new(&clawbridge_aws::Environment::local(&bridge.private), settings).expect("a worker")
}

/// Hands it a batch of these messages, by id, in an invocation that has `left` milliseconds; returns the ids that must come back.
async fn invoke(worker: &Worker, left: u64, records: &[(&str, String)]) -> Vec<String> {
    let records: Vec<Value> = records.iter().map(|(id, body)| json!({"messageId": id, "body": body})).collect();
    let batch: Batch = serde_json::from_value(json!({"Records": records})).expect("a batch");
    let mut context = Context::default();
    context.deadline = u64::try_from(Timestamp::now().millis()).expect("a time") + left;
    let answer = worker.handle(LambdaEvent::new(batch, context)).await.expect("an answer");
    answer.failures.into_iter().map(|failure| failure.message_id).collect()
}

fn task(id: &str) -> String {
    let message = TaskMessage::due(id);
    Message::Task(message).encode().expect("a message")
}

/// A panic on the way of one record. The journal's sink is the one thing that the worker calls and a test may bring, so it happens there.
#[tokio::test]
async fn a_panic_in_one_record_brings_back_that_record_alone() {
    let bridge = Bridge::start("").await;
    let worker = worker(&bridge);
    let batch = [
        ("before", task("task_that_is_gone")),
        ("panics", task("task_that_panics")),
        ("unreadable", "?".to_owned()),
        ("after", task("task_that_is_gone_too")),
    ];
    for _ in 0..2 {
        // Twice: what the panic left behind does not hurt the next batch.
        assert_eq!(invoke(&worker, 60_000, &batch).await, ["panics", "unreadable"]);
    }
}

#[tokio::test]
async fn a_call_for_which_an_invocation_has_no_time_left_is_made_by_another_and_counts_as_no_attempt() {
    let stub = scripted(&[("/", vec![status(503)])]).await;
    let config = tool("call", "POST", &stub.url, "effect = \"unsafe\"\nattempts = 2") + ALLOW;
    let bridge = Bridge::start(&config).await;
    // Less than what is kept for writing down how a call went.
    assert!(invoke(&worker(&bridge), 1_500, &[("late", event(1))]).await.is_empty());
    // Its task is on the queue, where the bridge finds it. The API may fail once all the same.
    assert_eq!(decided(&bridge, "call", 2).await, ["retry", "succeeded"]);
    let record = show(&bridge, &attempts(&bridge, "call")[1]);
    let codes: Vec<&str> = record["attempts"]
        .as_array()
        .expect("attempts")
        .iter()
        .filter_map(|attempt| attempt["code"].as_str())
        .collect();
    // What was not begun is no attempt in the history either.
    assert_eq!((codes, &record["failures"], stub.calls().len()), (vec!["UNAVAILABLE"], &json!(1), 2));
}
