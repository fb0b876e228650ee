//! Tools against APIs that misbehave: what becomes of the task, whether it is called again, what is kept.

use crate::support::{Bridge, Call, Reply, Stub, eventually, run};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

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

/// One row: a reply, and what it must come to.
struct Row {
    name: &'static str,
    /// More of the tool, beside `timeout` and `attempts = 2`.
    tool: &'static str,
    reply: Reply,
    state: &'static str,
    code: Value,
    class: Value,
    /// Calls, which are attempts here.
    calls: usize,
    /// In the error's message, or the result as JSON.
    says: &'static str,
}

fn failed(name: &'static str, reply: Reply, code: &str, class: &str, calls: usize, says: &'static str) -> Row {
    Row { name, tool: "", reply, state: "failed", code: json!(code), class: json!(class), calls, says }
}

fn succeeded(name: &'static str, reply: Reply, says: &'static str) -> Row {
    Row { name, tool: "", reply, state: "succeeded", code: Value::Null, class: Value::Null, calls: 1, says }
}

fn with(status: u16, content_type: &str, body: &str) -> Reply {
    Reply::With(status, vec![("content-type".into(), content_type.into())], body.into())
}

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

fn status(status: u16) -> Reply {
    with(status, "application/json", &json!({"error": format!("status {status}")}).to_string())
}

const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"half\":";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"a\":\r\n";
const OBJECT: &str = "output = { type = \"object\", required = [\"id\"] }";

fn rows(elsewhere: &Stub) -> Vec<Row> {
    let redirect = |status: u16| {
        let headers = vec![("location".to_owned(), format!("{}/moved", elsewhere.url))];
        Reply::With(status, headers, String::new())
    };
    vec![
        failed("slow", Reply::Silence, "TIMEOUT", "transient", 2, "no complete answer"),
        failed("stalls", Reply::Stall(HALF.into()), "TIMEOUT", "transient", 2, "no complete answer"),
        failed("half", raw(HALF), "UNAVAILABLE", "transient", 2, "before the answer was whole"),
        failed("half_chunk", raw(CHUNKED), "UNAVAILABLE", "transient", 2, "before the answer was whole"),
        failed("closes", raw(""), "UNAVAILABLE", "transient", 2, "before the answer was whole"),
        failed("no_http", raw("SSH-2.0-OpenSSH_9.7\r\n"), "UNAVAILABLE", "transient", 2, "before the answer was whole"),
        failed("moved", redirect(301), "UNEXPECTED_RESPONSE", "unknown", 1, "put the final address"),
        failed("found", redirect(302), "UNEXPECTED_RESPONSE", "unknown", 1, "put the final address"),
        failed("moved_too", redirect(308), "UNEXPECTED_RESPONSE", "unknown", 1, "put the final address"),
        failed(
            "not_modified",
            Reply::With(304, vec![], String::new()),
            "UNEXPECTED_RESPONSE",
            "unknown",
            1,
            "redirects",
        ),
        failed(
            "html",
            with(200, "text/html", "<html>Sign in</html>"),
            "UNEXPECTED_RESPONSE",
            "unknown",
            1,
            "text/html",
        ),
        failed(
            "long_page",
            with(200, "text/html", &"<p>".repeat(30_000)),
            "UNEXPECTED_RESPONSE",
            "unknown",
            1,
            "text/html",
        ),
        failed("broken", with(200, "application/json", "{\"id\":"), "UNEXPECTED_RESPONSE", "unknown", 1, "and is not"),
        failed("two", with(200, "application/json", "{}{}"), "UNEXPECTED_RESPONSE", "unknown", 1, "and is not"),
        failed(
            "bytes",
            Reply::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe".to_vec()),
            "UNEXPECTED_RESPONSE",
            "unknown",
            1,
            "not UTF-8",
        ),
        Row {
            tool: OBJECT,
            ..failed(
                "schema",
                with(200, "application/json", "{\"name\":\"x\"}"),
                "UNEXPECTED_RESPONSE",
                "unknown",
                1,
                "output schema: \\\"id\\\"",
            )
        },
        Row {
            tool: OBJECT,
            ..failed("schema_empty", with(200, "", ""), "UNEXPECTED_RESPONSE", "unknown", 1, "output schema")
        },
        Row { tool: OBJECT, ..succeeded("schema_fits", with(201, "application/json", "{\"id\":1}"), "{\"id\":1}") },
        Row {
            tool: "max_response = \"1KiB\"",
            ..failed(
                "large",
                with(200, "text/plain", &"x".repeat(100_000)),
                "UNEXPECTED_RESPONSE",
                "unknown",
                1,
                "larger than max_response, 1024 bytes",
            )
        },
        Row {
            tool: "max_response = \"1KiB\"",
            ..succeeded("large_enough", with(200, "text/plain", &"x".repeat(1024)), "xxx\"")
        },
        succeeded("empty", with(200, "application/json", ""), "null"),
        succeeded("no_content", raw("HTTP/1.1 204 No Content\r\n\r\n"), "null"),
        succeeded("text", with(200, "text/plain; charset=utf-8", "ok"), "\"ok\""),
        succeeded("mislabelled", with(200, "text/html", "[1]"), "[1]"),
        succeeded("until_closed", raw("HTTP/1.0 200 OK\r\n\r\n{\"id\":1}"), "{\"id\":1}"),
        failed("s400", status(400), "VALIDATION_ERROR", "client", 1, "(status 400)"),
        failed("s401", status(401), "AUTHENTICATION_FAILED", "auth", 1, "(status 401)"),
        failed("s402", status(402), "VALIDATION_ERROR", "client", 1, "(status 402)"),
        failed("s403", status(403), "FORBIDDEN", "auth", 1, "(status 403)"),
        failed("s404", status(404), "NOT_FOUND", "missing", 1, "(status 404)"),
        failed("s408", status(408), "UNAVAILABLE", "transient", 2, "(status 408)"),
        failed("s409", status(409), "CONFLICT", "client", 1, "(status 409)"),
        failed("s410", status(410), "NOT_FOUND", "missing", 1, "(status 410)"),
        failed("s422", status(422), "VALIDATION_ERROR", "client", 1, "(status 422)"),
        failed("s425", status(425), "UNAVAILABLE", "transient", 2, "(status 425)"),
        failed("s429", status(429), "RATE_LIMITED", "transient", 2, "(status 429)"),
        failed("s500", status(500), "UPSTREAM_ERROR", "server", 2, "(status 500)"),
        failed("s501", status(501), "UNEXPECTED_RESPONSE", "unknown", 1, "no tool expects"),
        failed("s502", status(502), "UPSTREAM_ERROR", "server", 2, "(status 502)"),
        failed("s503", status(503), "UNAVAILABLE", "transient", 2, "(status 503)"),
        failed("s504", status(504), "UPSTREAM_ERROR", "server", 2, "(status 504)"),
        failed("s599", status(599), "UNEXPECTED_RESPONSE", "unknown", 1, "no tool expects"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_api_answers_the_task_ends_with_a_code_a_class_and_bounded_evidence() {
    let elsewhere = Stub::start(|_, _| Reply::Json(200, json!({"ok": true}))).await;
    let rows = rows(&elsewhere);
    let replies: Vec<(String, Reply)> = rows.iter().map(|row| (format!("/{}", row.name), row.reply.clone())).collect();
    let stub = Stub::start(move |call, _| {
        let reply = replies.iter().find(|(path, _)| *path == call.path);
        reply.map(|(_, reply)| reply.clone()).unwrap_or_else(|| panic!("{call:?}"))
    })
    .await;
    let mut config = ALLOW.to_owned();
    for row in &rows {
        let more = format!("idempotency_header = \"X-Key\"\ntimeout = \"1s\"\nattempts = 2\n{}", row.tool);
        config.push_str(&tool(row.name, "POST", &format!("{}/{}", stub.url, row.name), &more));
    }
    let bridge = bridge(&config).await;
    for row in &rows {
        send(&bridge, row.name, json!({"row": row.name})).await;
    }
    for row in &rows {
        let name = row.name;
        let record = show(&bridge, &ended(&bridge, name).await);
        let error = &record["error"];
        assert_eq!(
            (record["state"].as_str(), &error["code"], &error["class"]),
            (Some(row.state), &row.code, &row.class),
            "{name}: {record}"
        );
        let said = if row.state == "succeeded" { record["result"].to_string() } else { error["message"].to_string() };
        assert!(
            if row.state == "succeeded" { said.ends_with(row.says) } else { said.contains(row.says) },
            "{name}: {record}"
        );
        // Each attempt is one call, one line and one entry of the record.
        let calls = stub.calls_of(&format!("/{name}"));
        let lines = attempts(&bridge, name);
        let recorded = record["attempts"].as_array().map(Vec::len);
        assert_eq!((calls.len(), lines.len(), recorded), (row.calls, row.calls, Some(row.calls)), "{name}: {record}");
        assert_eq!(lines.iter().filter(|line| line["decision"] == "retry").count(), row.calls - 1, "{name}: {lines:?}");
        // The key is the task's id on each of them.
        assert!(calls.iter().all(|call| call.header("x-key") == record["id"]), "{name}: {calls:?}");
        let evidence = error["evidence"].as_str().unwrap_or_default();
        assert!(evidence.len() <= 2048, "{name}: {} bytes of evidence", evidence.len());
        if let Reply::With(_, _, body) = &row.reply
            && row.state == "failed"
        {
            let bound = if row.tool.starts_with("max_response") { 1024 } else { 2048 };
            assert!(evidence == &body[..body.len().min(bound)], "{name}: {} bytes of evidence", evidence.len());
        }
        assert_eq!(record["input"], json!({"row": name}));
    }
    assert_eq!(elsewhere.connections(), 0, "a redirect was followed");
    assert_eq!(bridge.dead_letters().await, 0);
    assert!(bridge.journal().iter().all(|line| line["level"] != "error"), "{:?}", bridge.journal());
}

#[tokio::test]
async fn an_api_that_is_down_is_tried_again_and_nothing_was_sent() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let config = tool("down", "POST", &format!("http://{gone}/"), "attempts = 2") + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "down", json!({})).await;
    let record = show(&bridge, &ended(&bridge, "down").await);
    assert_eq!(decisions(&bridge, "down"), ["retry", "failed"]);
    let error = &record["error"];
    assert_eq!((&error["code"], &error["class"]), (&json!("UNAVAILABLE"), &json!("transient")));
    assert_eq!((&error["may_have_acted"], &record["result"]), (&json!(false), &Value::Null));
    assert!(error["message"].as_str().is_some_and(|text| text.contains("no connection to the upstream")), "{error}");
}

#[tokio::test]
async fn an_api_that_says_when_to_come_back_is_not_called_before() {
    // RFC 9110 §5.6.7: whole seconds, so three from now are more than two.
    let later = || httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(3));
    let called = Mutex::new(BTreeSet::new());
    let stub = Stub::start(move |call, _| {
        if !called.lock().expect("called").insert(call.path.clone()) {
            return Reply::Json(200, json!(1));
        }
        let wait = if call.path == "/seconds" { "2".to_owned() } else { later() };
        Reply::With(429, vec![("retry-after".into(), wait)], String::new())
    })
    .await;
    let config = tool("seconds", "GET", &format!("{}/seconds", stub.url), "attempts = 2")
        + &tool("date", "GET", &format!("{}/date", stub.url), "attempts = 2")
        + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "seconds", json!({})).await;
    send(&bridge, "date", json!({})).await;
    for name in ["seconds", "date"] {
        ended(&bridge, name).await;
        let calls = stub.calls_of(&format!("/{name}"));
        let waited = calls[1].at.duration_since(calls[0].at);
        assert!(waited >= Duration::from_millis(1_950), "{name}: called again after {waited:?}");
        let line = &attempts(&bridge, name)[0];
        assert_eq!((&line["decision"], &line["code"]), (&json!("retry"), &json!("RATE_LIMITED")));
        assert!(line["retry_in_ms"].as_u64().is_some_and(|ms| (1_900..=3_000).contains(&ms)), "{line}");
    }
}

#[tokio::test]
async fn nothing_leaves_to_an_address_that_is_not_public() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({"secret": "metadata"}))).await;
    let port = stub.url.rsplit(':').next().expect("a port");
    let six = Stub::start_at("[::1]:0", |_, _| Reply::Json(200, json!(6))).await;
    let rows = [
        ("name", format!("http://localhost:{port}/")),
        ("name_in_capitals", format!("http://LocalHost:{port}/")),
        ("literal", format!("http://127.0.0.1:{port}/")),
        ("other_loopback", format!("http://127.8.8.8:{port}/")),
        ("any", format!("http://0.0.0.0:{port}/")),
        ("six", format!("{}/", six.url)),
        ("mapped", format!("http://[::ffff:127.0.0.1]:{port}/")),
        ("mapped_hex", format!("http://[::ffff:7f00:1]:{port}/")),
        ("translated", format!("http://[64:ff9b::7f00:1]:{port}/")),
        ("private", "https://10.0.0.1/".to_owned()),
        ("metadata", "http://169.254.169.254/latest/meta-data/".to_owned()),
    ];
    let config: String = rows.iter().map(|(name, url)| tool(name, "GET", url, "")).collect();
    let bridge = bridge(&config).await;
    for (name, _) in &rows {
        send(&bridge, name, json!({})).await;
    }
    for (name, _) in &rows {
        let record = show(&bridge, &ended(&bridge, name).await);
        let error = &record["error"];
        assert_eq!(
            (&record["state"], &error["code"], &record["attempt"], &error["may_have_acted"]),
            (&json!("failed"), &json!("ADDRESS_FORBIDDEN"), &json!(1), &json!(false)),
            "{name}: {record}"
        );
        assert!(error["message"].as_str().is_some_and(|text| text.contains("[network] allow")), "{name}: {error}");
    }
    assert_eq!((stub.connections(), six.connections()), (0, 0));

    // Spellings that a resolver would read as 127.0.0.1 do not get into a configuration.
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("bridge.toml");
    for host in ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "localhost."] {
        std::fs::write(&file, tool("odd", "GET", &format!("http://{host}:{port}/"), "")).expect("bridge.toml");
        let answer = run(&["check", file.to_str().expect("a path")], "");
        assert_eq!(answer.status, 1, "{host}: {answer:?}");
        assert!(answer.out.contains("INVALID_URL") || answer.err.contains("INVALID_URL"), "{host}: {answer:?}");
    }
}

#[tokio::test]
async fn an_allowed_range_lets_its_addresses_pass_and_a_name_only_if_all_of_its_addresses_are_in_it() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({"ok": true}))).await;
    let port = stub.url.rsplit(':').next().expect("a port");
    let config = tool("literal", "GET", &format!("{}/", stub.url), "")
        + &tool("name", "GET", &format!("http://localhost:{port}/"), "")
        + &tool("neighbour", "GET", &format!("http://127.0.0.2:{port}/"), "")
        + "[network]\nallow = [\"127.0.0.1\", \"::1\"]\n";
    let bridge = bridge(&config).await;
    for name in ["literal", "name", "neighbour"] {
        send(&bridge, name, json!({})).await;
    }
    for name in ["literal", "name"] {
        assert_eq!(ended(&bridge, name).await["decision"], "succeeded", "{name}");
    }
    assert_eq!(ended(&bridge, "neighbour").await["code"], "ADDRESS_FORBIDDEN");
    assert_eq!(stub.calls().len(), 2);
}

#[tokio::test]
async fn an_input_that_does_not_fit_is_not_sent() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let schema =
        "input = { type = \"object\", required = [\"id\"], properties.id = { type = \"string\", pattern = \"^pi_\" } }";
    let url = format!("{}/things/{{id}}", stub.url);
    let config = tool("typed", "POST", &url, schema)
        + &tool("templated", "POST", &url, "")
        + &tool("header", "POST", &stub.url, "headers = { \"X-Note\" = \"{note}\" }")
        + &tool("body", "POST", &stub.url, "body = '.amount | tonumber'")
        + ALLOW;
    let bridge = bridge(&config).await;
    let rows = [
        ("typed", json!({"id": "cus_1"}), "input schema"),
        ("templated", json!({"id": ".."}), "would change the path"),
        ("header", json!({"note": "a\r\nX-Evil: 1"}), "characters"),
        ("body", json!({"amount": "many"}), "body: "),
    ];
    for (name, input, _) in &rows {
        send(&bridge, name, input.clone()).await;
    }
    for (name, input, says) in &rows {
        let record = show(&bridge, &ended(&bridge, name).await);
        let error = &record["error"];
        assert_eq!(
            (&record["state"], &error["code"], &error["class"], &record["attempt"]),
            (&json!("failed"), &json!("VALIDATION_ERROR"), &json!("client"), &json!(1)),
            "{name}: {record}"
        );
        assert!(error["message"].as_str().is_some_and(|text| text.contains(says)), "{name}: {error}");
        assert_eq!(&record["input"], input);
        // The message is for logs too, where the input has no place.
        assert!(!error["message"].to_string().contains("cus_1"), "{error}");
    }
    assert_eq!(stub.connections(), 0);
}

#[tokio::test]
async fn a_request_is_made_as_it_was_declared() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let url = format!("{}/customers/{{id}}/notes", stub.url);
    let config =
        tool("get", "GET", &url, "query = { q = \"{text}\", limit = 10 }\nheaders = { \"X-Note\" = \"no. {n}\" }")
            + &tool("put", "PUT", &url, "body = '{note: .text, tags: [\"a\", .n]}'\nidempotency_header = \"X-Key\"")
            + &tool("post", "POST", &url, "effect = \"unsafe\"")
            + &tool("delete", "DELETE", &url, "")
            + ALLOW;
    let bridge = bridge(&config).await;
    let input = json!({"id": "cus/1", "text": "a&b=ü ?", "n": 7});
    for name in ["get", "put", "post", "delete"] {
        send(&bridge, name, input.clone()).await;
        ended(&bridge, name).await;
    }
    let calls = stub.calls();
    let of = |method: &str| -> &Call { calls.iter().find(|call| call.method == method).expect("a call") };
    let path = "/customers/cus%2F1/notes";

    let get = of("GET");
    assert_eq!(get.path, format!("{path}?limit=10&q=a%26b%3D%C3%BC%20%3F"));
    assert_eq!((get.header("x-note"), get.header("content-type"), get.header("content-length")), ("no. 7", "", ""));
    assert!(get.body.is_empty());
    let put = of("PUT");
    assert_eq!((put.path.as_str(), put.header("content-type")), (path, "application/json"));
    assert_eq!(put.json(), json!({"note": "a&b=ü ?", "tags": ["a", 7]}));
    assert!(put.header("x-key").starts_with("task_"));
    let post = of("POST");
    assert_eq!((post.path.as_str(), post.json()), (path, input));
    assert_eq!(post.header("idempotency-key"), "");
    let delete = of("DELETE");
    assert_eq!((delete.path.as_str(), delete.body.len()), (path, 0));
    for call in &calls {
        assert_eq!((call.header("accept"), call.header("authorization")), ("application/json", ""));
        assert!(call.header("user-agent").starts_with("clawbridge/"), "{call:?}");
    }
}

#[tokio::test]
async fn for_a_tool_that_reads_nothing_is_an_answer() {
    let stub = Stub::start(|call, _| {
        if call.path == "/gone" { Reply::With(410, vec![], String::new()) } else { Reply::Json(404, json!({"e": 1})) }
    })
    .await;
    let config = tool("look", "GET", &format!("{}/none", stub.url), "")
        + &tool("gone", "GET", &format!("{}/gone", stub.url), "")
        + &tool("remove", "DELETE", &format!("{}/none", stub.url), "")
        + ALLOW;
    let bridge = bridge(&config).await;
    for (name, state, status) in [("look", "succeeded", 404), ("gone", "succeeded", 410), ("remove", "failed", 404)] {
        send(&bridge, name, json!({})).await;
        let line = ended(&bridge, name).await;
        assert_eq!((&line["decision"], &line["status"]), (&json!(state), &json!(status)), "{name}");
        assert_eq!(show(&bridge, &line)["result"], Value::Null);
    }
    assert_eq!(stub.calls().len(), 3);
}

/// The declaration of a tool's secret.
fn auth(secret: &str, more: &str) -> String {
    format!("auth = {{ secret = \"clawbridge/tools/{secret}\"{more} }}\nidempotency_header = \"X-Key\"")
}

fn set_secret(bridge: &Bridge, name: &str, value: &str) {
    let answer = bridge.run_with_input(&["secret", "set", &format!("clawbridge/tools/{name}")], value);
    assert_eq!(answer.status, 0, "{answer:?}");
}

#[tokio::test]
async fn a_tools_secret_is_sent_as_the_tool_declares() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let config = tool("bearer", "POST", &stub.url, &auth("crm", ""))
        + &tool("named", "POST", &stub.url, &auth("shop", ", header = \"X-Api-Key\""))
        + &tool("prefixed", "POST", &stub.url, &auth("crm", ", prefix = \"Token token=\""))
        + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", "crm secret\n");
    set_secret(&bridge, "shop", "shop_secret");
    let rows = [
        ("bearer", "authorization", "Bearer crm secret"),
        ("named", "x-api-key", "shop_secret"),
        ("prefixed", "authorization", "Token token=crm secret"),
    ];
    for (name, header, value) in rows {
        send(&bridge, name, json!({})).await;
        ended(&bridge, name).await;
        let calls = stub.calls();
        let call = calls.last().expect("a call");
        assert_eq!(call.header(header), value, "{name}");
        assert!(header == "authorization" || call.header("authorization").is_empty());
    }
}

#[tokio::test]
async fn a_secret_that_is_missing_or_cannot_be_sent_says_what_to_do_and_is_used_once_it_is_there() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let config =
        tool("lost", "POST", &stub.url, &auth("crm", "")) + &tool("odd", "POST", &stub.url, &auth("odd", "")) + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "odd", "two\nlines of it");
    let rows = [("lost", "`clawbridge secret set clawbridge/tools/crm` makes it"), ("odd", "set it again")];
    for (name, says) in rows {
        send(&bridge, name, json!({})).await;
        let line = ended(&bridge, name).await;
        let record = show(&bridge, &line);
        let error = &record["error"];
        assert_eq!(
            (&record["state"], &error["code"], &error["class"], &error["may_have_acted"]),
            (&json!("failed"), &json!("CREDENTIAL_UNAVAILABLE"), &json!("auth"), &json!(false)),
            "{record}"
        );
        assert!(error["message"].as_str().is_some_and(|text| text.contains(says)), "{error}");
        assert!(!format!("{record}{line}").contains("lines of it"), "{record}");
    }
    assert_eq!(stub.connections(), 0);
    set_secret(&bridge, "crm", "there now");
    let id = ended(&bridge, "lost").await["task"].as_str().expect("a task").to_owned();
    // That there is none may be remembered for a second.
    eventually("the task succeeds", || {
        let answer = bridge.run(&["tasks", "retry", &id, "--json"]);
        let done = answer.status == 1 && answer.error_code() == "NOT_RETRYABLE" && answer.err.contains("is succeeded");
        async move { done.then_some(()) }
    })
    .await;
    assert_eq!(stub.calls().len(), 1);
    assert_eq!(stub.calls()[0].header("authorization"), "Bearer there now");
}

#[tokio::test]
async fn a_rotated_secret_is_read_again_when_the_old_one_is_refused_and_tried_once() {
    let accepted = Arc::new(Mutex::new("Bearer first".to_owned()));
    let wanted = accepted.clone();
    let stub = Stub::start(move |call, _| {
        let known = *wanted.lock().expect("wanted") == call.header("authorization");
        Reply::Json(if known { 200 } else { 401 }, json!({}))
    })
    .await;
    let config = tool("call", "POST", &stub.url, &auth("crm", "")) + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", "first");
    send(&bridge, "call", json!(1)).await;
    assert_eq!(ended(&bridge, "call").await["decision"], "succeeded");
    // A value younger than a second is not read again.
    let read_at = stub.calls()[0].at;
    eventually("the value is a second old", || async move {
        (read_at.elapsed() > Duration::from_millis(1_100)).then_some(())
    })
    .await;

    "Bearer second".clone_into(&mut accepted.lock().expect("accepted"));
    set_secret(&bridge, "crm", "second");
    send(&bridge, "call", json!(2)).await;
    eventually("the second task ends", || async { (attempts(&bridge, "call").len() == 2).then_some(()) }).await;
    assert_eq!(decisions(&bridge, "call"), ["succeeded", "succeeded"]);
    let calls = stub.calls();
    let sent: Vec<&str> = calls.iter().map(|call| call.header("authorization")).collect();
    assert_eq!(sent, ["Bearer first", "Bearer first", "Bearer second"]);
    assert_eq!(calls[1].header("x-key"), calls[2].header("x-key"));

    // One that is refused and has not changed is not tried twice.
    "Bearer third".clone_into(&mut accepted.lock().expect("accepted"));
    let read_at = stub.calls()[2].at;
    eventually("the value is a second old", || async move {
        (read_at.elapsed() > Duration::from_millis(1_100)).then_some(())
    })
    .await;
    send(&bridge, "call", json!(3)).await;
    eventually("the third task ends", || async { (attempts(&bridge, "call").len() == 3).then_some(()) }).await;
    let line = &attempts(&bridge, "call")[2];
    assert_eq!(
        (&line["decision"], &line["code"], &line["status"]),
        (&json!("failed"), &json!("AUTHENTICATION_FAILED"), &json!(401))
    );
    assert_eq!(stub.calls().len(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_try_with_a_newer_secret_stays_within_the_tools_time() {
    let stub = Stub::start(move |call, before| match (before, call.header("authorization")) {
        (0, _) => Reply::Json(200, json!({})),
        (_, "Bearer first") => Reply::Late(Duration::from_millis(1_500), Box::new(Reply::Json(401, json!({})))),
        _ => Reply::Late(Duration::from_millis(1_500), Box::new(Reply::Json(200, json!({})))),
    })
    .await;
    let config = tool("call", "POST", &stub.url, &(auth("crm", "") + "\ntimeout = \"2s\"\nattempts = 2")) + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", "first");
    send(&bridge, "call", json!(1)).await;
    ended(&bridge, "call").await;
    set_secret(&bridge, "crm", "second");
    send(&bridge, "call", json!(2)).await;
    eventually("the second task ends", || async { (attempts(&bridge, "call").len() == 3).then_some(()) }).await;
    let lines = attempts(&bridge, "call");
    assert_eq!((&lines[1]["decision"], &lines[1]["code"]), (&json!("retry"), &json!("TIMEOUT")), "{lines:?}");
    assert!(lines[1]["ms"].as_u64().is_some_and(|ms| ms < 3_000), "{lines:?}");
    assert_eq!(lines[2]["decision"], "succeeded");
}

#[tokio::test]
async fn a_credential_that_an_api_repeats_is_in_no_record_no_line_and_no_event() {
    const MARKER: &str = "sk/marker+4242\"quoted";
    let escaped = |call: &Call| call.header("authorization").replace('"', "\\\"").replace('/', "\\/");
    let stub = Stub::start(move |call, _| match call.path.as_str() {
        "/told" => Reply::Json(200, json!({})),
        "/json" => Reply::Json(200, json!({"sent": call.header("authorization"), call.header("authorization"): [1]})),
        "/escaped" => with(200, "application/json", &format!("{{\"sent\":\"{}\"}}", escaped(call))),
        "/text" => with(200, "text/plain", call.header("authorization")),
        "/refused" => with(422, "application/json", &format!("{{\"bad key\":\"{}\"}}", escaped(call))),
        "/denied" => Reply::With(403, vec![], format!("no: {}", call.header("authorization"))),
        "/html" => with(200, "text/html", &format!("{}{}", "<p>".repeat(680), call.header("authorization"))),
        _ => Reply::With(302, vec![("location".into(), format!("/?{}", call.header("authorization")))], String::new()),
    })
    .await;
    let names = ["json", "escaped", "text", "refused", "denied", "html", "moved"];
    let mut config = ALLOW.to_owned();
    for name in names {
        config.push_str(&tool(name, "POST", &format!("{}/{name}", stub.url), &auth("crm", "")));
    }
    config
        .push_str(&format!("[tools.told]\nmethod = \"POST\"\nurl = \"{}/told\"\neffect = \"idempotent\"\n", stub.url));
    for event in ["completed", "failed"] {
        config.push_str(&format!(
            "[[routes]]\nname = \"told-{event}\"\nsource = \"bridge\"\ntype = \"task.{event}\"\ntool = \"told\"\nfilter = '.body.data.tool != \"told\"'\n"
        ));
    }
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", MARKER);
    for name in names {
        send(&bridge, name, json!({})).await;
    }
    let mut shown = String::new();
    for name in names {
        let line = ended(&bridge, name).await;
        let record = show(&bridge, &line);
        assert!(record.to_string().contains("Bearer ["), "{name}: {record}");
        shown.push_str(&record.to_string());
        shown.push_str(&bridge.run(&["tasks", "show", line["task"].as_str().expect("a task")]).out);
    }
    eventually("all are told of", || async { (stub.calls_of("/told").len() == names.len()).then_some(()) }).await;
    for event in bridge.run(&["events", "list", "--json", "--limit", "100"]).json().as_array().expect("events") {
        shown.push_str(&bridge.run(&["events", "show", event["id"].as_str().expect("an id"), "--json"]).out);
    }
    assert!(shown.contains("task.completed") && shown.contains("task.failed"), "{shown}");
    shown.push_str(&format!("{:?}{}", bridge.journal(), bridge.complaints()));
    for call in stub.calls_of("/told") {
        shown.push_str(&String::from_utf8_lossy(&call.body));
    }
    assert!(stub.calls_of("/json")[0].header("authorization").contains(MARKER));
    for part in ["4242", "quoted", "sk/", "sk\\/"] {
        assert!(!shown.contains(part), "{part} is in {shown}");
    }
}
