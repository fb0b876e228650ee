//! One side of a WebSocket to the channel.

use crate::Failure;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

/// A connection. Dropped, it ends without a word, as where a cable is pulled.
#[derive(Debug)]
pub struct Peer {
    stream: WebSocketStream<TcpStream>,
}

impl Peer {
    /// Connects to `/responses` of `public` (`http://HOST:PORT`) with these headers.
    ///
    /// # Errors
    /// [`Failure::Connect`], with the status where there was one.
    pub async fn connect(public: &str, headers: &[(&str, &str)]) -> Result<Peer, Failure> {
        let failed = |reason: String| Failure::Connect(reason);
        let host = public.trim_start_matches("http://");
        let mut request =
            format!("ws://{host}/responses").into_client_request().map_err(|error| failed(error.to_string()))?;
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().map_err(|_| failed(format!("the header {name}")))?;
            let value = value.parse().map_err(|_| failed(format!("the value of {name}")))?;
            request.headers_mut().insert(name, value);
        }
        let stream = TcpStream::connect(host).await.map_err(|error| failed(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| failed(error.to_string()))?;
        match tokio_tungstenite::client_async(request, stream).await {
            Ok((stream, _)) => Ok(Peer { stream }),
            Err(Error::Http(response)) => Err(failed(format!("HTTP {}", response.status()))),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// False where the connection has ended.
    pub async fn send(&mut self, frame: &Value) -> bool {
        self.stream.send(Message::text(frame.to_string())).await.is_ok()
    }

    /// The next frame, or `None` where the connection has ended. What is no JSON is a text.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            match self.stream.next().await? {
                Ok(Message::Text(text)) => {
                    return Some(serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.to_string())));
                }
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
