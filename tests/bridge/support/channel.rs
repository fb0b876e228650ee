//! Users and agents of the channel, over real sockets.

use super::{Bridge, root};
use clawbridge_access::{AgentRecord, AppKey, AppSecret, Scope, Token, TokenRecord};
use clawbridge_aws::{Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_registry::Registry;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error, Message};

/// How long a frame is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// The largest frame that API Gateway takes, bytes; a message may have four.
const FRAME: usize = 32 * 1024;

/// An agent's app key and app secret.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) key: String,
    pub(crate) secret: String,
}

fn registry(bridge: &Bridge) -> Registry {
    let config = sdk_config(&Environment::local(&bridge.private)).expect("a configuration");
    Registry::new(aws_sdk_dynamodb::Client::new(&config), "clawbridge-registry".to_owned())
}

pub(crate) async fn agent(bridge: &Bridge, name: &str) -> Keys {
    let (key, secret) = (AppKey::of(fastrand::u128(..).to_be_bytes()), AppSecret::of(random()));
    let record = AgentRecord::new(name, key.clone(), secret.hash(), Timestamp::now());
    assert!(registry(bridge).put_agent(&record).await.expect("kept"), "{name}");
    Keys { key: key.as_str().to_owned(), secret: secret.reveal().to_owned() }
}

pub(crate) async fn token(bridge: &Bridge, name: &str, scopes: &[&str]) -> String {
    let token = Token::of(random());
    let record = TokenRecord {
        hash: token.hash(),
        name: name.to_owned(),
        scopes: scopes.iter().map(|scope| scope.parse::<Scope>().expect("a scope")).collect(),
        created_at: Timestamp::now(),
        expires_at: None,
        last_used_at: None,
        rate: None,
    };
    assert!(registry(bridge).put_token(&record, Timestamp::now()).await.expect("kept"), "{name}");
    token.reveal().to_owned()
}

fn random() -> [u8; 32] {
    std::array::from_fn(|_| fastrand::u8(..))
}

/// One side of a connection.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
}

impl Socket {
    /// Connects with these headers; the status where that is refused.
    pub(crate) async fn connect(bridge: &Bridge, headers: &[(&str, &str)]) -> Result<Socket, u16> {
        let stream = TcpStream::connect(bridge.public.trim_start_matches("http://")).await.expect("a connection");
        Socket::over(stream, bridge, headers).await
    }

    async fn over(stream: TcpStream, bridge: &Bridge, headers: &[(&str, &str)]) -> Result<Socket, u16> {
        let url = format!("{}/responses", bridge.public.replacen("http", "ws", 1));
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().expect("a name");
            request.headers_mut().insert(name, value.parse().expect("a value"));
        }
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((stream, _)) => Ok(Socket { stream }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) async fn user(bridge: &Bridge, token: &str) -> Socket {
        let bearer = format!("Bearer {token}");
        Socket::connect(bridge, &[("authorization", &bearer)]).await.expect("let in")
    }

    /// A user for whom the operating system receives next to nothing while they do not read.
    pub(crate) async fn narrow_user(bridge: &Bridge, token: &str) -> Socket {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        let address = bridge.public.trim_start_matches("http://").parse().expect("an address");
        let stream = socket.connect(address).await.expect("a connection");
        let bearer = format!("Bearer {token}");
        Socket::over(stream, bridge, &[("authorization", &bearer)]).await.expect("let in")
    }

    /// A connector that says nothing of its own.
    pub(crate) async fn connector(bridge: &Bridge, keys: &Keys) -> Socket {
        let headers = [("x-app-key", keys.key.as_str()), ("x-app-secret", keys.secret.as_str())];
        Socket::connect(bridge, &headers).await.expect("let in")
    }

    /// A connector of ours, after its `hello`.
    pub(crate) async fn bridge_v1(bridge: &Bridge, keys: &Keys, instance: &str, holds: Value) -> Socket {
        let headers = [
            ("x-app-key", keys.key.as_str()),
            ("x-app-secret", keys.secret.as_str()),
            ("x-clawbridge-connector", "bridge.v1"),
        ];
        let mut socket = Socket::connect(bridge, &headers).await.expect("let in");
        let hello = json!({"bridge": 1, "type": "hello", "connector": "test", "instance": instance, "holds": holds});
        socket.send(&hello).await;
        assert_eq!(socket.next().await["type"], "welcome");
        socket
    }

    pub(crate) async fn send(&mut self, frame: &Value) {
        self.text(&frame.to_string()).await;
    }

    pub(crate) async fn text(&mut self, text: &str) {
        assert!(self.pieces(text).await, "the other side has gone");
    }

    /// Sends a text in frames as small as API Gateway wants them. False: the other side had stopped to read.
    pub(crate) async fn pieces(&mut self, text: &str) -> bool {
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(FRAME).collect();
        for (number, chunk) in chunks.iter().enumerate() {
            let code = OpCode::Data(if number == 0 { Data::Text } else { Data::Continue });
            let frame = Frame::message(chunk.to_vec(), code, number + 1 == chunks.len());
            if !self.try_send(Message::Frame(frame)).await {
                return false;
            }
        }
        true
    }

    /// Sends what the other side may have stopped to read.
    pub(crate) async fn try_send(&mut self, message: Message) -> bool {
        self.stream.send(message).await.is_ok()
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Value {
        self.frame().await.unwrap_or_else(|code| panic!("closed with {code}"))
    }

    /// The next frame, or the code with which the connection was closed; 1006 where there was none.
    pub(crate) async fn frame(&mut self) -> Result<Value, u16> {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("a frame in time");
            match message {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text).expect("JSON")),
                Some(Ok(Message::Close(frame))) => return Err(frame.map_or(1005, |frame| frame.code.into())),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// Asks, as a standard client does.
    pub(crate) async fn create(&mut self, model: &str, input: &str, more: &Value) {
        let mut frame = json!({"type": "response.create", "model": model, "input": input});
        for (name, value) in more.as_object().into_iter().flatten() {
            frame[name] = value.clone();
        }
        self.send(&frame).await;
    }

    /// All events of a response to its end, checked to be numbered from `first` without a gap.
    pub(crate) async fn events(&mut self, first: u64) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let event = self.next().await;
            let number = first + events.len() as u64;
            assert_eq!(event["sequence_number"], number, "{event} after {events:#?}");
            let kind = event["type"].as_str().unwrap_or_default().to_owned();
            events.push(event);
            if ["response.completed", "response.failed", "response.incomplete"].contains(&kind.as_str()) {
                return events;
            }
        }
    }

    /// Says something in an answer and waits until it is acknowledged.
    pub(crate) async fn say(&mut self, response: &Value, number: u64, events: Value) {
        self.send(&say(response, number, events)).await;
        let ack = self.next().await;
        assert_eq!((&ack["type"], &ack["next"]), (&json!("ack"), &json!(number + 1)), "{ack}");
    }

    /// Answers a turn in three frames.
    pub(crate) async fn answer(&mut self, turn: &Value, text: &str) {
        let response = &turn["response"];
        let (head, tail) = text.split_at(text.len() / 2);
        self.say(response, 0, json!([{"event": "began"}, {"event": "text", "text": head}])).await;
        self.say(response, 1, json!([{"event": "text", "text": tail}])).await;
        self.say(response, 2, json!([{"event": "completed", "text": text}])).await;
    }

    /// The next turn.
    pub(crate) async fn turn(&mut self) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == "turn" {
                return frame;
            }
        }
    }
}

pub(crate) fn say(response: &Value, number: u64, events: Value) -> Value {
    json!({"bridge": 1, "type": "say", "response": response, "number": number, "events": events})
}

/// What the last event says: status, text, reason or code.
pub(crate) fn end(events: &[Value]) -> (String, String, String) {
    let response = &events.last().expect("events")["response"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let said = response["output"].as_array().into_iter().flatten();
    let said = said.flat_map(|item| item["content"].as_array().into_iter().flatten()).map(|part| text(&part["text"]));
    let why = [&response["incomplete_details"]["reason"], &response["error"]["code"]];
    (text(&response["status"]), said.collect(), why.into_iter().map(text).collect())
}

/// All deltas together.
pub(crate) fn deltas(events: &[Value]) -> String {
    events.iter().filter_map(|event| event["delta"].as_str()).collect()
}

/// A recording of a real connector, `events/channel/connector/NAME.json`: its first answer, with a session and a response of now.
pub(crate) fn recording(name: &str, session: &str) -> Vec<String> {
    let path = root().join(format!("events/channel/connector/{name}.json"));
    let text = std::fs::read_to_string(&path).expect("the recording");
    let frames: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let asked = frames.iter().position(|frame| frame["from"] == "server").expect("a request");
    let mut answer: Vec<String> = Vec::new();
    for frame in frames.iter().skip(asked + 1).take_while(|frame| frame["from"] == "connector") {
        answer.push(frame["frame"].as_str().expect("text").to_owned());
    }
    let suffix = format!("resp_{:x}_", fastrand::u32(..));
    let in_session = |text: String| {
        ["\"sess_1\"", "\"s1\""].iter().fold(text, |text, old| text.replace(old, &format!("\"{session}\"")))
    };
    answer.into_iter().map(|frame| in_session(frame.replace("resp_", &suffix))).collect()
}
