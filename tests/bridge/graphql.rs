//! GraphQL tools: what they send, and what an answer of status 200 means.

use crate::support::work::{ALLOW, bridge, decided, ended, send, show};
use crate::support::{Reply, Stub, eventually};
use crate::tool_commands::{call, set_secret};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A GraphQL tool with a route.
pub(crate) fn graphql(name: &str, url: &str, document: &str, more: &str) -> String {
    let route = name.replace('_', "-");
    format!(
        "\n[tools.{name}]\nurl = \"{url}\"\ngraphql = '''{document}'''\n{more}\n\n[[routes]]\nname = \"{route}\"\n\
         source = \"hooks\"\ntype = \"{name}\"\ntool = \"{name}\"\ninput = '.body.input'\n"
    )
}

const QUERY: &str = "# Who is it?\nquery Who($id: ID!) {\n  user(id: $id) { ...F }\n}\nfragment F on User { name }";
const MUTATION: &str = "mutation($id: ID!) { close(id: $id) { id } }";

fn of_code(code: &str) -> Reply {
    Reply::Json(200, json!({"data": null, "errors": [{"message": "no", "extensions": {"code": code}}]}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_is_sent_with_its_variables_and_its_data_is_the_answer() {
    let stub = Stub::start(|call, _| match call.json()["query"].as_str().unwrap_or_default().contains("mutation") {
        true => Reply::Json(200, json!({"data": {"close": {"id": 1}}})),
        false => Reply::of(200, "application/graphql-response+json", "{\"data\": {\"user\": {\"name\": \"Ada\"}}}"),
    })
    .await;
    let config = graphql("who", &stub.url, QUERY, "result = '.answer.user.name'")
        + &graphql("close", &stub.url, MUTATION, "idempotency_header = \"X-Key\"\nvariables = '{id: .issue}'")
        + ALLOW;
    let bridge = bridge(&config).await;
    assert_eq!(call(&bridge, "who", &json!({"id": "u1", "other": 2}))["result"], "Ada");
    assert_eq!(call(&bridge, "close", &json!({"issue": 5}))["result"], json!({"close": {"id": 1}}));
    let calls = stub.calls();
    assert_eq!(calls[0].method, "POST");
    assert_eq!(calls[0].json(), json!({"query": QUERY, "variables": {"id": "u1"}, "operationName": "Who"}));
    assert!(calls[0].header("accept").starts_with("application/graphql-response+json, application/json"));
    assert_eq!((calls[0].header("content-type"), calls[0].header("x-key")), ("application/json", ""));
    assert_eq!(calls[1].json(), json!({"query": MUTATION, "variables": {"id": 5}}));
    assert!(calls[1].header("x-key").starts_with("call_"));
}

/// A row of the table below: an answer, what it comes to for a query and for an unsafe mutation, and how many calls each costs.
type Row = (&'static str, Reply, &'static str, (&'static str, usize), (&'static str, usize));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_in_an_answer_of_status_200_have_the_codes_and_classes_of_all_others() {
    let partial =
        json!({"data": {"close": {"id": 1}, "user": null}, "errors": [{"extensions": {"code": "THROTTLED"}}]});
    let github = json!({"data": {"user": null}, "errors": [{"type": "FORBIDDEN", "message": "no"}]});
    let rows: Vec<Row> = vec![
        ("unauthenticated", of_code("UNAUTHENTICATED"), "AUTHENTICATION_FAILED", ("failed", 1), ("failed", 1)),
        ("forbidden", of_code("FORBIDDEN"), "FORBIDDEN", ("failed", 1), ("failed", 1)),
        ("github", Reply::Json(200, github), "FORBIDDEN", ("failed", 1), ("failed", 1)),
        ("input", of_code("BAD_USER_INPUT"), "VALIDATION_ERROR", ("failed", 1), ("failed", 1)),
        ("throttled", of_code("THROTTLED"), "RATE_LIMITED", ("failed", 2), ("failed", 2)),
        ("internal", of_code("INTERNAL_SERVER_ERROR"), "UPSTREAM_ERROR", ("failed", 2), ("parked", 1)),
        ("new", of_code("SOMETHING_NEW"), "UNEXPECTED_RESPONSE", ("failed", 1), ("failed", 1)),
        ("part", Reply::Json(200, partial), "RATE_LIMITED", ("failed", 2), ("parked", 1)),
        ("nothing", Reply::Json(200, json!({})), "UNEXPECTED_RESPONSE", ("failed", 1), ("failed", 1)),
        ("html", Reply::of(200, "text/html", "<html>"), "UNEXPECTED_RESPONSE", ("failed", 1), ("failed", 1)),
        ("missing", of_code("NOT_FOUND"), "NOT_FOUND", ("succeeded", 1), ("failed", 1)),
        (
            "status",
            Reply::Json(400, json!({"errors": [{"extensions": {"code": "FORBIDDEN"}}]})),
            "FORBIDDEN",
            ("failed", 1),
            ("failed", 1),
        ),
    ];
    let replies: Vec<(&str, Reply)> = rows.iter().map(|(name, reply, ..)| (*name, reply.clone())).collect();
    let stub = Stub::start(move |call, _| {
        let found = replies
            .iter()
            .find(|(name, _)| call.path.trim_start_matches(['/', 'q', 'm']).trim_start_matches('_') == *name);
        found.map(|(_, reply)| reply.clone()).unwrap_or_else(|| panic!("{call:?}"))
    })
    .await;
    let mut config = ALLOW.to_owned();
    for (name, ..) in &rows {
        config += &graphql(&format!("q_{name}"), &format!("{}/q_{name}", stub.url), QUERY, "attempts = 2");
        config += &graphql(&format!("m_{name}"), &format!("{}/m_{name}", stub.url), MUTATION, "attempts = 2");
    }
    let bridge = bridge(&config).await;
    for (name, ..) in &rows {
        for kind in ["q", "m"] {
            send(&bridge, &format!("{kind}_{name}"), json!({"id": 1})).await;
        }
    }
    for (name, _, code, query, mutation) in &rows {
        for (kind, (state, calls)) in [("q", query), ("m", mutation)] {
            let name = format!("{kind}_{name}");
            let record = show(&bridge, &ended(&bridge, &name).await);
            assert_eq!(record["state"], *state, "{name}: {record}");
            let expected = if *state == "succeeded" { Value::Null } else { json!(code) };
            assert_eq!(record["error"]["code"], expected, "{name}: {record}");
            assert_eq!(stub.calls_of(&format!("/{name}")).len(), *calls, "{name}: {record}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partial_data_is_taken_only_where_the_tool_says_so() {
    let stub = Stub::start(|_, _| {
        let errors = json!([{"message": "hidden", "path": ["b"], "extensions": {"code": "FORBIDDEN"}}]);
        Reply::Json(200, json!({"data": {"a": 1, "b": null}, "errors": errors}))
    })
    .await;
    let config = graphql("whole", &stub.url, "{ a b }", "")
        + &graphql("part", &stub.url, "{ a b }", "partial = true")
        + &graphql(
            "told",
            &stub.url,
            "{ a b }",
            "partial = true\nresult = '{a: .answer.a, hidden: (.errors | length)}'",
        )
        + ALLOW;
    let bridge = bridge(&config).await;
    let whole = call(&bridge, "whole", &json!({}));
    assert_eq!(
        (&whole["error"]["code"], &whole["error"]["may_have_acted"]),
        (&json!("FORBIDDEN"), &json!(true)),
        "{whole}"
    );
    assert!(whole["error"]["evidence"].as_str().is_some_and(|text| text.contains("hidden")), "{whole}");
    assert_eq!(call(&bridge, "part", &json!({}))["result"], json!({"a": 1, "b": null}));
    assert_eq!(call(&bridge, "told", &json!({}))["result"], json!({"a": 1, "hidden": 1}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unauthenticated_operation_is_asked_again_with_a_newer_secret() {
    let accepted = Arc::new(Mutex::new("Bearer first-secret"));
    let wanted = accepted.clone();
    let stub = Stub::start(move |call, _| match call.header("authorization") == *wanted.lock().expect("wanted") {
        true => Reply::Json(200, json!({"data": {"a": 1}})),
        false => of_code("UNAUTHENTICATED"),
    })
    .await;
    let auth = "auth = { secret = \"clawbridge/tools/crm\" }";
    let bridge = bridge(&(graphql("call", &stub.url, MUTATION, auth) + ALLOW)).await;
    set_secret(&bridge, "crm", "first-secret");
    send(&bridge, "call", json!({"id": 1})).await;
    ended(&bridge, "call").await;
    // A value younger than a second is not read again.
    let read_at = stub.calls()[0].at;
    eventually("the value is a second old", || async move {
        (read_at.elapsed() > Duration::from_millis(1_100)).then_some(())
    })
    .await;
    *accepted.lock().expect("accepted") = "Bearer second-secret";
    set_secret(&bridge, "crm", "second-secret");
    send(&bridge, "call", json!({"id": 2})).await;
    assert_eq!(decided(&bridge, "call", 2).await, ["succeeded", "succeeded"]);
    let sent: Vec<String> = stub.calls().iter().map(|call| call.header("authorization").to_owned()).collect();
    assert_eq!(sent, ["Bearer first-secret", "Bearer first-secret", "Bearer second-secret"]);
}
