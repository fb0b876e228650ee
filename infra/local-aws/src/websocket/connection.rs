//! One connection from its 101 to its end: what comes in, what goes out, and what cuts it.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};

use super::frame::{self, Decoder, Incoming, Refusal};
use super::{Pings, Shared, delivery};
use crate::clock::Millis;

/// What is on its way to the client.
#[derive(Debug)]
pub(super) enum Outgoing {
    Message(Bytes),
    Pong(Bytes),
    /// The last frame; without a code it is empty.
    Close(Option<(u16, Cow<'static, str>)>),
}

impl Outgoing {
    /// What it counts for in the buffer. Not nothing, even if it is empty.
    fn size(&self) -> usize {
        /// The longest header of a frame that is not masked (RFC 6455, 5.2).
        const HEADER: usize = 10;
        match self {
            Self::Message(data) | Self::Pong(data) => data.len().saturating_add(HEADER),
            Self::Close(_) => HEADER,
        }
    }
}

/// Who ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The client sent a close frame, and nothing more.
    Client,
    Gateway,
    /// Neither: the socket is gone.
    Loss,
}

/// How a connection ended, as `$disconnect` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    by: By,
    pub(super) code: u16,
    pub(super) reason: Cow<'static, str>,
}

impl Ending {
    /// Idle for too long, open for too long, or the server stops.
    pub(super) const GOING_AWAY: Self = Self::new(By::Gateway, 1001, "Going away");
    /// By the management API; code and reason as seen on AWS.
    pub(super) const DELETED: Self = Self::new(By::Gateway, 1000, "Connection Closed Normally");
    /// Without a close frame.
    const ABNORMAL: Self = Self::new(By::Loss, 1006, "Connection Closed Abnormally");
    /// With a close frame without a code; code and reason as seen on AWS.
    const NO_STATUS: Self = Self::new(By::Client, 1005, "Client-side close frame status not set");

    const fn new(by: By, code: u16, reason: &'static str) -> Self {
        Self { by, code, reason: Cow::Borrowed(reason) }
    }

    /// The close frame to end with, unless there is nobody to read it.
    fn frame(&self) -> Option<Outgoing> {
        match (self.by, self.code) {
            (By::Loss, _) => None,
            (_, 1005) => Some(Outgoing::Close(None)),
            (_, code) => Some(Outgoing::Close(Some((code, self.reason.clone())))),
        }
    }
}

impl From<Refusal> for Ending {
    fn from(refusal: Refusal) -> Self {
        Self::new(By::Gateway, refusal.code, refusal.reason)
    }
}

/// Why a message was not taken for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendError {
    /// The connection has ended.
    Gone,
    /// The client does not read as fast as it is written to.
    Full,
}

/// A client that is connected, or was.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: String,
    pub(super) domain_name: String,
    pub(super) source_ip: IpAddr,
    pub(super) user_agent: Option<String>,
    pub(super) connected_at: Millis,
    last_active: AtomicI64,
    outbox: mpsc::UnboundedSender<Outgoing>,
    /// Bytes in the outbox and in the write that is under way.
    queued: AtomicUsize,
    deleted: Notify,
}

impl Connection {
    pub(super) fn new(
        id: String,
        domain_name: String,
        source_ip: IpAddr,
        user_agent: Option<String>,
        now: Millis,
    ) -> (Self, mpsc::UnboundedReceiver<Outgoing>) {
        let (outbox, outgoing) = mpsc::unbounded_channel();
        let last_active = AtomicI64::new(now);
        let (queued, deleted) = (AtomicUsize::new(0), Notify::new());
        (
            Self { id, domain_name, source_ip, user_agent, connected_at: now, last_active, outbox, queued, deleted },
            outgoing,
        )
    }

    /// When the last message came in or went out.
    pub(super) fn last_active(&self) -> Millis {
        self.last_active.load(Ordering::Relaxed)
    }

    fn touch(&self, now: Millis) {
        self.last_active.fetch_max(now, Ordering::Relaxed);
    }

    /// Queues a message. One message is taken however large it is if nothing else waits.
    pub(super) fn send(&self, data: Bytes, buffer: usize) -> Result<(), SendError> {
        let (queued, message) = (self.queued.load(Ordering::Relaxed), Outgoing::Message(data));
        if queued > 0 && queued.saturating_add(message.size()) > buffer {
            return Err(SendError::Full);
        }
        self.put(message)
    }

    /// Ends the connection when what was taken before is out.
    pub(super) fn delete(&self) {
        self.close(&Ending::DELETED);
        self.deleted.notify_one();
    }

    /// Queues the last frame: what was taken before goes out before.
    fn close(&self, ending: &Ending) {
        if let Some(frame) = ending.frame() {
            // It has ended in another way already.
            let _ended = self.put(frame);
        }
    }

    /// Queues a pong, unless the client does not read: RFC 6455 (5.5.3) lets pings go unanswered for the sake of later ones.
    fn pong(&self, payload: Bytes, buffer: usize) {
        let pong = Outgoing::Pong(payload);
        if self.queued.load(Ordering::Relaxed).saturating_add(pong.size()) <= buffer {
            let _ended = self.put(pong);
        }
    }

    fn put(&self, outgoing: Outgoing) -> Result<(), SendError> {
        let size = outgoing.size();
        self.queued.fetch_add(size, Ordering::Relaxed);
        self.outbox.send(outgoing).map_err(|_| SendError::Gone)
    }
}

/// Runs a connection whose 101 is on its way.
pub(super) async fn run(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    outgoing: mpsc::UnboundedReceiver<Outgoing>,
    upgrade: OnUpgrade,
) {
    match upgrade.await {
        Ok(upgraded) => converse(&shared, &connection, outgoing, TokioIo::new(upgraded)).await,
        // The client left before it had its answer.
        Err(_) => shared.ended(&connection, Ending::ABNORMAL),
    }
}

async fn converse(
    shared: &Arc<Shared>,
    connection: &Arc<Connection>,
    outgoing: mpsc::UnboundedReceiver<Outgoing>,
    stream: TokioIo<Upgraded>,
) {
    let (mut reader, writer) = tokio::io::split(stream);
    let mut writing = std::pin::pin!(write(shared, connection, outgoing, writer));
    let ending = tokio::select! {
        biased;
        ending = &mut writing => {
            shared.ended(connection, ending);
            return discard(&mut reader, shared.limits.close_time).await;
        }
        ending = read(shared, connection, &mut reader) => ending,
        () = expired(shared, connection) => Ending::GOING_AWAY,
        () = shared.stopped() => Ending::GOING_AWAY,
        // The client does not read, or the close frame would be out.
        () = overdue(connection, shared.limits.close_time) => Ending::DELETED,
    };
    connection.close(&ending);
    let by = ending.by;
    shared.ended(connection, ending);
    if by != By::Loss {
        // A client that does not read keeps nobody waiting for longer than this.
        let _cut = tokio::time::timeout(shared.limits.close_time, writing).await;
    }
    if by == By::Gateway {
        discard(&mut reader, shared.limits.close_time).await;
    }
}

/// Reads to the end: a socket that is closed on unread bytes is reset, and the client may lose the close frame with it.
async fn discard(reader: &mut ReadHalf<TokioIo<Upgraded>>, patience: Duration) {
    let mut thrown_away = [0; 4096];
    let _cut = tokio::time::timeout(patience, async {
        while reader.read(&mut thrown_away).await.is_ok_and(|read| read > 0) {}
    })
    .await;
}

/// Reads messages and hands them on until the client ends the connection, or has to be refused.
async fn read(shared: &Arc<Shared>, connection: &Arc<Connection>, reader: &mut ReadHalf<TokioIo<Upgraded>>) -> Ending {
    let limits = &shared.limits;
    let mut decoder = Decoder::new(limits.frame, limits.message);
    let shuffler = shared.delivery.shuffle.map(|shuffle| {
        let (arrive, arrivals) = mpsc::unbounded_channel();
        let (to, at) = (Arc::clone(shared), Arc::clone(connection));
        let hand_out = move |body: String| to.message(&at, &body);
        shared.spawn(delivery::shuffled(shuffle, shared.draw(), arrivals, hand_out));
        arrive
    });
    loop {
        match decoder.next() {
            Ok(Some(Incoming::Text(body))) => {
                connection.touch(shared.clock.now());
                match &shuffler {
                    // The other side ends only after this one.
                    Some(arrive) => drop(arrive.send(body)),
                    None => shared.message(connection, &body),
                }
            }
            Ok(Some(Incoming::Ping(payload))) => {
                if shared.pings == Pings::Answered {
                    connection.pong(payload, limits.send_buffer);
                }
            }
            Ok(Some(Incoming::Pong)) => {}
            Ok(Some(Incoming::Close(None))) => return Ending::NO_STATUS,
            Ok(Some(Incoming::Close(Some((code, reason))))) => {
                return Ending { by: By::Client, code, reason: reason.into() };
            }
            Ok(None) => match reader.read_buf(decoder.buffer()).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Ending::ABNORMAL,
            },
            Err(refusal) => return refusal.into(),
        }
    }
}

/// Writes what is queued until a close frame is out, or the client is gone.
async fn write(
    shared: &Shared,
    connection: &Connection,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    mut writer: WriteHalf<TokioIo<Upgraded>>,
) -> Ending {
    while let Some(next) = outgoing.recv().await {
        let bytes = match &next {
            Outgoing::Message(data) => frame::message(data, shared.limits.frame),
            Outgoing::Pong(payload) => frame::pong(payload),
            Outgoing::Close(close) => frame::close(close.as_ref().map(|(code, reason)| (*code, reason.as_ref()))),
        };
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            return Ending::ABNORMAL;
        }
        connection.queued.fetch_sub(next.size(), Ordering::Relaxed);
        match next {
            Outgoing::Message(_) => connection.touch(shared.clock.now()),
            Outgoing::Pong(_) => {}
            Outgoing::Close(_) => {
                // The end of the stream tells the client that nothing follows; it may be gone as well.
                let _gone = writer.shutdown().await;
                return Ending::DELETED;
            }
        }
    }
    Ending::ABNORMAL
}

/// Ready when the connection should have ended `patience` ago.
async fn overdue(connection: &Connection, patience: Duration) {
    connection.deleted.notified().await;
    tokio::time::sleep(patience).await;
}

/// Ready when the connection was idle, or open, for as long as it may be.
///
/// Only messages count as activity: no page of AWS's says that pings do.
async fn expired(shared: &Shared, connection: &Connection) {
    let after =
        |since: Millis, time: Duration| since.saturating_add(Millis::try_from(time.as_millis()).unwrap_or(Millis::MAX));
    loop {
        let limit = after(connection.connected_at, shared.limits.connection_time);
        let at = limit.min(after(connection.last_active(), shared.limits.idle_time));
        if shared.clock.now() >= at {
            return;
        }
        shared.clock.sleep_until(at).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> (Connection, mpsc::UnboundedReceiver<Outgoing>) {
        Connection::new("id".to_owned(), "localhost".to_owned(), IpAddr::from([127, 0, 0, 1]), None, 0)
    }

    #[test]
    fn one_message_is_always_taken_and_more_while_they_fit() {
        let (connection, outgoing) = connection();
        let send = |size| connection.send(Bytes::from(vec![b'a'; size]), 100);
        assert_eq!(send(1000), Ok(()));
        assert_eq!(send(1), Err(SendError::Full));
        connection.queued.store(40, Ordering::Relaxed);
        assert_eq!((send(51), send(50), send(0)), (Err(SendError::Full), Ok(()), Err(SendError::Full)));
        drop(outgoing);
        connection.queued.store(0, Ordering::Relaxed);
        assert_eq!(send(1), Err(SendError::Gone));
    }

    #[test]
    fn pings_of_a_client_that_does_not_read_do_not_pile_up() {
        let (connection, mut outgoing) = connection();
        (0..1000).for_each(|_| connection.pong(Bytes::new(), 100));
        let mut pongs = 0;
        while outgoing.try_recv().is_ok() {
            pongs += 1;
        }
        assert_eq!(pongs, 10);
    }
}
