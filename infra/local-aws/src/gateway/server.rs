//! The gateway's HTTP server: connections, bodies, time limits and the drain at the end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use super::event::{EventSource, decode_path, event};
use super::function::{Function, InvokeError};
use super::response::{from_answer, message};
use super::{Access, Drained, Gateway, Outcome};

/// How much more than the limit of a body is read and thrown away, so that its sender reads the 413 before a closed socket.
const DISCARDED: usize = 32 * 1024 * 1024;

/// What all connections share.
struct Shared {
    gateway: Gateway,
    port: u16,
    stopping: watch::Receiver<bool>,
    /// Invocations outlive the connections that caused them, so they are not theirs.
    invocations: Mutex<JoinSet<()>>,
    /// Connections that are no longer HTTP's.
    upgraded: Mutex<JoinSet<()>>,
}

pub(super) async fn serve(gateway: Gateway, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Drained {
    let drain_time = gateway.limits.drain_time;
    let (stop, stopping) = watch::channel(false);
    let port = listener.local_addr().map_or(0, |address| address.port());
    let shared =
        Arc::new(Shared { gateway, port, stopping, invocations: Mutex::default(), upgraded: Mutex::default() });
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(Arc::clone(&shared), stream, peer));
                }
                // Out of file descriptors, or a client that left at once: neither is cured by asking again immediately.
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
    drop(listener);
    // Receivers live in `shared`; that none listens only means that no connection is left.
    let _heard = stop.send(true);
    if let Some(websockets) = &shared.gateway.websockets {
        websockets.stop();
    }
    let end = Instant::now() + drain_time;
    let mut connections_cut = finish(&mut connections, end).await;
    // In this order: a request may still become a WebSocket, and a WebSocket's end is an invocation.
    let mut upgraded = std::mem::take(&mut *shared.upgraded.lock().unwrap_or_else(PoisonError::into_inner));
    connections_cut += finish(&mut upgraded, end).await;
    let mut invocations = std::mem::take(&mut *shared.invocations.lock().unwrap_or_else(PoisonError::into_inner));
    let mut invocations_cut = finish(&mut invocations, end).await;
    if let Some(websockets) = &shared.gateway.websockets {
        invocations_cut += websockets.drained(end).await;
    }
    Drained { connections_cut, invocations_cut }
}

/// Waits for the tasks until `end`, then aborts the rest and says how many they were.
pub(crate) async fn finish(tasks: &mut JoinSet<()>, end: Instant) -> usize {
    // An error here means that the time is up.
    let _timeout = tokio::time::timeout_at(end, async { while tasks.join_next().await.is_some() {} }).await;
    while tasks.try_join_next().is_some() {}
    let cut = tasks.len();
    tasks.shutdown().await;
    cut
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    // A small response should not wait for the next packet; where this cannot be set it is only slower.
    let _slower = stream.set_nodelay(true);
    let limits = shared.gateway.limits;
    let mut stopping = shared.stopping.clone();
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.headers_time)
        // Who sends a whole request and leaves has sent it: without this, its end can overtake the invocation.
        .half_close(true)
        // Beyond this hyper answers 431 by itself; the published limit is checked on what it has read.
        .max_buf_size((limits.headers * 4).max(16 * 1024))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    // How a connection ends is the client's business: an error here has no other reader.
    tokio::select! {
        _end = connection.as_mut() => {}
        () = stop(&mut stopping) => {
            connection.as_mut().graceful_shutdown();
            let _end = connection.await;
        }
    }
}

/// Ready when the shutdown has begun.
async fn stop(stopping: &mut watch::Receiver<bool>) {
    // The sender is gone only when the server is, and then it has stopped as well.
    let _stopping = stopping.wait_for(|stopping| *stopping).await;
}

/// What a request leads to, before it is written down.
struct Reply {
    response: Response<Bytes>,
    route_key: Option<String>,
    outcome: Outcome,
}

impl Reply {
    fn refused(status: StatusCode, text: &str) -> Self {
        Self { response: message(status, text), route_key: None, outcome: Outcome::Refused }
    }

    /// Refused with the body not read to its end: the connection cannot be used again.
    fn hung_up(status: StatusCode, text: &str) -> Self {
        let mut reply = Self::refused(status, text);
        reply.response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        reply
    }
}

async fn respond(shared: &Arc<Shared>, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
    let (started, now) = (Instant::now(), SystemTime::now());
    let request_id = api_request_id(Uuid::new_v4());
    let (parts, body) = request.into_parts();
    let method = parts.method.to_string();
    let mut reply = reply(shared, parts, body, peer, now, &request_id).await;
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        reply.response.headers_mut().insert(HeaderName::from_static("apigw-requestid"), value);
    }
    if let Some(log) = &shared.gateway.access_log {
        log(&Access {
            request_id,
            method,
            route_key: reply.route_key,
            status: reply.response.status().as_u16(),
            duration: started.elapsed(),
            outcome: reply.outcome,
        });
    }
    reply.response.map(Full::new)
}

async fn reply(
    shared: &Arc<Shared>,
    parts: Parts,
    body: Incoming,
    peer: SocketAddr,
    now: SystemTime,
    request_id: &str,
) -> Reply {
    let gateway = &shared.gateway;
    if head_size(&parts) > gateway.limits.headers {
        return Reply::hung_up(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request Header Fields Too Large");
    }
    let Some(path) = decode_path(parts.uri.path()) else {
        return Reply::hung_up(StatusCode::BAD_REQUEST, "Bad Request");
    };
    if let Some(websockets) = gateway.websockets.as_ref().filter(|websockets| websockets.takes(&parts, &path)) {
        let handshake = websockets.connect(parts, peer.ip().to_canonical(), shared.port, request_id).await;
        if let Some(connection) = handshake.connection {
            let mut upgraded = shared.upgraded.lock().unwrap_or_else(PoisonError::into_inner);
            while upgraded.try_join_next().is_some() {}
            upgraded.spawn(connection);
        }
        let route_key = Some("$connect".to_owned());
        return Reply { response: handshake.response, route_key, outcome: handshake.outcome };
    }
    let matched = gateway.routes.find(&parts.method, &path);
    let body = match read_body(shared, &parts, body).await {
        Ok(body) => body,
        Err((status, text)) => return Reply::hung_up(status, text),
    };
    match (matched, &gateway.fallback) {
        (Some(matched), _) => {
            let payload = event(&EventSource {
                api: &gateway.api,
                parts: &parts,
                path: &path,
                route_key: matched.route_key,
                path_parameters: &matched.path_parameters,
                body: &body,
                source_ip: peer.ip().to_canonical(),
                port: shared.port,
                now,
                request_id,
                trace_id: &trace_id(now, Uuid::new_v4()),
            });
            let route_key = Some(matched.route_key.to_owned());
            if payload.len() > gateway.limits.event {
                let refused = Reply::refused(StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
                return Reply { route_key, ..refused };
            }
            let (response, outcome) = integrate(shared, matched.function, payload, now).await;
            Reply { response, route_key, outcome }
        }
        (None, Some(fallback)) => {
            let response = fallback(Request::from_parts(parts, body)).await;
            Reply { response, route_key: None, outcome: Outcome::Answered }
        }
        (None, None) => Reply::refused(StatusCode::NOT_FOUND, "Not Found"),
    }
}

/// Invokes the function in a task of its own, which neither the client nor the integration's time limit stops.
async fn integrate(
    shared: &Shared,
    function: &Function,
    payload: Vec<u8>,
    now: SystemTime,
) -> (Response<Bytes>, Outcome) {
    let (answered, answer) = oneshot::channel();
    let function = function.clone();
    let invocation_id = Uuid::new_v4().to_string();
    {
        let mut invocations = shared.invocations.lock().unwrap_or_else(PoisonError::into_inner);
        while invocations.try_join_next().is_some() {}
        invocations.spawn(async move {
            // Nobody waits any longer when the time is up or the client has left.
            let _unheard = answered.send(function.call(payload, invocation_id, now).await);
        });
    }
    let failed = || message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error");
    match tokio::time::timeout(shared.gateway.limits.integration_time, answer).await {
        // HTTP APIs answer 503 here, where REST APIs answer 504.
        Err(_elapsed) => (message(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"), Outcome::IntegrationTimeout),
        Ok(Err(_cut)) => {
            (failed(), Outcome::Invocation(InvokeError::Failed("it was stopped at the shutdown".to_owned())))
        }
        Ok(Ok(Err(error))) => (failed(), Outcome::Invocation(error)),
        Ok(Ok(Ok(answer))) => match from_answer(&answer) {
            Ok(response) => (response, Outcome::Answered),
            Err(malformed) => (failed(), Outcome::Malformed(malformed)),
        },
    }
}

/// Reads the whole body within its limits of size and time, or says with which status and message to refuse the request.
async fn read_body(shared: &Shared, parts: &Parts, mut body: Incoming) -> Result<Bytes, (StatusCode, &'static str)> {
    let limits = &shared.gateway.limits;
    let too_large = (StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large");
    let announced = body.size_hint().lower();
    if announced > limits.request_body as u64 && parts.headers.contains_key(EXPECT) {
        // The client waits for leave to send, and does not get it.
        return Err(too_large);
    }
    let reading = async {
        let (mut whole, mut size) = (BytesMut::new(), 0_usize);
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return Err((StatusCode::BAD_REQUEST, "Bad Request")) };
            let Ok(data) = frame.into_data() else { continue };
            size = size.saturating_add(data.len());
            if size <= limits.request_body {
                whole.extend_from_slice(&data);
            } else if size > limits.request_body.saturating_add(DISCARDED) {
                break;
            }
        }
        if size > limits.request_body { Err(too_large) } else { Ok(whole.freeze()) }
    };
    let mut stopping = shared.stopping.clone();
    tokio::select! {
        biased;
        read = tokio::time::timeout(limits.body_time, reading) => {
            read.unwrap_or_else(|_elapsed| Err((StatusCode::REQUEST_TIMEOUT, "Request Timeout")))
        }
        // A body that is still on its way may never end. Its sender has no answer yet, so it may come back.
        () = stop(&mut stopping) => {
            Err((StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable"))
        }
    }
}

/// Request line and header values, in bytes, as the quota counts them.
fn head_size(parts: &Parts) -> usize {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let values: usize = parts.headers.values().map(HeaderValue::len).sum();
    parts.method.as_str().len() + " ".len() + target + " HTTP/1.1".len() + values
}

/// API Gateway's request ids are sixteen characters of base64 with one of padding: eleven bytes.
pub(crate) fn api_request_id(random: Uuid) -> String {
    URL_SAFE.encode(&random.as_bytes()[..11])
}

/// `Root=1-SECONDS-ID`, both in hexadecimal (X-Ray developer guide, "Tracing header").
pub(crate) fn trace_id(now: SystemTime, random: Uuid) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("Root=1-{seconds:08x}-{}", hex::encode(&random.as_bytes()[..12]))
}
