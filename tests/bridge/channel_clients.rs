//! OpenAI's own clients for Node and Python have turns with an agent that speaks the bare dialect: neither was written for this bridge.

use crate::support::channel::{Keys, Socket, agent, token};
use crate::support::clients::{Ran, run};
use crate::support::{Bridge, eventually};
use clawbridge_access::Token;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, spawn, spawn_blocking};

/// Script, and the package that it needs.
const CLIENTS: [(&str, &str); 2] = [("responses.mjs", "openai"), ("responses.py", "openai")];

/// What a client came to; `None` where it is not installed.
async fn client(
    (script, package): (&'static str, &'static str),
    url: &str,
    token: &str,
    steps: Vec<Value>,
) -> Option<Ran> {
    let (url, token) = (url.to_owned(), token.to_owned());
    let ran = spawn_blocking(move || run(script, package, &[&url, &token], &steps));
    ran.await.expect("the client")
}

/// Answers every turn with `ECHO: ` and what was asked, in pieces of five characters.
pub(crate) async fn echo(bridge: &Bridge, keys: &Keys) -> JoinHandle<()> {
    let mut claw = Socket::connector(bridge, keys).await;
    spawn(async move {
        let mut number = 0;
        while let Ok(request) = claw.frame().await {
            let asked = request["input"][0]["content"][0]["text"].as_str().expect("text").to_owned();
            number += 1;
            for frame in answer(&request, &format!("resp_{number}"), &format!("ECHO: {asked}")) {
                claw.send(&frame).await;
            }
        }
    })
}

/// An answer as the connector of InstaClaw sends it.
fn answer(request: &Value, response_id: &str, text: &str) -> Vec<Value> {
    let (session, item) = (&request["metadata"]["session_id"], format!("item_{response_id}"));
    let part = |text: &str| json!([{"type": "output_text", "status": "in_progress", "text": text}]);
    let letters: Vec<char> = text.chars().collect();
    let mut frames = vec![
        json!({"type": "response.in_progress", "response_id": response_id, "metadata": {"session_id": session}}),
        json!({"type": "response.output_item.added", "response_id": response_id, "index": 0,
            "item": {"id": item, "type": "message", "status": "in_progress", "role": "assistant", "content": part("")}}),
    ];
    frames.extend(letters.chunks(5).map(|letters| {
        json!({"type": "response.output_text.delta", "response_id": response_id, "item_id": item, "content_index": 0,
            "delta": {"text": letters.iter().collect::<String>()}})
    }));
    frames.push(json!({"type": "response.content_part.done", "response_id": response_id, "item_id": item, "status": "completed"}));
    frames.push(json!({"type": "response.completed", "response_id": response_id, "status": "completed",
        "metadata": {"session_id": session}}));
    // The connector dates its frames, and by that they are sorted.
    let at = |n: usize| format!("2026-11-25T12:00:00.{n:03}Z");
    frames.iter_mut().enumerate().for_each(|(n, frame)| frame["timestamp"] = json!(at(n)));
    frames
}

/// The events of an answer in one message, with so many deltas.
fn events(deltas: usize) -> Value {
    let before = ["created", "in_progress", "output_item.added", "content_part.added"];
    let after = ["output_text.done", "content_part.done", "output_item.done", "completed"];
    let deltas = std::iter::repeat_n("output_text.delta", deltas);
    before.into_iter().chain(deltas).chain(after).map(|name| json!(format!("response.{name}"))).collect()
}

#[tokio::test]
async fn openais_clients_have_turns_that_are_streamed_and_continued_and_are_told_what_is_wrong() {
    let bridge = Bridge::start("").await;
    let keys = agent(&bridge, "main").await;
    let token = token(&bridge, "ann", &["agent:main"]).await;
    let claw = echo(&bridge, &keys).await;
    for which in CLIENTS {
        let steps = vec![
            json!({"model": "main", "input": "streamed as it is said"}),
            json!({"model": "openclaw/main", "input": "and on", "previous_response_id": 0, "store": false}),
            json!({"model": "main", "input": "on", "previous_response_id": "resp_missing"}),
            json!({"input": "whom?"}),
            json!({"model": "main", "input": "still there"}),
        ];
        let Some(ran) = client(which, &bridge.public, &token, steps).await else { continue };
        let [first, second, missing, unnamed, last] = ran.lines.as_slice() else { panic!("{ran:#?}") };
        assert!(ran.success && ran.complaints.is_empty(), "{ran:#?}");
        for (line, text) in
            [(first, "ECHO: streamed as it is said"), (second, "ECHO: and on"), (last, "ECHO: still there")]
        {
            let response = &line["response"];
            assert_eq!(line["text"], text, "{ran:#?}");
            assert_eq!(
                (&response["status"], &response["output"][0]["content"][0]["text"]),
                (&json!("completed"), &json!(text))
            );
            let deltas = usize::try_from(line["deltas"].as_u64().expect("a number")).expect("some");
            assert!(deltas > 1, "{line:#}");
            let mut seen = line["events"].as_array().expect("events").clone();
            let numbers: Vec<usize> = (0..seen.len()).collect();
            assert_eq!(line["numbers"], json!(numbers));
            // The connector may not have been known to be there yet.
            seen.retain(|event| event != "response.queued");
            assert_eq!(json!(seen), events(deltas), "{line:#}");
        }
        assert_eq!(second["response"]["previous_response_id"], first["response"]["id"]);
        for (line, status, code, param) in [
            (missing, 400, "previous_response_not_found", "previous_response_id"),
            (unnamed, 400, "missing_required_parameter", "model"),
        ] {
            let (error, event) = (&line["error"], &line["error"]["event"]);
            let name = error["name"].as_str().expect("a name");
            assert!(["WebSocketError", "ResponseWsError"].contains(&name), "{line:#}");
            assert_eq!(
                (&event["status"], &event["error"]["code"], &event["error"]["param"]),
                (&json!(status), &json!(code), &json!(param))
            );
            assert_eq!(error["message"], event["error"]["message"]);
        }
        let unknown = Token::of([7; 32]);
        for token in [unknown.reveal(), "sk-other"] {
            let steps = vec![json!({"model": "main", "input": "?"})];
            let ran = client(which, &bridge.public, token, steps).await.expect("installed");
            let message = ran.lines[0]["error"]["message"].as_str().expect("an error").to_owned();
            assert!(ran.lines.len() == 1 && message.contains("401"), "{ran:#?}");
        }
    }
    claw.abort();
}

#[tokio::test]
async fn openais_clients_wait_for_an_agent_that_connects_later() {
    let bridge = Bridge::start("").await;
    for which in CLIENTS {
        let name = which.0.replace('.', "-");
        let keys = agent(&bridge, &name).await;
        let token = token(&bridge, &name, &[&format!("agent:{name}")]).await;
        let asking = client(which, &bridge.public, &token, vec![json!({"model": name, "input": "later"})]);
        let agent_comes = async {
            let waiting = json!({
                "TableName": "clawbridge-channel",
                "KeyConditionExpression": "id = :agent AND begins_with(part, :waiting)",
                "ExpressionAttributeValues": {":agent": {"S": format!("agent#{name}")}, ":waiting": {"S": "waiting#"}},
            });
            eventually("a turn that waits for its agent", || async {
                let found = bridge.aws("DynamoDB_20120810.Query", &waiting).await;
                (found["Count"] == 1).then_some(())
            })
            .await;
            let claw = echo(&bridge, &keys).await;
            Some(claw)
        };
        let is_there = crate::support::clients::is_there(which.0, which.1);
        if !is_there {
            // Says so, or fails where it must be there.
            drop(asking.await);
            continue;
        }
        let (ran, claw) = tokio::join!(asking, agent_comes);
        let claw = claw.expect("it came");
        let ran = ran.expect("installed");
        let line = ran.lines.first().unwrap_or_else(|| panic!("{ran:#?}"));
        assert_eq!(
            (ran.success, &line["text"], &line["response"]["status"]),
            (true, &json!("ECHO: later"), &json!("completed"))
        );
        let order: Vec<&str> =
            line["events"].as_array().expect("events").iter().take(3).filter_map(Value::as_str).collect();
        assert_eq!(order, ["response.created", "response.queued", "response.in_progress"], "{line:#}");
        claw.abort();
    }
}
