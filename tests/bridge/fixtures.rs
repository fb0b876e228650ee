//! `events/`: every fixture is what it says it is, and is taken as the delivery or the envelope that it stands for.

use crate::deliveries::ROWS;
use crate::support::{Bridge, root, take_the_journal};
use clawbridge_aws::Environment;
use clawbridge_webhook::Webhook;
use clawbridge_worker::{Batch, BatchAnswer, Worker};
use lambda_http::request::LambdaRequest;
use lambda_http::{Adapter, LambdaEvent, Service, service_fn};
use lambda_runtime::Context;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `events/webhook/` and `events/worker/` hold.
const ENVELOPES: [&str; 5] = [
    "webhook/openclaw.base64.json",
    "webhook/openclaw.text.json",
    "webhook/unsigned.json",
    "worker/batch-with-one-unreadable.json",
    "worker/event.json",
];

/// The delivery inside the envelopes.
const ENVELOPED: &str = "sha256:55cc1b13cd8e087c4ae596b6d8109bd5cd789df3d222208eac77a2ef55c553bb";

/// What `events/mcp/` holds: `tests/bridge/mcp.rs` sends it.
const EXCHANGES: [&str; 1] = ["mcp/openclaw.json"];

fn events() -> PathBuf {
    root().join("events")
}

fn read(name: &str) -> Value {
    let text = std::fs::read(events().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The JSON files below `events/`, as `FOLDER/NAME`, sorted.
fn files() -> Vec<String> {
    let names = |dir: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        entries.map(|entry| entry.expect("an entry").path()).collect()
    };
    let mut files: Vec<String> = names(&events())
        .iter()
        .filter(|path| path.is_dir())
        .flat_map(|dir| names(dir))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| path.strip_prefix(events()).expect("below events").to_str().expect("UTF-8").to_owned())
        .collect();
    files.sort();
    files
}

#[test]
fn every_fixture_is_known_and_says_where_it_came_from() {
    let deliveries: Vec<String> = ROWS.iter().map(|row| format!("{}.json", row.file)).collect();
    let mut known: Vec<&str> = deliveries.iter().map(String::as_str).chain(ENVELOPES).chain(EXCHANGES).collect();
    known.sort_unstable();
    assert_eq!(files(), known);
    let readme = std::fs::read_to_string(events().join("README.md")).expect("README.md");
    for (row, file) in ROWS.iter().zip(&deliveries) {
        let fixture = read(file);
        assert!(fixture["origin"].as_str().is_some_and(|origin| origin.len() > 20), "{file} has no origin");
        assert_eq!(fixture["source"], row.scheme(), "{file}");
        assert!(readme.contains(&format!("`{}`", row.scheme())), "README.md does not know {}", row.scheme());
        for name in fixture["headers"].as_object().expect("headers").keys() {
            let proof = ["signature", "authorization", "token", "hmac"].iter().any(|word| name.contains(word));
            assert!(!proof && *name == name.to_ascii_lowercase(), "{file}: {name}");
        }
    }
}

/// What the repository's own routes name.
const ROUTED: [&str; 4] = ["byterover", "github", "openclaw", "stripe"];

#[tokio::test]
async fn the_repositorys_own_routes_act_on_their_fixtures() {
    let config = std::fs::read_to_string(root().join("bridge.toml")).expect("bridge.toml");
    let bridge = Bridge::start(&config).await;
    let made = bridge.run(&["source", "list", "--json"]).json();
    let made: Vec<&str> = made.as_array().into_iter().flatten().filter_map(|source| source["name"].as_str()).collect();
    assert_eq!(made, ROUTED);
    let rows: Vec<&str> = ROWS.iter().filter(|row| ROUTED.contains(&row.scheme())).map(|row| row.file).collect();
    for file in &rows {
        let sent = bridge.run(&["send", &format!("events/{file}.json")]);
        assert_eq!(sent.status, 0, "{file}: {sent:?}");
    }
    bridge.lines("event.stored", rows.len()).await;
    // Four of them have a route whose tool is the echo endpoint.
    let succeeded = |line: &Value| line["kind"] == "task.attempt" && line["decision"] == "succeeded";
    for tool in ["record_payment", "notify"] {
        bridge.line(tool, |line| succeeded(line) && line["tool"] == tool).await;
    }
    let failed = bridge.journal().into_iter().find(|line| line["level"] == "error" || line["kind"] == "route.failed");
    assert_eq!(failed, None);
}

/// Lambda's context of an invocation with a minute to live.
fn context() -> Context {
    let mut context = Context::default();
    context.request_id = "c6af9ac6-7b61-11e6-9a41-93e8deadbeef".to_owned();
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970") + Duration::from_secs(60);
    context.deadline = u64::try_from(deadline.as_millis()).expect("a time");
    context
}

/// `webhook` as Lambda runs it: the envelope in, API Gateway's answer out.
async fn invoke_webhook(webhook: &Webhook, file: &str) -> Value {
    let event: LambdaRequest = serde_json::from_value(read(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    let webhook = webhook.clone();
    let handler = service_fn(move |request| {
        let webhook = webhook.clone();
        async move { webhook.handle(request).await }
    });
    let answer = Adapter::from(handler).call(LambdaEvent::new(event, context())).await.expect("an answer");
    let mut answer = serde_json::to_value(&answer).expect("JSON");
    let body = answer["body"].as_str().and_then(|text| serde_json::from_str(text).ok()).expect("a JSON body");
    answer["body"] = body;
    answer
}

async fn invoke_worker(worker: &Worker, file: &str) -> BatchAnswer {
    let batch: Batch = serde_json::from_value(read(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    worker.handle(LambdaEvent::new(batch, context())).await.expect("an answer")
}

/// The handlers in this process, on the services of a bridge.
fn handlers(bridge: &Bridge) -> (Webhook, Worker) {
    take_the_journal();
    let environment = Environment::local(&bridge.private);
    let queue_url = format!("{}/000000000000/clawbridge-work", bridge.private);
    let webhook = clawbridge_webhook::Settings {
        queue_url: queue_url.clone(),
        secret_prefix: "clawbridge".into(),
        public_url: None,
        keys_mirror: None,
    };
    let worker = clawbridge_worker::Settings {
        queue_url,
        interactive_queue_url: format!("{}/000000000000/clawbridge-interactive", bridge.private),
        events_table: "clawbridge-events".into(),
        tasks_table: "clawbridge-tasks".into(),
        limits_table: "clawbridge-limits".into(),
        channel_table: "clawbridge-channel".into(),
        channel_endpoint: "http://127.0.0.1:1/responses".into(),
        channel_look: None,
        channel_age: None,
        registry_table: "clawbridge-registry".into(),
        bridge_url: bridge.private.clone(),
        metrics_namespace: None,
        public_url: String::new(),
        secret_prefix: "clawbridge".into(),
        upstreams: None,
    };
    (Webhook::new(&environment, webhook).expect("webhook"), Worker::new(&environment, worker).expect("worker"))
}

#[tokio::test]
async fn lambdas_http_events_get_the_answers_that_they_should() {
    let bridge = Bridge::start("").await;
    bridge.add_source("openclaw", "openclaw", "fixture-secret");
    let (webhook, _) = handlers(&bridge);
    let request_id = "JKJaXmPLvHcESHA=";
    for file in ["webhook/openclaw.text.json", "webhook/openclaw.base64.json"] {
        let answer = invoke_webhook(&webhook, file).await;
        assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(200), &json!(false)), "{answer}");
        assert_eq!(answer["headers"]["content-type"], "application/json", "{file}");
        assert_eq!(answer["body"], json!({"received": true, "request_id": request_id}), "{file}");
    }
    let refused = invoke_webhook(&webhook, "webhook/unsigned.json").await;
    assert_eq!(refused["statusCode"], 401, "{refused}");
    let error =
        json!({"code": "UNVERIFIED", "message": "The signature could not be verified.", "request_id": request_id});
    assert_eq!(refused["body"], json!({"error": error}));
    // Text or base64, they are the same delivery; and with the same request id the same acceptance, whose message came twice.
    let stored = bridge.lines("event.stored", 2).await;
    for line in &stored {
        assert_eq!((&line["delivery_id"], &line["type"]), (&json!(ENVELOPED), &json!("task.completed")), "{line}");
    }
    let listed = bridge.run(&["events", "list", "--json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}

#[tokio::test]
async fn of_lambdas_queue_batches_exactly_the_unreadable_record_comes_back() {
    let bridge = Bridge::start("").await;
    let (_, worker) = handlers(&bridge);
    let good = invoke_worker(&worker, "worker/event.json").await;
    assert_eq!(good, BatchAnswer::default());
    let answer = serde_json::to_value(invoke_worker(&worker, "worker/batch-with-one-unreadable.json").await);
    let unreadable = read("worker/batch-with-one-unreadable.json")["Records"][1]["messageId"].clone();
    assert_eq!(answer.expect("JSON"), json!({"batchItemFailures": [{"itemIdentifier": unreadable}]}));
    let listed = bridge.run(&["events", "list", "--day", "2020-03-10", "--json"]).json();
    assert_eq!(listed[0]["delivery_id"], ENVELOPED, "{listed}");
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
}

#[test]
fn the_envelopes_carry_what_they_say() {
    let body = |file: &str| {
        use base64::Engine;
        let event = read(file);
        let text = event["body"].as_str().expect("a body").to_owned();
        match event["isBase64Encoded"].as_bool() {
            Some(true) => base64::engine::general_purpose::STANDARD.decode(text).expect("base64"),
            _ => text.into_bytes(),
        }
    };
    let text = body("webhook/openclaw.text.json");
    assert_eq!(body("webhook/openclaw.base64.json"), text);
    assert_eq!(body("webhook/unsigned.json"), text);
    use sha2::{Digest, Sha256};
    assert_eq!(format!("sha256:{}", hex::encode(Sha256::digest(&text))), ENVELOPED);
    let signature = crate::support::openclaw_signature("fixture-secret", &text);
    for file in ["webhook/openclaw.text.json", "webhook/openclaw.base64.json"] {
        assert_eq!(read(file)["headers"]["x-openclaw-signature"], signature, "{file}");
    }
    for file in ENVELOPES.iter().filter(|file| file.starts_with("worker/")) {
        for record in read(file)["Records"].as_array().expect("records") {
            assert_eq!(
                (&record["eventSource"], &record["messageAttributes"]),
                (&json!("aws:sqs"), &json!({})),
                "{file}"
            );
        }
    }
}
