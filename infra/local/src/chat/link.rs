//! One connection to the channel, in a task of its own: frames out, frames and its end in.

use super::target::Channel;
use crate::failure::Failure;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, Bytes, Message};

/// From the first packet to the answer to the handshake.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);

/// How often the other side is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(30);

/// After this time without any, the connection counts as gone.
const SILENT_FOR: Duration = Duration::from_secs(100);

/// How long a farewell may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// The largest message: what API Gateway carries, and some.
const MAX_MESSAGE: usize = 256 * 1024;

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
    match tokio::time::timeout(CONNECT_WITHIN, connect(channel)).await {
        Ok(Ok(socket)) => {
            drop(tell.send(News::Open));
            Closed::Gone(carry(socket, outgoing, tell).await)
        }
        Ok(Err(closed)) => closed,
        Err(_) => Closed::Unreachable(format!("no connection within {} s", CONNECT_WITHIN.as_secs())),
    }
}

/// Carries frames until the connection ends; why it did.
async fn carry(
    mut socket: WebSocketStream<Box<dyn Stream>>,
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

/// What a WebSocket runs over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(channel: &Channel) -> Result<WebSocketStream<Box<dyn Stream>>, Closed> {
    let invalid = |reason: String| Closed::Refused(Failure::usage("URL_INVALID", reason));
    let mut request = channel.url.as_str().into_client_request().map_err(|error| invalid(error.to_string()))?;
    let bearer = HeaderValue::try_from(format!("Bearer {}", channel.token));
    let mut bearer = bearer.map_err(|_| Closed::Refused(Failure::usage("TOKEN_INVALID", "the token is no token")))?;
    bearer.set_sensitive(true);
    request.headers_mut().insert("authorization", bearer);
    let agent = HeaderValue::from_static(concat!("clawbridge/", env!("CARGO_PKG_VERSION")));
    request.headers_mut().insert("user-agent", agent);

    let (host, is_tls) = (request.uri().host().unwrap_or_default(), request.uri().scheme_str() == Some("wss"));
    let host = host.trim_matches(['[', ']']).to_owned();
    let port = request.uri().port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let unreachable = |error: io::Error| Closed::Unreachable(error.to_string());
    let tcp = TcpStream::connect((host.as_str(), port)).await.map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    let stream: Box<dyn Stream> = if is_tls { Box::new(encrypted(tcp, host).await?) } else { Box::new(tcp) };

    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(answer)) => Err(refused(answer.status())),
        Err(error) => Err(Closed::Unreachable(error.to_string())),
    }
}

async fn encrypted(tcp: TcpStream, host: String) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Closed> {
    let unreachable = |reason: String| Closed::Unreachable(reason);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| unreachable(error.to_string()))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host).map_err(|error| unreachable(error.to_string()))?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await;
    stream.map_err(|error| unreachable(error.to_string()))
}

/// What an answer other than 101 means.
fn refused(status: StatusCode) -> Closed {
    let number = status.as_u16();
    match number {
        401 | 403 => {
            let message = format!(
                "the bridge does not take the token ({number}): it may be revoked or expired, or for something else; make another with \
                 `clawbridge token create --name chat --scope execute`"
            );
            Closed::Refused(Failure::new("TOKEN_REFUSED", message))
        }
        429 | 500..=599 => Closed::Unreachable(format!("the bridge answers {number}")),
        _ => {
            let message = format!(
                "there is no channel at this address (it answers {number}); it is written as wss://HOST/responses"
            );
            Closed::Refused(Failure::new("NO_CHANNEL", message))
        }
    }
}
