//! `clawbridge tools`: what is declared, what a call would send, and a call now.

use crate::support::work::{ALLOW, bridge, tool};
use crate::support::{Answer, Bridge, Reply, Stub, run};
use serde_json::{Value, json};

/// Calls a tool now, and shows what came of it as JSON.
pub(crate) fn call(bridge: &Bridge, name: &str, input: &Value) -> Value {
    let answer = bridge.run(&["tools", "call", name, "--input", &input.to_string(), "--yes", "--json"]);
    let document = answer.json();
    assert_eq!(answer.status == 0, document.get("error").is_none(), "{answer:?}");
    document
}

pub(crate) fn set_secret(bridge: &Bridge, name: &str, value: &str) {
    let answer = bridge.run_with_input(&["secret", "set", &format!("clawbridge/tools/{name}")], value);
    assert_eq!(answer.status, 0, "{answer:?}");
}

fn refused(answer: &Answer, status: i32, code: &str) {
    assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tool_is_listed_shown_and_called_now() {
    let stub = Stub::start(|call, _| {
        let headers = [("x-request-id", "req-7"), ("x-ratelimit-remaining", "41"), ("x-ratelimit-reset", "60")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        match call.path.as_str() {
            "/gone" => Reply::Json(404, json!({"why": "no such thing"})),
            _ => Reply::With(200, headers.into(), json!({"id": 1}).to_string()),
        }
    })
    .await;
    let auth = "auth = { secret = \"clawbridge/tools/crm\" }";
    let config = tool("pay", "POST", &format!("{}/pay/{{id}}", stub.url), &format!("{auth}\ndescription = \"Pays\""))
        + &tool("keyed", "POST", &stub.url, "idempotency_header = \"X-Key\"\nmax_response = \"1MiB\"")
        + &tool("gone", "DELETE", &format!("{}/gone", stub.url), "")
        + ALLOW;
    let bridge = bridge(&config).await;

    let listed = bridge.run(&["tools", "list", "--json"]).json();
    assert_eq!((&listed[2]["name"], &listed[2]["effect"]), (&json!("pay"), &json!("unsafe")));
    let listed = bridge.run(&["tools", "list"]);
    assert!(listed.out.starts_with("TOOL ") && listed.out.contains("Pays"), "{listed:?}");
    let shown = bridge.run(&["tools", "show", "pay"]);
    assert!(shown.out.contains("auth      clawbridge/tools/crm in header authorization: Bearer …"), "{shown:?}");
    let shown = bridge.run(&["tools", "show", "keyed", "--json"]).json();
    assert_eq!(
        (&shown["name"], &shown["max_response"], &shown["body"]),
        (&json!("keyed"), &json!("1MiB"), &json!("."))
    );
    refused(&bridge.run(&["tools", "show", "nosuch", "--json"]), 3, "UNKNOWN_TOOL");

    // What acts each time is called on purpose only, and without its secret not at all.
    let input = ["tools", "call", "pay", "--input", "{\"id\": \"a/b\"}", "--json"];
    refused(&bridge.run(&input), 1, "UNSAFE_TOOL");
    let called = call(&bridge, "pay", &json!({"id": "a/b"}));
    assert_eq!(called["error"]["code"], "CREDENTIAL_UNAVAILABLE", "{called}");
    assert_eq!(stub.connections(), 0);

    set_secret(&bridge, "crm", "crm-secret-1");
    let called = call(&bridge, "pay", &json!({"id": "a/b"}));
    assert_eq!((&called["result"], &called["status"]), (&json!({"id": 1}), &json!(200)), "{called}");
    assert_eq!((&called["request_id"], &called["quota"]["remaining"]), (&json!("req-7"), &json!(41)));
    assert!(called["quota"]["reset_at"].as_str().is_some_and(|at| at.ends_with('Z')), "{called}");
    assert_eq!(
        (&called["requests"], &called["sent_bytes"], &called["received_bytes"]),
        (&json!(1), &json!(12), &json!(8))
    );
    assert_eq!(stub.calls()[0].path, "/pay/a%2Fb");

    let answer = bridge.run(&["tools", "call", "keyed", "--key", "mine-1"]);
    assert!(answer.status == 0 && answer.out.contains("quota     41 left"), "{answer:?}");
    let answer = bridge.run(&["tools", "call", "keyed"]);
    assert_eq!(answer.status, 0, "{answer:?}");
    let keys: Vec<String> = stub.calls_of("/").iter().map(|call| call.header("x-key").to_owned()).collect();
    assert!(keys[0] == "mine-1" && keys[1].starts_with("call_"), "{keys:?}");

    let answer = bridge.run(&["tools", "call", "gone", "--json"]);
    refused(&answer, 1, "NOT_FOUND");
    let error = &answer.json()["error"];
    assert_eq!((&error["class"], &error["evidence"]), (&json!("missing"), &json!("{\"why\":\"no such thing\"}")));
    assert!(error["hint"].as_str().is_some_and(|hint| hint.contains("may not see it")), "{error}");
    // No task was made of any.
    assert_eq!(bridge.run(&["tasks", "list", "--json"]).json(), json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_prints_the_exact_request_and_sends_nothing() {
    let stub = Stub::start(|_, _| Reply::Json(200, json!({}))).await;
    let sign = "[tools.call.sign]\nsecret = \"clawbridge/tools/key\"\nheader = \"X-Sig\"\nprefix = \"sha256=\"\n";
    let more = format!(
        "auth = {{ secret = \"clawbridge/tools/crm\", query = \"api_key\" }}\nheaders = {{ X-Api-Version = \"2026-01-01\" }}\n{sign}"
    );
    let config = tool("call", "POST", &format!("{}/v1/{{id}}?x=1", stub.url), &more) + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", "crm-secret-1");
    set_secret(&bridge, "key", "signing-key-1");
    let input = json!({"id": "a b", "n": 1.50}).to_string();
    let answer = bridge.run(&["tools", "call", "call", "--input", &input, "--dry-run"]);
    assert_eq!(answer.status, 0, "{answer:?}");
    let expected = [
        format!("POST {}/v1/a%20b?x=1&api_key=[redacted]", stub.url),
        "x-api-version: 2026-01-01".to_owned(),
        "x-sig: sha256=[redacted]".to_owned(),
        "content-length: 20".to_owned(),
        "{\"id\":\"a b\",\"n\":1.5}".to_owned(),
    ];
    for line in &expected {
        assert!(answer.out.lines().any(|found| found == line), "{line} is not in {answer:?}");
    }
    assert!(answer.err.contains("clawbridge/tools/crm, clawbridge/tools/key"), "{answer:?}");
    assert_eq!(stub.connections(), 0);

    // The real one differs in what was masked, and is a trace of its own.
    assert_eq!(call(&bridge, "call", &json!({"id": "a b", "n": 1.50}))["status"], 200);
    let real = &stub.calls()[0];
    assert_eq!(real.path, "/v1/a%20b?x=1&api_key=crm-secret-1");
    let mut shown = 0;
    for (name, value) in answer.out.lines().filter_map(|line| line.split_once(": ")) {
        shown += 1;
        let is_its_own = ["x-sig", "traceparent"].contains(&name) && !real.header(name).is_empty();
        assert!(is_its_own || real.header(name) == value, "{name}: {value} is not in {real:?}");
    }
    assert_eq!(shown, real.headers.len());
    assert_eq!(real.body, b"{\"id\":\"a b\",\"n\":1.5}");
}

#[test]
fn a_file_that_is_not_applied_is_tried_without_a_stack() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("new.toml");
    let path = file.to_str().expect("a path");
    std::fs::write(&file, tool("look", "GET", "https://a.example/{id}", "pages = { kind = \"link\" }"))
        .expect("a file");
    let listed = run(&["tools", "list", "--file", path, "--json"], "");
    assert_eq!(listed.json()[0]["name"], "look", "{listed:?}");
    let shown = run(&["tools", "show", "look", "--file", path], "");
    assert!(shown.out.contains("pages     by link, 10 at most, 1000 items at most"), "{shown:?}");

    let input = dir.path().join("input.json");
    std::fs::write(&input, "{\"id\": 7}").expect("a file");
    let at = format!("@{}", input.display());
    for (given, standard_input) in [(at.as_str(), ""), ("{\"id\":7}", ""), ("-", "{\"id\":7}")] {
        let dry = ["tools", "call", "look", "--file", path, "--dry-run", "--json", "--input", given];
        let answer = run(&dry, standard_input);
        assert_eq!((answer.status, &answer.json()["url"]), (0, &json!("https://a.example/7")), "{answer:?}");
    }
    let dry = ["tools", "call", "look", "--file", path, "--dry-run", "--json", "--input"];
    refused(&run(&[&dry[..], &["{\"id\":"]].concat(), ""), 1, "INPUT_UNREADABLE");
    refused(&run(&[&dry[..], &["@/nowhere.json"]].concat(), ""), 3, "INPUT_UNREADABLE");
    refused(&run(&[&dry[..], &["{}"]].concat(), ""), 1, "VALIDATION_ERROR");
    std::fs::write(&file, tool("look", "GET", "https://10.0.0.1/{id}", "")).expect("a file");
    refused(&run(&[&dry[..], &["{\"id\":7}"]].concat(), ""), 1, "ADDRESS_FORBIDDEN");
    std::fs::write(&file, "[tools.look]\n").expect("a file");
    refused(&run(&[&dry[..], &["{}"]].concat(), ""), 1, "CONFIG_INVALID");
    refused(&run(&["tools", "list", "--file", "/nowhere.toml", "--json"], ""), 3, "CONFIG_UNREADABLE");
}
