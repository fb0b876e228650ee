//! Sockets, requests and the clock around the [`Core`].

use crate::core::{Action, Core, Input};
use crate::gateway::{Gateway, Out};
use crate::link::{ConnectionId, Unopened};
use crate::notice::{Level, Notice};
use crate::timing::Moment;
use bytes::Bytes;
use clawbridge_clock::Timestamp;
use clawbridge_responses::dialects::Turn;
use clawbridge_responses::dialects::bridge::{FromConnector, ToConnector, read_from_bridge, write};
use clawbridge_responses::{AgentEvent, ResponseId};
use futures_util::{SinkExt, StreamExt};
use std::collections::HashMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// How long the other side may take to read a frame.
const WRITE: Duration = Duration::from_secs(10);

/// How long it may take to answer a close.
const CLOSE: Duration = Duration::from_secs(2);

/// How much may wait to be looked at: whoever has more waits himself.
const INPUTS: usize = 64;

/// What is shown of the conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Frames by their type, heartbeats, connections.
    pub debug: bool,
    /// The frames themselves, with what people and the agent say.
    pub bodies: bool,
}

enum Order {
    Frame(String),
    Ping,
    Close,
}

struct Line {
    orders: mpsc::UnboundedSender<Order>,
    task: AbortHandle,
}

struct Asking {
    pause: watch::Sender<bool>,
    task: AbortHandle,
}

/// A connector that runs.
struct Running<'a, D, T> {
    dial: &'a D,
    gateway: Gateway,
    tell: T,
    shown: Shown,
    inputs: mpsc::Sender<Input>,
    connections: JoinSet<()>,
    lines: HashMap<ConnectionId, Line>,
    requests: JoinSet<()>,
    asking: HashMap<ResponseId, Asking>,
    of_task: HashMap<Id, ResponseId>,
}

/// Runs until `stop` has said so (once: what is under way is finished; twice: at once) and everything is closed. `dial` opens a
/// socket to the bridge; `tell` hears what happens.
pub async fn run<S, D, F, T>(
    mut core: Core,
    gateway: Gateway,
    dial: D,
    tell: T,
    shown: Shown,
    mut stop: mpsc::Receiver<()>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: Fn() -> F,
    F: Future<Output = Result<WebSocketStream<S>, Unopened>> + Send + 'static,
    T: FnMut(&Notice),
{
    let (sender, mut inputs) = mpsc::channel(INPUTS);
    let mut running = Running {
        dial: &dial,
        gateway,
        tell,
        shown,
        inputs: sender,
        connections: JoinSet::new(),
        lines: HashMap::new(),
        requests: JoinSet::new(),
        asking: HashMap::new(),
        of_task: HashMap::new(),
    };
    let start = Instant::now();
    let mut may_stop = true;
    let mut input = Input::Tick;
    loop {
        let now = Moment { up: start.elapsed(), at: Timestamp::now() };
        if let Input::Closed(id, _) | Input::NotOpened(id, _) = &input {
            running.lines.remove(id);
        }
        if let Input::Received(id, frame) = &input {
            running.debug(|shown| match shown.bodies {
                true => format!("{id} ◀ {}", write(&**frame)),
                false => format!("{id} ◀ {}", kind_of_received(frame)),
            });
        }
        for action in core.step(input, now, fastrand::u64(..)) {
            running.act(action);
        }
        if core.is_finished() {
            break;
        }
        let deadline = core.deadline().map_or_else(|| Instant::now() + Duration::from_secs(60), |at| start + at);
        input = tokio::select! {
            Some(input) = inputs.recv() => input,
            signal = stop.recv(), if may_stop => {
                may_stop = signal.is_some();
                if may_stop { Input::Stop } else { Input::Tick }
            }
            Some(ended) = running.requests.join_next_with_id() => running.ended(ended.map(|(id, ())| id)),
            Some(_) = running.connections.join_next() => Input::Tick,
            () = sleep_until(deadline) => Input::Tick,
        };
    }
    running.requests.abort_all();
    // Closing answers nobody any more: the inputs must not stand in its way.
    drop(inputs);
    let closed = async { while running.connections.join_next().await.is_some() {} };
    let _in_time = timeout(WRITE + CLOSE, closed).await;
}

impl<S, D, F, T> Running<'_, D, T>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    D: Fn() -> F,
    F: Future<Output = Result<WebSocketStream<S>, Unopened>> + Send + 'static,
    T: FnMut(&Notice),
{
    fn act(&mut self, action: Action) {
        match action {
            Action::Open(id) => {
                let (orders, waiting) = mpsc::unbounded_channel();
                let (dialled, inputs, shown) = ((self.dial)(), self.inputs.clone(), self.shown);
                let task = self.connections.spawn(connection(id, dialled, waiting, inputs, shown));
                self.lines.insert(id, Line { orders, task });
            }
            Action::Send(id, frame) => {
                let text = write(&*frame);
                self.debug(|shown| {
                    if shown.bodies { format!("{id} ▶ {text}") } else { format!("{id} ▶ {}", kind_of(&frame)) }
                });
                self.order(id, Order::Frame(text));
            }
            Action::Ping(id) => self.order(id, Order::Ping),
            Action::Close(id) => self.order(id, Order::Close),
            Action::Cut(id) => {
                if let Some(line) = self.lines.remove(&id) {
                    line.task.abort();
                }
            }
            Action::Begin(turn) => self.begin(*turn),
            Action::Abort(response) => {
                if let Some(asking) = self.asking.remove(&response) {
                    asking.task.abort();
                }
            }
            Action::Pause(response, pause) => {
                if let Some(asking) = self.asking.get(&response) {
                    asking.pause.send_replace(pause);
                }
            }
            Action::Tell(notice) => self.tell(&notice),
        }
    }

    fn tell(&mut self, notice: &Notice) {
        if notice.level() > Level::Debug || self.shown.debug {
            (self.tell)(notice);
        }
    }

    fn debug(&mut self, text: impl FnOnce(Shown) -> String) {
        if self.shown.debug {
            let text = text(self.shown);
            (self.tell)(&Notice::Line(Level::Debug, text));
        }
    }

    fn order(&mut self, id: ConnectionId, order: Order) {
        if let Some(line) = self.lines.get(&id) {
            // One that is closed already has said so, or is about to.
            let _is_taken = line.orders.send(order);
        }
    }

    fn begin(&mut self, turn: Turn) {
        let response = turn.response.clone();
        let (pause, paused) = watch::channel(false);
        let (gateway, inputs) = (self.gateway.clone(), self.inputs.clone());
        let task = self.requests.spawn(async move {
            let mut out = ToCore { response: turn.response.clone(), inputs };
            gateway.answer(&turn, &mut out, paused).await;
        });
        self.of_task.insert(task.id(), response.clone());
        self.asking.insert(response, Asking { pause, task });
    }

    /// A request is over. One that has said its end says it once more in vain; one that could not has it said here.
    fn ended(&mut self, ended: Result<Id, tokio::task::JoinError>) -> Input {
        let (id, panicked) = match &ended {
            Ok(id) => (*id, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let Some(response) = self.of_task.remove(&id) else { return Input::Tick };
        self.asking.remove(&response);
        if !panicked {
            return Input::Tick;
        }
        let message = "The connector failed while it read the answer.".to_owned();
        Input::Said(response, vec![AgentEvent::Failed { code: "connector_error".to_owned(), message }])
    }
}

struct ToCore {
    response: ResponseId,
    inputs: mpsc::Sender<Input>,
}

impl Out for ToCore {
    async fn say(&mut self, events: Vec<AgentEvent>) {
        // When nobody listens, the process ends.
        let _is_heard = self.inputs.send(Input::Said(self.response.clone(), events)).await;
    }
}

/// One connection from its opening to its end.
async fn connection<S>(
    id: ConnectionId,
    dialled: impl Future<Output = Result<WebSocketStream<S>, Unopened>>,
    mut orders: mpsc::UnboundedReceiver<Order>,
    inputs: mpsc::Sender<Input>,
    shown: Shown,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let socket = match dialled.await {
        Ok(socket) => socket,
        Err(unopened) => {
            let _is_heard = inputs.send(Input::NotOpened(id, unopened)).await;
            return;
        }
    };
    let _is_heard = inputs.send(Input::Opened(id)).await;
    let (mut sink, mut stream) = socket.split();
    let write = async {
        loop {
            let (message, is_last) = match orders.recv().await {
                Some(Order::Frame(text)) => (Message::text(text), false),
                Some(Order::Ping) => (Message::Ping(Bytes::new()), false),
                Some(Order::Close) => {
                    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                    (Message::Close(Some(frame)), true)
                }
                None => return Ok(()),
            };
            match timeout(WRITE, sink.send(message)).await {
                Err(_) => return Err(format!("the bridge has not read for {} s", WRITE.as_secs())),
                Ok(Err(error)) => return Err(error.to_string()),
                Ok(Ok(())) if is_last => return Ok(()),
                Ok(Ok(())) => {}
            }
        }
    };
    let read = async {
        loop {
            let input = match stream.next().await {
                None => return Some("the connection broke".to_owned()),
                Some(Err(error)) => return Some(error.to_string()),
                Some(Ok(Message::Close(frame))) => {
                    // The next connection need not wait for this one's last words: reading on sends the answer to the close.
                    let _is_heard = inputs.send(Input::Closed(id, closed_with(frame.as_ref()))).await;
                    let rest = async { while let Some(Ok(_)) = stream.next().await {} };
                    let _in_time = timeout(CLOSE, rest).await;
                    return None;
                }
                Some(Ok(Message::Text(text))) => read_frame(id, &text, shown),
                Some(Ok(Message::Binary(_))) => Input::Unreadable(id, "binary"),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Input::Pong(id),
            };
            // Without somebody who listens, reading goes on until the close is answered.
            let _is_heard = inputs.send(input).await;
        }
    };
    tokio::pin!(read);
    let why = tokio::select! {
        why = &mut read => why,
        written = write => match written {
            Ok(()) => timeout(CLOSE, read).await.unwrap_or_else(|_| Some("the bridge did not answer the close".to_owned())),
            Err(why) => Some(why),
        },
    };
    if let Some(why) = why {
        let _is_heard = inputs.send(Input::Closed(id, why)).await;
    }
}

fn read_frame(id: ConnectionId, text: &str, shown: Shown) -> Input {
    match read_from_bridge(text) {
        Ok(frame) => Input::Received(id, Box::new(frame)),
        Err(_) if shown.bodies => Input::Unreadable(id, "not a frame of bridge.v1"),
        Err(error) => Input::Unreadable(id, error.code()),
    }
}

fn closed_with(frame: Option<&CloseFrame>) -> String {
    match frame {
        Some(frame) if frame.reason.is_empty() => format!("the bridge closed the connection with {}", frame.code),
        Some(frame) => format!("the bridge closed the connection with {}: {}", frame.code, frame.reason),
        None => "the bridge closed the connection".to_owned(),
    }
}

fn kind_of(frame: &FromConnector) -> String {
    match frame {
        FromConnector::Hello { holds, .. } => format!("hello, holds {}", holds.len()),
        FromConnector::Say { response, number, events } => format!("say {response} {number}, {} events", events.len()),
        FromConnector::Beat {} => "beat".to_owned(),
        FromConnector::Leaving {} => "leaving".to_owned(),
    }
}

/// What a frame of the bridge is, for the log.
fn kind_of_received(frame: &ToConnector) -> String {
    match frame {
        ToConnector::Welcome { beat_seconds, max_frame_bytes, .. } => {
            format!("welcome, a beat every {beat_seconds} s, frames of {max_frame_bytes} bytes")
        }
        ToConnector::Turn(turn) => format!("turn {}", turn.response),
        ToConnector::Ack { response, next } => format!("ack {response} {next}"),
        ToConnector::Cancel { response } => format!("cancel {response}"),
        ToConnector::Drain { before } => format!("drain before {before}"),
        ToConnector::Beat {} => "beat".to_owned(),
    }
}
