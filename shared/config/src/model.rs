//! The plain data of a document, defaults filled in.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::units::{ByteSize, Cidr, Timeout};
use crate::verify::{Retention, Verify};

/// A document. As JSON it has the form of bridge.toml, so that the same rules apply to both.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The tools, by name.
    pub tools: BTreeMap<String, Tool>,
    /// The routes, in the order in which they are tried. All that match are taken.
    pub routes: Vec<Route>,
    /// Logs of deliveries at providers that never send again, by the name of their source. Left out where there is none, so that a bridge
    /// from before there were any can read the document.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub catch_up: BTreeMap<String, CatchUp>,
    /// Which addresses may be called.
    pub network: Network,
    /// Bounds on what the bridge does by itself.
    pub limits: Limits,
}

/// A declared external action: one HTTP request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// What it does, for people and models.
    #[serde(default)]
    pub description: String,
    /// The HTTP method.
    pub method: Method,
    /// The URL template.
    pub url: String,
    /// Query parameters: templates by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
    /// Headers: templates by name, as written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// The jq program that makes the JSON body of the input. `None`: no body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The credential to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How long one attempt may take.
    #[serde(default)]
    pub timeout: Timeout,
    /// How many attempts a task has, the first included.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// What a repeated request does.
    pub effect: Effect,
    /// The header in which the API takes an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_header: Option<String>,
    /// The jq program that makes the idempotency key of the input. `None`: event id and route name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// How it is found out whether a call was made whose answer never came. Only for the effect `unsafe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// How long a task's record is kept after its last change: its result, and its key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub result_retention: Retention,
    /// How much of a response is read.
    #[serde(default)]
    pub max_response: ByteSize,
    /// The JSON Schema of the input. `None`: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The JSON Schema of the output. `None`: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

pub(crate) fn default_attempts() -> u32 {
    5
}

/// What says nothing new is left out, so that a bridge from before there was the key can read the document.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where a tool's credential is and how it is sent. The credential itself is nowhere in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// The name of the secret.
    pub secret: String,
    /// The header that carries it.
    pub header: String,
    /// What stands before it in the header.
    pub prefix: String,
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
    /// The tool to call.
    pub tool: String,
    /// The jq program over the event that makes the tool's input.
    pub input: String,
    /// The jq program over the event that makes the order key: tasks of one key run one after the other. `None`: side by side. Left out
    /// where there is none, so that a bridge from before there was one can read the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// What the others of the same order key do while a task is parked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub order_on_parked: OnParked,
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

/// Bounds on what the bridge does by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How many tasks may follow from each other: an event of a task makes a task, whose event makes a task, …
    pub max_hops: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_hops: 8 }
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word for it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// An HTTP method (RFC 9110, section 9; RFC 5789 for PATCH).
    Method {
        /// Read.
        Get = "GET",
        /// Read the headers only.
        Head = "HEAD",
        /// Whatever the API makes of it.
        Post = "POST",
        /// Replace.
        Put = "PUT",
        /// Change.
        Patch = "PATCH",
        /// Remove.
        Delete = "DELETE",
    }
}

impl Method {
    /// Whether a request of this method has the tool's input as its body, if nothing else is said.
    #[must_use]
    pub fn has_body(self) -> bool {
        matches!(self, Self::Post | Self::Put | Self::Patch)
    }

    /// What repeating a request of this method does, if nothing else is said (RFC 9110, section 9.2).
    #[must_use]
    pub fn effect(self, has_idempotency_header: bool) -> Effect {
        match self {
            Self::Get | Self::Head => Effect::Read,
            Self::Put | Self::Delete => Effect::Idempotent,
            Self::Post | Self::Patch if has_idempotency_header => Effect::Keyed,
            Self::Post | Self::Patch => Effect::Unsafe,
        }
    }
}

words! {
    /// What the tasks do that stand behind one that is parked.
    #[derive(Default)]
    OnParked {
        /// They wait until a person has settled it: nobody knows whether it was done, and they may count on that.
        #[default]
        Wait = "wait",
        /// They run.
        Skip = "skip",
    }
}

words! {
    /// What a repeated request does: it decides what happens when it is not known whether one went through.
    Effect {
        /// Changes nothing: it is repeated.
        Read = "read",
        /// Leaves what one request leaves: it is repeated.
        Idempotent = "idempotent",
        /// The API takes a key and acts once per key: it is repeated with the same key.
        Keyed = "keyed",
        /// Acts again: it is not repeated.
        Unsafe = "unsafe",
    }
}
