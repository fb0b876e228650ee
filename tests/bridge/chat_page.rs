//! The page of `dev` that talks to an agent: who gets it, and what it does in a browser, against a channel that the test plays.

use crate::support::authority::runtime;
use crate::support::chat_channel::{Channel, error, events, joined, says};
use crate::support::{Bridge, Reply, Stub, client, exchange};
use clawbridge_responses::AgentEvent;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const FILES: [&str; 5] = ["/chat", "/chat/page.css", "/chat/page.js", "/chat/turns.js", "/chat/markdown.js"];

struct File {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

async fn get(bridge: &Bridge, path: &str) -> File {
    let answer = client().get(format!("{}{path}", bridge.private)).send().await.expect("an answer");
    let headers = answer.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let (status, headers) = (answer.status().as_u16(), headers.collect());
    File { status, headers, body: String::from_utf8_lossy(&answer.bytes().await.expect("a body")).into_owned() }
}

/// Asks for the page's token as a page of `origin` would, at `host`.
async fn session(bridge: &Bridge, host: &str, origin: &str) -> (u16, String) {
    let request = format!(
        "POST /chat/session HTTP/1.1\r\nhost: {host}\r\norigin: {origin}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    let (status, rest) = exchange(&bridge.private, request.as_bytes()).await;
    (status, rest.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

fn token(body: &str) -> String {
    let body: Value = serde_json::from_str(body).expect("JSON");
    body["token"].as_str().expect("a token").to_owned()
}

async fn status_with(bridge: &Bridge, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    bridge.request("GET", "/api/v1/status", &[("authorization", &bearer)], b"").await.status
}

/// The page of a real bridge, headers and all, but with the test's channel.
async fn page(bridge: &Bridge, channel: &Channel) -> Stub {
    let mut files = BTreeMap::new();
    let own = bridge.public.replacen("http", "ws", 1);
    for path in FILES {
        let file = get(bridge, path).await;
        let left_out = ["content-length", "date", "connection"];
        let headers = file.headers.into_iter().filter(|(name, _)| !left_out.contains(&name.as_str()));
        let theirs = |value: String| value.replace(&format!("{own}/responses"), &channel.url);
        let headers: Vec<(String, String)> = headers.map(|(name, value)| (name, theirs(value))).collect();
        files.insert(path, (headers, file.body));
    }
    let access = json!({"url": channel.url, "token": crate::support::talk::token().reveal()});
    Stub::start(move |call, _| match files.get(call.path.as_str()) {
        Some((headers, body)) => Reply::With(200, headers.clone(), body.clone()),
        None if call.path == "/chat/session" => Reply::Json(200, access.clone()),
        None => Reply::Json(404, json!({})),
    })
    .await
}

#[tokio::test]
async fn the_page_is_for_this_machine_and_its_token_for_the_page() {
    let mut bridge = Bridge::start("").await;
    for path in FILES {
        let file = get(&bridge, path).await;
        assert_eq!((file.status, file.headers["cache-control"].as_str()), (200, "no-store"), "{path}");
        assert_eq!(
            (file.headers["x-frame-options"].as_str(), file.headers["x-content-type-options"].as_str()),
            ("DENY", "nosniff")
        );
        let policy = &file.headers["content-security-policy"];
        let channel = format!("connect-src 'self' {}/responses;", bridge.public.replacen("http", "ws", 1));
        for part in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            &channel,
        ] {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        assert!(!file.headers.contains_key("access-control-allow-origin"));
        assert_eq!(bridge.request("GET", path, &[], b"").await.status, 404, "{path} is on the public port");
    }
    let host = bridge.private.trim_start_matches("http://").to_owned();
    let own = format!("http://{host}");
    // A name that leads here, another program's page on this machine, a page in a file, and whoever asks without being a page.
    for (host, origin) in [
        ("rebound.example:80", "http://rebound.example:80"),
        (&host, "http://rebound.example"),
        (&host, "http://127.0.0.1:1"),
        (&host, "https://127.0.0.1"),
        (&host, "null"),
    ] {
        let (status, body) = session(&bridge, host, origin).await;
        assert_eq!(status, 403, "{host} {origin}");
        assert!(!body.contains("ocl_"));
    }
    assert_eq!(get(&bridge, "/chat/session").await.status, 404);
    let request =
        format!("POST /chat/session HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    assert_eq!(exchange(&bridge.private, request.as_bytes()).await.0, 403);

    let (status, body) = session(&bridge, &host, &own).await;
    assert_eq!(status, 200);
    let (before, listed) = (token(&body), bridge.run(&["token", "list"]).out);
    assert!(listed.lines().any(|line| line.starts_with("dev-chat") && line.contains("execute")), "{listed}");
    assert_ne!(status_with(&bridge, &before).await, 401);
    assert!(!bridge.journal().iter().any(|line| line.to_string().contains(&before)));

    bridge.interrupt();
    bridge.restart().await;
    let host = bridge.private.trim_start_matches("http://").to_owned();
    let (_, body) = session(&bridge, &host, &format!("http://{host}")).await;
    let after = token(&body);
    assert_ne!(after, before);
    assert_eq!(status_with(&bridge, &before).await, 401);
    assert_ne!(status_with(&bridge, &after).await, 401);
}

#[tokio::test]
async fn a_conversation_in_a_browser() {
    let Some(runtime) = runtime() else { return };
    let bridge = Bridge::start("").await;
    let mut channel = Channel::start().await;
    let stub = page(&bridge, &channel).await;
    let page = runtime.chat_page(&format!("{}/chat", stub.url)).await;
    assert_eq!(page.title, "Chat · Clawbridge");
    let mut first = channel.connection().await;
    let offered = format!("clawbridge.v1, bearer.{}", crate::support::talk::token().reveal());
    assert_eq!(first.headers["sec-websocket-protocol"], offered);
    page.until_state("connected").await;
    page.say("what time is it?").await;
    let create = first.frame_of("response.create").await;
    assert_eq!((&create["model"], &create["input"]), (&json!("agent"), &json!("what time is it?")));
    let all = events(&create, "resp_1", &says(&["It is ", "**late**, ", "see `date`"]));
    first.say_all(&all[..2]).await;
    page.until_state("queued: it waits until the agent is connected and free").await;
    first.say_all(&all[2..6]).await;
    page.until_log("It is").await;
    // The connection breaks in the middle; what comes after comes on the next one, some of it twice.
    drop(first);
    let mut second = channel.connection().await;
    let resume = second.frame_of("response.resume").await;
    assert_eq!(resume, json!({"type": "response.resume", "response_id": "resp_1", "starting_after": 5}));
    second.say_all(&all[4..]).await;
    page.until_log("It is late, see date").await;
    page.until_state("connected").await;
    let sight = page.read().await;
    assert_eq!((sight.log.matches("It is").count(), sight.state.as_str()), (1, "connected"), "{sight:?}");
    for element in ["strong", "code"] {
        assert!(sight.elements.iter().any(|name| name == element), "{sight:?}");
    }
    for name in ["textbox: Message", "button: Send", "log: Conversation", "button: Cancel the answer", "textbox: Agent"]
    {
        assert!(sight.names.iter().any(|known| known == name), "{name}: {:?}", sight.names);
    }
    let light = sight.background;
    page.scheme("dark").await;
    assert_ne!(page.read().await.background, light);
    // A broken connection is no error of the page's; nothing else is on the console.
    let sight = page.read().await;
    assert!(sight.console.iter().all(|line| line.contains("WebSocket")), "{:?}", sight.console);
}

#[tokio::test]
async fn what_an_agent_says_is_text_in_a_browser() {
    let Some(runtime) = runtime() else { return };
    let bridge = Bridge::start("").await;
    let mut channel = Channel::start().await;
    let stub = page(&bridge, &channel).await;
    let page = runtime.chat_page(&format!("{}/chat", stub.url)).await;
    let mut connection = channel.connection().await;
    page.say("<b>hello</b>").await;
    let create = connection.frame_of("response.create").await;
    let nasty = "<img src=x onerror=alert(1)><script>alert(2)</script>\n[run](javascript:alert(3)) [go](https://x.example/a)\n\n\
                 ```html\n<iframe src=\"data:text/html,x\"></iframe>\n```\n- one\n- **<i>two</i>**\nthe end";
    connection.say_all(&events(&create, "resp_1", &says(&[nasty]))).await;
    page.until_log("the end").await;
    let sight = page.read().await;
    for text in
        ["<b>hello</b>", "<img src=x onerror=alert(1)>", "[run](javascript:alert(3))", "<iframe src=", "<i>two</i>"]
    {
        assert!(sight.log.contains(text), "{text}: {}", sight.log);
    }
    for element in ["img", "script", "iframe", "i", "b"] {
        assert!(!sight.elements.iter().any(|name| name == element), "{element}: {:?}", sight.elements);
    }
    assert_eq!(sight.links, ["https://x.example/a"]);
    assert_eq!((sight.dialogs, sight.console.len()), (0, 0), "{sight:?}");
    assert_eq!(sight.elements.iter().filter(|name| *name == "li").count(), 2);
}

#[tokio::test]
async fn failures_and_cancelling_in_a_browser() {
    let Some(runtime) = runtime() else { return };
    let bridge = Bridge::start("").await;
    let mut channel = Channel::start().await;
    let stub = page(&bridge, &channel).await;
    let address = format!("{}/chat", stub.url);
    let page = runtime.chat_page(&address).await;
    let mut connection = channel.connection().await;
    page.say("one").await;
    connection.frame_of("response.create").await;
    connection.say(&error(400, "invalid_value", "There are several agents.")).await;
    page.until_log("Refused: There are several agents. (invalid_value)").await;
    page.say("two").await;
    let create = connection.frame_of("response.create").await;
    let failed = AgentEvent::Failed { code: "agent_error".to_owned(), message: "It broke.".to_owned() };
    connection.say_all(&events(&create, "resp_2", &[failed])).await;
    page.until_log("Failed: It broke. (agent_error)").await;
    page.say("three").await;
    let create = connection.frame_of("response.create").await;
    connection.say_all(&events(&create, "resp_3", &[])).await;
    page.until_state("queued").await;
    page.click("#cancel").await;
    assert_eq!(connection.frame_of("response.cancel").await["response_id"], "resp_3");
    let end = json!({"type": "response.incomplete", "sequence_number": 2, "response": {
        "id": "resp_3", "status": "cancelled", "incomplete_details": {"reason": "cancelled"}}});
    connection.say(&end).await;
    page.until_log("Cancelled.").await;
    // What may have arrived is not sent again.
    page.say("four").await;
    connection.frame_of("response.create").await;
    connection.close().await;
    let mut connection = channel.connection().await;
    let join = connection.frame_of("session.join").await;
    connection.say(&joined(&join, Some("resp_3"))).await;
    page.until_log("Whether the agent gets it is not known; it was not sent again.").await;
    // The tab comes back to its session, and to the answer that is under way.
    drop(connection);
    page.go(&address).await;
    let mut connection = channel.connection().await;
    let join = connection.frame_of("session.join").await;
    assert_eq!(join["session_id"], create["metadata"]["session_id"]);
    connection.say(&joined(&join, Some("resp_5"))).await;
    connection.frame_of("response.resume").await;
    connection.say_all(&events(&create, "resp_5", &says(&["here you are"]))).await;
    page.until_log("here you are").await;
}
