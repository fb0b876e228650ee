//! Function `webhook`: verify, enqueue, answer.
//!
//! It faces the internet, so it may read the secrets under `clawbridge/sources/` and write to the queue, and nothing else. One AWS call on
//! the warm path: the enqueue, and no 2xx before it. The status tells the sender what to do next: 2xx taken, 4xx do not come back with this,
//! 503 with `Retry-After` come back.

mod answer;
mod bound;
mod callbacks;
mod refusals;
mod sources;
mod trace;

use answer::Answer;
use bound::Handshakes;
use callbacks::Callbacks;
use clawbridge_aws::{AwsError, Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_keys::Keys;
use clawbridge_packed::Packed;
use clawbridge_queue::{
    Body as MessageBody, EventMessage, MAX_BODY_BYTES, Message, Queue, SourceSecretMessage, event_messages,
};
use clawbridge_secrets::{Ages, Secrets};
use clawbridge_signatures::{
    Event, Greeting, Headers, Received, Refusal, Request as Signed, Source, greet, kept_headers, may_be_challenge,
    receive,
};
use clawbridge_trace::TraceContext;
use lambda_http::http::Method;
use lambda_http::{Body, Error, Request, RequestExt, Response, request::RequestContext};
use refusals::Refusals;
pub use sources::is_name as is_source_name;
use sources::{Found, Sources};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The function with its clients and caches. Clones share them.
#[derive(Clone, Debug)]
pub struct Webhook {
    sources: Sources,
    keys: Keys,
    callbacks: Callbacks,
    queue: Queue,
    handshakes: Handshakes,
    refusals: Arc<Mutex<Refusals>>,
    public_url: Option<String>,
}

/// Whom a request was for.
#[derive(Clone, Copy, Debug)]
enum Asked<'n> {
    /// A name that no source can have. It is not repeated anywhere.
    Impossible,
    /// A name that is no source's, as far as is known.
    Unknown(&'n str),
    /// A source.
    Source(&'n str),
}

/// A verified request, for the events that it holds.
#[derive(Clone, Copy, Debug)]
struct Acceptance<'a> {
    source: &'a str,
    request_id: &'a str,
    now: Timestamp,
    trace: TraceContext,
}

/// What refusals are counted as that are no source's; no name of one.
const NOBODY: &str = "-";

/// What the function needs to know about its deployment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `QUEUE_URL`.
    pub queue_url: String,
    /// `SECRET_PREFIX`, `clawbridge` unless the stack says otherwise.
    pub secret_prefix: String,
    /// `PUBLIC_URL`: what stands before `/hooks/SOURCE` in the addresses that providers were given, for those that sign them. Where it is not
    /// set, API Gateway's own name for itself.
    pub public_url: Option<String>,
    /// `KEYS_MIRROR`: where providers' keys are fetched instead of at their own hosts; see [`Keys::new`].
    pub keys_mirror: Option<String>,
}

impl Webhook {
    /// From the environment that the template sets.
    ///
    /// # Errors
    /// A variable is missing; the message names it.
    pub fn from_environment() -> Result<Webhook, AwsError> {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let settings = Settings {
            queue_url: read("QUEUE_URL").ok_or(AwsError::MissingVariable("QUEUE_URL"))?,
            secret_prefix: read("SECRET_PREFIX").unwrap_or_else(|| "clawbridge".to_owned()),
            public_url: read("PUBLIC_URL"),
            keys_mirror: read("KEYS_MIRROR"),
        };
        Webhook::new(&Environment::of_this_process(), settings)
    }

    /// With the clients of `environment`.
    ///
    /// # Errors
    /// See [`sdk_config`].
    pub fn new(environment: &Environment, settings: Settings) -> Result<Webhook, AwsError> {
        let config = sdk_config(environment)?;
        let secrets = Secrets::new(aws_sdk_secretsmanager::Client::new(&config), Ages::default());
        let keys = Keys::new(settings.keys_mirror);
        Ok(Webhook {
            callbacks: Callbacks::new(secrets.clone(), &settings.secret_prefix),
            sources: Sources::new(secrets, keys.clone(), settings.secret_prefix),
            keys,
            handshakes: Handshakes::default(),
            refusals: Arc::default(),
            public_url: settings.public_url.map(|url| url.trim_end_matches('/').to_owned()),
            queue: Queue::new(aws_sdk_sqs::Client::new(&config), settings.queue_url),
        })
    }

    /// Answers one request. The error type is Lambda's; nothing is returned as one.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, request: Request) -> Result<Response<Body>, Error> {
        let request_id = request_id(&request);
        if let Some(ticket) = request.path_parameters().first("ticket") {
            let answer = self.callback(&request, ticket, &request_id, Timestamp::now()).await;
            self.note(&answer, Asked::Impossible, &request_id);
            return Ok(answer.into_response(&request_id));
        }
        let name = request.path_parameters().first("source").unwrap_or_default().to_owned();
        let (answer, asked) = self.receive(&request, &name, &request_id, Timestamp::now()).await;
        self.note(&answer, asked, &request_id);
        Ok(answer.into_response(&request_id))
    }

    /// Writes a refusal down, or counts it for the next line. What only the bridge can be at fault for is always written.
    fn note(&self, answer: &Answer, asked: Asked<'_>, request_id: &str) {
        let Some((code, reason)) = answer.refusal() else { return };
        let (source, counted_as) = match asked {
            Asked::Impossible => ("", NOBODY),
            Asked::Unknown(name) => (name, NOBODY),
            Asked::Source(name) => (name, name),
        };
        let count = if answer.is_anybodys_doing() {
            // No half-made state between statements, so a panic elsewhere leaves the map usable.
            self.refusals.lock().unwrap_or_else(PoisonError::into_inner).count(counted_as, code, Instant::now())
        } else {
            Some(1)
        };
        let Some(count) = count else { return };
        let status = answer.status();
        clawbridge_journal::write(&Entry::WebhookRefused {
            source,
            counted_as,
            count,
            status,
            code,
            reason,
            request_id,
        });
    }

    /// The answer, and whom it was asked for.
    async fn receive<'n>(
        &self,
        request: &Request,
        name: &'n str,
        request_id: &str,
        now: Timestamp,
    ) -> (Answer, Asked<'n>) {
        if !sources::is_name(name) {
            return (Answer::unknown_source(), Asked::Impossible);
        }
        let body: &[u8] = request.body();
        if body.len() > MAX_BODY_BYTES {
            return (Answer::too_large(), Asked::Unknown(name));
        }
        let headers: Headers<'_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let url = self.url(request);
        let query = query(request);
        let signed = Signed { method: request.method().as_str(), url: url.as_deref(), query: &query, headers, body };
        let is_pending = match self.sources.current(name).await {
            Ok(source) => {
                if let Some(greeting) = greet(&source, &signed) {
                    return (self.greeted(name, greeting, now).await, Asked::Source(name));
                }
                if request.method() != Method::POST && !source.scheme().takes_get() {
                    return (Answer::method_not_allowed(), Asked::Source(name));
                }
                source.is_pending()
            }
            Err(answer) => {
                let asked = if answer.is_of_a_source() { Asked::Source(name) } else { Asked::Unknown(name) };
                return (answer, asked);
            }
        };
        let answer = match self.sources.verify(name, &signed, now).await {
            Found::Verified { source, verified } if may_be_challenge(&source, &verified) => {
                Answer::unverified(&Refusal::BodyMalformed { expected: "a JSON object" })
            }
            Found::Verified { source, verified } => match receive(&source, &verified, now.seconds()) {
                Received::Handshake(reply) => Answer::reply(reply),
                Received::Confirm { url, reply } => match self.keys.call(&url).await {
                    Ok(()) => Answer::reply(reply),
                    Err(error) => Answer::unavailable("CONFIRMATION_FAILED", error.to_string()),
                },
                Received::Events { events, reply } => {
                    let headers = kept(&source, request);
                    let acceptance = Acceptance { source: name, request_id, now, trace: trace::of(request) };
                    let taken = self.enqueue(&acceptance, &headers, events).await;
                    taken.unwrap_or_else(|| reply.map_or_else(Answer::accepted, Answer::reply))
                }
            },
            // What it is signed with may be on its way.
            Found::Refused(_) if is_pending => {
                Answer::unavailable("SOURCE_PENDING", "the source waits for its secret".to_owned())
            }
            Found::Refused(answer) => answer,
        };
        (answer, Asked::Source(name))
    }

    /// Answers a handshake that nobody signed, as often as anybody needs one.
    async fn greeted(&self, name: &str, greeting: Result<Greeting, Refusal>, now: Timestamp) -> Answer {
        if !self.handshakes.allow(name, now) {
            return Answer::too_many_handshakes();
        }
        match greeting {
            Ok(Greeting::Reply(reply)) => Answer::reply(reply),
            Ok(Greeting::Secret { secret, reply }) => {
                // This function writes no secret. The worker does, and only while the source waits for one.
                let message = Message::SourceSecret(SourceSecretMessage { source: name.to_owned(), secret });
                match self.queue.send(&message, Duration::ZERO).await {
                    Ok(()) => Answer::reply(reply),
                    Err(error) => Answer::unavailable("QUEUE_UNAVAILABLE", error.to_string()),
                }
            }
            Err(refusal) => Answer::forbidden(&refusal),
        }
    }

    /// The public URL of this request, with its query as received.
    fn url(&self, request: &Request) -> Option<String> {
        let base = match (&self.public_url, request.request_context_ref()) {
            (Some(base), _) => base.clone(),
            // The name under which API Gateway was asked, which only names that lead to this API can be.
            (None, Some(RequestContext::ApiGatewayV2(context))) => {
                format!("https://{}", context.domain_name.as_deref()?)
            }
            (None, _) => return None,
        };
        let query = query(request);
        let mark = if query.is_empty() { "" } else { "?" };
        Some(format!("{base}{}{mark}{query}", request.raw_http_path()))
    }

    /// Puts the events of one request on the queue: all of them, or the answer says that they must come again. Those that were taken then
    /// are known by their delivery ids.
    async fn enqueue(
        &self,
        acceptance: &Acceptance<'_>,
        headers: &[(String, String)],
        events: Vec<Event<'_>>,
    ) -> Option<Answer> {
        let Acceptance { source, request_id, now, trace } = *acceptance;
        let bytes = events.iter().map(|event| event.body.len()).sum();
        let mut messages = 0;
        let mut single = Vec::new();
        let several = events.len() > 1;
        for (index, event) in events.into_iter().enumerate() {
            let message = EventMessage {
                nonce: if index == 0 { request_id.to_owned() } else { format!("{request_id}/{index}") },
                source: source.to_owned(),
                r#type: event.identity.event_type,
                delivery_id: event.identity.delivery_id,
                received_at: now,
                headers: headers.to_vec(),
                body: MessageBody::inline(Packed::pack(&[])),
                hops: 0,
                deferrals: 0,
                trace: Some(trace),
            };
            let mut texts = match event_messages(message, Packed::pack(&event.body)) {
                Ok(texts) => texts,
                Err(error) => return Some(Answer::unavailable("MESSAGE_FAILED", error.to_string())),
            };
            messages += texts.len();
            if several && texts.len() == 1 {
                single.append(&mut texts);
                continue;
            }
            for text in texts {
                // In order: the event comes after its parts, so that an event on the queue has all of them there.
                if let Err(error) = self.queue.send_text(text, Duration::ZERO).await {
                    return Some(Answer::unavailable("QUEUE_UNAVAILABLE", error.to_string()));
                }
            }
        }
        if let Err(error) = self.queue.send_texts(single).await {
            return Some(Answer::unavailable("QUEUE_UNAVAILABLE", error.to_string()));
        }
        let trace_id = &trace.trace_id().to_string();
        clawbridge_journal::write(&Entry::WebhookAccepted { source, bytes, messages, request_id, trace_id });
        None
    }
}

/// The query string as API Gateway received it.
fn query(request: &Request) -> String {
    request.uri().query().unwrap_or_default().to_owned()
}

/// The headers that the source's scheme keeps with an event. A value that is not visible ASCII is left out: it would have to be escaped
/// everywhere from here on, and no provider sends one.
fn kept(source: &Source, request: &Request) -> Vec<(String, String)> {
    let value = |name: &str| {
        let value = request.headers().get(name)?.to_str().ok()?;
        (value.len() <= 1024).then(|| (name.to_ascii_lowercase(), value.to_owned()))
    };
    kept_headers(source).into_iter().filter_map(value).collect()
}

/// API Gateway's id of the request, else Lambda's.
fn request_id(request: &Request) -> String {
    let gateway = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    gateway
        .filter(|id| !id.is_empty())
        .or_else(|| request.lambda_context_ref().map(|context| context.request_id.clone()))
        .unwrap_or_default()
}
