//! `tools import`: what it makes of a document runs against the API as it is.

use crate::support::work::{ALLOW, bridge, ended, send, show};
use crate::support::{Reply, Stub, root, run};
use serde_json::{Value, json};

fn document(name: &str) -> String {
    root().join("shared/import/testdata").join(name).to_string_lossy().into_owned()
}

/// A route that calls `tool` with the body's `input` for events of the type of the same name.
fn route(tool: &str) -> String {
    let name = tool.replace('_', "-");
    format!(
        "\n[[routes]]\nname = \"{name}\"\nsource = \"hooks\"\ntype = \"{tool}\"\ntool = \"{tool}\"\ninput = '.body.input'\n"
    )
}

/// A shop and a help desk, as their documents say that they are.
async fn api() -> Stub {
    let order = json!({"id": "ord_1", "status": "paid", "customer": "cus_1", "lines": [{"sku": "L1", "count": 2}], "total": {"amount": 1, "currency": "eur"}});
    Stub::start(move |call, _| {
        let path = call.path.split('?').next().unwrap_or_default();
        match (call.method.as_str(), path) {
            ("GET", "/orders") => Reply::Json(200, json!({"items": [order], "next_cursor": null})),
            ("POST", "/orders") => Reply::Json(201, order.clone()),
            ("DELETE", "/orders/ord_1") => Reply::With(204, Vec::new(), String::new()),
            // Not what its document says.
            ("GET", "/orders/ord_1") => Reply::Json(200, json!({"id": "ord_1"})),
            ("POST", "/orders/o%2F1/refunds") => Reply::Json(202, Value::Null),
            ("POST", "/graphql") if call.json()["variables"]["id"] == "t1" => {
                Reply::Json(200, json!({"data": {"ticket": {"id": "t1"}}}))
            }
            ("POST", "/graphql") => Reply::Json(200, json!({"data": null, "errors": [{"message": "no such ticket"}]})),
            _ => Reply::Json(404, json!({})),
        }
    })
    .await
}

#[tokio::test]
async fn what_is_imported_calls_the_api_as_its_document_says() {
    let api = api().await;
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("bridge.toml");
    let tools = ["list_orders", "create_order", "cancel_order", "get_order", "refund_order", "ticket"];
    let before = tools.iter().map(|tool| route(tool)).collect::<String>().replace("[[routes]]", "[[routes]] # mine");
    std::fs::write(&file, ALLOW).expect("bridge.toml");
    let into = file.to_str().expect("a path");
    let (shop, desk) = (document("shop.openapi.yaml"), document("desk.graphql.json"));
    let graphql = format!("{}/graphql", api.url);
    for args in [
        vec!["tools", "import", &shop, "--tag", "orders", "--server", &api.url, "--secret", "shop", "--into", into],
        vec![
            "tools",
            "import",
            &desk,
            "--operation",
            "ticket",
            "--server",
            &graphql,
            "--secret",
            "shop",
            "--into",
            into,
        ],
    ] {
        let answer = run(&args, "");
        assert_eq!(answer.status, 0, "{answer:?}");
        assert!(answer.out.starts_with("added to "), "{answer:?}");
    }
    let config = std::fs::read_to_string(&file).expect("bridge.toml") + &before;
    let bridge = bridge(&config).await;
    let set = bridge.run(&["secret", "set", "clawbridge/tools/shop", "--value", "the-key-of-the-shop"]);
    assert_eq!(set.status, 0, "{set:?}");

    let address = json!({"street": "1 Lane", "city": "York", "country": "GB"});
    let new = json!({"customer": "cus_1", "lines": [{"sku": "L1", "count": 2}], "payment": {"card": "tok"}, "gift_to": null, "address": address});
    let mut with_source = new.clone();
    with_source["x_request_source"] = json!("agent");
    for (tool, input, state, request, body) in [
        (
            "list_orders",
            json!({"limit": 5, "created_after": "2026-01-01T00:00:00Z"}),
            "succeeded",
            "GET /orders?created%5Bafter%5D=2026-01-01T00%3A00%3A00Z&limit=5",
            Value::Null,
        ),
        ("create_order", with_source, "succeeded", "POST /orders", new),
        ("cancel_order", json!({"order_id": "ord_1"}), "succeeded", "DELETE /orders/ord_1", Value::Null),
        ("get_order", json!({"order_id": "ord_1"}), "failed", "GET /orders/ord_1", Value::Null),
        (
            "refund_order",
            json!({"path_id": "o/1", "id": "r1", "amount": 5}),
            "succeeded",
            "POST /orders/o%2F1/refunds",
            json!({"id": "r1", "amount": 5}),
        ),
    ] {
        send(&bridge, tool, input).await;
        let record = show(&bridge, &ended(&bridge, tool).await);
        assert_eq!(record["state"], state, "{tool}: {record}");
        let calls = api.calls();
        let call = calls.last().expect("a call");
        assert_eq!((format!("{} {}", call.method, call.path), call.json()), (request.to_owned(), body), "{tool}");
        assert_eq!(call.header("x-lantern-key"), "the-key-of-the-shop", "{tool}");
        match tool {
            "create_order" => {
                assert_eq!(call.header("x-request-source"), "agent");
                assert_eq!(call.header("idempotency-key"), record["id"].as_str().expect("an id"));
            }
            // It broke its own schema, and the schema was imported.
            "get_order" => assert_eq!(record["error"]["code"], "UNEXPECTED_RESPONSE", "{record}"),
            _ => {}
        }
    }
    send(&bridge, "ticket", json!({"id": "t1"})).await;
    let record = show(&bridge, &ended(&bridge, "ticket").await);
    // The data, or the whole answer that it is in: as bridge.toml can say it.
    let data = record["result"].get("data").unwrap_or(&record["result"]);
    assert_eq!((&record["state"], &data["ticket"]["id"]), (&json!("succeeded"), &json!("t1")), "{record}");
    let calls = api.calls();
    let call = calls.last().expect("a call");
    let query = call.json()["query"].as_str().expect("a query").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(query.starts_with("query ticket($id: ID!) { ticket(id: $id) { id title state"), "{query}");
    assert_eq!(
        (call.json()["variables"].clone(), call.header("authorization")),
        (json!({"id": "t1"}), "Bearer the-key-of-the-shop")
    );
}

#[tokio::test]
async fn errors_in_a_graphql_answer_of_200_fail_the_task() {
    let api = api().await;
    let graphql = format!("{}/graphql", api.url);
    let desk = document("desk.graphql.json");
    let made = run(&["tools", "import", &desk, "--operation", "ticket", "--server", &graphql], "");
    assert_eq!(made.status, 0, "{made:?}");
    let bridge = bridge(&format!("{}{ALLOW}{}", made.out, route("ticket"))).await;
    send(&bridge, "ticket", json!({"id": "t2"})).await;
    let record = show(&bridge, &ended(&bridge, "ticket").await);
    assert_eq!(record["state"], "failed", "{record}");
}

#[test]
fn a_document_that_cannot_be_imported_is_refused_with_a_code_and_nothing_is_written() {
    let dir = tempfile::TempDir::new().expect("a directory");
    let file = dir.path().join("bridge.toml");
    let into = file.to_str().expect("a path");
    let shop = document("shop.openapi.yaml");
    for (args, input, status, code) in [
        (vec!["-"], "swagger: '2.0'", 1, "UNSUPPORTED_VERSION"),
        (vec!["-"], "{\"openapi\": ", 1, "SYNTAX"),
        (
            vec!["-"],
            "openapi: 3.0.0\npaths: {/a: {get: {$ref: x.yaml, parameters: [{$ref: 'x.yaml#/a'}]}}}",
            1,
            "EXTERNAL_REFERENCE",
        ),
        (vec![shop.as_str(), "--tag", "nosuch"], "", 1, "NOTHING_SELECTED"),
        (vec![shop.as_str(), "--operation", "getInvoice"], "", 1, "NOTHING_IMPORTED"),
        (vec![shop.as_str(), "--secret", "sk_live_hunter2hunter2"], "", 2, "INVALID_OPTION"),
        (vec!["/nosuch/openapi.yaml"], "", 3, "DOCUMENT_UNREADABLE"),
    ] {
        let answer = run(&[&["tools", "import", "--json", "--into", into], &args[..]].concat(), input);
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{answer:?}");
        assert!(!answer.err.contains("hunter2"), "{answer:?}");
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(written, "", "{code}");
    }
}
