//! Function `channel`: users and agents connect, and what they send is passed on.
//!
//! API Gateway hands over one event for each connection that opens (`$connect`: who is it?), each message (`$default`) and each end
//! (`$disconnect`). What is done with them is `clawbridge_channel`'s.

mod event;
mod identity;

pub use event::{Answer, Event};

use clawbridge_access::{Wish, admit, admit_agent};
use clawbridge_aws::{AwsError, Environment, sdk_config};
use clawbridge_channel::{Channel, ChannelError, Pace, Settings as ChannelSettings, management_client};
use clawbridge_clock::Timestamp;
use clawbridge_journal::Entry;
use clawbridge_queue::Queues;
use clawbridge_registry::{Registry, RegistryError};
use event::Context;
use identity::{Identity, Nobody};
use lambda_runtime::{Error, LambdaEvent};
use std::time::Duration;

/// What the function needs to know about its deployment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `QUEUE_URL`.
    pub queue_url: String,
    /// `INTERACTIVE_QUEUE_URL`.
    pub interactive_queue_url: String,
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `CHANNEL_TABLE`.
    pub channel_table: String,
    /// `CHANNEL_ENDPOINT`: the WebSocket API's stage as the management API knows it, `https://API.execute-api.REGION.amazonaws.com/responses`.
    pub channel_endpoint: String,
    /// `CHANNEL_LOOK_SECONDS`: how often turns are looked after; 15 where it is not set.
    pub look: Option<Duration>,
    /// How old users' connections get: an hour where it is not set.
    pub age: Option<Duration>,
}

/// The function with its clients. Clones share them.
#[derive(Clone, Debug)]
pub struct ChannelFunction {
    channel: Channel,
    registry: Registry,
}

/// Why somebody is not let in.
struct Refusal {
    status: u16,
    code: &'static str,
    reason: String,
}

impl Refusal {
    fn ours(error: &ChannelError) -> Refusal {
        Refusal { status: 503, code: error.code(), reason: error.to_string() }
    }

    fn registry(error: &RegistryError) -> Refusal {
        Refusal { status: 503, code: "REGISTRY_UNAVAILABLE", reason: error.to_string() }
    }
}

impl ChannelFunction {
    /// From the environment that the template sets.
    ///
    /// # Errors
    /// A variable is missing; the message names it.
    pub fn from_environment() -> Result<ChannelFunction, AwsError> {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let need = |name| read(name).ok_or(AwsError::MissingVariable(name));
        let settings = Settings {
            queue_url: need("QUEUE_URL")?,
            interactive_queue_url: need("INTERACTIVE_QUEUE_URL")?,
            registry_table: need("REGISTRY_TABLE")?,
            channel_table: need("CHANNEL_TABLE")?,
            channel_endpoint: need("CHANNEL_ENDPOINT")?,
            look: read("CHANNEL_LOOK_SECONDS").and_then(|text| text.parse().ok()).map(Duration::from_secs),
            age: None,
        };
        ChannelFunction::new(&Environment::of_this_process(), settings)
    }

    /// With the clients of `environment`.
    ///
    /// # Errors
    /// See [`sdk_config`].
    pub fn new(environment: &Environment, settings: Settings) -> Result<ChannelFunction, AwsError> {
        let config = sdk_config(environment)?;
        let tables = aws_sdk_dynamodb::Client::new(&config);
        let registry = Registry::new(tables.clone(), settings.registry_table);
        let queues = Queues::new(aws_sdk_sqs::Client::new(&config), settings.queue_url, settings.interactive_queue_url);
        let gateway = management_client(&config, settings.channel_endpoint);
        let of_channel = ChannelSettings {
            table: settings.channel_table,
            registry: registry.clone(),
            pace: Pace::of(settings.look, settings.age),
        };
        Ok(ChannelFunction { channel: Channel::new(tables, queues, gateway, of_channel), registry })
    }

    /// Does what an event asks for. What fails is in the journal; API Gateway is told only what matters to a client that connects.
    ///
    /// # Errors
    /// None.
    pub async fn invoke(&self, event: LambdaEvent<Event>) -> Result<Answer, Error> {
        let event = event.payload;
        let context = event.request_context.clone();
        let done = match context.route_key.as_str() {
            "$connect" => return Ok(self.connect(&event).await),
            "$disconnect" => self.channel.closed(&context.connection_id).await,
            _ => Box::pin(self.message(&context, &event)).await,
        };
        match done {
            Ok(()) => Ok(Answer::ok()),
            Err(error) => {
                let reason = error.to_string();
                let subject = context.connection_id.as_str();
                clawbridge_journal::write(&Entry::BridgeFailed { code: error.code(), reason: &reason, subject });
                Ok(Answer::status(500))
            }
        }
    }

    async fn message(&self, context: &Context, event: &Event) -> Result<(), ChannelError> {
        let connection = &context.connection_id;
        if event.is_base64_encoded {
            return self.channel.binary(connection).await;
        }
        let text = event.body.as_deref().unwrap_or_default();
        self.channel.frame(connection, text, Timestamp::now()).await
    }

    async fn connect(&self, event: &Event) -> Answer {
        match self.admitted(event).await {
            Ok(subprotocol) => Answer::connected(subprotocol),
            Err(Refusal { status, code, reason }) => {
                let request_id = event.request_context.request_id.as_str();
                clawbridge_journal::write(&Entry::ChannelRefused { status, code, reason: &reason, request_id });
                Answer::status(status)
            }
        }
    }

    /// Whoever it is, they are written down; the subprotocol that was chosen.
    async fn admitted(&self, event: &Event) -> Result<Option<&'static str>, Refusal> {
        let context = &event.request_context;
        let (now, connection) = (Timestamp::now(), context.connection_id.as_str());
        let unauthorized = |code, reason: String| Refusal { status: 401, code, reason };
        let identity = Identity::of(event).map_err(|nobody| match nobody {
            Nobody::Agent(error) => unauthorized("AGENT_UNKNOWN", error.to_string()),
            Nobody::User(error) => unauthorized("TOKEN_INVALID", error.to_string()),
        })?;
        match identity {
            Identity::Agent { presented, is_ours } => {
                let record = self.registry.agent_by_key(presented.key()).await;
                let record = record.map_err(|error| Refusal::registry(&error))?;
                let agent = admit_agent(&presented, record.as_ref(), now)
                    .map_err(|error| unauthorized("AGENT_UNKNOWN", error.to_string()))?;
                let opened_at = context.connected_at;
                let connects = self.channel.agent_connects(connection, &agent, is_ours, opened_at).await;
                connects.map(|()| None).map_err(|error| Refusal::ours(&error))
            }
            Identity::User { presented, subprotocol } => {
                let record = self.registry.token(presented.hash()).await.map_err(|error| Refusal::registry(&error))?;
                let caller = admit(&presented, record.as_ref(), now)
                    .map_err(|error| unauthorized("TOKEN_INVALID", error.to_string()))?;
                if !caller.may(Wish::Ask(None)) {
                    let reason =
                        format!("the token {} may ask no agent; it needs agent:NAME or execute", caller.name());
                    return Err(Refusal { status: 403, code: "FORBIDDEN", reason });
                }
                // That is for people who look after tokens; nobody is kept out because it failed.
                drop(self.registry.note_token_use(caller.hash(), now).await);
                let connects = self.channel.user_connects(connection, &caller, context.connected_at).await;
                connects.map(|()| subprotocol).map_err(|error| Refusal::ours(&error))
            }
        }
    }
}
