//! The HTTP server in front of the services: who may ask, which service answers, how it stops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::api::{ApiError, Protocol, respond};
use crate::local::LocalAws;
use crate::{dynamodb, secrets, sqs};

/// The largest body that is read: DynamoDB's limit on a request, the largest of the three services'.
const MAX_BODY: usize = 16 * 1024 * 1024;
/// How long a client may take to send its headers, and then its body.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long requests may go on after shutdown.
const DRAIN: Duration = Duration::from_secs(5);

pub(crate) type Fallback = dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync;

pub(crate) async fn serve(
    aws: LocalAws,
    listener: TcpListener,
    fallback: Arc<Fallback>,
    shutdown: impl Future<Output = ()> + Send,
) {
    let (stop, stopping) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    // The client went away, or file handles ran out: in the second case a moment's rest is all one can
                    // do.
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
            // Keeps the set from growing with connections that have ended.
            Some(_ended) = connections.join_next() => continue,
        };
        // Answers are small and awaited; without this each could wait for the client's delayed acknowledgement.
        let _may_fail = stream.set_nodelay(true);
        let (aws, fallback, mut stopping) = (aws.clone(), Arc::clone(&fallback), stopping.clone());
        connections.spawn(async move {
            let polls = stopping.clone();
            let begun = Arc::new(AtomicBool::new(false));
            let begins = Arc::clone(&begun);
            let service = service_fn(move |request| {
                begins.store(true, Ordering::Relaxed);
                let (aws, fallback, polls) = (aws.clone(), Arc::clone(&fallback), polls.clone());
                async move {
                    Ok::<_, std::convert::Infallible>(answer(&aws, &*fallback, polls, request).await.map(Full::new))
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(READ_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                // How a connection ended is the client's business.
                _ended = connection.as_mut() => {}
                // hyper would wait for the first request of a connection that never sent one.
                () = stopped(&mut stopping) => if begun.load(Ordering::Relaxed) {
                    connection.as_mut().graceful_shutdown();
                    let _ended = connection.await;
                }
            }
        });
    }
    drop(listener);
    stop.send_replace(true);
    let drained = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    if drained.is_err() {
        connections.shutdown().await;
    }
}

/// Waits for the server to stop. That it is gone altogether is a stop too.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _stopped = stopping.wait_for(|stop| *stop).await;
}

async fn answer(
    aws: &LocalAws,
    fallback: &Fallback,
    stopping: watch::Receiver<bool>,
    request: Request<Incoming>,
) -> Response<Bytes> {
    let Some(host) = loopback_host(&request) else {
        return plain(StatusCode::FORBIDDEN, "LOOPBACK_ONLY: address this server as 127.0.0.1, localhost or [::1]\n");
    };
    let (parts, body) = request.into_parts();
    // The announced length is enough to refuse; without one, reading stops at the limit.
    if body.size_hint().lower() > MAX_BODY as u64 {
        return too_large();
    }
    let mut stop = stopping.clone();
    let read = tokio::time::timeout(READ_TIMEOUT, Limited::new(body, MAX_BODY).collect());
    let read = tokio::select! {
        biased;
        read = read => read,
        // Nothing was accepted yet, so nothing is lost; clients try again.
        () = stopped(&mut stop) => return plain(StatusCode::SERVICE_UNAVAILABLE, "STOPPING: the server is stopping\n"),
    };
    let body = match read {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return too_large();
        }
        Ok(Err(_)) => return plain(StatusCode::BAD_REQUEST, "BODY_INCOMPLETE: the request body ended early\n"),
        Err(_) => return plain(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT: the request body took more than 30 s\n"),
    };
    match parts.headers.get("x-amz-target") {
        Some(target) if parts.method == Method::POST => {
            let target = target.to_str().unwrap_or_default();
            call(aws, target, &body, &format!("http://{host}"), stopping).await
        }
        _ => fallback(Request::from_parts(parts, body)).await,
    }
}

/// Answers an AWS call: the target is service, dot, operation.
async fn call(
    aws: &LocalAws,
    target: &str,
    body: &Bytes,
    base: &str,
    mut stopping: watch::Receiver<bool>,
) -> Response<Bytes> {
    let request_id = Uuid::new_v4().to_string();
    let (service, operation) = target.split_once('.').unwrap_or(("", target));
    let (protocol, result) = match service {
        "AmazonSQS" => {
            let stop = async move { stopped(&mut stopping).await };
            (Protocol::Json10, sqs::wire::call(aws.sqs(), operation, body, base, stop).await)
        }
        "secretsmanager" => (Protocol::Json11, secrets::wire::call(aws.secrets(), operation, body).await),
        "DynamoDB_20120810" | "DynamoDBStreams_20120810" => {
            let (status, answer) = dynamodb::call(aws.dynamodb(), operation, body).await;
            return respond(status, Protocol::Json10, &request_id, answer);
        }
        _ => (Protocol::Json10, Err(ApiError::unknown_operation("stack", target))),
    };
    match result {
        Ok(answer) => respond(200, protocol, &request_id, answer),
        Err(error) => error.into_response(protocol, &request_id),
    }
}

/// The host and port that the client addressed, if it names this machine.
fn loopback_host<B>(request: &Request<B>) -> Option<String> {
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    // An absolute URI must not say something else than the header.
    if request.uri().authority().is_some_and(|authority| authority.as_str() != host) {
        return None;
    }
    is_loopback(host).then(|| host.to_owned())
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        // The last colon inside an IPv6 address is not one before a port.
        Some((name, port)) if !port.ends_with(']') => match port.parse::<u16>() {
            Ok(_) => name,
            Err(_) => return false,
        },
        _ => host,
    };
    name == "127.0.0.1" || name == "[::1]" || name.eq_ignore_ascii_case("localhost")
}

fn too_large() -> Response<Bytes> {
    plain(StatusCode::PAYLOAD_TOO_LARGE, "BODY_TOO_LARGE: a request body has at most 16 MiB\n")
}

fn plain(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn only_names_of_this_machine_are_loopback() {
        for host in ["127.0.0.1", "127.0.0.1:4566", "localhost", "LocalHost:1", "[::1]", "[::1]:4566"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "example.com:4566",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "a@127.0.0.1",
            "127.0.0.2",
            "0.0.0.0",
            "::1",
            "localhost/",
            "localhost:port",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
