//! Function `webhook`: verify, enqueue, answer.
//!
//! It faces the internet, so it may read the secrets under `clawbridge/sources/` and write to the queue, and nothing else. One AWS call on
//! the warm path: the enqueue, and no 2xx before it. The status tells the sender what to do next: 2xx taken, 4xx do not come back with this,
//! 503 with `Retry-After` come back.

mod answer;
mod sources;

use answer::Answer;
use clawbridge_aws::{AwsError, Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_packed::Packed;
use clawbridge_queue::{Body as MessageBody, EventMessage, MAX_BODY_BYTES, Queue, event_messages};
use clawbridge_secrets::{Ages, Secrets};
use clawbridge_signatures::{Headers, Request as Signed, Source, Verified, identify, kept_headers};
use lambda_http::{Body, Error, Request, RequestExt, Response, request::RequestContext};
pub use sources::is_name as is_source_name;
use sources::{Found, Sources};
use std::time::Duration;

/// The function with its clients and caches. Clones share them.
#[derive(Clone, Debug)]
pub struct Webhook {
    sources: Sources,
    queue: Queue,
}

/// What the function needs to know about its deployment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `QUEUE_URL`.
    pub queue_url: String,
    /// `SECRET_PREFIX`, `clawbridge` unless the stack says otherwise.
    pub secret_prefix: String,
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
        Ok(Webhook {
            sources: Sources::new(secrets, settings.secret_prefix),
            queue: Queue::new(aws_sdk_sqs::Client::new(&config), settings.queue_url),
        })
    }

    /// Answers one request. The error type is Lambda's; nothing is returned as one.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, request: Request) -> Result<Response<Body>, Error> {
        let request_id = request_id(&request);
        let name = request.path_parameters().first("source").unwrap_or_default().to_owned();
        let (answer, shown) = self.receive(&request, &name, &request_id, Timestamp::now()).await;
        if let Some((code, reason)) = answer.refusal() {
            let entry =
                Entry::WebhookRefused { source: shown, status: answer.status(), code, reason, request_id: &request_id };
            clawbridge_journal::write(&entry);
        }
        Ok(answer.into_response(&request_id))
    }

    /// The answer, and the source's name as far as it may be shown: only names that could be one.
    async fn receive<'n>(
        &self,
        request: &Request,
        name: &'n str,
        request_id: &str,
        now: Timestamp,
    ) -> (Answer, &'n str) {
        if !sources::is_name(name) {
            return (Answer::unknown_source(), "");
        }
        let body: &[u8] = request.body();
        if body.is_empty() {
            return (Answer::empty_body(), name);
        }
        if body.len() > MAX_BODY_BYTES {
            return (Answer::too_large(), name);
        }
        let headers: Headers<'_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let signed = Signed { method: request.method().as_str(), url: None, headers, body };
        let answer = match self.sources.verify(name, &signed, now).await {
            Found::Verified { source, verified } => {
                let identity = identify(&source, &verified);
                let message = EventMessage {
                    nonce: request_id.to_owned(),
                    source: name.to_owned(),
                    r#type: identity.event_type,
                    delivery_id: identity.delivery_id,
                    received_at: now,
                    headers: kept(&source, request),
                    body: MessageBody::inline(Packed::pack(&[])),
                    hops: 0,
                    deferrals: 0,
                };
                self.enqueue(message, &verified).await
            }
            Found::Refused(answer) => answer,
        };
        (answer, name)
    }

    /// Only what was verified can be enqueued.
    async fn enqueue(&self, message: EventMessage, verified: &Verified<'_>) -> Answer {
        let (source, request_id) = (message.source.clone(), message.nonce.clone());
        let body = verified.body();
        let texts = match event_messages(message, Packed::pack(body)) {
            Ok(texts) => texts,
            Err(error) => return Answer::unavailable("MESSAGE_FAILED", error.to_string()),
        };
        let messages = texts.len();
        for text in texts {
            // In order: the event comes after its parts, so that an event on the queue has all of them there.
            if let Err(error) = self.queue.send_text(text, Duration::ZERO).await {
                return Answer::unavailable("QUEUE_UNAVAILABLE", error.to_string());
            }
        }
        let entry = Entry::WebhookAccepted { source: &source, bytes: body.len(), messages, request_id: &request_id };
        clawbridge_journal::write(&entry);
        Answer::accepted()
    }
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
