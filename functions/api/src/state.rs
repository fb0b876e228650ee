//! What the function stands on: clients, and tokens that were looked up within seconds.

use crate::allowance::Strangers;
use crate::problem::{Code, Problem};
use aws_sdk_secretsmanager::Client as SecretsClient;
use aws_sdk_sqs::Client as SqsClient;
use axum::http::{HeaderValue, header};
use clawbridge_access::{Caller, Presented, Rate, TokenHash, TokenRecord, admit};
use clawbridge_aws::{AwsError, Environment, sdk_config};
use clawbridge_clock::Timestamp;
use clawbridge_events::Events;
use clawbridge_limits::Limits;
use clawbridge_queue::Queues;
use clawbridge_registry::{Registry, USE_NOTED_EVERY};
use clawbridge_submit::Desk;
use clawbridge_tasks::Tasks;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long a token that was looked up is believed: a revoked one is refused after it at the latest, at once by who revoked it.
pub const TOKENS_KEPT: Duration = Duration::from_secs(5);

/// The most tokens that are remembered.
const MAX_KEPT: usize = 1000;

/// What the function needs to know about its deployment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `QUEUE_URL`.
    pub queue_url: String,
    /// `INTERACTIVE_QUEUE_URL`.
    pub interactive_queue_url: String,
    /// `DEAD_LETTER_QUEUE_URL`.
    pub dead_letter_queue_url: String,
    /// `EVENTS_TABLE`.
    pub events_table: String,
    /// `TASKS_TABLE`.
    pub tasks_table: String,
    /// `REGISTRY_TABLE`.
    pub registry_table: String,
    /// `LIMITS_TABLE`.
    pub limits_table: String,
    /// `API_RATE` with
    /// `API_BURST`: how often each token may be used that has no rate of its own, [`Rate::DEFAULT`] unless the stack says otherwise.
    pub rate: Rate,
    /// `SECRET_PREFIX`, `clawbridge` unless the stack says otherwise.
    pub secret_prefix: String,
}

/// The function with its clients and caches. Clones share them.
#[derive(Clone, Debug)]
pub struct Api {
    pub(crate) settings: Settings,
    pub(crate) registry: Registry,
    pub(crate) tasks: Tasks,
    pub(crate) events: Events,
    pub(crate) queues: Queues,
    pub(crate) desk: Desk,
    pub(crate) limits: Limits,
    pub(crate) strangers: Arc<Strangers>,
    pub(crate) sqs: SqsClient,
    pub(crate) secrets: SecretsClient,
    pub(crate) started: Instant,
    tokens: Arc<Mutex<HashMap<TokenHash, Known>>>,
}

#[derive(Debug)]
struct Known {
    record: Option<TokenRecord>,
    looked_up: Instant,
    use_noted: Option<Instant>,
}

impl Api {
    /// From the environment that the template sets.
    ///
    /// # Errors
    /// A variable is missing; the message names it.
    pub fn from_environment() -> Result<Api, AwsError> {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let needed = |name| read(name).ok_or(AwsError::MissingVariable(name));
        let settings = Settings {
            queue_url: needed("QUEUE_URL")?,
            interactive_queue_url: needed("INTERACTIVE_QUEUE_URL")?,
            dead_letter_queue_url: needed("DEAD_LETTER_QUEUE_URL")?,
            events_table: needed("EVENTS_TABLE")?,
            tasks_table: needed("TASKS_TABLE")?,
            registry_table: needed("REGISTRY_TABLE")?,
            limits_table: needed("LIMITS_TABLE")?,
            rate: rate(read("API_RATE").as_deref(), read("API_BURST").as_deref()),
            secret_prefix: read("SECRET_PREFIX").unwrap_or_else(|| "clawbridge".to_owned()),
        };
        Api::new(&Environment::of_this_process(), settings)
    }

    /// With the clients of `environment`.
    ///
    /// # Errors
    /// See [`sdk_config`].
    pub fn new(environment: &Environment, settings: Settings) -> Result<Api, AwsError> {
        let config = sdk_config(environment)?;
        let tables = aws_sdk_dynamodb::Client::new(&config);
        let sqs = SqsClient::new(&config);
        let tasks = Tasks::new(tables.clone(), settings.tasks_table.clone());
        let queues = Queues::new(sqs.clone(), settings.queue_url.clone(), settings.interactive_queue_url.clone());
        let writer = random::<8>().map(hex::encode).unwrap_or_default();
        Ok(Api {
            limits: Limits::new(&tables, settings.limits_table.clone(), writer),
            strangers: Arc::default(),
            registry: Registry::new(tables.clone(), settings.registry_table.clone()),
            events: Events::new(tables, settings.events_table.clone()),
            desk: Desk::new(tasks.clone(), queues.clone()),
            tasks,
            queues,
            sqs,
            secrets: SecretsClient::new(&config),
            started: Instant::now(),
            tokens: Arc::default(),
            settings,
        })
    }

    /// Who sends this `Authorization` header. One read for each token in [`TOKENS_KEPT`], one write in five minutes.
    pub(crate) async fn caller(&self, header: Option<&str>, now: Timestamp) -> Result<Caller, Problem> {
        let presented = Presented::parse(header).map_err(|error| unauthorized(error.to_string()))?;
        let record = self.record(presented.hash()).await?;
        let caller = admit(&presented, record.as_ref(), now).map_err(|error| unauthorized(error.to_string()))?;
        if self.use_is_to_be_noted(caller.hash()) {
            // It says when a token was last used, and is no reason to keep somebody out.
            drop(self.registry.note_token_use(caller.hash(), now).await);
        }
        Ok(caller)
    }

    async fn record(&self, hash: &TokenHash) -> Result<Option<TokenRecord>, Problem> {
        if let Some(known) = self.kept().get(hash)
            && known.looked_up.elapsed() < TOKENS_KEPT
        {
            return Ok(known.record.clone());
        }
        let record = self.registry.token(hash).await?;
        let mut kept = self.kept();
        let use_noted = kept.get(hash).and_then(|known| known.use_noted);
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, known| known.looked_up.elapsed() < TOKENS_KEPT);
        }
        if kept.len() < MAX_KEPT {
            kept.insert(hash.clone(), Known { record: record.clone(), looked_up: Instant::now(), use_noted });
        }
        Ok(record)
    }

    fn use_is_to_be_noted(&self, hash: &TokenHash) -> bool {
        match self.kept().get_mut(hash) {
            Some(known) if known.use_noted.is_none_or(|at| at.elapsed() >= USE_NOTED_EVERY) => {
                known.use_noted = Some(Instant::now());
                true
            }
            _ => false,
        }
    }

    /// Forgets what is known of a token that was revoked here.
    pub(crate) fn forget(&self, hash: &TokenHash) {
        self.kept().remove(hash);
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, HashMap<TokenHash, Known>> {
        // No half-made state between statements, so a panic elsewhere leaves the map usable.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the template lets nobody write is the default.
fn rate(rate: Option<&str>, burst: Option<&str>) -> Rate {
    let rate = rate.and_then(|text| text.parse().ok()).unwrap_or(Rate::DEFAULT);
    burst.and_then(|text| rate.with_burst(text.parse().ok()?)).unwrap_or(rate)
}

fn unauthorized(message: String) -> Problem {
    let challenge = HeaderValue::from_static("Bearer realm=\"clawbridge\"");
    let problem = Problem::new(Code::Unauthorized, message);
    Problem { headers: vec![(header::WWW_AUTHENTICATE, challenge)], ..problem }
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Problem::unavailable("no randomness"))?;
    Ok(bytes)
}
