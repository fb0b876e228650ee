//! API Gateway on one machine: an HTTP API whose routes invoke functions with payload format 2.0.
//!
//! Routes, events, answers, errors and limits are those of API Gateway's HTTP APIs; the parts are pure and the server puts
//! them together. Differences: no TLS (so `x-forwarded-proto` is `http`), no authorizers, no CORS, no throttling, no stages
//! but `$default`, and stopping the server is the caller's to decide.

mod event;
mod function;
mod response;
mod routes;
mod server;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio::net::TcpListener;

pub use event::{Api, EventSource, decode_path, event};
pub(crate) use event::{common_log_time, decode_query, domain_name, text};
pub use function::{Function, Invocation, Invoke, InvokeError, MAX_PAYLOAD};
pub use response::{MalformedAnswer, message};
pub use routes::RouteError;
use routes::Routes;
pub(crate) use server::{api_request_id, finish, trace_id};

use crate::websocket::WebSockets;

/// Answers the requests that no route matches, with the target as received. Its body is whole and within the limits.
pub type Fallback = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// Is told about each request when its response is ready: the access log. Must not block.
pub type AccessLog = Arc<dyn Fn(&Access) + Send + Sync>;

/// One line of the access log. Nothing in it is the caller's own text, but for the method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// API Gateway's id of the request, also in the response's `apigw-requestid`.
    pub request_id: String,
    /// The method as sent.
    pub method: String,
    /// The route that the request took.
    pub route_key: Option<String>,
    /// The status of the response.
    pub status: u16,
    /// From the request's head to the response's.
    pub duration: Duration,
    /// What happened, where the status does not say it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function answered, or the fallback did.
    Answered,
    /// The gateway refused the request before any function saw it.
    Refused,
    /// The invocation has no answer.
    Invocation(InvokeError),
    /// The function's answer is no response.
    Malformed(MalformedAnswer),
    /// The function was still running when the integration's time was up. It runs on.
    IntegrationTimeout,
}

/// Limits of the gateway. The default is AWS's wherever AWS documents one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body, in bytes (AWS: 10 MB).
    pub request_body: usize,
    /// Largest event, in bytes of JSON (AWS: [`MAX_PAYLOAD`]).
    pub event: usize,
    /// Request line and header values together, in bytes (AWS: 10,240).
    pub headers: usize,
    /// From the connection, or the end of the response before, to the end of a request's headers.
    pub headers_time: Duration,
    /// From a request's headers to the end of its body.
    pub body_time: Duration,
    /// From the invocation to its answer (AWS: 30 s, not to be raised).
    pub integration_time: Duration,
    /// From the shutdown to the moment when what still runs is cut off.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_body: 10 * 1024 * 1024,
            event: MAX_PAYLOAD,
            headers: 10_240,
            headers_time: Duration::from_secs(30),
            body_time: Duration::from_secs(30),
            integration_time: Duration::from_secs(30),
            drain_time: Duration::from_secs(10),
        }
    }
}

/// How a server ended after its shutdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were closed before their response, or a WebSocket's close frame, was out.
    pub connections_cut: usize,
    /// Invocations that were stopped before their end.
    pub invocations_cut: usize,
}

/// An HTTP API: build it with its routes, then serve it.
#[derive(Clone)]
pub struct Gateway {
    api: Api,
    routes: Routes,
    fallback: Option<Fallback>,
    websockets: Option<WebSockets>,
    access_log: Option<AccessLog>,
    limits: Limits,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("api", &self.api).field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl Gateway {
    /// An API without routes.
    #[must_use]
    pub fn new(api: Api) -> Self {
        Self {
            api,
            routes: Routes::default(),
            fallback: None,
            websockets: None,
            access_log: None,
            limits: Limits::default(),
        }
    }

    /// Adds a route: `POST /hooks/{source}`, `ANY /api/{proxy+}` or `$default`.
    ///
    /// # Errors
    /// [`RouteError`]: the key is not one, or matches what another route matches.
    pub fn route(mut self, key: &str, function: Function) -> Result<Self, RouteError> {
        self.routes.add(key, function)?;
        Ok(self)
    }

    /// Answers what no route matches. Without a fallback that is 404 `{"message":"Not Found"}`.
    #[must_use]
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.fallback = Some(fallback);
        self
    }

    /// Serves a WebSocket API beside the routes: upgrade requests for its paths are its own. On AWS the two cannot share a domain.
    ///
    /// Its connections end with this server, so it is served once.
    #[must_use]
    pub fn websockets(mut self, websockets: WebSockets) -> Self {
        self.websockets = Some(websockets);
        self
    }

    /// Tells `log` about each request.
    #[must_use]
    pub fn access_log(mut self, log: AccessLog) -> Self {
        self.access_log = Some(log);
        self
    }

    /// Replaces the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Serves HTTP/1.1 on `listener` until `shutdown` is ready, then drains: no more requests are taken, bodies that are not
    /// whole are given up with 503, invocations may end until [`Limits::drain_time`] is over.
    ///
    /// A client that goes away does not stop its invocation, nor does the integration's time limit; both as on AWS.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Drained {
        server::serve(self, listener, shutdown).await
    }
}
