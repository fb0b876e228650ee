//! What the Open Responses compliance suite does over a WebSocket, and how strictly it looks: every member of the resource, every event, every error.
//! The suite itself is run by hand: `tests/compliance`.

use crate::channel_clients::echo;
use crate::support::Bridge;
use crate::support::channel::{Socket, agent, token};
use serde_json::{Value, json};

/// Members of the resource that must be there, `null` where they may be: <https://www.openresponses.org/reference>, `ResponseResource`.
const NULLABLE: [&str; 13] = [
    "completed_at",
    "incomplete_details",
    "previous_response_id",
    "instructions",
    "error",
    "reasoning",
    "usage",
    "max_output_tokens",
    "max_tool_calls",
    "safety_identifier",
    "prompt_cache_key",
    "metadata",
    "text",
];
const NUMBERS: [&str; 6] =
    ["created_at", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs", "temperature"];
const TEXTS: [&str; 6] = ["id", "object", "status", "model", "truncation", "service_tier"];
const FLAGS: [&str; 3] = ["parallel_tool_calls", "store", "background"];

fn is_resource(response: &Value) {
    let has = |name: &str, is_it: fn(&Value) -> bool| {
        assert!(response.get(name).is_some_and(is_it), "{name} of {response:#}");
    };
    NULLABLE.iter().for_each(|name| has(name, |_| true));
    NUMBERS.iter().for_each(|name| has(name, Value::is_number));
    TEXTS.iter().for_each(|name| has(name, Value::is_string));
    FLAGS.iter().for_each(|name| has(name, Value::is_boolean));
    ["output", "tools"].iter().for_each(|name| has(name, Value::is_array));
    has("tool_choice", |choice| choice.is_string() || choice.is_object());
    assert_eq!(response["object"], "response");
    for item in response["output"].as_array().expect("a list") {
        assert!(item["id"].is_string() && item["type"].is_string() && item["status"].is_string(), "{item:#}");
        for part in item["content"].as_array().into_iter().flatten() {
            assert!(part["text"].is_string() && part["annotations"].is_array(), "{part:#}");
        }
    }
}

/// What an event of this type has beside `type` and `sequence_number`.
fn members(kind: &str) -> &'static [&'static str] {
    match kind {
        "response.created" | "response.queued" | "response.in_progress" | "response.completed" => &["response"],
        "response.output_item.added" | "response.output_item.done" => &["output_index", "item"],
        "response.content_part.added" | "response.content_part.done" => {
            &["item_id", "output_index", "content_index", "part"]
        }
        "response.output_text.delta" => &["item_id", "output_index", "content_index", "delta"],
        "response.output_text.done" => &["item_id", "output_index", "content_index", "text"],
        other => panic!("{other} is no event of a standard client"),
    }
}

/// A turn: its last response, or the code of its error.
async fn turn(socket: &mut Socket, frame: Value) -> Result<Value, String> {
    let mut create = json!({"type": "response.create", "model": "gpt-4o-mini"});
    for (name, value) in frame.as_object().expect("an object") {
        create[name] = value.clone();
    }
    socket.send(&create).await;
    let mut number = 0;
    loop {
        let event = socket.next().await;
        let kind = event["type"].as_str().expect("a type");
        if kind == "error" {
            let error = &event["error"];
            assert!(event["status"].is_u64() && error["message"].is_string() && error["type"].is_string(), "{event:#}");
            return Err(error["code"].as_str().expect("a code").to_owned());
        }
        assert_eq!(event["sequence_number"], number, "{event:#}");
        number += 1;
        for name in members(kind) {
            assert!(event.get(*name).is_some(), "{name} of {event:#}");
        }
        if event["response"].is_object() {
            is_resource(&event["response"]);
        }
        if kind == "response.completed" {
            assert_eq!(event["response"]["status"], "completed");
            return Ok(event["response"].clone());
        }
    }
}

fn text(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"].as_str().expect("text")
}

#[tokio::test]
async fn what_the_compliance_suite_does_over_a_websocket_goes_as_it_expects() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "suite", &["agent:main"]).await;
    let claw = echo(&bridge, &keys).await;
    let missing = || Err("previous_response_not_found".to_owned());

    // A response, then others one after another, on one connection.
    let mut socket = Socket::user(&bridge, &token).await;
    let asked = json!([{"type": "message", "role": "user", "content": "Count from 1 to 3."}]);
    let first = turn(&mut socket, json!({"input": asked})).await.expect("a response");
    assert_eq!(text(&first), "ECHO: Count from 1 to 3.");
    for word in ["first", "second"] {
        let response = turn(&mut socket, json!({"store": false, "input": word})).await.expect("a response");
        assert_eq!((text(&response), &response["store"]), (&*format!("ECHO: {word}"), &json!(false)));
    }

    // Continued on the connection that knows it; not on another one, where a new chain goes on.
    let base = turn(&mut socket, json!({"store": false, "input": "cobalt"})).await.expect("a response");
    let next = json!({"store": false, "previous_response_id": base["id"], "input": "which?"});
    let continued = turn(&mut socket, next).await.expect("a response");
    assert_eq!(continued["previous_response_id"], base["id"]);
    let mut another = Socket::user(&bridge, &token).await;
    let lost = json!({"store": false, "previous_response_id": continued["id"], "input": "go on"});
    assert_eq!(turn(&mut another, lost).await, missing());
    let clean = json!([{"type": "message", "role": "user", "content": "recovered"}]);
    assert_eq!(
        text(&turn(&mut another, json!({"store": false, "input": clean})).await.expect("a response")),
        "ECHO: recovered"
    );
    let unknown = json!({"store": false, "previous_response_id": "resp_openresponses_missing_1", "input": "x"});
    assert_eq!(turn(&mut another, unknown).await, missing());

    // A continuation that fails takes what it continued with it.
    let base = turn(&mut socket, json!({"store": false, "input": "ember"})).await.expect("a response");
    let output = json!([{"type": "function_call_output", "call_id": "call_openresponses_missing", "output": "none"}]);
    let fails = json!({"store": false, "previous_response_id": base["id"], "input": output});
    assert!(turn(&mut socket, fails).await.is_err());
    let stale = json!({"store": false, "previous_response_id": base["id"], "input": "stale"});
    assert_eq!(turn(&mut socket, stale).await, missing());

    // A new chain on what somebody has compacted: the items are taken as they are.
    let compacted = json!([
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "slate"}]},
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "opaque"},
        {"type": "message", "role": "user", "content": "compacted"},
    ]);
    turn(&mut socket, json!({"store": false, "input": compacted, "tools": []})).await.expect("a response");
    claw.abort();
}
