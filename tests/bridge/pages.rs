//! Lists over several pages: followed inside the tool, to a limit, and never to another server.

use crate::support::work::{ALLOW, bridge, ended, send, show, tool};
use crate::support::{Call, Reply, Stub};
use crate::tool_commands::{call, set_secret};
use serde_json::{Value, json};
use std::time::Duration;

/// A parameter of a call's query.
fn parameter(call: &Call, name: &str) -> Option<String> {
    let (_, query) = call.path.split_once('?')?;
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.filter(|(found, _)| *found == name).map(|(_, value)| value.to_owned()).next_back()
}

/// Seven things, two on a page, each page as one of the kinds of API gives it.
fn page(call: &Call) -> Reply {
    let path = call.path.split('?').next().unwrap_or_default();
    let number = |name: &str| parameter(call, name).and_then(|text| text.parse::<usize>().ok());
    let items = |from: usize| (from..7).take(2).collect::<Vec<_>>();
    match path {
        "/cursor" => {
            let from = number("after").map_or(0, |after| after + 1);
            Reply::Json(200, json!({"data": items(from), "more": from + 2 < 7}))
        }
        "/page" => Reply::Json(200, json!(items(2 * (number("page").unwrap_or(1) - 1)))),
        "/numbered" if number("page") == Some(5) => Reply::Json(404, json!({"error": "no such page"})),
        "/numbered" => Reply::Json(200, json!(items(2 * (number("page").unwrap_or(1) - 1)))),
        "/offset" => Reply::Json(200, json!({"items": items(number("skip").unwrap_or(0))})),
        "/link" => {
            let from = number("from").unwrap_or(0);
            let next = format!("</link?from={}&api_key=mine>; rel=\"next\", </link>; rel=\"first\"", from + 2);
            let headers = if from + 2 < 7 { vec![("link".to_owned(), next)] } else { Vec::new() };
            Reply::With(200, headers, json!(items(from)).to_string())
        }
        "/body" => {
            let from = call.json()["cursor"].as_u64().map_or(0, |cursor| cursor as usize);
            let next = if from + 2 < 7 { json!(from + 2) } else { Value::Null };
            Reply::Json(200, json!({"results": items(from), "next_cursor": next, "asked": call.json()["q"]}))
        }
        _ => {
            let from = call.json()["variables"]["after"].as_str().map_or(0, |after| after.len());
            let info = json!({"hasNextPage": from + 2 < 7, "endCursor": "x".repeat(from + 2)});
            Reply::Json(200, json!({"data": {"list": {"nodes": items(from), "pageInfo": info}}}))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_list_is_followed_to_its_end() {
    let stub = Stub::start(|call, _| page(call)).await;
    let url = |path: &str| format!("{}/{path}", stub.url);
    let config = tool(
        "cursor",
        "GET",
        &url("cursor"),
        "query = { limit = 2 }\nheaders = { X-Api-Version = \"2026-01-01\" }\npages = { kind = \"cursor\", items = \".data\", next = 'if .more then .data[-1] else null end', param = \"after\" }",
    ) + &tool("page", "GET", &url("page"), "pages = { kind = \"page\", param = \"page\" }")
        + &tool("numbered", "GET", &url("numbered"), "pages = { kind = \"page\", param = \"page\", start = 1 }")
        + &tool("sized", "GET", &url("page"), "pages = { kind = \"page\", param = \"page\", size = 2 }")
        + &tool(
            "offset",
            "GET",
            &url("offset"),
            "pages = { kind = \"offset\", items = \".items\", param = \"skip\", size = 2 }",
        )
        + &tool(
            "link",
            "GET",
            &url("link"),
            "auth = { secret = \"clawbridge/tools/crm\", query = \"api_key\" }\npages = { kind = \"link\" }",
        )
        + &tool(
            "body",
            "POST",
            &url("body"),
            "effect = \"read\"\npages = { kind = \"cursor\", items = \".results\", next = \".next_cursor\", field = \"cursor\" }",
        )
        + &format!(
            "\n[tools.graphql]\nurl = \"{}\"\ngraphql = 'query($after: String) {{ list(after: $after) {{ nodes }} }}'\n\
             pages = {{ kind = \"cursor\", items = \".list.nodes\", next = '.list.pageInfo | if .hasNextPage then .endCursor else null end', field = \"after\" }}\n",
            url("graphql")
        )
        + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", "query-secret-1");
    // The one that knows no end but an empty page asks once more; so does the one that finds none there.
    for (name, pages) in [
        ("cursor", 4),
        ("page", 5),
        ("numbered", 4),
        ("sized", 4),
        ("offset", 4),
        ("link", 4),
        ("body", 4),
        ("graphql", 4),
    ] {
        let called = call(&bridge, name, &json!({"q": "x"}));
        let expected = json!({"items": [0, 1, 2, 3, 4, 5, 6], "pages": pages, "truncated": false});
        assert_eq!(called["result"], expected, "{name}: {called}");
    }
    let cursors: Vec<Option<String>> = stub
        .calls()
        .iter()
        .filter(|call| call.path.starts_with("/cursor"))
        .inspect(|call| {
            // What pins the API's version goes with each page.
            let (limit, version) = (parameter(call, "limit"), call.header("x-api-version"));
            assert_eq!((limit.as_deref(), version), (Some("2"), "2026-01-01"));
        })
        .map(|call| parameter(call, "after"))
        .collect();
    assert_eq!(cursors, [None, Some("1".to_owned()), Some("3".to_owned()), Some("5".to_owned())]);
    // The credential is sent once with each page, whatever the link says.
    for call in stub.calls().iter().filter(|call| call.path.starts_with("/link")) {
        assert_eq!(call.path.matches("api_key=query-secret-1").count(), 1, "{call:?}");
        assert!(!call.path.contains("mine"), "{call:?}");
    }
    assert!(stub.calls().iter().filter(|call| call.path == "/body").all(|call| call.json()["q"] == "x"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_without_end_is_cut_and_the_result_says_so() {
    let stub = Stub::start(|call, _| {
        let size = if call.path.starts_with("/large") { 600 } else { 1 };
        let body = json!({"items": ["x".repeat(size), "y"], "next": format!("n{}", call.path.len())});
        match call.path.starts_with("/slow") {
            true => Reply::Late(Duration::from_millis(400), Box::new(Reply::Json(200, body))),
            false => Reply::Json(200, body),
        }
    })
    .await;
    let pages = |more: &str| format!("pages = {{ kind = \"page\", items = \".items\", param = \"page\"{more} }}");
    let same = "pages = { kind = \"cursor\", items = \".items\", next = '\"same\"', param = \"c\" }";
    let config = tool("pages", "GET", &format!("{}/a", stub.url), &pages(", max = 3"))
        + &tool("items", "GET", &format!("{}/b", stub.url), &pages(", max_items = 5"))
        + &tool("large", "GET", &format!("{}/large", stub.url), &format!("{}\nmax_response = \"2KiB\"", pages("")))
        + &tool("circle", "GET", &format!("{}/c", stub.url), same)
        + &tool(
            "slow",
            "GET",
            &format!("{}/slow", stub.url),
            &format!("{}\ntimeout = \"1500ms\"\nattempts = 1", pages(", max = 100")),
        )
        + ALLOW;
    let bridge = bridge(&config).await;
    let result = |name: &str| {
        let called = call(&bridge, name, &json!({}));
        let items = called["result"]["items"].as_array().map(Vec::len);
        (items, called["result"]["pages"].clone(), called["result"]["truncated"].clone())
    };
    assert_eq!(result("pages"), (Some(6), json!(3), json!(true)));
    assert_eq!(result("items"), (Some(5), json!(3), json!(true)));
    // The page that did not fit whole is left out.
    assert_eq!(result("large"), (Some(6), json!(3), json!(true)));
    let circle = call(&bridge, "circle", &json!({}));
    assert_eq!((&circle["error"]["code"], &circle["requests"]), (&json!("UNEXPECTED_RESPONSE"), &json!(2)), "{circle}");
    // The call's time is that of all pages together; a page that is under way then is lost, and the call is made again.
    let slow = call(&bridge, "slow", &json!({}));
    assert_eq!(slow["error"]["code"], "TIMEOUT", "{slow}");
    assert!(slow["ms"].as_u64().is_some_and(|ms| ms < 2_500), "{slow}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_page_at_another_server_is_not_asked_for_and_sees_no_credential() {
    let elsewhere = Stub::start(|_, _| Reply::Json(200, json!([1]))).await;
    let other = elsewhere.url.clone();
    let stub = Stub::start(move |call, _| match call.path.split('?').next() {
        Some("/link") => Reply::With(200, vec![("link".into(), format!("<{other}/>; rel=next"))], "[1]".into()),
        _ => {
            Reply::Json(200, json!({"items": [1], "next": format!("{other}/?stolen={}", call.header("authorization"))}))
        }
    })
    .await;
    let auth = "auth = { secret = \"clawbridge/tools/crm\" }";
    let config = tool("link", "GET", &format!("{}/link", stub.url), &format!("{auth}\npages = {{ kind = \"link\" }}"))
        + &tool(
            "told",
            "GET",
            &stub.url,
            &format!("{auth}\npages = {{ kind = \"link\", items = \".items\", next = \".next\" }}"),
        )
        + ALLOW;
    let bridge = bridge(&config).await;
    set_secret(&bridge, "crm", "link-secret-1");
    for name in ["link", "told"] {
        send(&bridge, name, json!({})).await;
        let line = ended(&bridge, name).await;
        let record = show(&bridge, &line);
        assert_eq!(record["error"]["code"], "UNEXPECTED_RESPONSE", "{record}");
        assert!(record["error"]["message"].as_str().is_some_and(|text| text.contains("at another server")), "{record}");
        assert!(!format!("{record}{line}").contains("link-secret-1"), "{record}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_fails_fails_the_call_and_the_next_attempt_reads_all_of_it() {
    let stub = Stub::start(|call, before| match (parameter(call, "page").as_deref(), before) {
        (Some("2"), 1) => Reply::With(429, vec![("retry-after".into(), "0".into())], String::new()),
        (Some("3"), _) => Reply::Json(200, json!([])),
        _ => Reply::Json(200, json!([before])),
    })
    .await;
    let config = tool("list", "GET", &stub.url, "pages = { kind = \"page\", param = \"page\" }\nattempts = 2") + ALLOW;
    let bridge = bridge(&config).await;
    send(&bridge, "list", json!({})).await;
    let record = show(&bridge, &ended(&bridge, "list").await);
    assert_eq!(record["result"], json!({"items": [2, 3], "pages": 3, "truncated": false}), "{record}");
}
