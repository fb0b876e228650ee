//! `clawbridge connect` as a process, between a bridge and a gateway that the test plays. What it does in between stands in
//! `shared/connector/tests`.

use crate::support::{eventually, program, run};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const SECRET: &str = "oas_that-nobody-else-knows";
const TOKEN: &str = "gateway-token-of-nobody-else";

struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn greeted(listener: &TcpListener) -> Peer {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut peer = Peer(tokio_tungstenite::accept_async(stream).await.expect("a WebSocket"));
        assert_eq!(peer.frame().await["type"], "hello");
        let until = clawbridge_clock::Timestamp::now().plus(std::time::Duration::from_secs(7200)).millis();
        peer.send(json!({"type": "welcome", "until": until, "beat_seconds": 30, "max_frame_bytes": 16384})).await;
        peer
    }

    async fn send(&mut self, mut frame: Value) {
        frame["bridge"] = 1.into();
        self.0.send(Message::text(frame.to_string())).await.expect("a frame is sent");
    }

    async fn message(&mut self) -> Message {
        loop {
            match self.0.next().await.expect("a message").expect("a message") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    async fn frame(&mut self) -> Value {
        let Message::Text(text) = self.message().await else { panic!("no frame") };
        serde_json::from_str(&text).expect("JSON")
    }

    /// Acknowledges what is said until the answer ends; its text, and how it ends.
    async fn answer(&mut self) -> (String, Value) {
        let mut said = String::new();
        loop {
            let frame = self.frame().await;
            assert_eq!(frame["type"], "say", "{frame}");
            let next = frame["number"].as_u64().expect("a number") + 1;
            self.send(json!({"type": "ack", "response": frame["response"], "next": next})).await;
            for event in frame["events"].as_array().expect("events") {
                match event["event"].as_str() {
                    Some("text") => said.push_str(event["text"].as_str().expect("text")),
                    Some("completed" | "failed" | "incomplete") => return (said, event.clone()),
                    _ => {}
                }
            }
        }
    }
}

fn start(channel: &str, gateway: &str) -> Child {
    Command::new(program())
        .args(["--json", "connect", "--url", channel, "--app-key", "oak_1", "--gateway-url", gateway, "--debug"])
        .env("CLAWBRIDGE_APP_SECRET", SECRET)
        .env("OPENCLAW_GATEWAY_TOKEN", TOKEN)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("clawbridge connect")
}

#[tokio::test]
async fn a_connector_answers_finishes_on_sigterm_and_logs_neither_secrets_nor_texts() {
    let bridge = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let gateway = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let channel = format!("ws://{}/responses", bridge.local_addr().expect("an address"));
    let mut process = start(&channel, &format!("http://{}", gateway.local_addr().expect("an address")));
    let mut peer = Peer::greeted(&bridge).await;
    let content = json!([{"type": "input_text", "text": "the QUESTION"}]);
    let input = json!([{"type": "message", "role": "user", "content": content}]);
    let settings = json!({"model": "openclaw", "store": true});
    let turn =
        json!({"type": "turn", "response": "resp_1", "session": "s", "at": 1, "input": input, "settings": settings});
    peer.send(turn).await;
    let (mut asked, _) = gateway.accept().await.expect("a request");
    let mut request = Vec::new();
    while !request.windows(8).any(|bytes| bytes == b"QUESTION") {
        assert!(asked.read_buf(&mut request).await.expect("a request") > 0);
    }
    assert!(String::from_utf8_lossy(&request).contains(&format!("Bearer {TOKEN}")));
    // It is told to end in the middle of the answer, and finishes it.
    let pid = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n\
        data: {\"type\":\"response.output_text.delta\",\"delta\":\"the ANSWER\"}\n\n\
        data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\"}}\n\n";
    asked.write_all(answer.as_bytes()).await.expect("an answer");
    let (said, end) = peer.answer().await;
    assert_eq!((said.as_str(), &end["event"]), ("the ANSWER", &json!("completed")));
    assert_eq!(peer.frame().await["type"], "leaving");
    let Message::Close(Some(close)) = peer.message().await else { panic!("it does not close") };
    assert_eq!(u16::from(close.code), 1000);
    // Reading on answers the close.
    assert!(peer.0.next().await.is_none_or(|message| message.is_err()));
    drop(peer);
    let status = eventually("the process ends", || {
        let status = process.try_wait().expect("wait");
        async move { status }
    })
    .await;
    let output = process.wait_with_output().expect("output");
    assert!(status.success(), "{output:?}");
    let log = String::from_utf8(output.stdout).expect("text") + &String::from_utf8(output.stderr).expect("text");
    for secret in [SECRET, TOKEN, "QUESTION", "ANSWER"] {
        assert!(!log.contains(secret), "the log holds {secret}: {log}");
    }
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let states: Vec<&str> = lines.iter().filter_map(|line| line["state"].as_str()).collect();
    assert_eq!(states, ["connecting", "connected", "draining", "disconnected"]);
    assert!(lines.iter().any(|line| line["event"] == "turn" && line["status"] == "completed"), "{log}");
}

#[test]
fn wrong_settings_end_the_connector_with_what_to_do() {
    let url = ["--url", "wss://x.example/responses"];
    for (args, code) in [
        (vec!["connect"], "CONNECTOR_SETTING_MISSING"),
        ([vec!["connect"], url.to_vec()].concat(), "CONNECTOR_SETTING_MISSING"),
        (vec!["connect", "--file", "nowhere.toml"], "CONNECTOR_FILE"),
        (
            [vec!["connect", "--app-key", "k", "--app-secret-stdin", "--model", "x"], url.to_vec()].concat(),
            "CONNECTOR_SETTING_WRONG",
        ),
    ] {
        let answer = run(&args, "oas_secret\n");
        assert_eq!(answer.status, 2, "{args:?}: {answer:?}");
        assert!(answer.err.contains(code) && !answer.err.contains("oas_secret"), "{answer:?}");
    }
}
