//! The channel: users and agents, connected over WebSockets to functions that keep nothing in memory.
//!
//! | module | subject |
//! |---|---|
//! | `connections` | who connects, what they send, that they go |
//! | `user`, `create` | what users send: resuming, cancelling, joining; a turn checked and set on its way |
//! | `turns` | a turn through its lines to the agent; what follows from its end |
//! | `connector`, `actor` | what agents' connectors send: ours; others', which have to be put in order first |
//! | `responses` | a response is changed, and its events posted in order |
//! | `look` | what crashes and silence left undone is ended |
//! | `ask` | what the bridge itself asks agents |
//! | `store`, `records`, `gateway` | the table, what is in it, API Gateway's `@connections` |
//! | `names`, `bucket` (pure) | whose conversation is which; how many frames are too many |
//!
//! What frames and answers mean is decided in `clawbridge_responses`; here is what is kept, in which order things are written, and who is told.

mod actor;
mod ask;
mod bucket;
mod connections;
mod connector;
mod create;
mod gateway;
mod look;
mod names;
mod public;
mod records;
mod responses;
mod store;
mod turns;
mod user;

pub use gateway::management_client;
pub use look::Pace;
pub use public::{AgentState, Asked, ChannelError, Ended, Prompt, TaskRef};

use clawbridge_access::is_token_name;
use clawbridge_queue::Queues;
use clawbridge_registry::Registry;
use gateway::Gateway;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use store::Store;

/// How long a list of agents is believed.
const FRESH: Duration = Duration::from_secs(2);

/// What the channel needs to know about its deployment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `CHANNEL_TABLE`.
    pub table: String,
    /// Where agents are known.
    pub registry: Registry,
    /// When turns are looked after.
    pub pace: Pace,
}

/// The channel with its clients. Clones share them.
#[derive(Clone, Debug)]
pub struct Channel {
    store: Store,
    gateway: Gateway,
    queues: Queues,
    registry: Registry,
    pace: Pace,
    memory: Arc<Mutex<connections::Memory>>,
    agents: Arc<tokio::sync::Mutex<Option<Known>>>,
}

/// The agents' names, and when they were read.
type Known = (Instant, Vec<String>);

impl Channel {
    /// With these clients. `gateway` has the stage's address as its endpoint: `https://API.execute-api.REGION.amazonaws.com/responses`.
    #[must_use]
    pub fn new(
        tables: aws_sdk_dynamodb::Client,
        queues: Queues,
        gateway: aws_sdk_apigatewaymanagement::Client,
        settings: Settings,
    ) -> Channel {
        Channel {
            store: Store::new(tables, settings.table),
            gateway: Gateway::new(gateway),
            queues,
            registry: settings.registry,
            pace: settings.pace,
            memory: Arc::default(),
            agents: Arc::default(),
        }
    }

    /// The names of all agents, at most two seconds old; with the one that `model` names, if it was made since.
    pub(crate) async fn agent_names(&self, model: &str) -> Result<Vec<String>, ChannelError> {
        let mut kept = self.agents.lock().await;
        let mut names = match &*kept {
            Some((at, names)) if at.elapsed() < FRESH => names.clone(),
            Some(_) | None => {
                let names: Vec<String> = self.registry.agents().await?.into_iter().map(|agent| agent.name).collect();
                *kept = Some((Instant::now(), names.clone()));
                names
            }
        };
        drop(kept);
        let named = names::named(model);
        if is_token_name(named)
            && !names.iter().any(|name| name == named)
            && self.registry.agent(named).await?.is_some()
        {
            names.push(named.to_owned());
        }
        Ok(names)
    }
}
