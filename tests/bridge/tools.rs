//! Tools against APIs that misbehave: what becomes of the task, whether it is called again, what is kept.

use crate::support::work::{ALLOW, attempts, bridge, decisions, ended, scripted, send, show, tool};
use crate::support::{Call, Reply, Stub, run};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

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

fn raw(text: &str) -> Reply {
    Reply::Raw(text.as_bytes().to_vec())
}

fn status(status: u16) -> Reply {
    Reply::of(status, "application/json", &json!({"error": format!("status {status}")}).to_string())
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
            Reply::of(200, "text/html", "<html>Sign in</html>"),
            "UNEXPECTED_RESPONSE",
            "unknown",
            1,
            "text/html",
        ),
        failed(
            "long_page",
            Reply::of(200, "text/html", &"<p>".repeat(30_000)),
            "UNEXPECTED_RESPONSE",
            "unknown",
            1,
            "text/html",
        ),
        failed(
            "broken",
            Reply::of(200, "application/json", "{\"id\":"),
            "UNEXPECTED_RESPONSE",
            "unknown",
            1,
            "and is not",
        ),
        failed("two", Reply::of(200, "application/json", "{}{}"), "UNEXPECTED_RESPONSE", "unknown", 1, "and is not"),
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
                Reply::of(200, "application/json", "{\"name\":\"x\"}"),
                "UNEXPECTED_RESPONSE",
                "unknown",
                1,
                "output schema: \\\"id\\\"",
            )
        },
        Row {
            tool: OBJECT,
            ..failed("schema_empty", Reply::of(200, "", ""), "UNEXPECTED_RESPONSE", "unknown", 1, "output schema")
        },
        Row {
            tool: OBJECT,
            ..succeeded("schema_fits", Reply::of(201, "application/json", "{\"id\":1}"), "{\"id\":1}")
        },
        Row {
            tool: "max_response = \"1KiB\"",
            ..failed(
                "large",
                Reply::of(200, "text/plain", &"x".repeat(100_000)),
                "UNEXPECTED_RESPONSE",
                "unknown",
                1,
                "larger than max_response, 1024 bytes",
            )
        },
        Row {
            tool: "max_response = \"1KiB\"",
            ..succeeded("large_enough", Reply::of(200, "text/plain", &"x".repeat(1024)), "xxx\"")
        },
        succeeded("empty", Reply::of(200, "application/json", ""), "null"),
        succeeded("no_content", raw("HTTP/1.1 204 No Content\r\n\r\n"), "null"),
        succeeded("text", Reply::of(200, "text/plain; charset=utf-8", "ok"), "\"ok\""),
        succeeded("mislabelled", Reply::of(200, "text/html", "[1]"), "[1]"),
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
        // Long enough for an answer on a busy machine.
        let timeout = if row.code == "TIMEOUT" { "2s" } else { "20s" };
        let more = format!("idempotency_header = \"X-Key\"\ntimeout = \"{timeout}\"\nattempts = 2\n{}", row.tool);
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
        let headers = |pairs: [(&str, String); 2]| pairs.map(|(name, value)| (name.to_owned(), value)).to_vec();
        match call.path.as_str() {
            "/seconds" => Reply::With(429, vec![("retry-after".into(), "2".into())], String::new()),
            "/date" => Reply::With(429, vec![("retry-after".into(), later())], String::new()),
            // As GitHub says it.
            _ => {
                let reset = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time").as_secs() + 3;
                let quota = [("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", reset.to_string())];
                Reply::With(403, headers(quota), String::new())
            }
        }
    })
    .await;
    let config = tool("seconds", "GET", &format!("{}/seconds", stub.url), "attempts = 2")
        + &tool("date", "GET", &format!("{}/date", stub.url), "attempts = 2")
        + &tool("quota", "GET", &format!("{}/quota", stub.url), "attempts = 2")
        + ALLOW;
    let bridge = bridge(&config).await;
    for name in ["seconds", "date", "quota"] {
        send(&bridge, name, json!({})).await;
    }
    for name in ["seconds", "date", "quota"] {
        ended(&bridge, name).await;
        let calls = stub.calls_of(&format!("/{name}"));
        let waited = calls[1].at.duration_since(calls[0].at);
        assert!(waited >= Duration::from_millis(1_950), "{name}: called again after {waited:?}");
        let line = &attempts(&bridge, name)[0];
        assert_eq!((&line["decision"], &line["code"]), (&json!("retry"), &json!("RATE_LIMITED")));
        assert!(line["retry_in_ms"].as_u64().is_some_and(|ms| (500..=3_000).contains(&ms)), "{line}");
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

#[tokio::test]
async fn an_answer_is_projected_to_what_an_agent_needs_before_it_is_checked() {
    let stub = Stub::start(|_, _| {
        let headers = vec![("x-total".into(), "7".into()), ("x-total".into(), "8".into())];
        Reply::With(200, headers, json!({"data": {"id": "in_1", "noise": [1, 2, 3]}}).to_string())
    })
    .await;
    let program = "result = '{id: .answer.data.id, status, total: .headers[\"x-total\"], asked: .input.n}'";
    let config = tool("small", "GET", &stub.url, &format!("{program}\n{OBJECT}"))
        + &tool("drift", "GET", &stub.url, "result = '.answer.items | length'\noutput = { type = \"string\" }")
        + &tool("fails", "GET", &stub.url, "result = '.answer.data.id + 1'")
        + &tool("none", "GET", &stub.url, "result = '.answer.items[]?'")
        + ALLOW;
    let bridge = bridge(&config).await;
    for name in ["small", "drift", "fails", "none"] {
        send(&bridge, name, json!({"n": 5})).await;
    }
    let record = show(&bridge, &ended(&bridge, "small").await);
    assert_eq!(record["result"], json!({"id": "in_1", "status": 200, "total": "7, 8", "asked": 5}));
    for (name, says) in [
        ("drift", "output schema: value is not of type"),
        ("fails", "result: the program failed on this input"),
        ("none", "result: the program gave no output"),
    ] {
        let record = show(&bridge, &ended(&bridge, name).await);
        let error = &record["error"];
        assert_eq!((&error["code"], &error["class"]), (&json!("UNEXPECTED_RESPONSE"), &json!("unknown")), "{record}");
        assert!(error["message"].as_str().is_some_and(|text| text.contains(says)), "{name}: {error}");
        assert!(error["evidence"].as_str().is_some_and(|text| text.contains("in_1")), "{name}: {error}");
    }
}

#[tokio::test]
async fn each_attempt_is_one_line_with_what_went_over_the_wire() {
    let named = |status, id: &str| {
        let headers = vec![("content-type".into(), "application/json".into()), ("x-request-id".into(), id.into())];
        Reply::With(status, headers, "{\"ok\":1}".into())
    };
    let stub = scripted(&[("/call", vec![named(503, "req_1"), named(200, "req_2")])]).await;
    let config = tool("call", "POST", &format!("{}/call", stub.url), "idempotency_header = \"X-Key\"") + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "call", json!({"n": 1})).await;
    ended(&bridge, "call").await;
    let lines = attempts(&bridge, "call");
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            let wire = ["upstream_request_id", "requests", "sent_bytes", "received_bytes", "status"];
            (line["decision"].clone(), wire.map(|name| line[name].clone()))
        })
        .collect();
    let expected = |decision: &str, id: &str, status: u16| {
        (json!(decision), [json!(id), json!(1), json!(r#"{"n":1}"#.len()), json!(8), json!(status)])
    };
    assert_eq!(seen, [expected("retry", "req_1", 503), expected("succeeded", "req_2", 200)]);
}
