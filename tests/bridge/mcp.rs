//! The Model Context Protocol at /mcp over real HTTP: what clients are told, which tools they see, and what becomes of calls.

use crate::support::work::ALLOW;
use crate::support::{Bridge, Call, Got, Reply, Stub, clients, eventually, root};
use serde_json::{Value, json};
use std::time::Duration;

const LATEST: &str = "2025-11-25";

/// A client with a token.
struct Agent<'a> {
    bridge: &'a Bridge,
    token: String,
}

impl Agent<'_> {
    async fn post(&self, version: Option<&str>, body: &str) -> Got {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json, text/event-stream"),
        ];
        headers.extend(version.map(|version| ("mcp-protocol-version", version)));
        self.bridge.request("POST", "/mcp", &headers, body.as_bytes()).await
    }

    /// A request's whole answer.
    async fn ask(&self, method: &str, params: Value) -> Value {
        let request = json!({"jsonrpc": "2.0", "id": "a", "method": method, "params": params});
        let got = self.post(Some(LATEST), &request.to_string()).await;
        assert_eq!((got.status, got.headers["content-type"].as_str()), (200, "application/json"), "{got:?}");
        assert_eq!((&got.body["jsonrpc"], &got.body["id"]), (&json!("2.0"), &json!("a")), "{got:?}");
        got.body
    }

    async fn call_with(&self, tool: &str, arguments: Value, meta: Value) -> Value {
        let params = json!({"name": tool, "arguments": arguments, "_meta": meta});
        let mut answer = self.ask("tools/call", params).await;
        assert!(answer["error"].is_null(), "{answer}");
        assert_eq!(answer["result"]["content"][0]["type"], "text", "{answer}");
        answer["result"].take()
    }

    async fn call(&self, tool: &str, arguments: Value) -> Value {
        self.call_with(tool, arguments, json!({})).await
    }

    async fn names(&self) -> Vec<String> {
        let answer = self.ask("tools/list", json!({})).await;
        let tools = answer["result"]["tools"].as_array().cloned().unwrap_or_else(|| panic!("{answer}"));
        tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
    }
}

fn agent<'a>(bridge: &'a Bridge, name: &str, scopes: &[&str]) -> Agent<'a> {
    let scopes: Vec<&str> = scopes.iter().flat_map(|scope| ["--scope", scope]).collect();
    let answer = bridge.run(&[&["token", "create", "--name", name, "--rate", "1000/s"], &scopes[..]].concat());
    assert_eq!(answer.status, 0, "{answer:?}");
    Agent { bridge, token: answer.out.trim().to_owned() }
}

/// An API with an answer for each path.
async fn upstream() -> Stub {
    Stub::start(|call: &Call, _| match call.path.as_str() {
        "/orders/none" => Reply::Json(404, json!({"error": "no such order"})),
        path if path.starts_with("/orders/") => Reply::Json(200, json!({"id": 7, "total": "10.50"})),
        "/sum" => Reply::Json(200, json!([1, 2, 3])),
        "/refused" => Reply::Json(422, json!({"error": "no"})),
        "/breaks" => Reply::Json(502, json!({})),
        "/slow" => Reply::Late(Duration::from_secs(2), Box::new(Reply::Json(200, json!({"slow": true})))),
        _ => Reply::Json(200, json!({"made": call.json()})),
    })
    .await
}

fn config(url: &str) -> String {
    format!(
        r#"
[tools.order]
description = "Looks at an order"
method = "GET"
url = "{url}/orders/{{id}}"
input = {{ type = "object", properties = {{ id = {{ type = "string" }} }}, required = ["id"], additionalProperties = false }}
output = {{ type = "object", properties = {{ id = {{ type = "integer" }} }}, required = ["id"] }}

[tools.sum]
method = "POST"
url = "{url}/sum"
effect = "idempotent"
output = {{ type = "array", items = {{ type = "integer" }} }}

[tools.make]
method = "POST"
url = "{url}/make"
effect = "idempotent"

[tools.refused]
method = "POST"
url = "{url}/refused"

[tools.breaks]
method = "POST"
url = "{url}/breaks"
effect = "unsafe"

[tools.slow]
method = "POST"
url = "{url}/slow"
effect = "idempotent"
{ALLOW}"#
    )
}

#[tokio::test]
async fn what_openclaw_sends_is_answered_as_it_expects() {
    let (stub, text) = (upstream().await, std::fs::read_to_string(root().join("events/mcp/openclaw.json")));
    let bridge = Bridge::start(&config(&stub.url)).await;
    let agent = agent(&bridge, "openclaw", &["execute"]);
    let bearer = format!("Bearer {}", agent.token);
    let recorded: Value = serde_json::from_str(&text.expect("the recording")).expect("JSON");
    for one in recorded["exchanges"].as_array().expect("exchanges") {
        let mut headers = vec![("authorization", bearer.as_str())];
        let sent = one["headers"].as_object().expect("headers");
        headers.extend(sent.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("a value"))));
        let body = if one["body"].is_null() { String::new() } else { one["body"].to_string() };
        let method = one["method"].as_str().expect("a method");
        let got = bridge.request(method, "/mcp", &headers, body.as_bytes()).await;
        assert_eq!(u64::from(got.status), one["status"], "{one} {got:?}");
        let expected = one["result_has"].as_array().cloned().unwrap_or_default();
        for name in expected {
            assert!(got.body["result"].get(name.as_str().expect("a name")).is_some(), "{name}: {got:?}");
        }
        assert!(!one["body"]["id"].is_null() || got.text.is_empty() || got.status == 405, "{got:?}");
    }
}

#[tokio::test]
async fn versions_are_negotiated_and_what_is_no_message_is_said_to_be_none() {
    let bridge = Bridge::start("").await;
    let agent = agent(&bridge, "a", &["execute"]);
    for (wanted, answered) in [
        (LATEST, LATEST),
        ("2025-06-18", "2025-06-18"),
        ("2025-03-26", "2025-03-26"),
        ("2024-11-05", LATEST),
        ("x", LATEST),
    ] {
        let info = json!({"name": "t", "version": "1"});
        let params = json!({"protocolVersion": wanted, "capabilities": {}, "clientInfo": info});
        let request = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params});
        let got = agent.post(None, &request.to_string()).await;
        let result = &got.body["result"];
        assert_eq!(
            (&result["protocolVersion"], &result["serverInfo"]["name"]),
            (&json!(answered), &json!("clawbridge"))
        );
        assert!(result["capabilities"]["tools"].is_object() && result["instructions"].is_string(), "{got:?}");
    }
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let batch = format!(
        r#"[{ping},{{"jsonrpc":"2.0","method":"notifications/initialized"}},{{"jsonrpc":"2.0","id":2,"method":"initialize","params":{{}}}},7]"#
    );
    let cancelled =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":0,"reason":"TimeoutError"}}"#;
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"x":"{}"}}}}"#, "x".repeat(1024 * 1024));
    // Version, body; status, code of the error.
    let rows = [
        (Some(LATEST), ping, 200, None),
        (None, ping, 200, None),
        (Some("2024-11-05"), ping, 400, Some(-32000)),
        (Some("x"), ping, 400, Some(-32000)),
        (Some(LATEST), "{", 400, Some(-32700)),
        (Some(LATEST), "", 400, Some(-32700)),
        (Some(LATEST), "7", 400, Some(-32600)),
        (Some(LATEST), r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, 400, Some(-32600)),
        (Some(LATEST), batch.as_str(), 400, Some(-32600)),
        (None, "[]", 400, Some(-32600)),
        (Some(LATEST), large.as_str(), 413, Some(-32000)),
        (Some(LATEST), r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#, 200, Some(-32601)),
        (Some(LATEST), r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}"#, 200, Some(-32602)),
        (Some(LATEST), r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"cursor":"x"}}"#, 200, Some(-32602)),
        (Some(LATEST), r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{}}"#, 200, Some(-32602)),
        (
            Some(LATEST),
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":[]}}"#,
            200,
            Some(-32602),
        ),
    ];
    for (version, body, status, code) in rows {
        let got = agent.post(version, body).await;
        let shown: String = body.chars().take(80).collect();
        assert_eq!((got.status, got.body["error"]["code"].as_i64()), (status, code), "{version:?} {shown}: {got:?}");
    }
    // Nothing is said about what wants no answer: also about an `initialize` that was answered long ago.
    for body in [
        cancelled,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
    ] {
        let got = agent.post(Some(LATEST), body).await;
        assert_eq!((got.status, got.text.as_str()), (202, ""), "{body}");
    }
    let got = agent.post(Some("2025-03-26"), &batch).await;
    let answers = got.body.as_array().cloned().unwrap_or_else(|| panic!("{got:?}"));
    let told: Vec<Value> = answers.iter().map(|one| json!([one["id"], one["error"]["code"]])).collect();
    assert_eq!(told, [json!([1, null]), json!([2, -32600]), json!([null, -32600])]);
    let got = agent.post(None, r#"[{"jsonrpc":"2.0","method":"notifications/initialized"}]"#).await;
    assert_eq!((got.status, got.text.as_str()), (202, ""));
}

#[tokio::test]
async fn who_may_not_ask_is_refused_by_http() {
    let bridge = Bridge::start("").await;
    let agent = agent(&bridge, "a", &["execute"]);
    let bearer = format!("Bearer {}", agent.token);
    let (auth, json, accept) =
        (("authorization", bearer.as_str()), ("content-type", "application/json"), ("accept", "*/*"));
    let port = bridge.public.rsplit(':').next().expect("a port").to_owned();
    let page = format!("http://localhost:{port}");
    let rows: Vec<(&str, Vec<(&str, &str)>, u16, &str)> = vec![
        ("POST", vec![auth, json, accept], 200, ""),
        ("POST", vec![auth, json, accept, ("origin", &page)], 200, ""),
        ("POST", vec![auth, json, accept, ("origin", "http://evil.example")], 403, "forbidden"),
        ("POST", vec![auth, json, accept, ("origin", "null")], 403, "forbidden"),
        ("POST", vec![json, accept], 401, "unauthorized"),
        ("POST", vec![("authorization", "Bearer ocl_x"), json, accept], 401, "unauthorized"),
        ("GET", vec![auth, ("accept", "text/event-stream")], 405, "method_not_allowed"),
        ("DELETE", vec![auth, ("mcp-session-id", "x")], 405, "method_not_allowed"),
        ("POST", vec![auth, json, ("accept", "text/html")], 406, "not_acceptable"),
        ("POST", vec![auth, ("content-type", "text/plain"), accept], 415, "unsupported_media_type"),
    ];
    for (method, headers, status, code) in rows {
        let body = if method == "POST" { r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"# } else { "" };
        let got = bridge.request(method, "/mcp", &headers, body.as_bytes()).await;
        assert_eq!(got.status, status, "{method} {headers:?}: {got:?}");
        assert_eq!(got.body["error"]["data"]["code"].as_str().unwrap_or_default(), code, "{got:?}");
        assert!(!got.headers["x-request-id"].is_empty() && got.headers.contains_key("ratelimit-remaining"), "{got:?}");
        match status {
            401 => assert!(got.headers["www-authenticate"].starts_with("Bearer "), "{got:?}"),
            405 => assert_eq!(got.headers["allow"], "POST"),
            _ => {}
        }
        assert!(!got.headers.keys().any(|name| name.starts_with("access-control-")), "{got:?}");
    }
}

#[tokio::test]
async fn a_token_sees_and_calls_its_own_tools_and_any_other_is_one_that_there_is_not() {
    let stub = upstream().await;
    let bridge = Bridge::start(&config(&stub.url)).await;
    let tasks = ["task_cancel", "task_create", "task_get", "task_list", "task_wait"];
    let declared = ["breaks", "make", "order", "refused", "slow", "sum"];
    for (n, (scopes, own, bridges)) in [
        (&["execute"][..], &declared[..], &tasks[..]),
        (&["admin"], &declared, &tasks),
        (&["tool:make"], &["make"], &tasks),
        (&["tool:make", "tool:sum"], &["make", "sum"], &tasks),
        (&["tool:ghost"], &[], &tasks),
        (&["read"], &[], &["task_get", "task_list", "task_wait"]),
        (&["agent:main"], &[], &["task_create"]),
        (&["source:hooks"], &[], &[]),
    ]
    .into_iter()
    .enumerate()
    {
        let agent = agent(&bridge, &format!("t{n}"), scopes);
        let mut expected = [own, bridges].concat();
        expected.sort_unstable();
        assert_eq!(agent.names().await, expected, "{scopes:?}");
        for name in declared.iter().chain(&tasks).chain(&["ghost", "", "Make", "task_settle"]) {
            if expected.contains(name) {
                continue;
            }
            let answer = agent.ask("tools/call", json!({"name": name, "arguments": {"id": "x"}})).await;
            assert_eq!(
                answer["error"],
                json!({"code": -32602, "message": format!("Unknown tool: {name}")}),
                "{scopes:?}"
            );
        }
    }
    assert!(stub.calls().is_empty());
    // Nor is another's tool handed in as a task, or its task shown.
    let (maker, summer) = (agent(&bridge, "maker", &["tool:make"]), agent(&bridge, "summer", &["tool:sum"]));
    let task = maker.call("task_create", json!({"tool": "make", "input": {"n": 1}})).await;
    let id = task["structuredContent"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(maker.call("task_wait", json!({"id": id})).await["structuredContent"]["status"], "completed");
    for (tool, arguments) in [
        ("task_create", json!({"tool": "make", "input": {}})),
        ("task_create", json!({"tool": "ghost", "input": {}})),
        ("task_get", json!({"id": id})),
        ("task_get", json!({"id": "task_0"})),
        ("task_cancel", json!({"id": id})),
    ] {
        let result = summer.call(tool, arguments.clone()).await;
        let error = &result["structuredContent"]["clawbridge"]["error"];
        assert_eq!((&result["isError"], &error["code"]), (&json!(true), &json!("not_found")), "{tool} {arguments}");
    }
    // A list is of what the token itself handed in; who may look sees all of them.
    let ids = |result: &Value| -> Vec<Value> {
        result["structuredContent"]["tasks"].as_array().expect("tasks").iter().map(|task| task["id"].clone()).collect()
    };
    assert_eq!(ids(&maker.call("task_list", json!({})).await), [json!(id)]);
    assert_eq!(ids(&summer.call("task_list", json!({})).await), [] as [Value; 0]);
    assert_eq!(ids(&agent(&bridge, "other", &["execute"]).call("task_list", json!({})).await), [] as [Value; 0]);
    assert_eq!(ids(&agent(&bridge, "reader", &["read"]).call("task_list", json!({"limit": 5})).await), [json!(id)]);
}

#[tokio::test]
async fn a_call_gives_its_output_or_says_why_there_is_none() {
    let stub = upstream().await;
    let bridge = Bridge::start(&config(&stub.url)).await;
    let agent = agent(&bridge, "a", &["execute"]);
    let result = agent.call("order", json!({"id": "7"})).await;
    assert_eq!(
        (&result["structuredContent"], &result["isError"]),
        (&json!({"id": 7, "total": "10.50"}), &json!(false))
    );
    let text = result["content"][0]["text"].as_str().expect("a text");
    assert_eq!(serde_json::from_str::<Value>(text).expect("JSON"), result["structuredContent"]);
    assert_eq!(result["_meta"]["clawbridge/task"]["status"], "completed");
    // A list is no object, and a reading tool that finds nothing has found nothing.
    assert_eq!(agent.call("sum", json!({})).await["structuredContent"], json!({"result": [1, 2, 3]}));
    let none = agent.call("order", json!({"id": "none"})).await;
    assert_eq!((&none["isError"], &none["content"][0]["text"]), (&json!(false), &json!("null")), "{none}");
    assert_eq!(none["structuredContent"]["clawbridge"]["task"]["status"], "completed");
    // What is wrong with an input is for the model to mend.
    let wrong = agent.call("order", json!({"id": 7})).await;
    let error = &wrong["structuredContent"]["clawbridge"]["error"];
    assert_eq!(
        (&wrong["isError"], &error["code"], &error["class"]),
        (&json!(true), &json!("validation_error"), &json!("client"))
    );
    assert_eq!(error["fields"][0]["path"], "input.id");
    // One that fails, and one of which nobody knows what it did.
    for (tool, code, class, status, says) in [
        ("refused", "VALIDATION_ERROR", "client", "failed", "failed"),
        ("breaks", "OUTCOME_UNKNOWN", "", "parked", "do not call again"),
    ] {
        let result = agent.call(tool, json!({})).await;
        let told = &result["structuredContent"]["clawbridge"];
        assert_eq!((&result["isError"], &told["task"]["status"]), (&json!(true), &json!(status)), "{result}");
        let text = result["content"][0]["text"].as_str().expect("a text");
        assert!(text.contains(says) && text.contains(told["task"]["id"].as_str().expect("an id")), "{text}");
        assert!(told["error"]["code"].is_string() && told["error"]["class"].is_string(), "{result}");
        if status == "failed" {
            assert_eq!((&told["error"]["code"], &told["error"]["class"]), (&json!(code), &json!(class)), "{result}");
        }
    }
    assert_eq!(stub.calls_of("/breaks").len(), 1);
    // Every result that there was is one that the tool's schema has.
    let listed = agent.ask("tools/list", json!({})).await;
    let order = listed["result"]["tools"].as_array().expect("tools").iter().find(|tool| tool["name"] == "order");
    let validator = jsonschema::validator_for(&order.expect("the tool")["outputSchema"]).expect("a schema");
    for result in [&result, &none, &wrong] {
        assert!(validator.is_valid(&result["structuredContent"]), "{result}");
    }
}

#[tokio::test]
async fn a_call_that_takes_long_goes_on_as_a_task_that_can_be_asked_for() {
    let stub = upstream().await;
    let bridge = Bridge::start(&config(&stub.url)).await;
    let agent = agent(&bridge, "a", &["execute"]);
    let begun = agent.call_with("slow", json!({}), json!({"clawbridge/wait": 0})).await;
    let told = &begun["structuredContent"]["clawbridge"];
    let id = told["task"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(begun["isError"], false);
    assert!(begun["content"][0]["text"].as_str().is_some_and(|text| text.contains("task_wait") && text.contains(&id)));
    let status = agent.call("task_get", json!({"id": id})).await;
    assert!(
        ["queued", "running"].contains(&status["structuredContent"]["status"].as_str().expect("a status")),
        "{status}"
    );
    let first = agent.call("task_wait", json!({"id": id, "seconds": 0})).await;
    assert_ne!(first["structuredContent"]["status"], "completed");
    let ended = eventually("the task has ended", || async {
        let result = agent.call("task_wait", json!({"id": id, "seconds": 20})).await;
        (result["structuredContent"]["status"] == "completed").then_some(result)
    })
    .await;
    assert_eq!(ended["structuredContent"]["output"], json!({"slow": true}));
    assert_eq!(stub.calls_of("/slow").len(), 1);
    let over = agent.call("task_cancel", json!({"id": id})).await;
    assert_eq!(over["structuredContent"]["clawbridge"]["error"]["code"], "conflict", "{over}");
    // Parked: taken back.
    let parked = agent.call("breaks", json!({})).await;
    let id = parked["structuredContent"]["clawbridge"]["task"]["id"].clone();
    let asked = agent.call("task_cancel", json!({"id": id, "reason": "not needed"})).await;
    assert_eq!((&asked["isError"], &asked["structuredContent"]["asked"]), (&json!(false), &json!(true)), "{asked}");
    eventually("the task is cancelled", || async {
        let result = agent.call("task_get", json!({"id": id})).await;
        (result["structuredContent"]["status"] == "cancelled").then_some(())
    })
    .await;
    for (tool, arguments, field) in [
        ("task_get", json!({}), "id"),
        ("task_get", json!({"id": 7}), "id"),
        ("task_get", json!({"id": "task_0", "colour": 1}), "colour"),
        ("task_wait", json!({"id": "task_0", "seconds": 26}), "seconds"),
        ("task_list", json!({"status": "done"}), "status"),
        ("task_create", json!({}), "tool"),
    ] {
        let result = agent.call(tool, arguments.clone()).await;
        let error = &result["structuredContent"]["clawbridge"]["error"];
        assert_eq!(
            (&result["isError"], &error["fields"][0]["path"]),
            (&json!(true), &json!(field)),
            "{tool} {arguments}"
        );
    }
    // Agents are another part's subject; a prompt has nobody to do it yet.
    let prompt = agent.call("task_create", json!({"prompt": "Look"})).await;
    assert_eq!(prompt["structuredContent"]["clawbridge"]["error"]["code"], "no_agent");
}

#[tokio::test]
async fn the_same_key_is_the_same_call_and_without_one_each_call_is_its_own() {
    let stub = upstream().await;
    let bridge = Bridge::start(&config(&stub.url)).await;
    let agent = agent(&bridge, "a", &["execute"]);
    let meta = json!({"clawbridge/idempotency-key": "order-7"});
    let first = agent.call_with("make", json!({"n": 1}), meta.clone()).await;
    let second = agent.call_with("make", json!({"n": 1}), meta.clone()).await;
    assert_eq!(first, second);
    assert_eq!(stub.calls_of("/make").len(), 1);
    let other = agent.call_with("make", json!({"n": 2}), meta.clone()).await;
    assert_eq!(other["structuredContent"]["clawbridge"]["error"]["code"], "conflict", "{other}");
    assert_eq!(stub.calls_of("/make").len(), 1);
    for _ in 0..2 {
        assert_eq!(agent.call("make", json!({"n": 1})).await["isError"], false);
    }
    assert_eq!(stub.calls_of("/make").len(), 3);
    // A task that is handed in with the key is that same call.
    let task =
        agent.call("task_create", json!({"tool": "make", "input": {"n": 1}, "idempotency_key": "order-7"})).await;
    assert_eq!(task["structuredContent"]["id"], first["_meta"]["clawbridge/task"]["id"]);
    assert_eq!(stub.calls_of("/make").len(), 3);
    let wrong = agent.ask("tools/call", json!({"name": "make", "_meta": {"clawbridge/idempotency-key": 7}})).await;
    assert_eq!(wrong["error"]["code"], -32602);
}

/// `@modelcontextprotocol/sdk`: it also checks each structured result against the schema that it was listed with.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_lists_and_calls() {
    let stub = upstream().await;
    // More tools than a page has.
    let many: String =
        (0..60).map(|n| format!("\n[tools.many_{n:02}]\nmethod = \"GET\"\nurl = \"{}/x\"\n", stub.url)).collect();
    let bridge = Bridge::start(&(config(&stub.url) + &many)).await;
    let agent = agent(&bridge, "sdk", &["execute"]);
    let steps = [
        json!({"list": true}),
        json!({"ping": true}),
        json!({"call": "order", "arguments": {"id": "7"}}),
        json!({"call": "order", "arguments": {"id": "none"}}),
        json!({"call": "order", "arguments": {"id": 7}}),
        json!({"call": "sum", "arguments": {}}),
        json!({"call": "slow", "arguments": {}, "meta": {"clawbridge/wait": 0}}),
        json!({"call": "refused", "arguments": {}}),
        json!({"call": "ghost", "arguments": {}}),
    ];
    let url = format!("{}/mcp", bridge.public);
    let args = [url.as_str(), agent.token.as_str()];
    let Some(ran) = clients::run("mcp.mjs", "@modelcontextprotocol/sdk", &args, &steps) else { return };
    assert!(ran.success && ran.lines.len() == steps.len() + 1, "{:?}: {}", ran.lines, ran.complaints);
    let [hello, listed, ping, order, none, wrong, sum, slow, refused, ghost] = &ran.lines[..] else {
        panic!("{ran:?}")
    };
    assert_eq!((&hello["server"]["name"], &hello["protocol"]), (&json!("clawbridge"), &json!(LATEST)), "{hello}");
    assert_eq!((&listed["result"]["pages"], listed["result"]["tools"].as_array().map(Vec::len)), (&json!(2), Some(71)));
    assert_eq!(ping["result"], json!({}));
    assert_eq!(order["result"]["structuredContent"]["id"], 7, "{order}");
    assert_eq!(none["result"]["isError"], false, "{none}");
    assert_eq!(wrong["result"]["isError"], true, "{wrong}");
    assert_eq!(sum["result"]["structuredContent"], json!({"result": [1, 2, 3]}), "{sum}");
    assert!(slow["result"]["structuredContent"]["clawbridge"]["task"]["id"].is_string(), "{slow}");
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    assert_eq!(ghost["error"]["code"], -32602, "{ghost}");
    // A token that is none.
    let args = [url.as_str(), "ocl_none"];
    let ran = clients::run("mcp.mjs", "@modelcontextprotocol/sdk", &args, &[]).expect("the client");
    assert!(!ran.success && ran.lines.len() == 1 && !ran.lines[0]["error"].is_null(), "{ran:?}");
}
