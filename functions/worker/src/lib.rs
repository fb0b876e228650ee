//! Function `worker`: store events, route them, run tasks.
//!
//! A message is an event, a part of one, a replay, a task, a call that somebody wants, a period that a subscription
//! is to get again, the schedule's wish to catch up, or something that the channel looks after. Its records are worked at once and fail alone: what the outside world does
//! wrong ends in a task's record, what the bridge could not record comes back (partial batch response) and in the end reaches the
//! dead-letter queue. Never a sleep: what must wait goes back to the queue with a delay.

mod accounts;
mod agent;
mod batch;
mod catch_up;
mod deliver;
mod execute;
mod guard;
mod happenings;
mod job;
mod learn;
mod route;
mod subscribers;
mod wishes;

pub use batch::{Batch, BatchAnswer};

use clawbridge_aws::{AwsError, Environment, sdk_config};
use clawbridge_channel::{Channel, ChannelError, Pace, Settings as ChannelSettings};
use clawbridge_clock::Timestamp;
use clawbridge_config::Compiled;
use clawbridge_connections::Connections;
use clawbridge_events::Events;
use clawbridge_journal::Entry;
use clawbridge_limits::Limits;
use clawbridge_outbound::Outbound;
use clawbridge_queue::{Message, Queues, SendError};
use clawbridge_registry::{Registry, RegistryError};
use clawbridge_secrets::{Ages, Secrets};
use clawbridge_tasks::Tasks;
use clawbridge_tools::{Caller, Deployment, StandIns, Upstreams};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What the function needs to know about its deployment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `QUEUE_URL`.
    pub queue_url: String,
    /// `INTERACTIVE_QUEUE_URL`: what somebody waits for.
    pub interactive_queue_url: String,
    /// `EVENTS_TABLE`.
    pub events_table: String,
    /// `TASKS_TABLE`.
    pub tasks_table: String,
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `LIMITS_TABLE`.
    pub limits_table: String,
    /// `CHANNEL_TABLE`.
    pub channel_table: String,
    /// `CHANNEL_ENDPOINT`: the WebSocket API's stage as the management API knows it.
    pub channel_endpoint: String,
    /// `CHANNEL_LOOK_SECONDS`: how often turns of the channel are looked after; 15 where it is not set.
    pub channel_look: Option<Duration>,
    /// How old users' connections to the channel get: an hour where it is not set.
    pub channel_age: Option<Duration>,
    /// `BRIDGE_URL`: where `bridge:` addresses of tools lead; empty if nowhere.
    pub bridge_url: String,
    /// `PUBLIC_URL`: where upstreams can reach the bridge, to answer later; else `BRIDGE_URL`.
    pub public_url: String,
    /// `METRICS_NAMESPACE`: the CloudWatch namespace of the metrics in the log; none where it is not set.
    pub metrics_namespace: Option<String>,
    /// `SECRET_PREFIX`, `clawbridge` unless the stack says otherwise.
    pub secret_prefix: String,
    /// Where tools' calls are led instead of to their upstreams. Only tests set the variable, `UPSTREAMS`; AWS knows none.
    pub upstreams: Option<Upstreams>,
}

/// The function with its clients and caches. Clones share them.
#[derive(Clone, Debug)]
pub struct Worker {
    events: Events,
    tasks: Tasks,
    registry: Registry,
    limits: Limits,
    secrets: Secrets,
    connections: Connections,
    queues: Queues,
    channel: Channel,
    deployment: Deployment,
    public_url: Arc<str>,
    loaded: Arc<Mutex<Option<Loaded>>>,
    catching_up: catch_up::Memory,
    pace: deliver::Pace,
    filters: subscribers::Filters,
    told: happenings::Told,
}

/// The names of tools' secrets come from bridge.toml, not from strangers: a secret that was just made or changed may be read at once, so
/// that a person who mends one and runs a failed task again sees it work.
fn ages() -> Ages {
    Ages { missing: Duration::from_secs(1), settle: Duration::from_secs(1), ..Ages::default() }
}

/// A configuration version and what follows from it.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    number: u64,
    pub(crate) config: Arc<Compiled>,
    pub(crate) caller: Caller,
    pub(crate) outbound: Outbound,
}

/// Why a message must come back: the bridge could not read or record it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Message(#[from] clawbridge_queue::MessageError),
    #[error(transparent)]
    Events(#[from] clawbridge_events::StoreError),
    #[error(transparent)]
    Tasks(#[from] clawbridge_tasks::StoreError),
    #[error(transparent)]
    Queue(#[from] SendError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("{0}")]
    Other(String),
}

impl Trouble {
    fn code(&self) -> &'static str {
        match self {
            Trouble::Message(_) => "MESSAGE_UNREADABLE",
            Trouble::Events(_) => "EVENTS_UNAVAILABLE",
            Trouble::Tasks(_) => "TASKS_UNAVAILABLE",
            Trouble::Queue(_) => "QUEUE_UNAVAILABLE",
            Trouble::Registry(_) => "CONFIG_UNAVAILABLE",
            Trouble::Channel(error) => error.code(),
            Trouble::Other(_) => "BRIDGE_FAILED",
        }
    }
}

impl Worker {
    /// From the environment that the template sets.
    ///
    /// # Errors
    /// A variable is missing; the message names it.
    pub fn from_environment() -> Result<Worker, AwsError> {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let need = |name| read(name).ok_or(AwsError::MissingVariable(name));
        let upstreams = read("UPSTREAMS").map(|url| Upstreams::new(&url, StandIns::Never)).transpose();
        let settings = Settings {
            queue_url: need("QUEUE_URL")?,
            interactive_queue_url: need("INTERACTIVE_QUEUE_URL")?,
            events_table: need("EVENTS_TABLE")?,
            tasks_table: need("TASKS_TABLE")?,
            registry_table: need("REGISTRY_TABLE")?,
            limits_table: need("LIMITS_TABLE")?,
            channel_table: need("CHANNEL_TABLE")?,
            channel_endpoint: need("CHANNEL_ENDPOINT")?,
            channel_look: read("CHANNEL_LOOK_SECONDS").and_then(|text| text.parse().ok()).map(Duration::from_secs),
            channel_age: None,
            bridge_url: read("BRIDGE_URL").unwrap_or_default(),
            metrics_namespace: read("METRICS_NAMESPACE"),
            public_url: read("PUBLIC_URL").or_else(|| read("BRIDGE_URL")).unwrap_or_default(),
            secret_prefix: read("SECRET_PREFIX").unwrap_or_else(|| "clawbridge".to_owned()),
            upstreams: upstreams.map_err(|error| AwsError::InvalidVariable("UPSTREAMS", error.to_string()))?,
        };
        Worker::new(&Environment::of_this_process(), settings)
    }

    /// With the clients of `environment`.
    ///
    /// # Errors
    /// See [`sdk_config`].
    pub fn new(environment: &Environment, settings: Settings) -> Result<Worker, AwsError> {
        if let Some(namespace) = settings.metrics_namespace {
            clawbridge_journal::measure(namespace);
        }
        let config = sdk_config(environment)?;
        let tables = aws_sdk_dynamodb::Client::new(&config);
        let secrets = aws_sdk_secretsmanager::Client::new(&config);
        let registry = Registry::new(tables.clone(), settings.registry_table.clone());
        let queues = Queues::new(aws_sdk_sqs::Client::new(&config), settings.queue_url, settings.interactive_queue_url);
        let gateway = clawbridge_channel::management_client(&config, settings.channel_endpoint);
        let channel = Channel::new(
            tables.clone(),
            queues.clone(),
            gateway,
            ChannelSettings {
                table: settings.channel_table,
                registry: registry.clone(),
                pace: Pace::of(settings.channel_look, settings.channel_age),
            },
        );
        Ok(Worker {
            channel,
            queues,
            registry,
            events: Events::new(tables.clone(), settings.events_table),
            tasks: Tasks::new(tables.clone(), settings.tasks_table),
            limits: Limits::new(&tables, settings.limits_table, format!("{:032x}", fastrand::u128(..))),
            connections: Connections::new(
                tables,
                secrets.clone(),
                clawbridge_connections::Settings {
                    registry_table: settings.registry_table,
                    secret_prefix: settings.secret_prefix.clone(),
                },
            ),
            secrets: Secrets::new(secrets, ages()),
            deployment: Deployment {
                bridge_url: settings.bridge_url.into(),
                secret_prefix: settings.secret_prefix.into(),
                upstreams: settings.upstreams,
            },
            public_url: settings.public_url.trim_end_matches('/').into(),
            loaded: Arc::default(),
            catching_up: catch_up::Memory::default(),
            pace: deliver::Pace::default(),
            filters: subscribers::Filters::default(),
            told: happenings::Told::default(),
        })
    }

    /// The configuration in use, with the caller that it makes.
    pub(crate) async fn loaded(&self) -> Result<Loaded, Trouble> {
        let version = self.registry.current().await?;
        // No half-made state between statements, so a panic elsewhere leaves the slot usable.
        let mut slot = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loaded) = &*slot
            && loaded.number == version.number
        {
            return Ok(loaded.clone());
        }
        let caller = Caller::new(
            version.config.clone(),
            self.secrets.clone(),
            Some(self.connections.clone()),
            self.deployment.clone(),
        );
        let outbound = Outbound::new(version.config.clone());
        let loaded = Loaded { number: version.number, config: version.config, caller, outbound };
        clawbridge_journal::write(&Entry::ConfigLoaded { version: version.number });
        *slot = Some(loaded.clone());
        Ok(loaded)
    }

    /// Works one message's text. `Err` means that it must come back.
    async fn work(&self, text: &str, deadline: Timestamp) -> Result<(), Trouble> {
        match Message::decode(text)? {
            Message::Event(event) => self.event(event, deadline).await,
            Message::Part(part) => {
                Ok(self.events.put_part(&part.nonce, part.index, &part.data, Timestamp::now()).await?)
            }
            Message::Replay(replay) => self.replay(&replay, deadline).await,
            Message::Redeliver(message) => self.redeliver(message).await,
            Message::Task(task) => self.task(&task, deadline).await,
            Message::Answer(answer) => self.answered(&answer, deadline).await,
            Message::Submit(submit) => self.submitted(submit, deadline).await,
            Message::SourceSecret(message) => self.learn(&message).await,
            // Boxed: it is deep, and seldom.
            Message::Connection(message) => Box::pin(self.wish(&message, deadline)).await,
            Message::CatchUp(message) => {
                self.catch_up(&message, deadline).await;
                Ok(())
            }
            Message::Channel(message) => Ok(Box::pin(self.channel.handle(&message, Timestamp::now())).await?),
        }
    }
}
