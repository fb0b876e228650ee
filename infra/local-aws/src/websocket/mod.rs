//! API Gateway's WebSocket API on one machine: clients connect, each message is an invocation, functions write back.
//!
//! A [`WebSocketApi`] is built with its routes and becomes [`WebSockets`]; these are served by a
//! [`Gateway`](crate::gateway::Gateway) on the public port (`ws://HOST/{stage}`), and answer the management API on the private
//! one ([`WebSockets::manage`]). Events, answers, error frames, close codes and limits are those of the developer guide's part on
//! WebSocket APIs; where that is silent, what others saw on AWS.
//!
//! What AWS decides and this cannot know:
//!
//! - Whether pings are answered: reports conflict, so [`Pings`] has both. They do not count as activity here.
//! - Statuses for a client whose `$connect` fails: 502 when the function failed or answered nonsense (seen on AWS); 504 when the
//!   integration's time was up, as REST APIs answer (not verified). A function's own status is given without its body.
//! - The code of the close frame after the idle time or the longest duration: 1001 here.
//! - How much is held for a client that does not read, before posts to it get 429: [`Limits::send_buffer`].
//!
//! Differences: no TLS, no authorizers, no route responses (what the function of a message answers is dropped, but it must be an
//! answer), no `permessage-deflate`, header names in lower case, and an upgrade request for another path is an HTTP request.

mod connect;
mod connection;
mod delivery;
mod event;
mod frame;
mod management;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::Clock;
use crate::gateway::{Api, Function, Outcome, api_request_id, finish};
use connect::{Answer, Rate};
use connection::{Connection, Ending};
use delivery::Draw;
pub use delivery::{Delivery, Shuffle};
use event::About;
pub use routes::RouteError;
use routes::{DISCONNECT, Routes};

/// Limits of the API. The default is AWS's wherever AWS documents one.
///
/// Source: developer guide, "Quotas for configuring and running a WebSocket API in API Gateway".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest payload of a frame, in bytes (AWS: 32 KB). Larger ones from a client end its connection with 1009; messages to
    /// clients are split.
    pub frame: usize,
    /// Largest message, in bytes (AWS: 128 KB). Larger ones from a client end its connection with 1009, larger posts get 413.
    pub message: usize,
    /// For how long a connection may be without messages (AWS: 10 minutes, not to be raised), by the API's clock.
    pub idle_time: Duration,
    /// For how long a connection may last (AWS: 2 hours, not to be raised), by the API's clock.
    pub connection_time: Duration,
    /// From an invocation to its answer (AWS: 29 s).
    pub integration_time: Duration,
    /// How many bytes wait for a client before posts to it get 429. AWS does not say.
    pub send_buffer: usize,
    /// How long a client may take to receive the close frame, and then to close.
    pub close_time: Duration,
    /// How many clients may connect in one second; more get 429 (AWS: 500). `None`: any number.
    pub new_connections: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: 32 * 1024,
            message: 128 * 1024,
            idle_time: Duration::from_secs(10 * 60),
            connection_time: Duration::from_secs(2 * 60 * 60),
            integration_time: Duration::from_secs(29),
            send_buffer: 1024 * 1024,
            close_time: Duration::from_secs(2),
            new_connections: None,
        }
    }
}

/// What the gateway does about a client's pings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pings {
    /// It answers each with a pong, as RFC 6455 wants.
    #[default]
    Answered,
    /// It does nothing.
    Ignored,
}

/// Is told about each invocation for a message or a `$disconnect` when it is over: the access log. Must not block.
///
/// `$connect` is in the access log of the gateway, which answers it.
pub type AccessLog = Arc<dyn Fn(&Access) + Send + Sync>;

/// One line of the access log. Nothing in it is the client's own text, but for a route key that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// API Gateway's id of the message or event.
    pub request_id: String,
    /// Whose it was.
    pub connection_id: String,
    /// The route that it took.
    pub route_key: Option<String>,
    /// From its arrival to the answer, or to the end of the integration's time.
    pub duration: Duration,
    /// What became of it.
    pub outcome: Outcome,
}

/// A WebSocket API: build it with its routes, then [`WebSocketApi::build`] it.
#[derive(Clone)]
pub struct WebSocketApi {
    api: Api,
    stage: String,
    aliases: Vec<String>,
    routes: Routes,
    limits: Limits,
    clock: Clock,
    delivery: Delivery,
    pings: Pings,
    access_log: Option<AccessLog>,
}

impl std::fmt::Debug for WebSocketApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocketApi").field("stage", &self.stage).field("routes", &self.routes).finish_non_exhaustive()
    }
}

impl WebSocketApi {
    /// An API without routes at `/{stage}`.
    #[must_use]
    pub fn new(api: Api, stage: impl Into<String>) -> Self {
        Self {
            api,
            stage: stage.into(),
            aliases: Vec::new(),
            routes: Routes::default(),
            limits: Limits::default(),
            clock: Clock::default(),
            delivery: Delivery::default(),
            pings: Pings::default(),
            access_log: None,
        }
    }

    /// Adds a route: `$connect`, `$disconnect`, `$default`, or a value that the route selection finds in messages.
    ///
    /// # Errors
    /// [`RouteError`]: the key is not one, or is there already.
    pub fn route(mut self, key: &str, function: Function) -> Result<Self, RouteError> {
        self.routes.add(key, function)?;
        Ok(self)
    }

    /// Chooses the route of a message by a member of its body: `$request.body.type`. Without, all go to `$default`.
    ///
    /// # Errors
    /// [`RouteError::Selection`].
    pub fn route_selection(mut self, expression: &str) -> Result<Self, RouteError> {
        self.routes.select_by(expression)?;
        Ok(self)
    }

    /// Takes clients at another path too, as a custom domain's mapping does: `/v1/responses`.
    #[must_use]
    pub fn alias(mut self, path: impl Into<String>) -> Self {
        self.aliases.push(path.into());
        self
    }

    /// Replaces the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Tells the time of connections by `clock`. Time limits of invocations are the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Replaces how events reach the functions.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Replaces what is done about pings.
    #[must_use]
    pub fn pings(mut self, pings: Pings) -> Self {
        self.pings = pings;
        self
    }

    /// Tells `log` about each invocation.
    #[must_use]
    pub fn access_log(mut self, log: AccessLog) -> Self {
        self.access_log = Some(log);
        self
    }

    /// The API, ready to be served and managed.
    #[must_use]
    pub fn build(self) -> WebSockets {
        let shared = Shared {
            api: self.api,
            stage: self.stage,
            aliases: self.aliases,
            routes: self.routes,
            limits: self.limits,
            clock: self.clock,
            delivery: self.delivery,
            pings: self.pings,
            access_log: self.access_log,
            new_connections: Rate::default(),
            draw: Mutex::new(Draw::new(self.delivery.seed)),
            open: Mutex::default(),
            stopping: watch::Sender::new(false),
            invocations: Mutex::default(),
        };
        WebSockets { shared: Arc::new(shared) }
    }
}

/// A WebSocket API with its connections. Cloning shares it.
#[derive(Clone)]
pub struct WebSockets {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for WebSockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSockets")
            .field("stage", &self.shared.stage)
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}

impl WebSockets {
    /// How many clients are connected.
    #[must_use]
    pub fn open(&self) -> usize {
        self.shared.lock_open().len()
    }

    /// Closes all connections with 1001, now and in the future. Their `$disconnect` events follow.
    pub(crate) fn stop(&self) {
        self.shared.stopping.send_replace(true);
    }

    /// Waits for what still runs until `end`, then stops it and says how many invocations that were.
    pub(crate) async fn drained(&self, end: Instant) -> usize {
        let mut cut = 0;
        loop {
            let mut running =
                std::mem::take(&mut *self.shared.invocations.lock().unwrap_or_else(PoisonError::into_inner));
            // What was held back becomes an invocation only now.
            if running.is_empty() {
                return cut;
            }
            cut += finish(&mut running, end).await;
        }
    }
}

/// What the API's connections and its two ports share.
struct Shared {
    api: Api,
    stage: String,
    aliases: Vec<String>,
    routes: Routes,
    limits: Limits,
    clock: Clock,
    delivery: Delivery,
    pings: Pings,
    access_log: Option<AccessLog>,
    new_connections: Rate,
    draw: Mutex<Draw>,
    /// The connections that can be written to, by their ids.
    open: Mutex<HashMap<String, Arc<Connection>>>,
    stopping: watch::Sender<bool>,
    /// Invocations outlive the connections that caused them, so they are not theirs.
    invocations: Mutex<JoinSet<()>>,
}

impl Shared {
    fn lock_open(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, connection: &Arc<Connection>) {
        self.lock_open().insert(connection.id.clone(), Arc::clone(connection));
    }

    fn find(&self, id: &str) -> Option<Arc<Connection>> {
        self.lock_open().get(id).cloned()
    }

    /// From now on the connection cannot be written to.
    fn close(&self, id: &str) -> Option<Arc<Connection>> {
        self.lock_open().remove(id)
    }

    /// Ready when the server stops.
    async fn stopped(&self) {
        // The sender is in `self`, so waiting cannot fail.
        let mut stopping = self.stopping.subscribe();
        let _stopping = stopping.wait_for(|stopping| *stopping).await;
    }

    /// A generator of its own for a connection.
    fn draw(&self) -> Draw {
        self.draw.lock().unwrap_or_else(PoisonError::into_inner).fork()
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut invocations = self.invocations.lock().unwrap_or_else(PoisonError::into_inner);
        while invocations.try_join_next().is_some() {}
        invocations.spawn(task);
    }

    /// Invokes the function that a message chooses, at once and beside all others.
    fn message(self: &Arc<Self>, connection: &Arc<Connection>, body: &str) {
        let request_id = new_id();
        let Some((route_key, function)) = self.routes.of_message(body) else {
            self.tell(connection, "Forbidden", &request_id);
            return self.log(connection, request_id, None, Duration::ZERO, Outcome::Refused);
        };
        let about = self.about(connection, &request_id);
        let payload = event::message(&about, route_key, &new_id(), body);
        self.spawn(invoke(
            Arc::clone(self),
            Arc::clone(connection),
            route_key.to_owned(),
            function.clone(),
            payload,
            request_id,
        ));
    }

    /// Ends a connection: it cannot be written to any longer, and `$disconnect` follows, or is lost.
    fn ended(self: &Arc<Self>, connection: &Arc<Connection>, ending: Ending) {
        self.close(&connection.id);
        let Some(function) = self.routes.get(DISCONNECT).cloned() else { return };
        if self.draw.lock().unwrap_or_else(PoisonError::into_inner).happens(self.delivery.lost_disconnects) {
            return;
        }
        let (shared, connection) = (Arc::clone(self), Arc::clone(connection));
        self.spawn(async move {
            let after = i64::try_from(shared.delivery.disconnect_after.as_millis()).unwrap_or(i64::MAX);
            tokio::select! {
                () = shared.clock.sleep_until(shared.clock.now().saturating_add(after)) => {}
                // What would come after the end comes before it.
                () = shared.stopped() => {}
            }
            let request_id = new_id();
            let payload = event::disconnect(&shared.about(&connection, &request_id), &ending);
            invoke(shared, connection, DISCONNECT.to_owned(), function, payload, request_id).await;
        });
    }

    fn about<'a>(&'a self, connection: &'a Connection, request_id: &'a str) -> About<'a> {
        About { api: &self.api, stage: &self.stage, connection, request_id, now: self.clock.now() }
    }

    /// Sends an error to the client in API Gateway's own words, if it is there to read it.
    fn tell(&self, connection: &Connection, text: &str, request_id: &str) {
        let _unread =
            connection.send(Bytes::from(error_body(text, &connection.id, request_id)), self.limits.send_buffer);
    }

    fn log(
        &self,
        connection: &Connection,
        request_id: String,
        route_key: Option<String>,
        duration: Duration,
        outcome: Outcome,
    ) {
        if let Some(log) = &self.access_log {
            log(&Access { request_id, connection_id: connection.id.clone(), route_key, duration, outcome });
        }
    }
}

/// Invokes a function; the client of a message is told if that fails. The integration's time limit does not stop it.
async fn invoke(
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    route_key: String,
    function: Function,
    payload: Vec<u8>,
    request_id: String,
) {
    let started = Instant::now();
    let mut running = pin!(function.call(payload, Uuid::new_v4().to_string(), SystemTime::now()));
    let answer = tokio::time::timeout(shared.limits.integration_time, running.as_mut()).await;
    let (text, outcome) = match answer {
        Err(_elapsed) => (Some("Endpoint request timed out"), Outcome::IntegrationTimeout),
        Ok(Err(error)) => (Some("Internal server error"), Outcome::Invocation(error)),
        Ok(Ok(answer)) => match Answer::read(&answer) {
            Err(malformed) => (Some("Internal server error"), Outcome::Malformed(malformed)),
            Ok(_dropped) => (None, Outcome::Answered),
        },
    };
    if let Some(text) = text {
        shared.tell(&connection, text, &request_id);
    }
    let runs_on = outcome == Outcome::IntegrationTimeout;
    shared.log(&connection, request_id, Some(route_key), started.elapsed(), outcome);
    if runs_on {
        // It was answered for; what it does now is its own.
        let _unheard = running.await;
    }
}

/// API Gateway's own errors, as frames and as bodies, to the blank as they were seen. Nothing in them needs escaping.
fn error_body(text: &str, connection_id: &str, request_id: &str) -> String {
    format!(r#"{{"message": "{text}", "connectionId":"{connection_id}", "requestId":"{request_id}"}}"#)
}

/// The ids of connections, messages and requests.
fn new_id() -> String {
    api_request_id(Uuid::new_v4())
}

/// Whether `id` has the form of [`new_id`].
fn is_id(id: &str) -> bool {
    id.len() == 16 && URL_SAFE.decode(id).is_ok_and(|bytes| bytes.len() == 11)
}
