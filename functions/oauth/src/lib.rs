//! Function `oauth`: people connect accounts at providers, and tokens are refreshed before they expire.
//!
//! Two sorts of payloads reach it: API Gateway's, for `GET /oauth/connect/TICKET` and `/oauth/callback/PROVIDER`, and the schedule's,
//! [`REFRESH`]. It faces the internet and holds credentials of accounts, which is why it is a function of its own: webhook has no right to a
//! connection, and this one has none to a source.

mod answer;
mod callback;
mod connect;
mod page;
mod refresh;

use answer::{Answer, Refusal};
use clawbridge_aws::{AwsError, Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_config::Provider;
use clawbridge_connections::links::{Link, Links};
use clawbridge_connections::{Connections, Providers, Server, Settings as ConnectionSettings};
use clawbridge_journal::Entry;
use clawbridge_oauth::{Browser, Cookie, Failure, Refused, Retry, State, Verifier};
use clawbridge_outbound::Outbound;
use clawbridge_queue::{ConnectionEvent, Queue};
use clawbridge_registry::{Registry, Version};
use clawbridge_secrets::{Ages, Secrets, Stage};
use lambda_http::http::Method;
use lambda_http::http::header::COOKIE;
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::{Adapter, Body, Request, RequestExt, Response, Service, service_fn};
use lambda_runtime::{Error, LambdaEvent};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};
use std::time::Duration;

/// What the schedule sends: refresh what expires soon.
pub const REFRESH: &str = r#"{"v":1,"kind":"refresh-connections"}"#;

/// The secret that PKCE verifiers are derived with, after the stack's prefix.
pub const STATE_KEY: &str = "oauth/state";

/// The longest that an issuer is asked for its metadata.
const DISCOVERY: Duration = Duration::from_secs(6);

/// Left of an invocation when the sweep must have ended.
const RESERVE: Duration = Duration::from_secs(5);

/// What the function needs to know about its deployment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `QUEUE_URL`.
    pub queue_url: String,
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `SECRET_PREFIX`, `clawbridge` unless the stack says otherwise.
    pub secret_prefix: String,
    /// `PUBLIC_URL`: what stands before `/oauth/callback/PROVIDER` in the redirect URIs that providers were given. Where it is not set, API
    /// Gateway's own name for itself.
    pub public_url: Option<String>,
}

/// The function with its clients and caches. Clones share them.
#[derive(Clone, Debug)]
pub struct Oauth {
    registry: Registry,
    links: Links,
    connections: Connections,
    secrets: Secrets,
    queue: Queue,
    state_key: String,
    public_url: Option<String>,
}

/// Who is concerned, as far as that is known: for the journal and the page.
#[derive(Clone, Debug, Default)]
struct Whom {
    provider: String,
    account: String,
    /// What people call the provider.
    title: String,
}

impl Whom {
    fn knows(&mut self, name: &str, provider: &Provider) {
        name.clone_into(&mut self.provider);
        self.title.clone_from(&provider.title);
    }

    /// What a page calls the provider.
    fn title(&self) -> &str {
        if self.title.is_empty() { "the provider" } else { &self.title }
    }
}

impl Oauth {
    /// From the environment that the template sets.
    ///
    /// # Errors
    /// A variable is missing; the message names it.
    pub fn from_environment() -> Result<Oauth, AwsError> {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let settings = Settings {
            queue_url: read("QUEUE_URL").ok_or(AwsError::MissingVariable("QUEUE_URL"))?,
            registry_table: read("REGISTRY_TABLE").ok_or(AwsError::MissingVariable("REGISTRY_TABLE"))?,
            secret_prefix: read("SECRET_PREFIX").unwrap_or_else(|| "clawbridge".to_owned()),
            public_url: read("PUBLIC_URL"),
        };
        Oauth::new(&Environment::of_this_process(), settings)
    }

    /// With the clients of `environment`.
    ///
    /// # Errors
    /// See [`sdk_config`].
    pub fn new(environment: &Environment, settings: Settings) -> Result<Oauth, AwsError> {
        let config = sdk_config(environment)?;
        let tables = aws_sdk_dynamodb::Client::new(&config);
        let secrets = aws_sdk_secretsmanager::Client::new(&config);
        let public_url = settings.public_url.map(|url| url.trim_end_matches('/').to_owned());
        let of_connections = ConnectionSettings {
            registry_table: settings.registry_table.clone(),
            secret_prefix: settings.secret_prefix.clone(),
        };
        Ok(Oauth {
            registry: Registry::new(tables.clone(), settings.registry_table.clone()),
            links: Links::new(tables.clone(), settings.registry_table),
            connections: Connections::new(tables, secrets.clone(), of_connections),
            secrets: Secrets::new(secrets, Ages::default()),
            queue: Queue::new(aws_sdk_sqs::Client::new(&config), settings.queue_url),
            state_key: format!("{}/{STATE_KEY}", settings.secret_prefix),
            public_url,
        })
    }

    /// Does what a payload asks for: the schedule's or API Gateway's.
    ///
    /// # Errors
    /// The payload is neither, or the sweep could not read its table: EventBridge Scheduler tries again.
    pub async fn invoke(&self, event: LambdaEvent<Value>) -> Result<Value, Error> {
        let LambdaEvent { payload, context } = event;
        if payload["kind"] == "refresh-connections" {
            let deadline = i64::try_from(context.deadline).map_or(Timestamp::now(), Timestamp::from_millis);
            // Boxed, as what follows: deep futures that the compiler need not lay out as one.
            return Box::pin(self.refresh(Timestamp::now().until(deadline).saturating_sub(RESERVE))).await;
        }
        // By way of text: that is what this type is read from.
        let request: LambdaRequest = serde_json::from_str(&payload.to_string())?;
        let handler = service_fn(|request| Box::pin(self.handle(request)));
        let answer = Adapter::from(handler).call(LambdaEvent::new(request, context)).await?;
        Ok(serde_json::to_value(&answer)?)
    }

    /// Answers one request. The error type is Lambda's; nothing is returned as one.
    ///
    /// # Errors
    /// None.
    pub async fn handle(&self, request: Request) -> Result<Response<Body>, Error> {
        let request_id = request_id(&request);
        let mut whom = Whom::default();
        let parameters = request.path_parameters();
        let answer = match (parameters.first("ticket"), parameters.first("provider"), request.method()) {
            (Some(ticket), _, method @ (&Method::GET | &Method::HEAD)) => {
                self.open(&request, ticket, method == Method::HEAD, &mut whom).await
            }
            (Some(_), ..) => Err(Refusal::method(&["GET", "HEAD"])),
            (None, Some(provider), &Method::GET) => {
                let query = request.uri().query().unwrap_or_default().to_owned();
                self.answered(&request, provider, &query, &request_id, &mut whom).await
            }
            (None, Some(provider), &Method::POST) => match std::str::from_utf8(request.body()) {
                Ok(form) => self.answered(&request, provider, form, &request_id, &mut whom).await,
                Err(_) => Err(Failure::Malformed("the form is not UTF-8").into()),
            },
            (None, ..) => Err(Refusal::method(&["GET", "POST"])),
        };
        let answer = answer.unwrap_or_else(|refusal| {
            clawbridge_journal::write(&Entry::ConsentRefused {
                provider: &whom.provider,
                account: &whom.account,
                status: refusal.status(),
                code: refusal.code(),
                reason: &refusal.reason(),
                request_id: &request_id,
            });
            Answer::Refused(refusal, whom.title().to_owned())
        });
        Ok(answer.into_response(request.method() == Method::HEAD))
    }

    /// The configuration in use.
    async fn version(&self) -> Result<Version, Refusal> {
        self.registry.current().await.map_err(Refusal::ours)
    }

    /// The authorization server of a link's account.
    async fn server(&self, outbound: &Outbound, link: &Link, provider: &Provider) -> Result<Server, Refusal> {
        let exchange = self.connections.exchange();
        let asked = exchange.server(outbound, link.name.provider(), provider, &link.parameters);
        let server = tokio::time::timeout(DISCOVERY, asked).await.unwrap_or_else(|_| Err(too_slow()));
        Ok(server.map_err(Failure::from)?)
    }

    /// The PKCE verifier of a state, which nothing has to keep.
    async fn verifier(&self, state: &State) -> Result<Verifier, Refusal> {
        let key = self.secrets.get(&self.state_key, Stage::Current).await.map_err(Refusal::ours)?;
        Verifier::derive(key.expose(), state).map_err(Refusal::ours)
    }

    /// Where the bridge is reached, and how the cookie is written there for a provider.
    fn address(&self, request: &Request, provider: &Provider) -> Result<(String, Cookie), Refusal> {
        let base = match (&self.public_url, request.request_context_ref()) {
            (Some(base), _) => base.clone(),
            // The name under which API Gateway was asked, which only names that lead to this API can be.
            (None, Some(RequestContext::ApiGatewayV2(context))) => match &context.domain_name {
                Some(name) => format!("https://{name}"),
                None => return Err(Refusal::ours("the request does not say by which name the bridge was asked")),
            },
            (None, _) => return Err(Refusal::ours("PUBLIC_URL is not set")),
        };
        let is_posted = provider.authorize_params.get("response_mode").is_some_and(|mode| mode == "form_post");
        let cookie = Cookie { is_https: base.starts_with("https://"), is_posted };
        Ok((base, cookie))
    }

    /// Puts an event on the queue if a route or a subscription wants it. `false`: it is wanted, and could not be sent.
    async fn tell(&self, version: &Version, event: &ConnectionEvent<'_>) -> bool {
        // Where that cannot be found out it is made: nobody may want it, and nobody is hurt.
        let wants = self.registry.wants(&version.config, clawbridge_queue::BRIDGE_SOURCE, event.event_type()).await;
        if !wants.unwrap_or(true) {
            return true;
        }
        let subject = format!("{}/{}", event.provider, event.account);
        let failed = |code, reason: String| {
            clawbridge_journal::write(&Entry::BridgeFailed { code, reason: &reason, subject: &subject });
            false
        };
        let texts = match event.messages(Timestamp::now()) {
            Ok(texts) => texts,
            Err(error) => return failed("MESSAGE_FAILED", error.to_string()),
        };
        for text in texts {
            if let Err(error) = self.queue.send_text(text, Duration::ZERO).await {
                return failed("QUEUE_UNAVAILABLE", error.to_string());
            }
        }
        true
    }
}

/// A step that took longer than a person waits.
fn too_slow() -> Refused {
    Refused::Later(Retry {
        code: "TIMEOUT",
        reason: "no complete answer from the provider in time".to_owned(),
        after: None,
        may_have_acted: true,
    })
}

/// The providers of a configuration, and the way to them.
fn providers(version: &Version) -> Providers {
    Providers::new(&version.config)
}

/// The browser that a request says it comes from.
fn browser(request: &Request, cookie: Cookie) -> Option<Browser> {
    let headers: Vec<&str> = request.headers().get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).collect();
    cookie.read(&headers.join("; "))
}

/// 256 random bits.
fn random() -> Result<[u8; 32], Refusal> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Refusal::ours("there are no random bytes"))?;
    Ok(bytes)
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

/// What a sweep answers: nobody reads it but people who look at the schedule.
fn swept(seen: usize, refreshed: usize, failed: usize) -> Value {
    json!({"seen": seen, "refreshed": refreshed, "failed": failed})
}
