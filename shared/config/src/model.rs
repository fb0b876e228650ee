//! The plain data of a document, defaults filled in.

mod provider;
mod tool;
mod words;

pub use provider::{Jwt, Provider};
pub(crate) use tool::default_attempts;
use tool::is_default;
pub use tool::{Auth, Carrier, Credential, Pages, Sign, Tls, Tool};
pub use words::{
    Algorithm, Assertion, ClientAuth, Effect, Encoding, Grant, IssuerCheck, Method, OnParked, PageKind, Revocation,
    SecretEncoding, TimestampUnit, TokenBody,
};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limit::Limit;
use crate::provider::Lifetime;
use crate::units::Cidr;

/// A document. As JSON it has the form of bridge.toml, so that the same rules apply to both.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The tools, by name.
    pub tools: BTreeMap<String, Tool>,
    /// The routes, in the order in which they are tried. All that match are taken.
    pub routes: Vec<Route>,
    /// Agents that routes ask, or whose tasks wait otherwise than the rest, by name. Left out where there is none, so that a bridge from
    /// before there were any can read the document.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub agents: BTreeMap<String, Agent>,
    /// Logs of deliveries at providers that never send again, by the name of their source. Left out where there is none, so that a bridge
    /// from before there were any can read the document.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub catch_up: BTreeMap<String, CatchUp>,
    /// OAuth providers, by name. Left out where there is none, so that a bridge from before there were any can read the document.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub providers: BTreeMap<String, Provider>,
    /// Which addresses may be called.
    pub network: Network,
    /// Bounds on what the bridge does by itself.
    pub limits: Limits,
}

/// A rule that turns events into tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Its name, unique in the document.
    pub name: String,
    /// The source whose events it takes.
    pub source: String,
    /// The pattern of the types that it takes.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The jq program over the event that lets it pass. `None`: all pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// What it leads to.
    #[serde(flatten)]
    pub target: Target,
    /// The jq program over the event that makes the tool's input, or the prompt.
    pub input: String,
    /// The jq program over the event that makes the order key: tasks of one key run one after the other. `None`: side by side. Left out
    /// where there is none, so that a bridge from before there was one can read the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// What the others of the same order key do while a task is parked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub order_on_parked: OnParked,
}

/// What a route leads to. One key of the route, `tool` or `agent`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// This tool is called.
    Tool(String),
    /// This agent is asked.
    Agent(String),
}

/// An agent: how long tasks wait for it. Its keys are in the registry, not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// What it is for, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How long a task waits, from when it was made: for the agent to connect, for turns before it, for the answer.
    pub wait: Lifetime,
    /// How long the agent may take once the task was sent to it. `None`: as long as the task waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_within: Option<Lifetime>,
}

impl Default for Agent {
    fn default() -> Self {
        Self { description: String::new(), wait: Lifetime::of_seconds(86_400), answer_within: None }
    }
}

/// A provider that never sends again, and where it keeps the log of what it delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "provider")]
pub enum CatchUp {
    /// GitHub: lists deliveries and redelivers on request.
    #[serde(rename = "github")]
    Github(GithubLog),
}

impl CatchUp {
    /// The words for the providers, as a document writes them.
    pub const PROVIDERS: &'static [&'static str] = &["github"];

    /// The word for the provider.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        match self {
            Self::Github(_) => "github",
        }
    }

    /// The name of the secret that the provider's API is asked with.
    #[must_use]
    pub fn secret(&self) -> &str {
        match self {
            Self::Github(log) => &log.secret,
        }
    }
}

/// The log of one webhook's deliveries at GitHub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubLog {
    /// The webhook: `repos/OWNER/REPO/hooks/ID` or `orgs/ORG/hooks/ID`.
    pub hook: String,
    /// The name of the secret that holds a token which may read the log and redeliver.
    pub secret: String,
    /// The API's address, without a slash at its end.
    #[serde(default = "default_github_api")]
    pub api: String,
}

pub(crate) fn default_github_api() -> String {
    "https://api.github.com".to_owned()
}

/// Which addresses may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// Addresses that are not public and may be called anyway.
    pub allow: Vec<Cidr>,
}

/// Bounds on what the bridge does by itself, and limits that tools share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// How many tasks may follow from each other: an event of a task makes a task, whose event makes a task, …
    pub max_hops: u32,
    /// Limits that tools name, `[limits.NAME]`. Beside `max_hops` in the document, as each is a table and it is none.
    #[serde(flatten)]
    pub shared: BTreeMap<String, Limit>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_hops: 8, shared: BTreeMap::new() }
    }
}
