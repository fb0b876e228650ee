//! The channel as a client meets it, played by the test: it accepts connections, reads frames, and says what it is told to.

use clawbridge_clock::Timestamp;
use clawbridge_responses::machine::{Machine, Policy};
use clawbridge_responses::{AgentEvent, ResponseId, frames};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};

/// How long a client may take to say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A channel at `url`.
pub(crate) struct Channel {
    pub(crate) url: String,
    connections: mpsc::UnboundedReceiver<Connection>,
    /// What the next handshakes are answered with instead of 101, one after the other.
    refusals: Arc<Mutex<Vec<u16>>>,
}

/// A client's connection. It breaks when this is dropped.
pub(crate) struct Connection {
    socket: WebSocketStream<TcpStream>,
    /// The handshake's headers, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl Channel {
    pub(crate) async fn start() -> Channel {
        Channel::refusing(&[]).await
    }

    /// The first handshakes get these statuses.
    pub(crate) async fn refusing(statuses: &[u16]) -> Channel {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("ws://{}/responses", listener.local_addr().expect("an address"));
        let (tell, connections) = mpsc::unbounded_channel();
        let refusals = Arc::new(Mutex::new(statuses.to_vec()));
        let left = refusals.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let refusal = {
                    let mut left = left.lock().expect("refusals");
                    (!left.is_empty()).then(|| left.remove(0))
                };
                if let Some(connection) = Connection::accept(stream, refusal).await
                    && tell.send(connection).is_err()
                {
                    return;
                }
            }
        });
        Channel { url, connections, refusals }
    }

    /// The next handshake gets this status.
    pub(crate) fn refuse(&self, status: u16) {
        self.refusals.lock().expect("refusals").push(status);
    }

    /// Waits for the next connection.
    pub(crate) async fn connection(&mut self) -> Connection {
        let next = tokio::time::timeout(PATIENCE, self.connections.recv()).await;
        next.expect("a connection in time").expect("a connection")
    }
}

impl Connection {
    async fn accept(stream: TcpStream, refusal: Option<u16>) -> Option<Connection> {
        let mut headers = BTreeMap::new();
        #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
        let answer = |request: &Request, mut response: Response| {
            if let Some(status) = refusal {
                let mut refused = ErrorResponse::new(None);
                *refused.status_mut() = StatusCode::from_u16(status).expect("a status");
                return Err(refused);
            }
            for (name, value) in request.headers() {
                headers.insert(name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned());
            }
            if headers.get("sec-websocket-protocol").is_some_and(|offered| offered.contains("clawbridge.v1")) {
                response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("clawbridge.v1"));
            }
            Ok(response)
        };
        let socket = tokio_tungstenite::accept_hdr_async(stream, answer).await.ok()?;
        Some(Connection { socket, headers })
    }

    /// Waits for a frame of the client's.
    pub(crate) async fn frame(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect("a frame in time");
            match message.expect("a connection").expect("a message") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Close(_) => panic!("the client closed"),
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Waits for a frame of this type.
    pub(crate) async fn frame_of(&mut self, kind: &str) -> Value {
        let frame = self.frame().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// Waits until the client has closed, or is gone.
    pub(crate) async fn until_closed(&mut self) {
        let closed = async { while let Some(Ok(_)) = self.socket.next().await {} };
        tokio::time::timeout(PATIENCE, closed).await.expect("a close in time");
    }

    pub(crate) async fn say(&mut self, frame: &Value) {
        self.socket.send(Message::text(frame.to_string())).await.expect("sent");
    }

    pub(crate) async fn say_all(&mut self, frames: &[Value]) {
        for frame in frames {
            self.say(frame).await;
        }
    }

    pub(crate) async fn close(mut self) {
        drop(self.socket.close(None).await);
    }
}

/// All events of the response `id` to a `response.create`, of an agent that says this.
pub(crate) fn events(create: &Value, id: &str, said: &[AgentEvent]) -> Vec<Value> {
    let create = frames::parse(&create.to_string()).expect("a frame that the bridge takes");
    let session = create.session.expect("a session");
    let now = Timestamp::now();
    let mut machine =
        Machine::new(ResponseId::new(id).expect("an id"), session, create.settings, Policy::default(), now);
    let mut events = machine.accept(true);
    events.extend(said.iter().flat_map(|event| machine.apply(event.clone(), now)));
    events.iter().map(|event| event.to_value()).collect()
}

/// An agent that says these texts, one after the other, and has done.
pub(crate) fn says(texts: &[&str]) -> Vec<AgentEvent> {
    let texts = texts.iter().map(|text| AgentEvent::Text { text: (*text).to_owned() });
    texts.chain([AgentEvent::Completed { text: None, usage: None }]).collect()
}

/// An error frame.
pub(crate) fn error(status: u16, code: &str, message: &str) -> Value {
    json!({"type": "error", "status": status, "error": {"code": code, "message": message, "type": "x"}})
}

/// The answer to `session.join`.
pub(crate) fn joined(join: &Value, latest: Option<&str>) -> Value {
    json!({"type": "session.joined", "session_id": join["session_id"], "agent": "a", "latest_response_id": latest})
}
