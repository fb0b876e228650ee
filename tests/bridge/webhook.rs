//! Inbound: from a signed request to a tool call, and every signature that is refused on the way.

use crate::support::{Bridge, Got, Reply, Stub, eventually, hmac_sha256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

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
/// The key of [`STANDARD_SECRET`], which is base64 after its prefix.
const STANDARD_KEY: &[u8] = b"the key of standard webhooks";

/// Headers of a request.
type Headers = Vec<(&'static str, String)>;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970");
    i64::try_from(since.as_secs()).expect("a time")
}

fn hex_signature(message: &str) -> String {
    hex::encode(hmac_sha256(SECRET.as_bytes(), message.as_bytes()))
}

/// As Stripe signs: <https://docs.stripe.com/webhooks#verify-manually>.
fn stripe(at: i64, body: &str) -> Headers {
    vec![("stripe-signature", format!("t={at},v1={}", hex_signature(&format!("{at}.{body}"))))]
}

/// As the Standard Webhooks specification signs.
fn standard(id: &str, at: i64, body: &str) -> Headers {
    let signature = STANDARD.encode(hmac_sha256(STANDARD_KEY, format!("{id}.{at}.{body}").as_bytes()));
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", at.to_string()),
        ("webhook-signature", format!("v1,{signature}")),
    ]
}

fn without(headers: Headers, name: &str) -> Headers {
    headers.into_iter().filter(|(other, _)| *other != name).collect()
}

fn with(mut headers: Headers, name: &'static str, value: &str) -> Headers {
    headers.push((name, value.to_owned()));
    headers
}

/// One source of each scheme, called like it.
fn add_sources(bridge: &Bridge) {
    for scheme in ["stripe", "github", "openclaw", "openclaw-token", "byterover"] {
        bridge.add_source(scheme, scheme, SECRET);
    }
    // Of refusals alike only the first few are written each.
    bridge.add_source("openclaw-b", "openclaw", SECRET);
    bridge.add_source("standard-webhooks", "standard-webhooks", &format!("whsec_{}", STANDARD.encode(STANDARD_KEY)));
    let options = json!({
        "header": "X-Shop-Signature", "prefix": "v1=", "list_separator": ",", "encoding": "base64",
        "signed": "{timestamp}:{id}:{body}", "timestamp_header": "X-Shop-Time", "timestamp_unit": "ms",
        "delivery_header": "X-Shop-Id", "type_pointer": "/meta/topic",
    });
    let args = ["source", "add", "shop", "--scheme", "hmac", "--secret", SECRET, "--hmac", &options.to_string()];
    let added = bridge.run(&args);
    assert_eq!(added.status, 0, "{added:?}");
}

async fn post(bridge: &Bridge, source: &str, headers: &Headers, body: &str) -> Got {
    let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    headers.push(("content-type", "application/json"));
    bridge.request("POST", &format!("/hooks/{source}"), &headers, body.as_bytes()).await
}

/// The journal's line on a request that was refused.
async fn refusal(bridge: &Bridge, got: &Got) -> Value {
    let request_id = got.body["error"]["request_id"].clone();
    assert!(request_id.as_str().is_some_and(|id| !id.is_empty()), "{got:?}");
    bridge.line("the refusal", |line| line["kind"] == "webhook.refused" && line["request_id"] == request_id).await
}

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

#[tokio::test]
async fn deliveries_of_one_event_at_the_same_moment_are_one_event() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({"ok": true}))).await;
    let bridge = Bridge::start(&config(&stub)).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    let body = json!({"event": "task.completed"}).to_string();
    let all = (0..30).map(|_| bridge.deliver("hooks", SECRET, body.as_bytes()));
    let answers = futures_util::future::join_all(all).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    bridge.lines("event.repeated", 29).await;
    bridge.line("the task succeeded", |line| line["decision"] == "succeeded").await;
    let event = bridge.run(&["events", "list", "--json"]).json();
    assert_eq!(event.as_array().map(Vec::len), Some(1), "{event}");
    let shown = bridge.run(&["events", "show", event[0]["id"].as_str().expect("an id"), "--json"]).json();
    assert_eq!((&shown["repeats"], stub.calls().len()), (&json!(29), 1));
}

#[tokio::test]
async fn each_scheme_is_accepted_and_names_its_delivery_as_the_provider_does() {
    let bridge = Bridge::start("").await;
    add_sources(&bridge);
    let at = now();
    let sha256 = |body: &str| {
        use sha2::{Digest, Sha256};
        format!("sha256:{}", hex::encode(Sha256::digest(body)))
    };
    let github = json!({"action": "opened", "number": 7}).to_string();
    let openclaw = json!({"event": "task.completed", "data": {}}).to_string();
    let prefixed = json!({"event": "task.failed", "data": {}}).to_string();
    let token = json!({"event": "cron.ran", "data": {}}).to_string();
    let header_token = json!({"event": "cron.failed", "data": {}}).to_string();
    let stripe_body = json!({"id": "evt_1", "type": "charge.succeeded"}).to_string();
    let rotating = json!({"id": "evt_2", "type": "charge.failed"}).to_string();
    let byterover = json!({"id": "br_1", "type": "memory.created"}).to_string();
    let contact = json!({"id": "not this", "type": "contact.created"}).to_string();
    let shop = json!({"meta": {"topic": "orders/create"}}).to_string();
    let shop_signature = STANDARD.encode(hmac_sha256(SECRET.as_bytes(), format!("{at}000:o-1:{shop}").as_bytes()));
    let rows: Vec<(&str, Headers, &str, &str, String)> = vec![
        ("stripe", stripe(at, &stripe_body), &stripe_body, "charge.succeeded", "evt_1".into()),
        // Two signatures, one of another secret: while Stripe rolls a secret it sends both.
        (
            "stripe",
            vec![(
                "stripe-signature",
                format!("t={at},v1={},v1={},v0=ignored", "0".repeat(64), hex_signature(&format!("{at}.{rotating}"))),
            )],
            &rotating,
            "charge.failed",
            "evt_2".into(),
        ),
        (
            "github",
            vec![
                ("x-hub-signature-256", format!("sha256={}", hex_signature(&github))),
                ("x-github-event", "pull_request".into()),
                ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958".into()),
            ],
            &github,
            "pull_request.opened",
            "72d3162e-cc78-11e3-81ab-4c9367dc0958".into(),
        ),
        (
            "openclaw",
            vec![("x-openclaw-signature", hex_signature(&openclaw))],
            &openclaw,
            "task.completed",
            sha256(&openclaw),
        ),
        (
            "openclaw",
            vec![("x-openclaw-signature", format!("sha256={}", hex_signature(&prefixed)))],
            &prefixed,
            "task.failed",
            sha256(&prefixed),
        ),
        ("openclaw-token", vec![("authorization", format!("Bearer {SECRET}"))], &token, "cron.ran", sha256(&token)),
        (
            "openclaw-token",
            vec![("x-openclaw-token", SECRET.into())],
            &header_token,
            "cron.failed",
            sha256(&header_token),
        ),
        (
            "byterover",
            vec![("x-byterover-signature", hex_signature(&byterover))],
            &byterover,
            "memory.created",
            "br_1".into(),
        ),
        ("standard-webhooks", standard("msg_1", at, &contact), &contact, "contact.created", "msg_1".into()),
        (
            "shop",
            vec![
                ("x-shop-time", format!("{at}000")),
                ("x-shop-id", "o-1".into()),
                ("x-shop-signature", format!("v0=ignored,v1={shop_signature}")),
            ],
            &shop,
            "orders/create",
            "o-1".into(),
        ),
    ];
    for (source, headers, body, ..) in &rows {
        let got = post(&bridge, source, headers, body).await;
        assert_eq!((got.status, &got.body["received"]), (200, &json!(true)), "{source}: {got:?}");
    }
    bridge.lines("event.stored", rows.len()).await;
    let listed = bridge.run(&["events", "list", "--limit", "50", "--json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(rows.len()), "{listed}");
    for (source, _, body, event_type, delivery_id) in &rows {
        let event = listed.as_array().into_iter().flatten().find(|event| event["delivery_id"] == delivery_id.as_str());
        let event = event.unwrap_or_else(|| panic!("{source} {delivery_id} is not in {listed}"));
        assert_eq!((&event["source"], &event["type"]), (&json!(source), &json!(event_type)), "{event}");
        let shown = bridge.run(&["events", "show", event["id"].as_str().expect("an id"), "--json"]).json();
        assert_eq!(shown["body"].to_string(), serde_json::from_str::<Value>(body).expect("JSON").to_string());
        // Names in lower case, whatever the scheme's table says; and nothing that proves who sent it.
        let kept: Vec<&String> = shown["headers"].as_object().into_iter().flat_map(|headers| headers.keys()).collect();
        let expected: &[&str] = match *source {
            "github" => &["content-type", "x-github-delivery", "x-github-event"],
            "standard-webhooks" => &["content-type", "webhook-id", "webhook-timestamp"],
            "shop" => &["content-type", "x-shop-id"],
            _ => &["content-type"],
        };
        assert_eq!(kept, expected, "{source}");
    }
}

#[tokio::test]
async fn every_bad_signature_is_refused_alike_and_only_the_operator_learns_why() {
    let bridge = Bridge::start("").await;
    add_sources(&bridge);
    let at = now();
    let body = json!({"id": "evt_1", "type": "a.b", "event": "a.b", "action": "c"}).to_string();
    let good = hex_signature(&body);
    let other = hex::encode(hmac_sha256(b"another secret", body.as_bytes()));
    let one = |name: &'static str, value: &str| -> Headers { vec![(name, value.to_owned())] };
    let openclaw = |value: &str| one("x-openclaw-signature", value);
    let github = |value: &str| one("x-hub-signature-256", value);
    let signed = |at: &str| format!("t={at},v1={}", hex_signature(&format!("{at}.{body}")));
    let rows: Vec<(&str, &str, Headers, &str)> = vec![
        ("another secret's", "openclaw", openclaw(&other), "SIGNATURE_MISMATCH"),
        ("none", "openclaw", vec![], "SIGNATURE_MISSING"),
        ("in another scheme's header", "openclaw", github(&format!("sha256={good}")), "SIGNATURE_MISSING"),
        ("empty", "openclaw", openclaw(""), "SIGNATURE_MALFORMED"),
        ("a digit short", "openclaw", openclaw(&good[1..]), "SIGNATURE_MALFORMED"),
        ("a digit long", "openclaw", openclaw(&format!("{good}0")), "SIGNATURE_MALFORMED"),
        ("no hexadecimal", "openclaw", openclaw(&"zz".repeat(32)), "SIGNATURE_MALFORMED"),
        ("of another hash", "openclaw-b", openclaw(&format!("sha1={good}")), "SIGNATURE_MALFORMED"),
        ("sent twice", "openclaw-b", with(openclaw(&good), "x-openclaw-signature", &good), "SIGNATURE_MALFORMED"),
        (
            "a good one after a bad",
            "openclaw-b",
            with(openclaw(&other), "x-openclaw-signature", &good),
            "SIGNATURE_MALFORMED",
        ),
        ("without its prefix", "github", github(&good), "SIGNATURE_MALFORMED"),
        (
            "the old SHA-1 header alone",
            "github",
            one("x-hub-signature", &format!("sha1={}", &good[..40])),
            "SIGNATURE_MISSING",
        ),
        ("another secret's", "github", github(&format!("sha256={other}")), "SIGNATURE_MISMATCH"),
        ("no token", "openclaw-token", vec![], "SIGNATURE_MISSING"),
        ("another token", "openclaw-token", one("authorization", "Bearer guess"), "SIGNATURE_MISMATCH"),
        ("the beginning of the token", "openclaw-token", one("x-openclaw-token", &SECRET[..9]), "SIGNATURE_MISMATCH"),
        ("basic authentication", "openclaw-token", one("authorization", "Basic Og=="), "SIGNATURE_MALFORMED"),
        ("another secret's", "byterover", one("x-byterover-signature", &other), "SIGNATURE_MISMATCH"),
        ("old", "stripe", stripe(at - 3600, &body), "TIMESTAMP_STALE"),
        ("of the future", "stripe", stripe(at + 3600, &body), "TIMESTAMP_AHEAD"),
        (
            "old, and forged",
            "stripe",
            one("stripe-signature", &format!("t={},v1={other}", at - 3600)),
            "SIGNATURE_MISMATCH",
        ),
        (
            "made young",
            "stripe",
            one("stripe-signature", &signed("1700000000").replace("1700000000", &at.to_string())),
            "SIGNATURE_MISMATCH",
        ),
        ("no number for a time", "stripe", one("stripe-signature", &signed("yesterday")), "TIMESTAMP_MALFORMED"),
        (
            "two times",
            "stripe",
            one("stripe-signature", &format!("t=1700000000,{}", signed(&at.to_string()))),
            "TIMESTAMP_MALFORMED",
        ),
        ("no time", "stripe", one("stripe-signature", &format!("v1={good}")), "TIMESTAMP_MISSING"),
        ("a time alone", "stripe", one("stripe-signature", &format!("t={at}")), "SIGNATURE_MISSING"),
        (
            "of the test scheme v0",
            "stripe",
            one("stripe-signature", &format!("t={at},v0={}", hex_signature(&format!("{at}.{body}")))),
            "SIGNATURE_MISSING",
        ),
        ("old", "standard-webhooks", standard("msg_1", at - 3600, &body), "TIMESTAMP_STALE"),
        ("of the future", "standard-webhooks", standard("msg_1", at + 3600, &body), "TIMESTAMP_AHEAD"),
        (
            "under another id",
            "standard-webhooks",
            with(without(standard("msg_1", at, &body), "webhook-id"), "webhook-id", "msg_2"),
            "SIGNATURE_MISMATCH",
        ),
        ("no id", "standard-webhooks", without(standard("msg_1", at, &body), "webhook-id"), "DELIVERY_ID_MISSING"),
        (
            "no time",
            "standard-webhooks",
            without(standard("msg_1", at, &body), "webhook-timestamp"),
            "TIMESTAMP_MISSING",
        ),
        (
            "no signature",
            "standard-webhooks",
            without(standard("msg_1", at, &body), "webhook-signature"),
            "SIGNATURE_MISSING",
        ),
        (
            "sent twice",
            "standard-webhooks",
            [
                standard("msg_1", at, &body),
                without(without(standard("msg_1", at, &body), "webhook-id"), "webhook-timestamp"),
            ]
            .concat(),
            "SIGNATURE_MALFORMED",
        ),
        (
            "of a key pair",
            "standard-webhooks",
            with(without(standard("msg_1", at, &body), "webhook-signature"), "webhook-signature", "v1a,AAAA"),
            "SIGNATURE_MALFORMED",
        ),
        (
            "over less than was agreed",
            "shop",
            vec![
                (
                    "x-shop-signature",
                    format!("v1={}", STANDARD.encode(hmac_sha256(SECRET.as_bytes(), body.as_bytes()))),
                ),
                ("x-shop-time", format!("{at}000")),
                ("x-shop-id", "o-1".into()),
            ],
            "SIGNATURE_MISMATCH",
        ),
        (
            "seconds for milliseconds",
            "shop",
            vec![
                ("x-shop-signature", format!("v1={}", STANDARD.encode([0; 32]))),
                ("x-shop-time", at.to_string()),
                ("x-shop-id", "o-1".into()),
            ],
            "TIMESTAMP_MALFORMED",
        ),
    ];
    let told = json!({"code": "UNVERIFIED", "message": "The signature could not be verified."});
    for (what, source, headers, code) in &rows {
        let got = post(&bridge, source, headers, &body).await;
        let mut error = got.body["error"].clone();
        let line = refusal(&bridge, &got).await;
        error.as_object_mut().expect("an error").remove("request_id");
        assert_eq!((got.status, &error), (401, &told), "{source}, {what}");
        // The same headers for each reason too.
        let names: Vec<&String> = got.headers.keys().collect();
        assert_eq!(
            names,
            ["apigw-requestid", "content-length", "content-type", "date", "x-content-type-options"],
            "{source}, {what}"
        );
        let written = (&line["code"], &line["status"], &line["source"], &line["level"]);
        assert_eq!(written, (&json!(code), &json!(401), &json!(source), &json!("warn")), "{what}: {line}");
    }
    nothing_came_of_it(&bridge).await;
}

/// Delivers one good event and sees that it is the only one that was ever queued.
async fn nothing_came_of_it(bridge: &Bridge) {
    let body = json!({"event": "the.only.one"}).to_string();
    let (status, _) = bridge.deliver("openclaw", SECRET, body.as_bytes()).await;
    assert_eq!(status, 200);
    bridge.line("the one event", |line| line["kind"] == "event.stored" && line["type"] == "the.only.one").await;
    let journal = bridge.journal();
    let count = |kind: &str| journal.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!((count("webhook.accepted"), count("event.stored")), (1, 1));
    let listed = bridge.run(&["events", "list", "--json"]).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn what_is_not_for_any_source_is_not_found_and_costs_nothing() {
    let bridge = Bridge::start("").await;
    bridge.add_source("openclaw", "openclaw", SECRET);
    let body = "{}";
    let signed = vec![("x-openclaw-signature", hex_signature(body))];
    let told = json!({"code": "UNKNOWN_SOURCE", "message": "There is no such source."});
    let too_long = "x".repeat(65);
    // (name in the address, how the journal shows it)
    let names = [
        ("ghost", "ghost"),
        ("Openclaw", ""),
        ("%0Aforged%20line", ""),
        ("openclaw2", "openclaw2"),
        ("-openclaw", ""),
        ("..%5Ctools", ""),
        ("tools%252Fcrm", ""),
        ("openclaw%20", ""),
        ("%C3%A9", ""),
        // Its events are the bridge's own.
        ("bridge", ""),
        (&too_long, ""),
    ];
    for (count, (name, shown)) in names.iter().enumerate() {
        let got = post(&bridge, name, &signed, body).await;
        let mut error = got.body["error"].clone();
        error.as_object_mut().expect("an error").remove("request_id");
        assert_eq!((got.status, &error), (404, &told), "{name}");
        // What strangers invent is counted together, and the first five are written.
        if count < 5 {
            let line = refusal(&bridge, &got).await;
            let written = (&line["code"], &line["source"], &line["counted_as"]);
            assert_eq!(written, (&json!("UNKNOWN_SOURCE"), &json!(shown), &json!("-")), "{name}: {line}");
        }
    }
    // What is no route never reaches the function: API Gateway answers.
    let before = bridge.journal().iter().filter(|line| line["kind"] == "webhook.refused").count();
    let paths = [
        "/hooks",
        "/hooks/",
        "/hooks/openclaw/",
        "/hooks/openclaw/more",
        "/hooks/..%2Ftools%2Fcrm",
        "/Hooks/openclaw",
        "/",
        "/apis/v1/status",
    ];
    let requests = paths
        .iter()
        .map(|path| ("POST", *path))
        .chain(["PUT", "PATCH", "DELETE", "OPTIONS"].iter().map(|method| (*method, "/hooks/openclaw")));
    for (method, path) in requests {
        let headers: Vec<(&str, &str)> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let got = bridge.request(method, path, &headers, body.as_bytes()).await;
        assert_eq!(got.status, 404, "{method} {path}: {got:?}");
        assert_eq!(got.body, json!({"message": "Not Found"}), "{method} {path}");
    }
    let after = bridge.journal().iter().filter(|line| line["kind"] == "webhook.refused").count();
    assert_eq!(after, before);
    // A signature does not make a delivery of what the provider never sends so.
    for method in ["GET", "HEAD"] {
        let headers: Vec<(&str, &str)> = signed.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let got = bridge.request(method, "/hooks/openclaw", &headers, body.as_bytes()).await;
        assert_eq!(got.status, 405, "{method}: {got:?}");
    }
    nothing_came_of_it(&bridge).await;
}

#[tokio::test]
async fn the_journal_never_holds_a_secret_a_signature_or_a_body() {
    const MARK: &str = "MARK-of-the-body-7f3a";
    let stub = Stub::start(|call, _| match call.path.as_str() {
        // An API that answers with what it was sent, in every way that is kept or complained about.
        "/refuses" => Reply::Json(422, json!({"error": String::from_utf8_lossy(&call.body)})),
        "/breaks" => Reply::With(200, vec![("content-type".into(), "text/html".into())], format!("<p>{MARK}</p>")),
        _ => Reply::Json(200, json!({"echo": String::from_utf8_lossy(&call.body)})),
    })
    .await;
    let tool = |name: &str, more: &str| {
        let url = &stub.url;
        format!("[tools.{name}]\nmethod = \"POST\"\nurl = \"{url}/{name}\"\nidempotency_header = \"k\"\n{more}\n")
    };
    let route = |name: &str, tool: &str, more: &str| {
        format!("[[routes]]\nname = \"{name}\"\nsource = \"openclaw\"\ntool = \"{tool}\"\n{more}\n")
    };
    let config = [
        tool("works", ""),
        tool("refuses", ""),
        tool("breaks", ""),
        tool("wants", "input = { type = \"object\", properties.secret = { type = \"integer\" } }"),
        tool("promises", "output = { type = \"object\", properties.echo = { enum = [1] } }"),
        route("works", "works", ""),
        route("refuses", "refuses", ""),
        route("breaks", "breaks", ""),
        route("wants", "wants", ""),
        route("promises", "promises", ""),
        route("bad-filter", "works", "filter = '.body.secret + 1 > 0'"),
        route("bad-input", "works", "input = '.body.secret | error'"),
        "[network]\nallow = [\"127.0.0.1\"]\n".to_owned(),
    ];
    let bridge = Bridge::start(&config.concat()).await;
    add_sources(&bridge);
    let body = json!({"event": "a.b", "secret": MARK}).to_string();
    let signature = hex_signature(&body);
    let forged = hex::encode(hmac_sha256(b"another secret", body.as_bytes()));
    let headers: Headers = vec![("x-openclaw-signature", signature.clone()), ("authorization", "Bearer MARKED".into())];
    assert_eq!(post(&bridge, "openclaw", &headers, &body).await.status, 200);
    // Refused ones, some with the secret where it does not belong.
    for (source, headers) in [
        ("openclaw", vec![("x-openclaw-signature", forged.clone())]),
        ("openclaw", vec![("x-openclaw-signature", SECRET.to_owned())]),
        ("stripe", vec![("stripe-signature", format!("t={SECRET},v1={signature}"))]),
        ("openclaw-token", vec![("authorization", format!("Basic {SECRET}"))]),
        ("ghost", vec![("x-openclaw-signature", signature.clone())]),
    ] {
        let got = post(&bridge, source, &headers, &body).await;
        assert!(got.status == 401 || got.status == 404, "{got:?}");
        refusal(&bridge, &got).await;
    }
    // Five tasks and two routes that failed.
    bridge.lines("route.failed", 2).await;
    bridge.lines("task.attempt", 5).await;
    let rotated = bridge.run(&["source", "rotate", "openclaw", "--secret", "MARK-of-the-next-secret"]);
    assert_eq!(rotated.status, 0, "{rotated:?}");
    let spoken = format!("{}\n{}", Value::from(bridge.journal()), bridge.complaints());
    let encoded = STANDARD.encode(STANDARD_KEY);
    for unspeakable in [MARK, "MARK", SECRET, signature.as_str(), &forged, &encoded] {
        let place = spoken.find(unspeakable);
        let around = place.map(|place| &spoken[spoken.floor_char_boundary(place.saturating_sub(200))..]);
        assert!(place.is_none(), "{unspeakable} in …{}", around.unwrap_or_default());
    }
}
