//! `dev --stub`: a script stands in the upstreams' place, and each way in which it misbehaves leads where ARCHITECTURE.md says.

use crate::support::work::{SECRET, decisions, ended, send, show, tool};
use crate::support::{Answer, Bridge, Options, client, eventually, run};
use crate::tool_commands::{call, set_secret};
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// A bridge whose tools' calls are answered by this script. It has the source `hooks`.
async fn stubbed(config: &str, script: &str, args: &[&str]) -> (Bridge, TempDir) {
    let dir = TempDir::new().expect("a directory");
    let bridge =
        Bridge::start_with(Options { config: Some(config.to_owned()), args: stub_args(&dir, script, args) }).await;
    bridge.add_source("hooks", "openclaw", SECRET);
    (bridge, dir)
}

fn stub_args(dir: &TempDir, script: &str, args: &[&str]) -> Vec<String> {
    std::fs::write(dir.path().join("stub.toml"), script).expect("a script");
    let path = dir.path().join("stub.toml").to_str().expect("a path").to_owned();
    ["--stub".to_owned(), path].into_iter().chain(args.iter().map(|arg| (*arg).to_owned())).collect()
}

/// What `GET /__stub` shows.
async fn page(bridge: &Bridge) -> Value {
    let answer = client().get(format!("{}/__stub", bridge.private)).send().await.expect("an answer");
    serde_json::from_slice(&answer.bytes().await.expect("a body")).expect("JSON")
}

fn hits(page: &Value) -> Vec<u64> {
    let answers = page["answers"].as_array().expect("answers").iter();
    answers.map(|answer| answer["hits"].as_u64().expect("a number")).collect()
}

const API: &str = "https://api.example.com";

/// A way to misbehave, the code and class it has, and what is decided for a tool that may be repeated and for one that may not.
struct Row {
    name: &'static str,
    answer: &'static str,
    code: &'static str,
    class: &'static str,
    idempotent: &'static [&'static str],
    unsafe_: &'static [&'static str],
}

const AGAIN: &[&str] = &["retry", "failed"];
const ONCE: &[&str] = &["failed"];
const PARKED: &[&str] = &["parked"];

const fn row(
    name: &'static str,
    answer: &'static str,
    code: &'static str,
    class: &'static str,
    idempotent: &'static [&'static str],
    unsafe_: &'static [&'static str],
) -> Row {
    Row { name, answer, code, class, idempotent, unsafe_ }
}

const ROWS: &[Row] = &[
    row("s429", "status = 429", "RATE_LIMITED", "transient", AGAIN, AGAIN),
    row("s503", "status = 503", "UNAVAILABLE", "transient", AGAIN, AGAIN),
    row("s408", "status = 408", "UNAVAILABLE", "transient", AGAIN, AGAIN),
    row("s425", "status = 425", "UNAVAILABLE", "transient", AGAIN, AGAIN),
    row("s403_wait", "status = 403\nheaders = { Retry-After = 1 }", "RATE_LIMITED", "transient", AGAIN, AGAIN),
    row("s500", "status = 500\njson = { error = \"broken\" }", "UPSTREAM_ERROR", "server", AGAIN, PARKED),
    row("s502", "status = 502", "UPSTREAM_ERROR", "server", AGAIN, PARKED),
    row("s504", "status = 504", "UPSTREAM_ERROR", "server", AGAIN, PARKED),
    row("s400", "status = 400", "VALIDATION_ERROR", "client", ONCE, ONCE),
    row("s401", "status = 401", "AUTHENTICATION_FAILED", "auth", ONCE, ONCE),
    row("s403", "status = 403", "FORBIDDEN", "auth", ONCE, ONCE),
    row("s404", "status = 404", "NOT_FOUND", "missing", ONCE, ONCE),
    row("s410", "status = 410", "NOT_FOUND", "missing", ONCE, ONCE),
    row("s422", "status = 422", "VALIDATION_ERROR", "client", ONCE, ONCE),
    row("s409", "status = 409", "CONFLICT", "client", ONCE, ONCE),
    row(
        "moved",
        "status = 302\nheaders = { Location = \"https://elsewhere.example/\" }",
        "UNEXPECTED_RESPONSE",
        "unknown",
        ONCE,
        ONCE,
    ),
    row(
        "html",
        "text = \"<html>\"\nheaders = { Content-Type = \"text/html\" }",
        "UNEXPECTED_RESPONSE",
        "unknown",
        ONCE,
        ONCE,
    ),
    row(
        "half_json",
        "text = \"{\"\nheaders = { Content-Type = \"application/json\" }",
        "UNEXPECTED_RESPONSE",
        "unknown",
        ONCE,
        ONCE,
    ),
    row("gzip", "json = 1\nheaders = { Content-Encoding = \"gzip\" }", "UNEXPECTED_RESPONSE", "unknown", ONCE, ONCE),
    row("delay", "delay = \"30s\"", "TIMEOUT", "transient", AGAIN, PARKED),
    row("slow", "text = \"1234567890\"\nslow = \"1B/s\"", "TIMEOUT", "transient", AGAIN, PARKED),
    row("cut_before", "cut = \"before\"", "UNAVAILABLE", "transient", AGAIN, PARKED),
    row("cut_headers", "cut = \"headers\"", "UNAVAILABLE", "transient", AGAIN, PARKED),
    row("cut_body", "json = { id = 1 }\ncut = \"body\"", "UNAVAILABLE", "transient", AGAIN, PARKED),
    row(
        "cut_late",
        "delay = \"50ms\"\njson = { id = 1 }\ncut = \"body\"\nslow = \"100B/s\"",
        "UNAVAILABLE",
        "transient",
        AGAIN,
        PARKED,
    ),
    row("cut_204", "status = 204\ncut = \"headers\"", "UNAVAILABLE", "transient", AGAIN, PARKED),
];

#[tokio::test]
async fn each_way_to_misbehave_has_its_code_its_class_and_its_decision() {
    let (mut config, mut script) = (String::new(), String::new());
    for row in ROWS {
        for (method, kind) in [("PUT", "idempotent"), ("POST", "unsafe")] {
            let name = format!("{}_{kind}", row.name);
            config += &tool(&name, method, &format!("{API}/{}", row.name), "timeout = \"1s\"\nattempts = 2");
        }
        script += &format!("[[answer]]\nname = \"{0}\"\npath = \"/{0}\"\n{1}\n", row.name, row.answer);
    }
    let (bridge, _dir) = stubbed(&config, &script, &[]).await;
    let tools = || ROWS.iter().flat_map(|row| [(row, "idempotent", row.idempotent), (row, "unsafe", row.unsafe_)]);
    for (row, kind, _) in tools() {
        send(&bridge, &format!("{}_{kind}", row.name), json!({})).await;
    }
    for (row, kind, expected) in tools() {
        let name = format!("{}_{kind}", row.name);
        let record = show(&bridge, &ended(&bridge, &name).await);
        let error = &record["attempts"][0]["error"];
        let error = if error.is_null() { &record["error"] } else { error };
        assert_eq!((&error["code"], &error["class"]), (&json!(row.code), &json!(row.class)), "{name}: {record}");
        assert_eq!(decisions(&bridge, &name), expected, "{name}: {record}");
    }
    let page = page(&bridge).await;
    let expected: Vec<u64> = ROWS.iter().map(|row| (row.idempotent.len() + row.unsafe_.len()) as u64).collect();
    assert_eq!(hits(&page), expected, "{page}");
}

#[tokio::test]
async fn a_429_with_retry_after_is_waited_for_and_then_the_call_succeeds() {
    let config =
        tool("pay", "POST", &format!("{API}/v1/payments"), "attempts = 3\nidempotency_header = \"Idempotency-Key\"");
    let script = "[[answer]]\nhost = \"api.example.com\"\nmethod = \"POST\"\npath = \"/v1/*\"\nbody = '.amount > 100'\ntimes = 1\nstatus = 429\n\
                  headers = { Retry-After = 2 }\n[[answer]]\ntool = \"pay\"\necho = true\n";
    let (bridge, _dir) = stubbed(&config, script, &[]).await;
    send(&bridge, "pay", json!({"amount": 200})).await;
    let record = show(&bridge, &ended(&bridge, "pay").await);
    assert_eq!(decisions(&bridge, "pay"), ["retry", "succeeded"], "{record}");
    let line = &crate::support::work::attempts(&bridge, "pay")[0];
    assert_eq!((&line["status"], &line["code"]), (&json!(429), &json!("RATE_LIMITED")));
    assert!(line["retry_in_ms"].as_u64().is_some_and(|ms| (1_500..=3_000).contains(&ms)), "{line}");
    // What was sent, as it is answered by `echo`: the key is the task's.
    let result = &record["result"];
    assert_eq!((&result["method"], &result["url"]), (&json!("POST"), &json!(format!("{API}/v1/payments"))));
    assert_eq!(
        (&result["body"]["json"], &result["headers"]["idempotency-key"]),
        (&json!({"amount": 200}), &record["id"])
    );

    let page = page(&bridge).await;
    assert_eq!((hits(&page), &page["answers"][0]["left"]), (vec![1, 1], &json!(0)));
    let requests = page["requests"].as_array().expect("requests");
    let statuses: Vec<&Value> = requests.iter().map(|request| &request["status"]).collect();
    assert_eq!(statuses, [&json!(429), &json!(200)]);
    assert!(requests[0]["by"].as_str().is_some_and(|by| by == "answer[0] (line 1)"), "{page}");
}

#[tokio::test]
async fn the_same_seed_has_the_same_luck() {
    let config = tool("look", "GET", &format!("{API}/"), "") + &tool("other", "GET", &format!("{API}/other"), "");
    let script = "[[answer]]\npath = \"/other\"\nshare = 0.5\n[[answer]]\nshare = 0.5\nstatus = 500\n[[answer]]\ntimes = 1000\njson = 1\n";
    let (same, another) = (["--stub-seed", "7"], ["--stub-seed", "8"]);
    let mut runs: Vec<Vec<bool>> = Vec::new();
    for args in [&same[..], &same[..], &another[..]] {
        let (bridge, _dir) = stubbed(&config, script, args).await;
        runs.push((0..16).map(|_| call(&bridge, "look", &json!({})).get("error").is_some()).collect());
        let page = page(&bridge).await;
        assert_eq!(
            (hits(&page).iter().sum::<u64>(), &page["seed"]),
            (16, &json!(args[1].parse::<u64>().expect("a seed")))
        );
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!(runs.iter().all(|run| run.contains(&true) && run.contains(&false)), "{runs:?}");
}

#[tokio::test]
async fn what_no_answer_fits_is_said_and_nothing_leaves_for_it() {
    let config = tool("pay", "POST", &format!("{API}/v1/payments"), "auth = { secret = \"clawbridge/tools/crm\" }")
        + &tool("inside", "POST", "bridge:/echo/inside", "")
        + &tool("private", "GET", "https://10.0.0.1/", "");
    let script = "[[answer]]\npath = \"/v2/*\"\n[[answer]]\nname = \"large\"\nbody = '.amount > 100'\n";
    // The tool's secret is not set: what stands here gets another in its place.
    let (bridge, _dir) = stubbed(&config, script, &[]).await;
    send(&bridge, "pay", json!({"amount": 7, "card": "zqkvyx"})).await;
    let record = show(&bridge, &ended(&bridge, "pay").await);
    assert_eq!((&record["error"]["code"], &record["error"]["status"]), (&json!("UNEXPECTED_RESPONSE"), &json!(501)));
    let says = "fits: answer[0] (line 1): path is another; answer[1] \\\"large\\\" (line 3): body is another";
    assert!(record["error"]["evidence"].as_str().is_some_and(|text| text.contains(says)), "{record}");
    let note = bridge.line("it is said", |line| line["kind"] == "dev.note" && line["level"] == "warn").await;
    let text = note["text"].as_str().expect("a text");
    assert!(text.starts_with("pay  POST https://api.example.com/v1/payments → 501: no [[answer]] of "), "{text}");
    assert!(!bridge.journal().iter().any(|line| line.to_string().contains("zqkvyx")));

    // The bridge itself is called as ever, and an address that may not be called may not be stubbed either.
    assert_eq!(call(&bridge, "inside", &json!({"a": 1}))["result"]["received"], json!({"a": 1}));
    assert_eq!(call(&bridge, "private", &json!({}))["error"]["code"], "ADDRESS_FORBIDDEN");
    let page = page(&bridge).await;
    assert_eq!((hits(&page), page["requests"].as_array().map(Vec::len)), (vec![0, 0], Some(1)), "{page}");
    assert_eq!(page["requests"][0]["request"]["body"]["json"]["card"], "zqkvyx");
}

#[tokio::test]
async fn no_credential_is_shown_by_the_page_or_by_echo() {
    let sign = "[tools.signed.sign]\nsecret = \"clawbridge/tools/key\"\nheader = \"X-Sig\"\nprefix = \"sha256=\"\n";
    let auth = |more: &str| format!("auth = {{ secret = \"clawbridge/tools/crm\"{more} }}\n");
    let url = format!("{API}/a?x=1");
    let rows = [
        ("header", ", header = \"X-Key\""),
        ("query", ", query = \"api_key\""),
        ("basic", ", basic = true, user = \"me\""),
    ];
    let config: String = rows.iter().map(|(name, more)| tool(name, "POST", &url, &auth(more))).collect();
    let config = config + &tool("signed", "POST", &url, &(auth("") + sign));
    let (bridge, _dir) = stubbed(&config, "[[answer]]\necho = true\n", &[]).await;
    set_secret(&bridge, "crm", "crm-secret/1");
    set_secret(&bridge, "key", "signing-key-1");
    for name in ["header", "query", "basic", "signed"] {
        let result = call(&bridge, name, &json!({"note": "of crm-secret/1"}));
        assert_eq!(result["result"]["body"]["json"]["note"], "of [redacted]", "{result}");
    }
    let page = page(&bridge).await;
    let urls: Vec<&Value> =
        page["requests"].as_array().expect("requests").iter().map(|r| &r["request"]["url"]).collect();
    assert_eq!(urls[1], &json!(format!("{url}&api_key=[redacted]")));
    let text = page.to_string();
    for secret in ["crm-secret", "Y3JtLXNlY3JldC8x", "bWU6Y3JtLXNlY3JldC8x", "signing-key", "sha256="] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
}

#[tokio::test]
async fn a_changed_script_is_used_at_once_and_a_broken_one_is_not() {
    let config = tool("look", "GET", &format!("{API}/"), "");
    let (bridge, dir) = stubbed(&config, "[[answer]]\njson = 1\n", &[]).await;
    assert_eq!(call(&bridge, "look", &json!({}))["result"], 1);
    let write = |text: &str| std::fs::write(dir.path().join("stub.toml"), text).expect("a script");
    write("[[answer]]\nstatus = 99\n");
    bridge
        .line("it is refused", |line| {
            line["text"].as_str().is_some_and(|text| text.contains("the script before stays in use"))
        })
        .await;
    // It is told on another stream than the line.
    eventually("it is told where", || async {
        bridge.complaints().contains("stub.toml:2:10: error[OUT_OF_RANGE]: answer[0].status").then_some(())
    })
    .await;
    assert_eq!(call(&bridge, "look", &json!({}))["result"], 1);
    write("[[answer]]\njson = 2\n[[answer]]\n");
    eventually("it is used", || async { (page(&bridge).await["answers"].as_array()?.len() == 2).then_some(()) }).await;
    assert_eq!(call(&bridge, "look", &json!({}))["result"], 2);
    assert_eq!(hits(&page(&bridge).await), [1, 0]);
}

fn dev(dir: &Path, args: &[&str]) -> Answer {
    let state = dir.join("state");
    run(&[&["dev", "--json", "--port", "0", "--state", state.to_str().expect("a path")], args].concat(), "")
}

#[test]
fn dev_does_not_start_on_a_script_that_is_wrong() {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("stub.toml");
    let script = path.to_str().expect("a path");
    std::fs::write(&path, "[[answer]]\nstatus = 42\ncutt = \"body\"\n\n[[answer]]\nbody_file = \"none.json\"\n")
        .expect("a script");
    let answer = dev(dir.path(), &["--stub", script]);
    assert_eq!((answer.status, answer.error_code().as_str()), (1, "STUB_INVALID"), "{answer:?}");
    for said in [":2:10: error[OUT_OF_RANGE]: ", ":3:1: error[UNKNOWN_KEY]: ", "did you mean \"cut\"?"] {
        assert!(answer.err.contains(said), "{said}: {answer:?}");
    }
    std::fs::write(&path, "[[answer]]\nbody_file = \"none.json\"\n").expect("a script");
    let answer = dev(dir.path(), &["--stub", script]);
    let said = format!("{script}:2:13: error[FILE_UNREADABLE]: \"none.json\" cannot be read");
    assert!(answer.status == 1 && answer.err.contains(&said), "{answer:?}");
    let missing = dev(dir.path(), &["--stub", "/nowhere.toml"]);
    assert_eq!((missing.status, missing.error_code().as_str()), (3, "STUB_UNREADABLE"));
    for usage in [
        &["--stub", script, "--record", "x"][..],
        &["--stub-seed", "1"],
        &["--replay-strict"],
        &["--stub", script, "--redact", "."],
    ] {
        assert_eq!(dev(dir.path(), usage).status, 2, "{usage:?}");
    }
}

#[test]
fn a_tool_is_tried_on_a_script_without_a_stack_and_without_its_secret() {
    let dir = TempDir::new().expect("a directory");
    let path = |name: &str| dir.path().join(name).to_str().expect("a path").to_owned();
    let (config, script) = (path("bridge.toml"), path("stub.toml"));
    let tools =
        tool("pay", "POST", &format!("{API}/pay"), "auth = { secret = \"clawbridge/tools/crm\" }\ntimeout = \"1s\"");
    std::fs::write(&config, tools).expect("bridge.toml");
    std::fs::write(path("answer.json"), "{\"id\": 7}").expect("an answer");
    let call = |answer: &str| {
        std::fs::write(&script, format!("[[answer]]\n{answer}\n")).expect("a script");
        run(&["tools", "call", "pay", "--file", &config, "--stub", &script, "--json"], "")
    };
    let paid = call("body_file = \"answer.json\"\nheaders = { X-Request-Id = \"req-7\" }");
    assert_eq!((paid.status, &paid.json()["result"]), (0, &json!({"id": 7})), "{paid:?}");
    assert_eq!(paid.json()["request_id"], "req-7");
    for (answer, code) in
        [("status = 503", "UNAVAILABLE"), ("delay = \"2s\"", "TIMEOUT"), ("cut = \"before\"", "UNAVAILABLE")]
    {
        let failed = call(answer);
        assert_eq!((failed.status, failed.error_code().as_str()), (1, code), "{failed:?}");
    }
    let unanswered = call("tool = \"refund\"");
    assert!(unanswered.status == 1 && unanswered.err.contains("tool is another"), "{unanswered:?}");
}
