//! A WebSocket (RFC 6455) that a command opens: `ws` and `wss`, with headers and subprotocols, bounded in time and size, without extensions.
//!
//! TLS is what the HTTP clients have: rustls with ring and an embedded copy of Mozilla's roots, or the authorities of a file.

use crate::failure::Failure;
use futures_util::future::TryFutureExt;
use http::header::{HOST, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::handshake::client::{Request, generate_key};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// From the address to the open socket: name, TCP, TLS and the handshake together.
pub(crate) const TIME_TO_OPEN: Duration = Duration::from_secs(10);

/// The largest message that is read, bytes: API Gateway carries 128 KiB.
const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// How much may wait to be written, bytes.
const MAX_UNWRITTEN_BYTES: usize = 1024 * 1024;

/// What a socket runs over: TCP or TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open socket: a [`futures_util::Stream`] and a [`futures_util::Sink`] of messages. Pings are answered as long as it is read.
pub(crate) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Where to, and what the request for it says.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    uri: Uri,
    host: String,
    port: u16,
    secure: bool,
}

impl Address {
    /// Reads `wss://HOST[:PORT]/PATH` or `ws://…`; `https` and `http` mean the same.
    ///
    /// # Errors
    /// [`OpenError::Address`].
    pub(crate) fn parse(url: &str) -> Result<Address, OpenError> {
        let wrong = |why: &str| OpenError::Address(format!("{why}; it looks like wss://HOST/responses"));
        let uri: Uri = url.trim().parse().map_err(|_| wrong("the address is no URL"))?;
        let secure = match uri.scheme_str() {
            Some("wss" | "https") => true,
            Some("ws" | "http") => false,
            _ => return Err(wrong("the address begins with neither wss:// nor ws://")),
        };
        let authority = uri.authority().ok_or_else(|| wrong("the address names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("the address has a user or a password in it, which belong into headers"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() {
            return Err(wrong("the address names no host"));
        }
        let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Address { host, port, secure, uri })
    }

    /// Whether what is said there can be read on the way.
    pub(crate) fn is_plain(&self) -> bool {
        !self.secure
    }

    /// Whether it is on this machine, as far as the address tells.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the query: some put a token there.
        let scheme = if self.secure { "wss" } else { "ws" };
        let authority = self.uri.authority().map_or("", |authority| authority.as_str());
        write!(f, "{scheme}://{authority}{}", self.uri.path())
    }
}

/// Whose certificates are believed.
#[derive(Clone)]
pub(crate) struct Roots(Arc<ClientConfig>);

impl Roots {
    /// The public authorities.
    pub(crate) fn public() -> Roots {
        Roots::of(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// Those whose certificates are in a PEM file, and no others.
    ///
    /// # Errors
    /// [`Exit::Usage`](crate::failure::Exit::Usage): the file cannot be read, or holds something else.
    pub(crate) fn of_file(path: &Path) -> Result<Roots, Failure> {
        let failed = |why: String| Failure::usage("CA_FILE", format!("{}: {why}", path.display()));
        let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let added = certificate.ok().is_some_and(|certificate| roots.add(certificate).is_ok());
            if !added {
                return Err(failed("it holds something that is no certificate in PEM".to_owned()));
            }
        }
        if roots.is_empty() {
            return Err(failed("it holds no certificate in PEM".to_owned()));
        }
        Ok(Roots::of(roots))
    }

    fn of(roots: RootCertStore) -> Roots {
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the cipher suites of both TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Roots(Arc::new(config))
    }
}

/// Why a socket is not open. None of them repeats what a header said.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The address cannot be worked with: it will not get better.
    Address(String),
    /// A header or subprotocol cannot be sent: it will not get better.
    Header(&'static str),
    /// The host's name leads nowhere.
    Name { host: String, cause: io::Error },
    /// Nobody answers there.
    Unreachable { host: String, port: u16, cause: io::Error },
    /// The certificate is not believed, or there is no TLS there.
    Tls { host: String, cause: io::Error },
    /// The server answered with another status than 101.
    Refused { status: u16, retry_after: Option<Duration> },
    /// What answers speaks no WebSocket.
    Protocol(String),
    /// [`TIME_TO_OPEN`] is over.
    TimeOver { host: String },
}

impl OpenError {
    /// A stable word.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            OpenError::Address(_) => "SOCKET_ADDRESS",
            OpenError::Header(_) => "SOCKET_HEADER",
            OpenError::Name { .. } => "SOCKET_NAME",
            OpenError::Unreachable { .. } => "SOCKET_UNREACHABLE",
            OpenError::Tls { .. } => "SOCKET_TLS",
            OpenError::Refused { status: 401, .. } => "SOCKET_UNAUTHORIZED",
            OpenError::Refused { status: 403, .. } => "SOCKET_FORBIDDEN",
            OpenError::Refused { .. } => "SOCKET_REFUSED",
            OpenError::Protocol(_) => "SOCKET_PROTOCOL",
            OpenError::TimeOver { .. } => "SOCKET_TIME_OVER",
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Address(why) => f.write_str(why),
            OpenError::Header(name) => {
                write!(
                    f,
                    "{name} holds characters that no header may have; copy it again, without quotes and line ends"
                )
            }
            OpenError::Name { host, cause } => {
                write!(
                    f,
                    "the name {host} cannot be resolved ({cause}); look for a typing error, or for the network being down"
                )
            }
            OpenError::Unreachable { host, port, cause } => {
                write!(
                    f,
                    "nothing answers at {host}, port {port} ({cause}); is it started, and does a firewall let it through?"
                )
            }
            OpenError::Tls { host, cause } => write!(
                f,
                "the TLS connection to {host} failed ({cause}); where a proxy or a private authority signs its certificate, name that authority's file"
            ),
            OpenError::Refused { status: 401, .. } => {
                f.write_str("refused with 401: the credentials are missing, wrong or revoked")
            }
            OpenError::Refused { status: 403, .. } => {
                f.write_str("refused with 403: the credentials are known, and may not do this")
            }
            OpenError::Refused { status: 404, .. } => {
                f.write_str("refused with 404: there is no WebSocket at this path; it ends in /responses")
            }
            OpenError::Refused { status: 429, .. } => {
                f.write_str("refused with 429: too many connections; it is worth trying later")
            }
            OpenError::Refused { status, .. } => write!(f, "refused with {status}"),
            OpenError::Protocol(why) => write!(f, "what answers speaks no WebSocket as it should: {why}"),
            OpenError::TimeOver { host } => {
                write!(f, "{host} did not open a socket within {} s", TIME_TO_OPEN.as_secs())
            }
        }
    }
}

impl std::error::Error for OpenError {}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        let message = error.to_string();
        match error {
            OpenError::Address(_) | OpenError::Header(_) => Failure::usage(error.code(), message),
            OpenError::Refused { status: 400..=499, .. } => Failure::negative(error.code(), message),
            _ => Failure::new(error.code(), message),
        }
    }
}

/// Opens a socket. `headers` are sent as they are; of `protocols`, the one that the server selected is among the answer's headers.
///
/// # Errors
/// See [`OpenError`].
pub(crate) async fn open(
    address: &Address,
    headers: HeaderMap,
    protocols: &[&str],
    roots: &Roots,
) -> Result<(Socket, HeaderMap), OpenError> {
    let request = request(address, headers, protocols)?;
    let until = Instant::now() + TIME_TO_OPEN;
    let opened = timeout_at(until, async {
        let tcp = reach(address, until).await?;
        let stream = if address.secure { secure(address, tcp, roots).await? } else { Box::new(tcp) as Box<dyn Stream> };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES))
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_UNWRITTEN_BYTES);
        let (socket, answer) =
            client_async_with_config(request, stream, Some(config)).map_err(|error| refusal(address, error)).await?;
        Ok((socket, answer.into_parts().0.headers))
    });
    opened.await.unwrap_or_else(|_| Err(OpenError::TimeOver { host: address.host.clone() }))
}

fn request(address: &Address, headers: HeaderMap, protocols: &[&str]) -> Result<Request, OpenError> {
    let authority = address.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let path = address.uri.path_and_query().map_or("/", |path| path.as_str());
    let scheme = if address.secure { "wss" } else { "ws" };
    let mut request = Request::builder()
        .uri(format!("{scheme}://{authority}{path}"))
        .header(HOST, authority)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", generate_key())
        .body(())
        .map_err(|_| OpenError::Address("the address is no URL".to_owned()))?;
    if !protocols.is_empty() {
        let offered = HeaderValue::from_str(&protocols.join(", ")).map_err(|_| OpenError::Header("a subprotocol"))?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, offered);
    }
    request.headers_mut().extend(headers);
    Ok(request)
}

/// A header's value that no log shows.
///
/// # Errors
/// [`OpenError::Header`], with `name`.
pub(crate) fn secret_header(name: &'static str, value: &str) -> Result<(HeaderName, HeaderValue), OpenError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| OpenError::Header(name))?;
    value.set_sensitive(true);
    Ok((HeaderName::from_static(name), value))
}

/// Each address that the name has in turn, none for so long that there is no time for the others.
async fn reach(address: &Address, until: Instant) -> Result<TcpStream, OpenError> {
    let Address { host, port, .. } = address;
    let unnamed = |cause| OpenError::Name { host: host.clone(), cause };
    let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), *port)).await.map_err(unnamed)?.collect();
    let mut last = None;
    for (at, candidate) in addresses.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now()) / u32::try_from(addresses.len() - at).unwrap_or(1);
        match tokio::time::timeout(left, TcpStream::connect(candidate)).await {
            Ok(Ok(stream)) => {
                // Small frames, each wanted at once.
                let _is_quick = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = last.or(Some(io::ErrorKind::TimedOut.into())),
        }
    }
    match last {
        Some(cause) => Err(OpenError::Unreachable { host: host.clone(), port: *port, cause }),
        None => Err(unnamed(io::Error::other("it has no address"))),
    }
}

async fn secure(address: &Address, tcp: TcpStream, roots: &Roots) -> Result<Box<dyn Stream>, OpenError> {
    let failed = |cause| OpenError::Tls { host: address.host.clone(), cause };
    let name = ServerName::try_from(address.host.clone()).map_err(|error| failed(io::Error::other(error)))?;
    let tls = TlsConnector::from(Arc::clone(&roots.0)).connect(name, tcp).await.map_err(failed)?;
    Ok(Box::new(tls))
}

fn refusal(address: &Address, error: WsError) -> OpenError {
    match error {
        WsError::Http(answer) => OpenError::Refused {
            status: answer.status().as_u16(),
            retry_after: answer.headers().get(RETRY_AFTER).and_then(seconds),
        },
        WsError::Io(cause) => OpenError::Unreachable { host: address.host.clone(), port: address.port, cause },
        other => OpenError::Protocol(other.to_string()),
    }
}

/// `Retry-After` as a number of seconds; the form with a date is not used by those who answer here.
fn seconds(value: &HeaderValue) -> Option<Duration> {
    value.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::{SinkExt, StreamExt};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::handshake::server::{Request as Asked, Response as Answer};

    fn pem(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/bridge/certificates").join(name)
    }

    async fn listener() -> (TcpListener, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    }

    /// Selects the first subprotocol, repeats a header, and sends back what it gets.
    async fn echo(stream: impl AsyncRead + AsyncWrite + Unpin) {
        #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
        let select = |asked: &Asked, mut answer: Answer| {
            for name in [SEC_WEBSOCKET_PROTOCOL, HeaderName::from_static("x-app-key")] {
                if let Some(value) = asked.headers().get(&name) {
                    let first = value.to_str().unwrap().split(", ").next().unwrap();
                    answer.headers_mut().insert(name, HeaderValue::from_str(first).unwrap());
                }
            }
            Ok(answer)
        };
        let mut socket = tokio_tungstenite::accept_hdr_async(stream, select).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() {
                socket.send(message).await.unwrap();
            }
        }
    }

    async fn says_back(socket: &mut Socket) {
        socket.send(Message::text("hello")).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    }

    #[tokio::test]
    async fn headers_and_subprotocols_reach_the_server() {
        let (listener, port) = listener().await;
        tokio::spawn(async move { echo(listener.accept().await.unwrap().0).await });
        let address = Address::parse(&format!("ws://127.0.0.1:{port}/responses")).unwrap();
        let headers = HeaderMap::from_iter([secret_header("x-app-key", "oak_1").unwrap()]);
        let (mut socket, answer) =
            open(&address, headers, &["clawbridge.v1", "bearer.x"], &Roots::public()).await.unwrap();
        assert_eq!(answer[SEC_WEBSOCKET_PROTOCOL], "clawbridge.v1");
        assert_eq!(answer["x-app-key"], "oak_1");
        says_back(&mut socket).await;
    }

    #[tokio::test]
    async fn a_certificate_is_believed_where_its_authority_is_and_nowhere_else() {
        let (listener, port) = listener().await;
        let chain = CertificateDer::pem_file_iter(pem("server.pem")).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
        let key = rustls::pki_types::PrivateKeyDer::from_pem_file(pem("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if let Ok(stream) = acceptor.accept(stream).await {
                    echo(stream).await;
                }
            }
        });
        let address = Address::parse(&format!("wss://localhost:{port}/responses")).unwrap();
        let opened = open(&address, HeaderMap::new(), &[], &Roots::public()).await;
        assert_eq!(opened.err().unwrap().code(), "SOCKET_TLS");
        let roots = Roots::of_file(&pem("first-authority.pem")).unwrap();
        let (mut socket, _) = open(&address, HeaderMap::new(), &[], &roots).await.unwrap();
        says_back(&mut socket).await;
        assert_eq!(Roots::of_file(&pem("server.key")).err().unwrap().code, "CA_FILE");
    }

    #[tokio::test]
    async fn a_refusal_says_what_to_do() {
        for (answer, code, words, exit) in [
            ("401 Unauthorized", "SOCKET_UNAUTHORIZED", "wrong or revoked", crate::failure::Exit::Negative),
            ("403 Forbidden", "SOCKET_FORBIDDEN", "may not do this", crate::failure::Exit::Negative),
            ("404 Not Found", "SOCKET_REFUSED", "/responses", crate::failure::Exit::Negative),
            ("429 Too Many Requests", "SOCKET_REFUSED", "later", crate::failure::Exit::Negative),
            ("503 Service Unavailable", "SOCKET_REFUSED", "503", crate::failure::Exit::Unreachable),
            ("200 OK", "SOCKET_REFUSED", "200", crate::failure::Exit::Unreachable),
        ] {
            let (listener, port) = listener().await;
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut asked = [0; 4096];
                let _ = stream.read(&mut asked).await.unwrap();
                let answer = format!("HTTP/1.1 {answer}\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            let address = Address::parse(&format!("ws://localhost:{port}")).unwrap();
            let error = open(&address, HeaderMap::new(), &[], &Roots::public()).await.err().unwrap();
            assert!(matches!(error, OpenError::Refused { retry_after: Some(after), .. } if after.as_secs() == 7));
            let failure = Failure::from(error);
            assert_eq!((failure.code, failure.exit), (code, exit));
            assert!(failure.message.contains(words), "{}", failure.message);
        }
    }

    #[tokio::test]
    async fn nobody_there_and_no_such_name_are_told_apart() {
        let (listener, port) = listener().await;
        drop(listener);
        let address = Address::parse(&format!("ws://127.0.0.1:{port}/")).unwrap();
        let error = open(&address, HeaderMap::new(), &[], &Roots::public()).await.err().unwrap();
        assert_eq!(error.code(), "SOCKET_UNREACHABLE", "{error}");
        // RFC 6761: a name that never resolves.
        let address = Address::parse("ws://nobody.invalid/").unwrap();
        let error = open(&address, HeaderMap::new(), &[], &Roots::public()).await.err().unwrap();
        assert_eq!(error.code(), "SOCKET_NAME", "{error}");
    }

    #[test]
    fn addresses_are_checked_and_shown_without_their_query() {
        for (url, shown, loopback) in [
            ("wss://x.example/responses?token=t", "wss://x.example/responses", false),
            ("https://x.example:8443", "wss://x.example:8443/", false),
            ("ws://[::1]:3000/responses", "ws://[::1]:3000/responses", true),
            ("http://localhost:3000/responses", "ws://localhost:3000/responses", true),
        ] {
            let address = Address::parse(url).unwrap();
            assert_eq!((address.to_string().as_str(), address.is_loopback()), (shown, loopback), "{url}");
        }
        for url in ["", "x.example", "ftp://x.example/", "wss://", "wss://a:b@x.example/"] {
            assert!(matches!(Address::parse(url), Err(OpenError::Address(_))), "{url}");
        }
        assert!(secret_header("x-app-key", "a\nb").is_err());
    }
}
