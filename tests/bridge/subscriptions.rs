//! Webhooks that the bridge sends: what is delivered and how it is signed, what happens where it cannot be, and who decides about it.

use crate::api::{User, admin};
use crate::support::work::enqueue;
use crate::support::{Bridge, Call, Options, Reply, Stub, eventually, hmac_sha256, openclaw_signature};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
[tools.ping]
method = "POST"
url = "bridge:/echo/ping"
effect = "idempotent"
body = "."

[network]
allow = ["127.0.0.1"]
"#;

const SECRET: &str = "your-webhook-secret";

/// Makes a webhook and returns its id.
async fn subscribe(user: &User<'_>, body: Value) -> String {
    let made = user.json("POST", "/webhooks", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let id = made.body["id"].as_str().expect("an id").to_owned();
    assert_eq!(made.headers["location"], format!("/api/v1/webhooks/{id}"));
    id
}

/// Completes a task; its id.
async fn complete(user: &User<'_>, n: u32) -> String {
    let called = user.json("POST", "/tools/ping/invoke", &json!({"input": {"n": n}})).await;
    assert_eq!((called.status, &called.body["status"]), (200, &json!("completed")), "{called:?}");
    called.body["id"].as_str().expect("an id").to_owned()
}

/// Waits until the receiver has had so many calls.
async fn calls(stub: &Stub, count: usize) -> Vec<Call> {
    eventually(&format!("{count} deliveries"), || async {
        let calls = stub.calls();
        (calls.len() >= count).then_some(calls)
    })
    .await
}

async fn shown(user: &User<'_>, id: &str) -> Value {
    user.get(&format!("/webhooks/{id}")).await.body
}

async fn deliveries(user: &User<'_>, id: &str) -> Vec<Value> {
    let got = user.get(&format!("/webhooks/{id}/deliveries")).await;
    got.body["deliveries"].as_array().unwrap_or_else(|| panic!("{got:?}")).clone()
}

/// Waits for a delivery that is so.
async fn delivery(user: &User<'_>, id: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || async { deliveries(user, id).await.into_iter().find(|one| is_it(one)) }).await
}

fn ok() -> Reply {
    Reply::Json(200, json!({"received": true}))
}

/// Whether one of the signatures of Standard Webhooks is this secret's: the check of its own libraries, written from the specification.
fn is_standard(call: &Call, secret: &str) -> bool {
    let key = match secret.strip_prefix("whsec_") {
        Some(bare) => STANDARD.decode(bare).expect("base64"),
        None => secret.as_bytes().to_vec(),
    };
    let head = format!("{}.{}.", call.header("webhook-id"), call.header("webhook-timestamp"));
    let expected = STANDARD.encode(hmac_sha256(&key, &[head.as_bytes(), &call.body].concat()));
    call.header("webhook-signature").split(' ').any(|one| one.strip_prefix("v1,") == Some(&expected))
}

#[tokio::test]
async fn the_tutorials_webhook_is_delivered_signed_as_it_says_and_as_the_standard_says() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let stub = Stub::start(|_, _| ok()).await;
    let id = subscribe(
        &user,
        json!({"url": format!("{}/openclaw-webhook", stub.url), "events": ["task.completed", "task.failed", "skill.installed"],
            "secret": SECRET}),
    )
    .await;
    let task = complete(&user, 1).await;
    let call = calls(&stub, 1).await[0].clone();
    assert_eq!((call.method.as_str(), call.path.as_str()), ("POST", "/openclaw-webhook"));
    assert_eq!(call.header("content-type"), "application/json");
    // As the tutorial verifies it: over the body, and over what its example makes of the body.
    assert_eq!(call.header("x-openclaw-signature"), openclaw_signature(SECRET, &call.body));
    let body = call.json();
    let (data, text) = (&body["data"], String::from_utf8(call.body.clone()).expect("text"));
    assert_eq!(
        (&body["event"], &data["task_id"], &data["status"]),
        (&json!("task.completed"), &json!(task), &json!("completed"))
    );
    assert!(data["duration_ms"].is_u64() && body["timestamp"].is_string(), "{text}");
    assert!(text.starts_with(r#"{"id":"evt_"#) && text.len() == body.to_string().len(), "{text}");
    // As Standard Webhooks does.
    assert!(is_standard(&call, SECRET) && !is_standard(&call, "another-secret-of-it"));
    assert_eq!(body["id"].as_str(), Some(call.header("webhook-id")));
    let sent_at: i64 = call.header("webhook-timestamp").parse().expect("seconds");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_secs();
    assert!(i64::try_from(now).expect("seconds").abs_diff(sent_at) < 60);

    let log = delivery(&user, &id, "the log says so", |one| one["status"] == "delivered").await;
    let attempt = &log["attempts"][0];
    assert_eq!((&attempt["status"], &attempt["body"]), (&json!(200), &json!(r#"{"received":true}"#)), "{log}");
    assert_eq!(log["event_id"], body["id"]);
    assert_eq!(shown(&user, &id).await["failures"], 0);
    assert_eq!(stub.calls().len(), 1, "one event is one delivery");

    // The secret is in Secrets Manager, and nowhere else.
    let everywhere = [
        format!("{:?}", bridge.journal()),
        bridge.complaints(),
        shown(&user, &id).await.to_string(),
        user.get("/webhooks").await.text,
        log.to_string(),
    ];
    for table in ["registry", "tasks", "events"] {
        let rows = bridge.aws("DynamoDB_20120810.Scan", &json!({"TableName": format!("clawbridge-{table}")})).await;
        assert!(rows["Count"].as_u64().is_some_and(|count| count > 0), "{rows}");
        assert!(!rows.to_string().contains(SECRET), "{table}");
    }
    assert!(everywhere.iter().all(|text| !text.contains(SECRET)), "{everywhere:?}");
}

#[tokio::test]
async fn each_kind_of_event_reaches_who_wants_it_and_a_filter_takes_its_choice() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let stub = Stub::start(|_, _| ok()).await;
    let to = |path: &str| format!("{}/{path}", stub.url);
    subscribe(&user, json!({"url": to("all"), "events": ["task.*"]})).await;
    subscribe(&user, json!({"url": to("none"), "events": ["skill.*"]})).await;
    subscribe(&user, json!({"url": to("system"), "events": ["system.error"]})).await;
    let filter = ".event == \"task.completed\" and .data.tool == \"pong\"";
    subscribe(&user, json!({"url": to("pong"), "events": ["*"], "filter": filter})).await;
    subscribe(&user, json!({"url": to("broken"), "events": ["task.completed"], "filter": ".data.tool | keys"})).await;
    complete(&user, 1).await;
    eventually("three events", || async { (stub.calls_of("/all").len() >= 3).then_some(()) }).await;
    let kinds: BTreeSet<String> =
        stub.calls_of("/all").iter().map(|call| call.json()["event"].as_str().unwrap_or_default().to_owned()).collect();
    let expected = ["task.completed", "task.created", "task.started"].map(str::to_owned);
    assert_eq!(kinds, BTreeSet::from(expected));
    let failed = bridge.line("the broken filter is told", |line| line["kind"] == "route.failed").await;
    assert!(failed["route"].as_str().is_some_and(|route| route.starts_with("webhook:wh_")), "{failed}");
    assert_eq!(stub.calls().len(), 3, "{:?}", stub.calls());
    // What the bridge could not do is told once, however often it tries.
    enqueue(&bridge, &["no message of the bridge".to_owned(), "nor this".to_owned()]).await;
    let told = eventually("the bridge's failure is told", || async { stub.calls_of("/system").first().cloned() }).await;
    assert_eq!(
        (&told.json()["event"], &told.json()["data"]["code"]),
        (&json!("system.error"), &json!("MESSAGE_UNREADABLE"))
    );
    assert_eq!(stub.calls_of("/system").len(), 1);
}

#[tokio::test]
async fn while_a_secret_is_rotated_both_are_good_and_neither_is_told_twice() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    // A receiver that checks the tutorial's header alone, with the newer secret: the older signs first.
    let newer: Arc<std::sync::Mutex<String>> = Arc::default();
    let known = newer.clone();
    let stub = Stub::start(move |call, _| {
        let secret = known.lock().expect("the secret").clone();
        let is_good = call.header("x-openclaw-signature") == openclaw_signature(&secret, &call.body);
        if is_good { ok() } else { Reply::Json(401, json!({"error": format!("I know {secret}")})) }
    })
    .await;
    let made = user.json("POST", "/webhooks", &json!({"url": stub.url, "events": ["task.completed"]})).await;
    let (id, older) =
        (made.body["id"].as_str().expect("an id"), made.body["secret"].as_str().expect("a secret").to_owned());
    assert!(older.starts_with("whsec_") && !shown(&user, id).await.to_string().contains(&older));
    let rotated = user.json("POST", &format!("/webhooks/{id}/rotate"), &json!({"overlap_s": 600})).await;
    let secret = rotated.body["secret"].as_str().expect("a secret").to_owned();
    assert!(rotated.status == 200 && secret != older && rotated.body["previous_until"].is_string(), "{rotated:?}");
    newer.lock().expect("the secret").clone_from(&secret);
    complete(&user, 1).await;
    let calls = calls(&stub, 2).await;
    for call in &calls {
        assert!(is_standard(call, &older) && is_standard(call, &secret), "{call:?}");
    }
    assert_eq!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
    assert_eq!(calls[0].body, calls[1].body);
    assert_eq!(calls[0].header("x-openclaw-signature"), openclaw_signature(&older, &calls[0].body));
    let log = delivery(&user, id, "delivered with the second", |one| one["status"] == "delivered").await;
    assert_eq!(log["attempts"][0]["body"], json!(r#"{"error":"I know ***"}"#), "{log}");
    // Without overlap the older one signs no more.
    let ended = user
        .json("POST", &format!("/webhooks/{id}/rotate"), &json!({"overlap_s": 0, "secret": "a-third-secret-of-it"}))
        .await;
    assert_eq!((ended.status, &ended.body["secret"]), (200, &Value::Null), "{ended:?}");
    let journal = format!("{:?}", bridge.journal());
    assert!(!journal.contains(&older) && !journal.contains(&secret));
}

#[tokio::test]
async fn what_fails_is_tried_again_when_the_endpoint_wants_it() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let stub =
        Stub::start(|_, _| Reply::With(302, vec![("location".into(), "/elsewhere".into())], String::new())).await;
    let twice = Stub::start(|_, n| if n == 0 { Reply::Json(500, json!({"oh": "no"})) } else { ok() }).await;
    let later = Stub::start(|_, n| match n {
        0 => Reply::With(429, vec![("retry-after".into(), "9".into())], String::new()),
        _ => ok(),
    })
    .await;
    let id = subscribe(&user, json!({"url": twice.url, "events": ["task.completed"], "secret": SECRET})).await;
    subscribe(&user, json!({"url": later.url, "events": ["task.completed"]})).await;
    let redirect =
        subscribe(&user, json!({"url": format!("{}/redirect", stub.url), "events": ["task.completed"]})).await;
    complete(&user, 1).await;
    let calls_of_twice = calls(&twice, 2).await;
    assert_eq!(calls_of_twice[0].body, calls_of_twice[1].body);
    assert_eq!(calls_of_twice[0].header("webhook-id"), calls_of_twice[1].header("webhook-id"));
    assert!(
        is_standard(&calls_of_twice[0], SECRET) && is_standard(&calls_of_twice[1], SECRET),
        "each has its own time"
    );
    let pause = calls_of_twice[1].at - calls_of_twice[0].at;
    assert!(pause >= Duration::from_millis(3_900), "the schedule's five seconds, a fifth less at most: {pause:?}");
    let log = delivery(&user, &id, "delivered", |one| one["status"] == "delivered").await;
    let statuses: Vec<&Value> =
        log["attempts"].as_array().expect("attempts").iter().map(|one| &one["status"]).collect();
    assert_eq!(statuses, [&json!(500), &json!(200)], "{log}");
    assert_eq!(log["attempts"][0]["body"], json!(r#"{"oh":"no"}"#));
    // That it works again is written down.
    eventually("no failures any more", || async { (shown(&user, &id).await["failures"] == 0).then_some(()) }).await;
    let calls_of_later = calls(&later, 2).await;
    let pause = calls_of_later[1].at - calls_of_later[0].at;
    assert!(pause >= Duration::from_secs(9), "{pause:?}");
    let log = delivery(&user, &redirect, "a redirect is a failure", |one| !one["attempts"][0].is_null()).await;
    assert_eq!((&log["attempts"][0]["status"], &log["status"]), (&json!(302), &json!("pending")), "{log}");
    assert!(stub.calls_of("/elsewhere").is_empty());
}

#[tokio::test]
async fn an_endpoint_that_says_410_is_left_alone_and_others_are_told() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let gone = Stub::start(|_, _| Reply::Json(410, json!({}))).await;
    let watcher = Stub::start(|_, _| ok()).await;
    let id = subscribe(&user, json!({"url": gone.url, "events": ["task.completed", "webhook.*"]})).await;
    subscribe(&user, json!({"url": watcher.url, "events": ["webhook.*"], "description": "tells me"})).await;
    complete(&user, 1).await;
    // Two things happened, and which is told first is not promised: the delivery was given up, and the webhook is left alone.
    let told: Vec<Value> = calls(&watcher, 2).await.iter().map(|call| call.json()).collect();
    let paused = told.iter().find(|one| one["event"] == "webhook.paused").expect("that it is paused is told");
    assert_eq!((&paused["data"]["webhook_id"], &paused["data"]["reason"]), (&json!(id), &json!("gone")));
    assert!(told.iter().any(|one| one["event"] == "webhook.failed"), "{told:?}");
    let webhook = shown(&user, &id).await;
    assert_eq!((&webhook["status"], &webhook["paused"]["reason"]), (&json!("paused"), &json!("gone")), "{webhook}");
    assert_eq!(webhook["held_since"], Value::Null);
    complete(&user, 2).await;
    bridge.lines("event.stored", 2).await;
    // Nothing more comes of that, for whoever is told and for the one that is gone.
    assert_eq!((gone.calls().len(), watcher.calls().len()), (1, 2));
    let line = bridge.line("its line", |line| line["kind"] == "webhook.paused").await;
    assert_eq!((&line["subscription"], &line["reason"]), (&json!(id), &json!("gone")));
}

#[tokio::test]
async fn one_that_fails_for_long_is_paused_and_gets_what_it_missed_when_it_is_resumed() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let status = Arc::new(AtomicU16::new(500));
    let answers = status.clone();
    let stub = Stub::start(move |_, _| Reply::Json(answers.load(Ordering::SeqCst), json!({}))).await;
    let id = subscribe(&user, json!({"url": stub.url, "events": ["task.completed"], "pause_after_s": 1})).await;
    for n in 0..5 {
        complete(&user, n).await;
        calls(&stub, usize::try_from(n + 1).expect("a number")).await;
    }
    let webhook = eventually("it is paused", || async {
        let webhook = shown(&user, &id).await;
        (webhook["status"] == "paused").then_some(webhook)
    })
    .await;
    assert_eq!(webhook["paused"]["reason"], "failing", "{webhook}");
    assert!(webhook["failures"].as_u64().is_some_and(|failures| failures >= 5), "{webhook}");
    // What functions believe is five seconds old at most; then what comes is held.
    let before = eventually("nothing is delivered any more", || async {
        let before = stub.calls().len();
        complete(&user, 100).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        (stub.calls().len() == before).then_some(before)
    })
    .await;
    let mut held = BTreeSet::new();
    for n in 200..203 {
        held.insert(complete(&user, n).await);
    }
    let refused = user
        .json("POST", &format!("/webhooks/{id}/replay"), &json!({"since": webhook["created_at"], "dry_run": false}))
        .await;
    assert_eq!((refused.status, &refused.body["error"]["code"]), (409, &json!("conflict")), "{refused:?}");
    status.store(200, Ordering::SeqCst);
    let resumed = user.json("POST", &format!("/webhooks/{id}/resume"), &json!({})).await;
    assert_eq!(
        (resumed.status, &resumed.body["status"], &resumed.body["failures"]),
        (200, &json!("active"), &json!(0)),
        "{resumed:?}"
    );
    let tasks = eventually("what was held is delivered", || async {
        let tasks: Vec<String> = stub.calls()[before..]
            .iter()
            .map(|call| call.json()["data"]["task_id"].as_str().unwrap_or_default().to_owned())
            .collect();
        held.iter().all(|task| tasks.contains(task)).then_some(tasks)
    })
    .await;
    for task in &held {
        assert_eq!(tasks.iter().filter(|one| *one == task).count(), 1, "each once: {tasks:?}");
    }
    assert_eq!(shown(&user, &id).await["held_since"], Value::Null);
}

#[tokio::test]
async fn an_address_that_is_not_public_is_refused_when_it_is_named_and_when_it_is_called() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let stub = Stub::start(|_, _| ok()).await;
    for (url, says) in [
        ("https://169.254.169.254/latest", "not a public address"),
        ("https://10.0.0.1/", "not a public address"),
        ("https://[::1]/", "not a public address"),
        ("http://1.1.1.1/", "https"),
        ("https://no-such-name.invalid/", "leads to no address"),
        ("ftp://a.example/", "https"),
        ("https://user:pass@1.1.1.1/", "user and password"),
        ("https://1.1.1.1/#x", "fragment"),
        ("not an address", "no address such as"),
    ] {
        let got = user.json("POST", "/webhooks", &json!({"url": url, "events": ["*"]})).await;
        let field = &got.body["error"]["fields"][0];
        assert_eq!((got.status, &field["path"]), (400, &json!("url")), "{url}: {got:?}");
        assert!(field["message"].as_str().is_some_and(|message| message.contains(says)), "{url}: {field}");
    }
    assert_eq!(user.get("/webhooks").await.body["webhooks"], json!([]));
    let secrets = bridge.aws("secretsmanager.ListSecrets", &json!({})).await;
    assert!(!secrets.to_string().contains("/webhooks/"), "nothing is made of what is refused");
    // Allowed when it was named, and not any more.
    let id = subscribe(&user, json!({"url": stub.url, "events": ["task.completed"]})).await;
    complete(&user, 1).await;
    calls(&stub, 1).await;
    let loaded = bridge.lines("config.loaded", 1).await.len();
    bridge.write_config(&CONFIG.replace("\"127.0.0.1\"", ""));
    eventually("the worker has the new version", || async {
        complete(&user, 2).await;
        (bridge.lines("config.loaded", 1).await.len() > loaded).then_some(())
    })
    .await;
    let before = stub.connections();
    let task = complete(&user, 3).await;
    let log = delivery(&user, &id, "it was refused", |one| one["status"] == "failed").await;
    assert_eq!(log["attempts"][0]["code"], "ADDRESS_FORBIDDEN", "{log}");
    assert!(stub.calls().iter().all(|call| call.json()["data"]["task_id"] != json!(task)));
    assert_eq!(stub.connections(), before);
}

#[tokio::test]
async fn an_answers_body_is_bounded_in_size_and_time() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let huge = Stub::start(|_, _| Reply::With(200, Vec::new(), "x".repeat(5_000_000))).await;
    let slow = Stub::start(|_, _| Reply::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf".to_vec())).await;
    let (one, two) = (
        subscribe(&user, json!({"url": huge.url, "events": ["task.completed"]})).await,
        subscribe(&user, json!({"url": slow.url, "events": ["task.completed"]})).await,
    );
    complete(&user, 1).await;
    let log = delivery(&user, &one, "the huge answer is a delivery", |one| one["status"] == "delivered").await;
    let body = log["attempts"][0]["body"].as_str().expect("a body");
    assert!(body.starts_with("xxx") && body.len() < 1_100, "{} bytes", body.len());
    let log = delivery(&user, &two, "the slow answer is a delivery", |one| one["status"] == "delivered").await;
    assert_eq!(log["attempts"][0]["body"], "half…", "{log}");
    assert!(log["attempts"][0]["ms"].as_u64().is_some_and(|ms| ms < 8_000), "{log}");
    assert_eq!((huge.calls().len(), slow.calls().len()), (1, 1));
}

#[tokio::test]
async fn a_period_is_counted_first_and_then_delivered_again_under_the_same_ids() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let stub = Stub::start(|_, _| ok()).await;
    let id = subscribe(&user, json!({"url": stub.url, "events": ["task.completed"]})).await;
    for n in 0..3 {
        complete(&user, n).await;
    }
    let first: BTreeSet<String> =
        calls(&stub, 3).await.iter().map(|call| call.header("webhook-id").to_owned()).collect();
    eventually("all is delivered", || async {
        let delivered = deliveries(&user, &id).await.iter().filter(|one| one["status"] == "delivered").count();
        (delivered == 3).then_some(())
    })
    .await;
    let replay = format!("/webhooks/{id}/replay");
    let since = json!(shown(&user, &id).await["created_at"]);
    let counted = user.json("POST", &replay, &json!({"since": since})).await;
    assert_eq!(
        (counted.status, &counted.body["events"], &counted.body["dry_run"]),
        (200, &json!(3), &json!(true)),
        "{counted:?}"
    );
    // What arrived is not delivered again, unless that is wanted.
    let sent = user.json("POST", &replay, &json!({"since": since, "dry_run": false})).await;
    assert_eq!((sent.status, &sent.body["events"]), (202, &json!(3)), "{sent:?}");
    bridge.lines("event.replayed", 3).await;
    assert_eq!(stub.calls().len(), 3);
    let sent = user.json("POST", &replay, &json!({"since": since, "dry_run": false, "again": true})).await;
    assert_eq!(sent.status, 202, "{sent:?}");
    let again: BTreeSet<String> =
        calls(&stub, 6).await[3..].iter().map(|call| call.header("webhook-id").to_owned()).collect();
    assert_eq!(again, first);
    let one = deliveries(&user, &id).await[0].clone();
    let place = format!("/webhooks/{id}/deliveries/{}/replay", one["id"].as_str().expect("an id"));
    let sent = user.ask("POST", &place, &[], "").await;
    assert_eq!((sent.status, &sent.body["events"]), (202, &json!(1)), "{sent:?}");
    let last = calls(&stub, 7).await[6].clone();
    assert_eq!(Some(last.header("webhook-id")), one["event_id"].as_str());
}

#[tokio::test]
async fn a_slow_endpoint_holds_nobody_else_up() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let slow = Stub::start(|_, _| Reply::Silence).await;
    let fast = Stub::start(|_, _| ok()).await;
    subscribe(&user, json!({"url": slow.url, "events": ["task.completed"]})).await;
    subscribe(&user, json!({"url": fast.url, "events": ["task.completed"]})).await;
    complete(&user, 0).await;
    calls(&slow, 1).await;
    calls(&fast, 1).await;
    // From the second failure on it has one call at a time.
    bridge.line("the first has failed", |line| line["code"] == "TIMEOUT").await;
    let mut completed = BTreeMap::new();
    for n in 1..=20 {
        completed.insert(complete(&user, n).await, Instant::now());
    }
    for call in &calls(&fast, 21).await[1..] {
        let body = call.json();
        let task = body["data"]["task_id"].as_str().expect("a task");
        let waited = call.at.saturating_duration_since(completed[task]);
        assert!(waited < Duration::from_secs(9), "less than one time-out of the other: {waited:?}");
    }
    assert!(slow.calls().len() < 10, "{}", slow.calls().len());
}

#[tokio::test]
async fn a_crash_between_store_and_delivery_loses_no_delivery_and_repeats_it_under_its_id() {
    let args = ["--visibility", "2"].map(str::to_owned).to_vec();
    let mut bridge = Bridge::start_with(Options { config: Some(CONFIG.to_owned()), args }).await;
    let stub = Stub::start(|_, n| if n == 0 { Reply::Silence } else { ok() }).await;
    let id = {
        let user = admin(&bridge);
        let id = subscribe(&user, json!({"url": stub.url, "events": ["task.completed"]})).await;
        complete(&user, 1).await;
        id
    };
    calls(&stub, 1).await;
    bridge.kill();
    bridge.restart().await;
    let calls = calls(&stub, 2).await;
    assert_eq!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
    assert_eq!(calls[0].body, calls[1].body);
    let user = admin(&bridge);
    delivery(&user, &id, "it is one delivery", |one| one["status"] == "delivered").await;
    assert_eq!(deliveries(&user, &id).await.len(), 1);
    assert_eq!(stub.calls().len(), 2);
}

#[tokio::test]
async fn a_webhook_is_made_changed_listed_tested_and_deleted() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let stub = Stub::start(|call, _| if call.path == "/no" { Reply::Json(403, json!({"no": 1})) } else { ok() }).await;
    for (body, path) in [
        (json!({"url": stub.url}), "events"),
        (json!({"url": stub.url, "events": []}), "events"),
        (json!({"url": stub.url, "events": ["tasks.*"]}), "events.0"),
        (json!({"url": stub.url, "events": ["*"], "filter": ".a |"}), "filter"),
        (json!({"url": stub.url, "events": ["*"], "secret": "short"}), "secret"),
        (json!({"url": stub.url, "events": ["*"], "pause_after_s": 0}), "pause_after_s"),
        (json!({"url": stub.url, "events": ["*"], "colour": 1}), "colour"),
    ] {
        let got = user.json("POST", "/webhooks", &body).await;
        assert_eq!((got.status, &got.body["error"]["fields"][0]["path"]), (400, &json!(path)), "{body}: {got:?}");
    }
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(subscribe(&user, json!({"url": format!("{}/{n}", stub.url), "events": ["task.failed"]})).await);
    }
    ids.sort();
    let (mut listed, mut path) = (Vec::new(), "/webhooks?limit=2".to_owned());
    loop {
        let page = user.get(&path).await.body;
        listed.extend(
            page["webhooks"]
                .as_array()
                .expect("webhooks")
                .iter()
                .filter_map(|one| one["id"].as_str().map(str::to_owned)),
        );
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/webhooks?limit=2&cursor={cursor}");
    }
    assert_eq!(listed, ids);
    let at = format!("/webhooks/{}", ids[0]);
    let change = json!({"url": format!("{}/no", stub.url), "events": ["task.*"], "description": "mine", "filter": ".data != null", "pause_after_s": 60});
    let changed = user.json("PATCH", &at, &change).await.body;
    for (name, value) in change.as_object().expect("fields") {
        assert_eq!(&changed[name], value, "{changed}");
    }
    let changed = user.json("PATCH", &at, &json!({"description": null, "filter": null})).await.body;
    assert_eq!(
        (&changed["description"], &changed["filter"], &changed["events"]),
        (&Value::Null, &Value::Null, &json!(["task.*"]))
    );
    assert_eq!(user.json("PATCH", &at, &json!({})).await.status, 400);

    let tested = user.ask("POST", &format!("{at}/test"), &[], "").await;
    let attempt = &tested.body["attempts"][0];
    assert_eq!(
        (tested.status, &tested.body["status"], &attempt["status"]),
        (200, &json!("failed"), &json!(403)),
        "{tested:?}"
    );
    assert_eq!(tested.body["attempts"].as_array().map(Vec::len), Some(1), "once");
    assert_eq!(shown(&user, &ids[0]).await["failures"], 0, "a test counts for nothing");
    let paused = user.ask("POST", &format!("/webhooks/{}/pause", ids[1]), &[], "").await;
    assert_eq!((paused.status, &paused.body["paused"]["reason"]), (200, &json!("person")), "{paused:?}");
    let tested = user.ask("POST", &format!("/webhooks/{}/test", ids[1]), &[], "").await;
    assert_eq!(tested.body["status"], "delivered", "{tested:?}");
    let call =
        stub.calls_of("/1").into_iter().chain(stub.calls_of("/0")).chain(stub.calls_of("/2")).next().expect("a call");
    assert_eq!(call.json()["event"], "webhook.test");

    assert_eq!(user.ask("DELETE", &at, &[], "").await.body, json!({"id": ids[0], "deleted": true}));
    assert_eq!(user.get(&at).await.status, 404);
    assert_eq!(user.ask("DELETE", &at, &[], "").await.status, 404);
    let name = format!("clawbridge/webhooks/{}", ids[0]);
    let gone = bridge.aws("secretsmanager.GetSecretValue", &json!({"SecretId": name})).await;
    assert!(gone["SecretString"].is_null(), "its secret went with it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_do_what_the_api_does() {
    let bridge = Bridge::start(CONFIG).await;
    let user = admin(&bridge);
    let stub = Stub::start(|_, _| ok()).await;
    let made = bridge.run(&[
        "webhooks",
        "create",
        &stub.url,
        "--events",
        "task.completed,task.failed",
        "--description",
        "mine",
    ]);
    assert_eq!(made.status, 0, "{made:?}");
    let (id, secret) = made.out.trim().split_once('\n').expect("an id and a secret");
    assert!(id.starts_with("wh_") && secret.starts_with("whsec_"), "{made:?}");
    let json = |args: &[&str]| {
        let answer = bridge.run(&[&["webhooks", "--json"], args].concat());
        assert_eq!(answer.status, 0, "{args:?}: {answer:?}");
        answer.json()
    };
    assert_eq!(json(&["list"])[0]["id"], id);
    assert_eq!(json(&["show", id])["description"], "mine");
    assert_eq!(json(&["update", id, "--description", "", "--pause-after", "1d"])["pause_after_s"], 86_400);
    let tested = bridge.run(&["webhooks", "test", id]);
    assert!(tested.status == 0 && tested.out.contains("status 200"), "{tested:?}");
    complete(&user, 1).await;
    calls(&stub, 2).await;
    let listed = eventually("two deliveries", || async {
        let page = json(&["deliveries", id, "--status", "delivered"]);
        (page["deliveries"].as_array().map(Vec::len) == Some(2)).then_some(page)
    })
    .await;
    let of_event =
        listed["deliveries"].as_array().and_then(|all| all.iter().find(|one| one["event"] == "task.completed"));
    let delivery = of_event.and_then(|one| one["id"].as_str()).expect("a delivery").to_owned();
    json(&["replay", id, "--delivery", &delivery]);
    calls(&stub, 3).await;
    let since = json(&["show", id])["created_at"].as_str().expect("a time").to_owned();
    assert_eq!(json(&["replay", id, "--since", &since])["events"], 1);
    assert_eq!(json(&["pause", id])["status"], "paused");
    assert_eq!(json(&["resume", id, "--discard"])["status"], "active");
    assert!(json(&["rotate", id, "--overlap", "1h"])["secret"].as_str().is_some_and(|new| new != secret));
    assert!(bridge.run(&["webhooks", "list"]).out.contains(id));
    assert_eq!(json(&["delete", id])["deleted"], true);
    let gone = bridge.run(&["webhooks", "show", id]);
    assert_eq!(gone.status, 3, "{gone:?}");
    let wrong = bridge.run(&["webhooks", "create", "https://10.0.0.1/", "--events", "task.*"]);
    assert!(wrong.status == 2 && wrong.err.contains("not a public address"), "{wrong:?}");
}
