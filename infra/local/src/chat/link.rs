//! One connection to the channel, in a task of its own: frames out, frames and its end in.

use super::target::Channel;
use crate::failure::Failure;
use crate::socket::{self, Address, OpenError, Roots, Socket};
use futures_util::{SinkExt, StreamExt};
use http::header::{AUTHORIZATION, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// How often the other side is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(30);

/// After this time without any, the connection counts as gone.
const SILENT_FOR: Duration = Duration::from_secs(100);

/// How long a farewell may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// What there is to be known of a connection.
#[derive(Debug)]
pub(super) enum News {
    /// It is there.
    Open,
    /// A text frame came.
    Frame(String),
    /// It is gone; nothing follows.
    Closed(Closed),
}

/// Why a connection is gone.
#[derive(Debug)]
pub(super) enum Closed {
    /// It is not to be had, and trying again does not change that.
    Refused(Failure),
    /// It is not to be had now.
    Unreachable(String),
    /// It was there.
    Gone(String),
}

/// A connection. It ends when this is dropped.
pub(super) struct Link {
    frames: mpsc::UnboundedSender<String>,
    news: mpsc::UnboundedReceiver<News>,
}

impl Link {
    /// Begins to connect.
    pub(super) fn open(channel: &Channel) -> Link {
        let (frames, outgoing) = mpsc::unbounded_channel();
        let (tell, news) = mpsc::unbounded_channel();
        let channel = channel.clone();
        // It sees that nobody sends any more, and closes.
        tokio::spawn(async move {
            let closed = run(&channel, outgoing, &tell).await;
            drop(tell.send(News::Closed(closed)));
        });
        Link { frames, news }
    }

    /// Sends a text frame, if the connection is still there; if not, that is the next news.
    pub(super) fn send(&self, frame: String) {
        drop(self.frames.send(frame));
    }

    /// Waits for news.
    pub(super) async fn news(&mut self) -> News {
        self.news.recv().await.unwrap_or_else(|| News::Closed(Closed::Gone("the connection ended".to_owned())))
    }
}

async fn run(
    channel: &Channel,
    outgoing: mpsc::UnboundedReceiver<String>,
    tell: &mpsc::UnboundedSender<News>,
) -> Closed {
    match open(channel).await {
        Ok(socket) => {
            drop(tell.send(News::Open));
            Closed::Gone(carry(socket, outgoing, tell).await)
        }
        Err(error) => closed(error),
    }
}

/// Carries frames until the connection ends; why it did.
async fn carry(
    mut socket: Socket,
    mut outgoing: mpsc::UnboundedReceiver<String>,
    tell: &mpsc::UnboundedSender<News>,
) -> String {
    let mut pings = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard_at = Instant::now();
    loop {
        let sent = tokio::select! {
            frame = outgoing.recv() => match frame {
                Some(frame) => socket.send(Message::text(frame)).await,
                None => {
                    drop(tokio::time::timeout(CLOSE_WITHIN, socket.close(None)).await);
                    return "it was left".to_owned();
                }
            },
            _ = pings.tick() => {
                if heard_at.elapsed() > SILENT_FOR {
                    return format!("nothing was heard for {} s", SILENT_FOR.as_secs());
                }
                socket.send(Message::Ping(Bytes::new())).await
            }
            message = socket.next() => {
                heard_at = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => {
                        drop(tell.send(News::Frame(text.as_str().to_owned())));
                        Ok(())
                    }
                    Some(Ok(Message::Close(Some(close)))) => return format!("the bridge closed the connection ({})", u16::from(close.code)),
                    Some(Ok(Message::Close(None))) | None => return "the bridge closed the connection".to_owned(),
                    Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Ok(()),
                    Some(Err(error)) => Err(error),
                }
            }
        };
        if let Err(error) = sent {
            return format!("the connection broke ({error})");
        }
    }
}

async fn open(channel: &Channel) -> Result<Socket, OpenError> {
    let address = Address::parse(&channel.url)?;
    let (_, bearer) = socket::secret_header("authorization", &format!("Bearer {}", channel.token))?;
    let agent = HeaderValue::from_static(concat!("clawbridge/", env!("CARGO_PKG_VERSION")));
    let headers = HeaderMap::from_iter([(AUTHORIZATION, bearer), (USER_AGENT, agent)]);
    let (socket, _) = socket::open(&address, headers, &[], &Roots::public()).await?;
    Ok(socket)
}

/// Whether a connection that is not to be had may be had later.
fn closed(error: OpenError) -> Closed {
    match error {
        OpenError::Refused { status: status @ (401 | 403), .. } => {
            let message = format!(
                "the bridge does not take the token ({status}): it may be revoked or expired, or for something else; make another with \
                 `clawbridge token create --name chat --scope execute`"
            );
            Closed::Refused(Failure::new("TOKEN_REFUSED", message))
        }
        OpenError::Refused { status: 429 | 500..=599, .. }
        | OpenError::Name { .. }
        | OpenError::Unreachable { .. }
        | OpenError::TimeOver { .. } => Closed::Unreachable(error.to_string()),
        OpenError::Refused { status, .. } => {
            let message = format!(
                "there is no channel at this address (it answers {status}); it is written as wss://HOST/responses"
            );
            Closed::Refused(Failure::new("NO_CHANNEL", message))
        }
        // What has answered well before may do so again: a captive network in between answers for anybody.
        OpenError::Tls { .. } | OpenError::Protocol(_) => Closed::Unreachable(error.to_string()),
        OpenError::Address(_) | OpenError::Header(_) => Closed::Refused(error.into()),
    }
}
