//! HTTP/1.1 on loopback: one small server, one connection of a client.

use crate::failure::Failure;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{client, server};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// How long an answer may take: more than the slowest thing measured, less than a person's patience.
const ANSWER: Duration = Duration::from_secs(30);

/// A server that ends when it is dropped, with its connections.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers what comes to a free port with what `answer` makes of a whole request.
    pub(crate) async fn start<A, F>(answer: A) -> Result<Server, Failure>
    where
        A: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Bytes>> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| Failure::harness("a port", error))?;
        let address = listener.local_addr().map_err(|error| Failure::harness("a port", error))?;
        Ok(Server { address, task: tokio::spawn(accept(listener, answer)) })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn accept<A, F>(listener: TcpListener, answer: A)
where
    A: Fn(Request<Bytes>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Bytes>> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                // Out of file handles: asking again at once does not help.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            Some(_ended) = connections.join_next() => continue,
        };
        let _slower_without = stream.set_nodelay(true);
        let answer = answer.clone();
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let (parts, body) = request.into_parts();
                    let response = match body.collect().await {
                        Ok(body) => answer(Request::from_parts(parts, body.to_bytes())).await,
                        Err(_) => {
                            reply(StatusCode::BAD_REQUEST, "text/plain", Bytes::from_static(b"the body broke off\n"))
                        }
                    };
                    Ok::<_, Infallible>(response.map(Full::new))
                }
            });
            // How a connection ended is the client's business.
            let _ended = server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// A response of one content type.
pub(crate) fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}

/// A keep-alive connection to one address.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: client::conn::http1::SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    host: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Connection, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::harness(&format!("connecting to {address}"), error);
        let stream = TcpStream::connect(address).await.map_err(|error| failed(&error))?;
        stream.set_nodelay(true).map_err(|error| failed(&error))?;
        let (sender, connection) =
            client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        // What goes wrong is seen by the request that waits for it.
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Connection { sender, driver, host: address.to_string() })
    }

    /// Whether another request can be made over it.
    fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// One request and its whole answer.
    pub(crate) async fn send(&mut self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let what = format!("{} {} at {}", request.method(), request.uri().path(), self.host);
        let host = header::HeaderValue::from_str(&self.host).map_err(|error| Failure::harness(&what, error))?;
        request.headers_mut().insert(header::HOST, host);
        let exchange = async {
            self.sender.ready().await?;
            let (parts, body) = self.sender.send_request(request.map(Full::new)).await?.into_parts();
            Ok::<_, hyper::Error>(Response::from_parts(parts, body.collect().await?.to_bytes()))
        };
        match tokio::time::timeout(ANSWER, exchange).await {
            Ok(answer) => answer.map_err(|error| Failure::harness(&what, error)),
            Err(_) => Err(Failure::TimedOut { what, seconds: ANSWER.as_secs() }),
        }
    }
}

/// As many connections to one address as there are requests at a time; idle ones are used again.
#[derive(Debug)]
pub(crate) struct Pool {
    address: SocketAddr,
    idle: Mutex<Vec<Connection>>,
}

impl Pool {
    pub(crate) fn new(address: SocketAddr) -> Pool {
        Pool { address, idle: Mutex::default() }
    }

    /// One request and its whole answer.
    pub(crate) async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let idle = self.idle().pop().filter(Connection::is_open);
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::open(self.address).await?,
        };
        let response = connection.send(request).await?;
        self.idle().push(connection);
        Ok(response)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        // Taken for one statement at a time, so it is whole even after a panic.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A POST of JSON with further headers.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: Bytes) -> Result<Request<Bytes>, Failure> {
    let mut request =
        Request::builder().method(Method::POST).uri(path).header(header::CONTENT_TYPE, "application/json");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body).map_err(|error| Failure::harness(path, error))
}

/// Takes what belongs to one connection alone out of `headers` (RFC 9110, section 7.6.1), and the lengths that the next hop sets anew.
pub(crate) fn forwardable(headers: &mut HeaderMap) {
    for name in [
        header::CONNECTION,
        header::HOST,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// The address in `http://ADDRESS:PORT`.
pub(crate) fn address_of(url: &str) -> Result<SocketAddr, Failure> {
    let text = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    text.parse().map_err(|error| Failure::harness(url, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_connection_carries_request_after_request() {
        let server = Server::start(|request: Request<Bytes>| async move {
            reply(
                StatusCode::OK,
                "text/plain",
                Bytes::from(format!("{} {}", request.uri().path(), request.body().len())),
            )
        })
        .await
        .expect("a server");
        let mut connection = Connection::open(server.address).await.expect("a connection");
        for size in [0, 1, 100_000] {
            let answer = connection
                .send(post("/a", &[], Bytes::from(vec![b'x'; size])).expect("a request"))
                .await
                .expect("an answer");
            assert_eq!(answer.body(), &format!("/a {size}"));
        }
        assert!(connection.is_open());
    }

    #[tokio::test]
    async fn a_server_that_is_dropped_answers_no_more() {
        let answer = |_| async { reply(StatusCode::OK, "text/plain", Bytes::new()) };
        let server = Server::start(answer).await.expect("a server");
        let mut connection = Connection::open(server.address).await.expect("a connection");
        let address = server.address;
        drop(server);
        assert!(connection.send(post("/", &[], Bytes::new()).expect("a request")).await.is_err());
        while Connection::open(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn an_address_is_taken_from_its_url() {
        for text in ["http://127.0.0.1:80", "http://127.0.0.1:80/", "127.0.0.1:80"] {
            assert_eq!(address_of(text).expect(text), SocketAddr::from(([127, 0, 0, 1], 80)));
        }
        assert!(address_of("https://example.com").is_err());
    }
}
