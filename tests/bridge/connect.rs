//! `clawbridge connect` as a process, before a gateway that the test plays: with a bridge that the test plays as well, and with `dev`. What it does
//! in between stands in `shared/connector/tests`.

use crate::support::channel::{Keys, Socket, agent, deltas, end, token};
use crate::support::{Bridge, Options, eventually, program, run};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

const SECRET: &str = "oas_that-nobody-else-knows";
const TOKEN: &str = "gateway-token-of-nobody-else";

/// How long the gateway waits for a request.
const PATIENCE: Duration = Duration::from_secs(60);

struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    async fn greeted(listener: &TcpListener) -> Peer {
        let (stream, _) = listener.accept().await.expect("a connection");
        let mut peer = Peer(tokio_tungstenite::accept_async(stream).await.expect("a WebSocket"));
        assert_eq!(peer.frame().await["type"], "hello");
        let until = clawbridge_clock::Timestamp::now().plus(Duration::from_secs(7200)).millis();
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

/// A connector of `dev`, which does not outlive its test.
struct Connector {
    child: Child,
    log: BufReader<ChildStdout>,
}

impl Drop for Connector {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Connector {
    fn kill(&mut self) {
        self.child.kill().expect("kill -9");
        self.child.wait().expect("wait");
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill").success());
    }

    /// Reads its log until it says that it is in this state.
    fn until(&mut self, state: &str) {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.log.read_line(&mut line).expect("the log") > 0, "the log ends before {state}");
            let said: Value = serde_json::from_str(&line).expect("JSON");
            if said["state"] == state {
                return;
            }
        }
    }
}

/// `dev` with an agent, a user of it, and the agent's gateway.
struct Whole {
    bridge: Bridge,
    gateway: TcpListener,
    keys: Keys,
    user: Socket,
}

impl Whole {
    async fn start() -> Whole {
        let args = ["--channel-look", "1"].map(str::to_owned).to_vec();
        let bridge = Bridge::start_with(Options { config: Some(String::new()), args }).await;
        let keys = agent(&bridge, "main").await;
        let token = token(&bridge, "ann", &["agent:main"]).await;
        let user = Socket::user(&bridge, &token).await;
        let gateway = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Whole { bridge, gateway, keys, user }
    }

    fn connector(&self) -> Connector {
        let channel = format!("{}/responses", self.bridge.public.replacen("http", "ws", 1));
        let gateway = format!("http://{}", self.gateway.local_addr().expect("an address"));
        let mut child = Command::new(program())
            .args(["--json", "connect", "--url", &channel, "--app-key", &self.keys.key, "--gateway-url", &gateway])
            .env("CLAWBRIDGE_APP_SECRET", &self.keys.secret)
            .env("OPENCLAW_GATEWAY_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("clawbridge connect");
        let log = BufReader::new(child.stdout.take().expect("its log"));
        Connector { child, log }
    }

    /// The next request that the gateway gets, which asks for this; the stream of its answer has begun.
    async fn asked(&self, prompt: &str) -> Answering {
        let asked = tokio::time::timeout(PATIENCE, self.gateway.accept()).await.expect("a request in time");
        let (stream, _) = asked.expect("a request");
        let mut answering = Answering(stream);
        let body = answering.request().await;
        assert!(body["input"].to_string().contains(prompt), "{prompt}: {body}");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        answering.0.write_all(head.as_bytes()).await.expect("a head");
        answering
    }
}

/// The gateway's side of a request.
struct Answering(TcpStream);

impl Answering {
    /// The whole body: what is closed with bytes unread is reset, and what was sent before is lost with it.
    async fn request(&mut self) -> Value {
        let mut read = Vec::new();
        loop {
            assert!(self.0.read_buf(&mut read).await.expect("a request") > 0, "the request ends early");
            let Some(at) = read.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&read[..at]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
            if read.len() == at + 4 + length.trim().parse::<usize>().expect("a length") {
                return serde_json::from_slice(&read[at + 4..]).expect("JSON");
            }
        }
    }

    async fn delta(&mut self, text: &str) {
        self.event(&json!({"type": "response.output_text.delta", "delta": text})).await;
    }

    async fn complete(mut self) {
        self.event(&json!({"type": "response.completed", "response": {"status": "completed"}})).await;
    }

    async fn event(&mut self, event: &Value) {
        self.0.write_all(format!("data: {event}\n\n").as_bytes()).await.expect("an event");
    }
}

/// Reads a user's events until there is a piece of the answer; those that came.
async fn begun(user: &mut Socket) -> Vec<Value> {
    let mut events: Vec<Value> = Vec::new();
    while events.last().is_none_or(|event| event["type"] != "response.output_text.delta") {
        let event = user.next().await;
        assert_eq!(event["sequence_number"], events.len(), "{event}");
        events.push(event);
    }
    events
}

fn completed(text: &str) -> (String, String, String) {
    ("completed".to_owned(), text.to_owned(), String::new())
}

#[tokio::test]
async fn what_the_gateway_streams_reaches_the_user_equal() {
    let mut whole = Whole::start().await;
    let _connector = whole.connector();
    whole.user.create("main", "the QUESTION", &json!({})).await;
    let mut asked = whole.asked("the QUESTION").await;
    asked.delta("first ").await;
    // It is not held back until the end.
    let mut events = begun(&mut whole.user).await;
    let mut expected = "first ".to_owned();
    for number in 0..50 {
        let piece = format!("{number}: \u{1f980} \"é\"\n");
        asked.delta(&piece).await;
        expected.push_str(&piece);
    }
    asked.complete().await;
    events.extend(whole.user.events(events.len() as u64).await);
    assert_eq!(deltas(&events), expected);
    assert_eq!(end(&events), completed(&expected));
}

#[tokio::test]
async fn what_was_asked_before_the_connector_came_is_answered_when_it_comes() {
    let mut whole = Whole::start().await;
    whole.user.create("main", "the QUESTION", &json!({})).await;
    for (number, kind) in ["response.created", "response.queued"].into_iter().enumerate() {
        let event = whole.user.next().await;
        assert_eq!((&event["type"], &event["sequence_number"]), (&json!(kind), &json!(number)), "{event}");
    }
    let _connector = whole.connector();
    let mut asked = whole.asked("the QUESTION").await;
    asked.delta("late").await;
    asked.complete().await;
    assert_eq!(end(&whole.user.events(2).await), completed("late"));
}

#[tokio::test]
async fn a_connector_killed_in_the_middle_is_told_of_and_its_successor_answers() {
    let mut whole = Whole::start().await;
    let mut connector = whole.connector();
    whole.user.create("main", "the first", &json!({})).await;
    let mut asked = whole.asked("the first").await;
    asked.delta("half").await;
    let mut events = begun(&mut whole.user).await;
    connector.kill();
    let _successor = whole.connector();
    events.extend(whole.user.events(events.len() as u64).await);
    let (status, text, why) = end(&events);
    assert_eq!((status.as_str(), text.as_str()), ("incomplete", "half"), "{why}");
    assert!(["agent_disconnected", "agent_restarted"].contains(&why.as_str()), "{why}");
    // What the gateway may have begun is not given to it again: its next request is the next turn.
    whole.user.create("main", "the second", &json!({})).await;
    let mut asked = whole.asked("the second").await;
    asked.delta("whole").await;
    asked.complete().await;
    assert_eq!(end(&whole.user.events(0).await), completed("whole"));
}

#[tokio::test]
async fn a_connector_that_is_told_to_end_finishes_what_a_user_waits_for() {
    let mut whole = Whole::start().await;
    let mut connector = whole.connector();
    whole.user.create("main", "the QUESTION", &json!({})).await;
    let mut asked = whole.asked("the QUESTION").await;
    asked.delta("half, ").await;
    let mut events = begun(&mut whole.user).await;
    connector.terminate();
    connector.until("draining");
    asked.delta("and the rest").await;
    asked.complete().await;
    events.extend(whole.user.events(events.len() as u64).await);
    assert_eq!(end(&events), completed("half, and the rest"));
    let status = eventually("the connector ends", || {
        let status = connector.child.try_wait().expect("wait");
        async move { status }
    })
    .await;
    assert!(status.success(), "{status}");
    // Nobody is there any more: the next turn waits, and is not lost.
    whole.user.create("main", "the next", &json!({})).await;
    for kind in ["response.created", "response.queued"] {
        assert_eq!(whole.user.next().await["type"], kind);
    }
}
