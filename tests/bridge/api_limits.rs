//! How often a token may be used: what is refused, what it is told, and that all environments count together.

use crate::support::{Bridge, Got, Options};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_limits::bucket::Rule;
use clawbridge_limits::{Limits, Scope};
use serde_json::{Value, json};
use std::time::Duration;

fn token(bridge: &Bridge, name: &str, more: &[&str]) -> String {
    let answer = bridge.run(&[&["token", "create", "--name", name, "--scope", "admin"], more].concat());
    assert_eq!(answer.status, 0, "{answer:?}");
    answer.out.trim().to_owned()
}

async fn ask(bridge: &Bridge, token: &str, path: &str) -> Got {
    bridge.request("GET", path, &[("authorization", &format!("Bearer {token}"))], b"").await
}

fn number(got: &Got, header: &str) -> u64 {
    let value = got.headers.get(header).unwrap_or_else(|| panic!("no {header}: {got:?}"));
    value.parse().unwrap_or_else(|_| panic!("{header} is no number: {got:?}"))
}

#[tokio::test]
async fn a_token_that_asks_too_often_is_told_when_to_come_back_and_others_are_not_held_up() {
    let bridge = Bridge::start("").await;
    let (slow, other) = (token(&bridge, "slow", &["--rate", "60/h", "--burst", "3"]), token(&bridge, "other", &[]));
    for left in [2, 1, 0] {
        let got = ask(&bridge, &slow, "/api/v1/tools").await;
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!((number(&got, "ratelimit-limit"), number(&got, "ratelimit-remaining")), (3, left));
        assert_eq!(number(&got, "x-ratelimit-remaining"), left);
        let reset = number(&got, "ratelimit-reset");
        assert!((60 * (3 - left) - 20..=60 * (3 - left)).contains(&reset), "{got:?}");
        assert!(number(&got, "x-ratelimit-reset") > 1_700_000_000);
    }
    // Whatever it asks for: a 404 and a 405 count as well, and so does MCP.
    for (method, path) in [("GET", "/api/v1/status"), ("GET", "/api/v1/nothing"), ("DELETE", "/api/v1/tasks")] {
        let headers = [("authorization", format!("Bearer {slow}"))];
        let got = bridge.request(method, path, &[("authorization", &headers[0].1)], b"").await;
        let error = &got.body["error"];
        assert_eq!((got.status, &error["code"]), (429, &json!("rate_limited")), "{got:?}");
        let wait = number(&got, "retry-after");
        assert!((1..=60).contains(&wait) && error["retry_after"] == wait, "{got:?}");
        assert_eq!((number(&got, "ratelimit-remaining"), error["request_id"].is_string()), (0, true));
        assert!(!got.headers["x-request-id"].is_empty() && !got.headers["x-clawbridge-version"].is_empty());
    }
    let headers = [("authorization", format!("Bearer {slow}")), ("content-type", "application/json".to_owned())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let got = bridge.request("POST", "/mcp", &headers, br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).await;
    let error = &got.body["error"];
    assert_eq!(
        (got.status, &error["data"]["code"], &got.body["jsonrpc"]),
        (429, &json!("rate_limited"), &json!("2.0"))
    );
    assert!(error["data"]["retry_after"] == number(&got, "retry-after") && got.body.get("id").is_none(), "{got:?}");
    // Another token has its own, and that of the stack.
    let got = ask(&bridge, &other, "/api/v1/tools").await;
    assert_eq!((got.status, number(&got, "ratelimit-limit")), (200, 100), "{got:?}");
}

#[tokio::test]
async fn all_environments_count_together() {
    let bridge = Bridge::start("").await;
    let token = token(&bridge, "small", &["--rate", "5/h", "--burst", "5"]);
    // Another environment of the function: it has nothing in common with this one but the table.
    let tables = sdk_config(&Environment::local(&bridge.private)).expect("a configuration");
    let tables = aws_sdk_dynamodb::Client::new(&tables);
    let limits = Limits::new(&tables, "clawbridge-limits".to_owned(), "other".to_owned());
    let rule = Rule::new(5, Duration::from_secs(3600), 5);
    for _ in 0..4 {
        let spent = limits.spend(&Scope::named("api/small"), rule, Timestamp::now()).await;
        assert_eq!((spent.again_at, spent.note), (None, None));
    }
    assert_eq!(ask(&bridge, &token, "/api/v1/tools").await.status, 200);
    assert_eq!(ask(&bridge, &token, "/api/v1/tools").await.status, 429);
    assert!(limits.spend(&Scope::named("api/small"), rule, Timestamp::now()).await.again_at.is_some());
    // An operator can end it.
    assert_eq!(bridge.run(&["limits", "reset", "api/small"]).status, 0);
}

#[tokio::test]
async fn who_has_no_token_is_held_up_without_holding_up_those_who_have_one() {
    let args = ["--api-rate", "60/h", "--api-burst", "3"].map(str::to_owned).to_vec();
    let bridge = Bridge::start_with(Options { config: Some(String::new()), args }).await;
    let good = token(&bridge, "good", &["--rate", "1000/s"]);
    let mut statuses = Vec::new();
    for header in ["", "Bearer x", &format!("Bearer ocl_{}", "0".repeat(72)), "Basic x", "Bearer y"] {
        let got = bridge.request("GET", "/api/v1/status", &[("authorization", header)], b"").await;
        assert_eq!(number(&got, "ratelimit-limit"), 3);
        assert!(got.status != 401 || got.headers["www-authenticate"].starts_with("Bearer"), "{got:?}");
        statuses.push(got.status);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    // What needs no token is among it.
    assert_eq!(bridge.request("GET", "/api/v1/openapi.json", &[], b"").await.status, 429);
    for path in ["/api/v1/status", "/api/v1/openapi.json"] {
        assert_eq!(ask(&bridge, &good, path).await.status, 200, "{path}");
    }
    // The stack's own rate is that of tokens which were given none.
    let plain = token(&bridge, "plain", &[]);
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(&bridge, &plain, "/api/v1/tools").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
}

#[tokio::test]
async fn without_the_limits_table_requests_are_answered_and_counted_by_the_environment() {
    let bridge = Bridge::start("").await;
    let token = token(&bridge, "ci", &["--rate", "3/h", "--burst", "3"]);
    bridge.aws("DynamoDB_20120810.DeleteTable", &json!({"TableName": "clawbridge-limits"})).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(ask(&bridge, &token, "/api/v1/tools").await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429]);
    let is_note = |line: &Value| line["kind"] == "bridge.failed" && line["subject"] == "limits";
    bridge.line("a note that the table is out of reach", is_note).await;
}

#[tokio::test]
async fn a_rate_is_given_with_the_token_and_shown_with_it() {
    let bridge = Bridge::start("").await;
    let admin = token(&bridge, "admin", &["--rate", "60/min"]);
    for (args, status) in [
        (&["--rate", "60"][..], 2),
        (&["--rate", "0/min"], 2),
        (&["--rate", "60/min", "--burst", "0"], 2),
        (&["--burst", "5"], 2),
        (&["--rate", "60/min", "--burst", "5"], 0),
    ] {
        let answer = bridge.run(&[&["token", "create", "--name", "x", "--scope", "read"], args].concat());
        assert_eq!(answer.status, status, "{args:?} {answer:?}");
    }
    let listed = bridge.run(&["token", "list", "--json"]).json();
    let rates: Vec<Value> =
        listed.as_array().expect("tokens").iter().map(|one| json!([one["name"], one["rate"], one["burst"]])).collect();
    assert_eq!(rates, [json!(["admin", "60/min", 10]), json!(["dev-admin", null, null]), json!(["x", "60/min", 5])]);
    let bearer = format!("Bearer {admin}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    for (body, status, field) in [
        (json!({"name": "y", "scopes": ["read"], "rate": "10/s", "burst": 20}), 201, ""),
        (json!({"name": "z", "scopes": ["read"], "rate": "often"}), 400, "rate"),
        (json!({"name": "z", "scopes": ["read"], "burst": 20}), 400, "burst"),
        (json!({"name": "z", "scopes": ["read"], "rate": "10/s", "burst": 0}), 400, "burst"),
    ] {
        let got = bridge.request("POST", "/api/v1/tokens", &headers, body.to_string().as_bytes()).await;
        assert_eq!(got.status, status, "{got:?}");
        assert_eq!(got.body["error"]["fields"][0]["path"].as_str().unwrap_or_default(), field, "{got:?}");
    }
}
