//! Inbound bodies: of every size and kind, each stored as it came or refused whole.

use crate::support::{Bridge, Got, Reply, Stub, eventually, exchange, openclaw_signature};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const SECRET: &str = "a-signing-secret";

/// Held by the tests of the largest bodies, which would take each other's time: the function has fifteen seconds.
static LARGE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A tool that is told what came, without the whole of it.
fn config(stub: &Stub) -> String {
    format!(
        r#"
[tools.note]
method = "POST"
url = "{url}/notes"
idempotency_header = "Idempotency-Key"
timeout = "10s"

[[routes]]
name = "sizes"
source = "hooks"
tool = "note"
input = '{{kind: (.body | type), length: (.body | length)}}'

[network]
allow = ["127.0.0.1"]
"#,
        url = stub.url
    )
}

async fn start() -> (Bridge, Stub) {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({"ok": true}))).await;
    let bridge = Bridge::start(&config(&stub)).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    (bridge, stub)
}

/// As a provider posts: again after a 5xx, which an unoptimised bridge on a busy machine may answer to the largest bodies.
async fn post(bridge: &Bridge, content_type: &str, body: &[u8]) -> Got {
    let signature = openclaw_signature(SECRET, body);
    let headers = [("x-openclaw-signature", signature.as_str()), ("content-type", content_type)];
    eventually("an answer", || async {
        let got = bridge.request("POST", "/hooks/hooks", &headers, body).await;
        (got.status < 500).then_some(got)
    })
    .await
}

/// The stored event that a delivery became, once its task is done.
async fn stored(bridge: &Bridge, got: &Got) -> Value {
    assert_eq!(got.status, 200, "{got:?}");
    let request_id = &got.body["request_id"];
    bridge.line("it is queued", |line| line["kind"] == "webhook.accepted" && &line["request_id"] == request_id).await;
    // Event lines do not carry the request id: the stored event does.
    let events = bridge.lines("event.stored", 1).await;
    let last = events.last().expect("an event")["event"].clone();
    bridge.line("the task", |line| line["kind"] == "task.attempt" && line["event"] == last).await;
    let shown = bridge.run(&["events", "show", last.as_str().expect("an id"), "--json"]).json();
    assert_eq!(&shown["request_id"], request_id);
    shown
}

/// Bytes that nothing makes smaller: a xorshift sequence.
fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[tokio::test]
async fn a_delivery_without_a_body_is_verified_like_any_other() {
    let (bridge, _) = start().await;
    let signature = openclaw_signature(SECRET, b"");
    let signed = bridge.request("POST", "/hooks/hooks", &[("x-openclaw-signature", &signature)], b"").await;
    assert_eq!(signed.status, 200, "{signed:?}");
    let unsigned = bridge.request("POST", "/hooks/hooks", &[], b"").await;
    assert_eq!((unsigned.status, &unsigned.body["error"]["code"]), (401, &json!("UNVERIFIED")), "{unsigned:?}");
    let stored = bridge.lines("event.stored", 1).await;
    assert_eq!(stored[0]["type"], "unknown");
}

#[tokio::test]
async fn a_body_that_lambda_could_not_be_handed_is_refused_by_the_gateway() {
    let _alone = LARGE.lock().await;
    let (bridge, stub) = start().await;
    // In the event, base64 makes 6.3 MB of 4.7 MB, text stays as long as it is; API Gateway itself takes 10 MB.
    let rows = [
        ("application/json", vec![b'1'; 6_400_000]),
        ("application/octet-stream", noise(4_750_000)),
        ("application/json", vec![b'"'; 3_200_000]),
        ("application/json", vec![b'1'; 10 * 1024 * 1024 + 1]),
    ];
    for (content_type, body) in rows {
        let got = post(&bridge, content_type, &body).await;
        assert_eq!((got.status, &got.body), (413, &json!({"message": "Request Entity Too Large"})), "{}", body.len());
    }
    let reached =
        bridge.journal().iter().any(|line| line["kind"].as_str().is_some_and(|kind| kind.starts_with("webhook")));
    assert!(!reached, "{:?}", bridge.journal());
    assert_eq!((bridge.messages("clawbridge-work").await, stub.calls().len()), (0, 0));
}

#[tokio::test]
async fn the_largest_body_that_fits_is_stored_whole() {
    let _alone = LARGE.lock().await;
    let (bridge, stub) = start().await;
    // Digits at random: JSON text that compresses to less than half, and is still larger than one message.
    let digits: String = noise(2_950_000).iter().map(|byte| format!("{byte:02x}")).collect();
    let body = json!({"event": "large", "data": digits}).to_string();
    assert!(body.len() > 5_900_000);
    let got = post(&bridge, "application/json", body.as_bytes()).await;
    let event = stored(&bridge, &got).await;
    assert!(event["body"] == serde_json::from_str::<Value>(&body).expect("JSON"), "the body is another one");
    let line = bridge.line("accepted", |line| line["kind"] == "webhook.accepted").await;
    assert_eq!(line["bytes"], body.len());
    assert!(line["messages"].as_u64() > Some(2), "{line}");
    assert_eq!(stub.calls()[0].json(), json!({"kind": "object", "length": 2}));
}

#[tokio::test]
async fn a_large_binary_body_travels_in_parts_and_is_routed_once_however_often_it_is_delivered() {
    let _alone = LARGE.lock().await;
    let (bridge, stub) = start().await;
    let body = noise(4_000_000);
    let got = post(&bridge, "application/octet-stream", &body).await;
    let event = stored(&bridge, &got).await;
    assert!(event["body"] == json!({"base64": STANDARD.encode(&body)}), "the body is another one");
    let line = bridge.line("accepted", |line| line["kind"] == "webhook.accepted").await;
    // Parts of 700 KiB, then the event that counts them.
    assert_eq!((&line["bytes"], &line["messages"]), (&json!(4_000_000), &json!(6 + 1)));
    assert_eq!(post(&bridge, "application/octet-stream", &body).await.status, 200);
    bridge.lines("event.repeated", 1).await;
    // The record says so, without its body, and still names the parts of the first delivery.
    let asked = json!({
        "TableName": "clawbridge-events", "Key": {"id": {"S": event["id"]}}, "ConsistentRead": true,
        "ProjectionExpression": "#repeats, nonce", "ExpressionAttributeNames": {"#repeats": "repeats"},
    });
    let item = bridge.aws("DynamoDB_20120810.GetItem", &asked).await["Item"].take();
    assert_eq!(item["nonce"]["S"], event["request_id"], "{item}");
    assert!(item["repeats"]["N"].as_str().is_some_and(|count| count != "0"), "{item}");
    assert_eq!(stub.calls().len(), 1);
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn a_body_need_not_be_json_nor_text() {
    let (bridge, stub) = start().await;
    let rows: [(&str, &[u8], Value, Value); 10] = [
        ("application/json", b"{broken", json!("{broken"), json!({"kind": "string", "length": 7})),
        ("application/json", b"\xff\xfe{}", json!({"base64": "//57fQ=="}), json!({"kind": "object", "length": 1})),
        ("text/plain", b"caf\xe9", json!({"base64": "Y2Fm6Q=="}), json!({"kind": "object", "length": 1})),
        ("text/plain", "café".as_bytes(), json!("café"), json!({"kind": "string", "length": 4})),
        ("application/xml", b"<a>1</a>", json!("<a>1</a>"), json!({"kind": "string", "length": 8})),
        (
            "application/x-www-form-urlencoded",
            b"a=1&b=x%20y&a=2",
            json!({"a": "2", "b": "x y"}),
            json!({"kind": "object", "length": 2}),
        ),
        ("text/plain", b"{\"json\": \"anyway\"}", json!({"json": "anyway"}), json!({"kind": "object", "length": 1})),
        ("image/png", b"\x00", json!("\0"), json!({"kind": "string", "length": 1})),
        // U+FFFE and U+FFFF may not stand in an SQS message as they are.
        (
            "text/plain",
            "\u{fffe}\u{ffff}\u{1f99e}".as_bytes(),
            json!("\u{fffe}\u{ffff}\u{1f99e}"),
            json!({"kind": "string", "length": 3}),
        ),
        ("", b"null", Value::Null, json!({"kind": "null", "length": 0})),
    ];
    for (count, (content_type, body, seen, noted)) in rows.iter().enumerate() {
        let got = post(&bridge, content_type, body).await;
        bridge.lines("event.stored", count + 1).await;
        let event = stored(&bridge, &got).await;
        assert_eq!(&event["body"], seen, "{content_type}");
        assert_eq!(&stub.calls().last().expect("a call").json(), noted, "{content_type} {seen}");
    }
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn numbers_come_out_as_they_went_in() {
    let (bridge, _stub) = start().await;
    let body = r#"{"event":"n","numbers":[12345678901234567890,-9007199254740993,0.1,1e300,1.10]}"#;
    let got = post(&bridge, "application/json", body.as_bytes()).await;
    let event = stored(&bridge, &got).await;
    assert_eq!(event["body"]["numbers"].to_string(), "[12345678901234567890,-9007199254740993,0.1,1e+300,1.1]");
}

#[tokio::test]
async fn a_deeply_nested_body_harms_nobody() {
    let (bridge, stub) = start().await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    // Up to 127 levels are read as JSON, more stay the text that they are.
    for (count, depth) in [100, 127, 128, 1_000, 100_000].into_iter().enumerate() {
        let got = post(&bridge, "application/json", nested(depth).as_bytes()).await;
        assert_eq!(got.status, 200, "{depth}");
        bridge.lines("event.stored", count + 1).await;
        bridge.lines("task.attempt", count + 1).await;
    }
    let kinds: Vec<Value> = stub.calls().iter().map(|call| call.json()["kind"].clone()).collect();
    assert_eq!(kinds, ["array", "array", "string", "string", "string"]);
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn an_input_is_nested_only_as_deep_as_it_can_be_read_back() {
    // The first answer makes the worker read its record again.
    let stub = Stub::start(|_, before| match before {
        0 => Reply::With(503, vec![("retry-after".into(), "1".into())], String::new()),
        _ => Reply::Json(200, json!({"ok": true})),
    })
    .await;
    let config = config(&stub).replace("{kind: (.body | type), length: (.body | length)}", "{a: {b: {c: .body}}}");
    let bridge = Bridge::start(&config).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for depth in [97, 98] {
        assert_eq!(post(&bridge, "application/json", nested(depth).as_bytes()).await.status, 200);
    }
    let failed = bridge.lines("route.failed", 1).await;
    assert_eq!(failed[0]["reason"], "input: the output nests deeper than 100 levels");
    bridge.line("the other succeeded", |line| line["decision"] == "succeeded" && line["attempt"] == 2).await;
    let tasks = bridge.run(&["tasks", "list", "--json"]).json();
    assert_eq!(tasks.as_array().map(Vec::len), Some(1), "{tasks}");
    let shown = bridge.run(&["tasks", "show", tasks[0]["id"].as_str().expect("an id"), "--json"]);
    let compact: String = shown.out.split_whitespace().collect();
    assert!(compact.contains(&format!("{{\"a\":{{\"b\":{{\"c\":{}}}}}}}", nested(97))), "{shown:?}");
    eventually("nothing is left", || async { (bridge.messages("clawbridge-work").await == 0).then_some(()) }).await;
    assert_eq!(bridge.dead_letters().await, 0);
}

#[tokio::test]
async fn a_body_is_the_same_however_it_is_transferred() {
    let (bridge, stub) = start().await;
    let host = bridge.public.trim_start_matches("http://").to_owned();
    let head = |body: &str| {
        let signature = openclaw_signature(SECRET, body.as_bytes());
        format!(
            "POST /hooks/hooks HTTP/1.1\r\nhost: {host}\r\nX-OpenClaw-Signature: {signature}\r\n\
             Content-Type: application/json\r\nconnection: close\r\n"
        )
    };
    let body = json!({"event": "chunked"}).to_string();
    let (first, second) = body.split_at(5);
    let chunks = format!("{:x}\r\n{first}\r\n{:x};x=y\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
    let chunked = format!("{}transfer-encoding: chunked\r\n\r\n{chunks}", head(&body));
    assert_eq!(exchange(&bridge.public, chunked.as_bytes()).await.0, 200);
    // curl asks before it sends more than a kilobyte.
    let body = json!({"event": "expected"}).to_string();
    let length = body.len();
    let expecting = format!("{}content-length: {length}\r\nexpect: 100-continue\r\n\r\n{body}", head(&body));
    let (status, rest) = exchange(&bridge.public, expecting.as_bytes()).await;
    assert!(status == 200 || (status == 100 && rest.contains("HTTP/1.1 200")), "{status} {rest}");
    // Half a body is none, whatever was signed.
    let body = json!({"event": "cut off"}).to_string();
    let cut = format!("{}content-length: {}\r\n\r\n{body}", head(&body), body.len() + 1);
    let mut stream = tokio::net::TcpStream::connect(&host).await.expect("a connection");
    stream.write_all(cut.as_bytes()).await.expect("sent");
    drop(stream);
    // Who does not wait for the answer has delivered all the same.
    let body = json!({"event": "impatient"}).to_string();
    let whole = format!("{}content-length: {}\r\n\r\n{body}", head(&body), body.len());
    let mut stream = tokio::net::TcpStream::connect(&host).await.expect("a connection");
    stream.write_all(whole.as_bytes()).await.expect("sent");
    drop(stream);
    let stored = bridge.lines("event.stored", 3).await;
    let mut types: Vec<&str> = stored.iter().filter_map(|line| line["type"].as_str()).collect();
    types.sort_unstable();
    assert_eq!(types, ["chunked", "expected", "impatient"]);
    bridge.lines("task.attempt", 3).await;
    assert_eq!(stub.calls().len(), 3);
}
