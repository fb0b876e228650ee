//! A bridge and a gateway that the tests play themselves, frame by frame, over real sockets.

use clawbridge_clock::Timestamp;
use clawbridge_connector::core::Core;
use clawbridge_connector::gateway::{Gateway, Mode, Settings as GatewaySettings};
use clawbridge_connector::link::{Again, Unopened};
use clawbridge_connector::notice::Notice;
use clawbridge_connector::run::{Shown, run};
use clawbridge_connector::timing::Timing;
use clawbridge_responses::dialects::bridge::{FromConnector, ToConnector, write};
use clawbridge_responses::dialects::{Decoded, Dialect, Turn, decode};
use clawbridge_responses::machine::{Applied, Machine};
use clawbridge_responses::model::input::{InputItem, Part, Role};
use clawbridge_responses::model::{EventBody, Response, Settings};
use clawbridge_responses::{ResponseId, SessionId};
use futures_util::{SinkExt, StreamExt};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Generous: the tests share two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("did not happen within {PATIENCE:?}: {what}"))
}

pub(crate) fn id(name: &str) -> ResponseId {
    ResponseId::new(name).unwrap()
}

pub(crate) fn turn(name: &str) -> Turn {
    let part = Part::Text("What is the PASSPHRASE?".to_owned());
    Turn {
        response: id(name),
        session: SessionId::new(&format!("session-of-{name}")).unwrap(),
        at: Timestamp::now(),
        input: vec![InputItem::Message { role: Role::User, content: vec![part], phase: None }],
        settings: Settings::of_model("openclaw"),
    }
}

/// The bridge's side of one connection.
pub(crate) struct Peer(WebSocketStream<TcpStream>);

impl Peer {
    pub(crate) async fn send(&mut self, frame: &ToConnector) {
        self.0.send(Message::text(write(frame))).await.unwrap();
    }

    /// What comes that is no ping.
    async fn message(&mut self) -> Option<Message> {
        loop {
            match soon("a message of the connector", self.0.next()).await {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next frame that is no beat.
    pub(crate) async fn frame(&mut self) -> FromConnector {
        loop {
            match self.message().await {
                Some(Message::Text(text)) => match decode(&text).unwrap() {
                    (Dialect::Bridge, Decoded::Bridge(FromConnector::Beat {})) => {}
                    (Dialect::Bridge, Decoded::Bridge(frame)) => return frame,
                    other => panic!("{other:?}"),
                },
                other => panic!("the connector sends {other:?}"),
            }
        }
    }

    /// The next frame, which is a beat.
    pub(crate) async fn beat(&mut self) {
        let Some(Message::Text(text)) = self.message().await else { panic!("no frame") };
        assert!(matches!(decode(&text).unwrap().1, Decoded::Bridge(FromConnector::Beat {})), "{text}");
    }

    /// Greets the connector. What it holds.
    pub(crate) async fn greet(&mut self) -> BTreeMap<String, u64> {
        let FromConnector::Hello { holds, instance, .. } = self.frame().await else { panic!("no hello") };
        assert!(!instance.is_empty());
        let until = Timestamp::now().plus(Duration::from_secs(7200));
        self.send(&ToConnector::Welcome { until, beat_seconds: 30, max_frame_bytes: 16 * 1024 }).await;
        holds.into_iter().map(|holds| (holds.response.to_string(), holds.next)).collect()
    }

    pub(crate) async fn ask(&mut self, name: &str) {
        self.send(&ToConnector::Turn(Box::new(turn(name)))).await;
    }

    pub(crate) async fn ack(&mut self, name: &str, next: u64) {
        self.send(&ToConnector::Ack { response: id(name), next }).await;
    }

    /// Whether nothing comes for a moment that is long on this machine: to see that something does not happen, one has to look.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        timeout(Duration::from_millis(150), self.0.next()).await.is_err()
    }

    /// The close frame's code, once the connector has closed.
    pub(crate) async fn closed(mut self) -> Option<u16> {
        loop {
            match self.message().await {
                Some(Message::Close(frame)) => {
                    // Reading on answers it.
                    while self.0.next().await.is_some_and(|message| message.is_ok()) {}
                    return frame.map(|frame| frame.code.into());
                }
                Some(_) => {}
                None => return None,
            }
        }
    }
}

/// The bridge: where the connector dials to, and what it has stored.
pub(crate) struct Bridge {
    listener: TcpListener,
    stored: BTreeMap<String, (Machine, String)>,
    /// How many frames with events were stored.
    pub(crate) frames: usize,
}

impl Bridge {
    pub(crate) async fn start() -> Bridge {
        Bridge { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), stored: BTreeMap::new(), frames: 0 }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/responses", self.listener.local_addr().unwrap())
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        soon("a connection of the connector", self.listener.accept()).await.unwrap().0
    }

    pub(crate) async fn accept(&self) -> Peer {
        Peer(tokio_tungstenite::accept_async(self.tcp().await).await.unwrap())
    }

    /// A connection, greeted.
    pub(crate) async fn connected(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.greet().await;
        peer
    }

    /// Stores a frame as the channel does. What is next.
    pub(crate) fn store(&mut self, frame: FromConnector) -> (String, u64) {
        let FromConnector::Say { response, number, events } = frame else { panic!("{frame:?}") };
        let (machine, text) = self.stored.entry(response.to_string()).or_insert_with(|| {
            let session = SessionId::new("s").unwrap();
            let policy = Dialect::Bridge.policy();
            (Machine::new(response.clone(), session, Settings::of_model("m"), policy, Timestamp::now()), String::new())
        });
        self.frames += usize::from(!events.is_empty());
        match machine.apply_numbered(number, events, Timestamp::now()) {
            Applied::Next(events) => {
                for event in events {
                    if let EventBody::TextDelta { delta, .. } = event.body {
                        text.push_str(&delta);
                    }
                }
            }
            Applied::Duplicate => {}
            Applied::Gap { expected } => panic!("{number} came, {expected} is lacking"),
        }
        (response.to_string(), machine.next_frame())
    }

    /// Reads a frame, stores and acknowledges it.
    pub(crate) async fn take(&mut self, peer: &mut Peer) {
        let (name, next) = self.store(peer.frame().await);
        peer.ack(&name, next).await;
    }

    /// Takes frames until an answer is over; it and the deltas' text.
    pub(crate) async fn whole(&mut self, peer: &mut Peer, name: &str) -> (Response, String) {
        loop {
            if let Some((machine, text)) = self.stored.get(name).filter(|(machine, _)| machine.is_over()) {
                return (machine.response().clone(), text.clone());
            }
            self.take(peer).await;
        }
    }

    /// The error's code of an answer that fails.
    pub(crate) async fn failure(&mut self, peer: &mut Peer, name: &str) -> String {
        let (response, _) = self.whole(peer, name).await;
        let resource = response.resource();
        resource["error"]["code"].as_str().unwrap_or_else(|| panic!("{resource}")).to_owned()
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.stored.get(name).map_or("", |(_, text)| text)
    }
}

/// A request to the gateway, and the connection to answer it on.
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: serde_json::Value,
    stream: TcpStream,
}

impl Asked {
    pub(crate) async fn answer(&mut self, status: &str, more: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n{more}\r\n");
        self.write(head.as_bytes()).await;
        self.write(body).await;
    }

    pub(crate) async fn stream(&mut self) {
        self.answer("200 OK", "content-type: text/event-stream; charset=utf-8\r\n", b"").await;
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn delta(&mut self, text: &str) {
        let event = serde_json::json!({"type": "response.output_text.delta", "item_id": "m", "delta": text});
        self.write(format!("event: response.output_text.delta\ndata: {event}\n\n").as_bytes()).await;
    }

    pub(crate) async fn complete(mut self, text: &str) {
        let event = serde_json::json!({"type": "response.completed", "response": {"id": "r", "object": "response",
            "status": "completed", "output": [{"type": "message", "id": "m", "role": "assistant",
            "content": [{"type": "output_text", "text": text}]}]}});
        self.write(format!("event: response.completed\ndata: {event}\n\ndata: [DONE]\n\n").as_bytes()).await;
    }

    /// Waits until the other side has closed the connection.
    pub(crate) async fn gone(&mut self) {
        let mut rest = [0; 64];
        let read = soon("the request is dropped", self.stream.read(&mut rest)).await;
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
}

pub(crate) struct Played(TcpListener);

impl Played {
    pub(crate) async fn start() -> Played {
        Played(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) async fn at(port: u16) -> Played {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(([127, 0, 0, 1], port).into()).unwrap();
        Played(socket.listen(16).unwrap())
    }

    pub(crate) fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    pub(crate) async fn asked(&self) -> Asked {
        let (mut stream, _) = soon("a request to the gateway", self.0.accept()).await.unwrap();
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse::<usize>().unwrap();
        while bytes.len() < end + length {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
        }
        Asked { head, body: serde_json::from_slice(&bytes[end..]).unwrap(), stream }
    }
}

/// A connector that runs.
pub(crate) struct Connector {
    pub(crate) notices: mpsc::UnboundedReceiver<Notice>,
    stop: mpsc::Sender<()>,
    task: JoinHandle<()>,
}

pub(crate) fn gateway_at(port: u16) -> GatewaySettings {
    GatewaySettings {
        url: format!("http://127.0.0.1:{port}"),
        token: Some("t0ken".to_owned()),
        mode: Mode::Responses,
        model: "openclaw/main".to_owned(),
        system_prompt: None,
        hook_sessions: None,
        wait: PATIENCE,
        silence: PATIENCE,
    }
}

/// Attempts that follow each other at once; everything else as it is.
pub(crate) fn timing() -> Timing {
    let moment = Duration::from_millis(10);
    Timing { backoff: moment, backoff_most: moment, jitter: moment, slow: moment, ..Timing::default() }
}

impl Connector {
    pub(crate) fn start(bridge: &Bridge, gateway: GatewaySettings, timing: Timing) -> Connector {
        let _is_first = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let url = bridge.url();
        let dial = move || {
            let url = url.clone();
            async move {
                let address = url.trim_start_matches("ws://").trim_end_matches("/responses").to_owned();
                let soon = |why: String| Unopened { why, again: Again::Soon };
                let tcp = TcpStream::connect(address).await.map_err(|error| soon(error.to_string()))?;
                match tokio_tungstenite::client_async(url, tcp).await {
                    Ok((socket, _)) => Ok(socket),
                    Err(Error::Http(answer)) if answer.status() == 401 => {
                        Err(Unopened { why: "refused with 401".to_owned(), again: Again::Mended })
                    }
                    Err(error) => Err(soon(error.to_string())),
                }
            }
        };
        let (heard, notices) = mpsc::unbounded_channel();
        let tell = move |notice: &Notice| {
            let _is_heard = heard.send(notice.clone());
        };
        let (stop, signals) = mpsc::channel(2);
        let core = Core::new("test/1", "instance", timing, 10);
        let shown = Shown { debug: true, bodies: false };
        let task = tokio::spawn(run(core, Gateway::new(client, gateway), dial, tell, shown, signals));
        Connector { notices, stop, task }
    }

    pub(crate) async fn stop(&self) {
        self.stop.send(()).await.unwrap();
    }

    /// Waits for its end; all that it told.
    pub(crate) async fn over(mut self) -> Vec<Notice> {
        soon("the connector ends", self.task).await.unwrap();
        let mut told = Vec::new();
        while let Some(notice) = self.notices.recv().await {
            told.push(notice);
        }
        told
    }
}
