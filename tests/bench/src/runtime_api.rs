//! The Lambda Runtime API for one execution environment: it hands out events and times what happens to them.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use crate::failure::Failure;
use crate::wire::{Server, reply};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Mutex, mpsc};

const PREFIX: &str = "/2018-06-01/runtime/";

/// What the function is told it has for an invocation.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// How much of what a function says is shown when it is wrong.
const SHOWN: usize = 400;

/// What the function did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// It asked for the next event.
    Ready { at: Instant },
    /// It answered one that it was handed at `handed`; its answer was whole at `at`.
    Answered { handed: Instant, at: Instant, body: Bytes },
    /// It reported an error, of an invocation or of its start.
    Failed { reason: String },
}

/// A running Runtime API.
#[derive(Debug)]
pub(crate) struct RuntimeApi {
    server: Server,
    events: mpsc::UnboundedSender<Bytes>,
    reports: mpsc::UnboundedReceiver<Report>,
}

#[derive(Debug)]
struct Shared {
    events: Mutex<mpsc::UnboundedReceiver<Bytes>>,
    reports: mpsc::UnboundedSender<Report>,
    /// The invocation that is under way. An environment has one at a time.
    handed: std::sync::Mutex<Option<(String, Instant)>>,
    invocations: AtomicU64,
}

impl RuntimeApi {
    pub(crate) async fn start() -> Result<RuntimeApi, Failure> {
        let (events, waiting) = mpsc::unbounded_channel();
        let (report, reports) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            events: Mutex::new(waiting),
            reports: report,
            handed: std::sync::Mutex::default(),
            invocations: AtomicU64::new(1),
        });
        let server = Server::start(move |request| {
            let shared = Arc::clone(&shared);
            async move { shared.answer(&request).await }
        })
        .await?;
        Ok(RuntimeApi { server, events, reports })
    }

    /// What `AWS_LAMBDA_RUNTIME_API` says.
    pub(crate) fn address(&self) -> String {
        self.server.address.to_string()
    }

    /// Puts an event behind those that wait to be handed out.
    pub(crate) fn put(&self, event: Bytes) {
        // The other end lives in the server, which ends with this value.
        let _gone = self.events.send(event);
    }

    /// What the function does next.
    pub(crate) async fn next(&mut self) -> Result<Report, Failure> {
        self.reports.recv().await.ok_or_else(|| Failure::Harness("the Runtime API ended".to_owned()))
    }
}

impl Shared {
    async fn answer(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let now = Instant::now();
        let path = request.uri().path().strip_prefix(PREFIX).unwrap_or_default();
        match (request.method(), path.split('/').collect::<Vec<_>>().as_slice()) {
            (&Method::GET, ["invocation", "next"]) => self.hand_out(now).await,
            (&Method::POST, ["invocation", id, "response"]) => match self.take(id) {
                Some(handed) => self.report(Report::Answered { handed, at: now, body: request.body().clone() }),
                None => refused(StatusCode::BAD_REQUEST, "InvalidRequestID"),
            },
            (&Method::POST, ["invocation", id, "error"]) => match self.take(id) {
                Some(_) => self.report(Report::Failed { reason: format!("an invocation: {}", shown(request.body())) }),
                None => refused(StatusCode::BAD_REQUEST, "InvalidRequestID"),
            },
            (&Method::POST, ["init", "error"]) => {
                self.report(Report::Failed { reason: format!("its start: {}", shown(request.body())) })
            }
            _ => refused(StatusCode::NOT_FOUND, "NotFound"),
        }
    }

    async fn hand_out(&self, asked: Instant) -> Response<Bytes> {
        // Nobody may be listening any more; then nobody puts events either.
        let _heard = self.reports.send(Report::Ready { at: asked });
        let Some(event) = self.events.lock().await.recv().await else {
            return refused(StatusCode::INTERNAL_SERVER_ERROR, "Ended");
        };
        let number = self.invocations.fetch_add(1, Ordering::Relaxed);
        let id = format!("8476a536-e9f4-11e8-9739-{number:012}");
        let deadline = SystemTime::now() + TIME_LIMIT;
        let deadline = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
        let mut response = reply(StatusCode::OK, "application/json", event);
        for (name, value) in [
            ("lambda-runtime-aws-request-id", id.as_str()),
            ("lambda-runtime-deadline-ms", deadline.as_str()),
            ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:us-east-1:123456789012:function:bench"),
            ("lambda-runtime-trace-id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=0"),
        ] {
            if let Ok(value) = HeaderValue::from_str(value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        *self.handed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((id, Instant::now()));
        response
    }

    /// When the invocation `id` was handed out, if it is the one under way. It ends with that.
    fn take(&self, id: &str) -> Option<Instant> {
        let mut handed = self.handed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        handed.take_if(|(under_way, _)| under_way == id).map(|(_, at)| at)
    }

    fn report(&self, report: Report) -> Response<Bytes> {
        let _heard = self.reports.send(report);
        reply(StatusCode::ACCEPTED, "application/json", Bytes::from_static(b"{\"status\":\"OK\"}"))
    }
}

fn refused(status: StatusCode, kind: &str) -> Response<Bytes> {
    reply(status, "application/json", Bytes::from(format!("{{\"errorType\":\"{kind}\"}}")))
}

/// The beginning of what a function said.
pub(crate) fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Connection, post};

    struct Function(Connection);

    impl Function {
        async fn of(api: &RuntimeApi) -> Function {
            Function(Connection::open(api.server.address).await.expect("a connection"))
        }

        async fn next(&mut self) -> Response<Bytes> {
            let request = Request::get("/2018-06-01/runtime/invocation/next").body(Bytes::new()).expect("a request");
            self.0.send(request).await.expect("an event")
        }

        async fn say(&mut self, path: &str, body: &'static str) -> StatusCode {
            let request = post(&format!("/2018-06-01/runtime/{path}"), &[], Bytes::from(body)).expect("a request");
            self.0.send(request).await.expect("an answer").status()
        }
    }

    fn id(event: &Response<Bytes>) -> String {
        event.headers()["lambda-runtime-aws-request-id"].to_str().expect("a text").to_owned()
    }

    #[tokio::test]
    async fn an_event_is_handed_out_and_its_answer_timed() {
        let mut api = RuntimeApi::start().await.expect("an API");
        let mut function = Function::of(&api).await;
        for body in ["one", "two"] {
            api.put(Bytes::from(body));
            let event = function.next().await;
            assert_eq!(event.body(), body);
            let deadline: u128 =
                event.headers()["lambda-runtime-deadline-ms"].to_str().expect("a text").parse().expect("a number");
            assert!(deadline > SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_millis());
            assert_eq!(
                function.say(&format!("invocation/{}/response", id(&event)), "done").await,
                StatusCode::ACCEPTED
            );
            let Report::Ready { at: ready } = api.next().await.expect("a report") else { panic!("it was ready first") };
            let Report::Answered { handed, at, body } = api.next().await.expect("a report") else {
                panic!("then it answered")
            };
            assert!(ready <= handed && handed <= at);
            assert_eq!(body, "done");
        }
    }

    #[tokio::test]
    async fn errors_of_invocations_and_of_the_start_are_reported() {
        let mut api = RuntimeApi::start().await.expect("an API");
        let mut function = Function::of(&api).await;
        assert_eq!(function.say("init/error", "no variable").await, StatusCode::ACCEPTED);
        assert_eq!(api.next().await.expect("a report"), Report::Failed { reason: "its start: no variable".to_owned() });
        api.put(Bytes::new());
        let event = function.next().await;
        assert_eq!(function.say(&format!("invocation/{}/error", id(&event)), "broken").await, StatusCode::ACCEPTED);
        assert!(matches!(api.next().await.expect("a report"), Report::Ready { .. }));
        assert_eq!(api.next().await.expect("a report"), Report::Failed { reason: "an invocation: broken".to_owned() });
    }

    #[tokio::test]
    async fn an_invocation_is_answered_once_and_under_its_own_id() {
        let api = RuntimeApi::start().await.expect("an API");
        let mut function = Function::of(&api).await;
        api.put(Bytes::new());
        let event = function.next().await;
        assert_eq!(function.say("invocation/another/response", "").await, StatusCode::BAD_REQUEST);
        let path = format!("invocation/{}/response", id(&event));
        assert_eq!(function.say(&path, "").await, StatusCode::ACCEPTED);
        assert_eq!(function.say(&path, "").await, StatusCode::BAD_REQUEST);
        assert_eq!(function.say("invocation/next", "").await, StatusCode::NOT_FOUND);
    }

    #[test]
    fn little_is_shown_of_a_long_answer() {
        assert_eq!(shown("é".repeat(1000).as_bytes()).chars().count(), SHOWN);
        assert_eq!(shown(b"short"), "short");
    }
}
