//! A tool, as a document declares it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::words::{Algorithm, Effect, Encoding, Method, PageKind, SecretEncoding, TimestampUnit};
use crate::job::Job;
use crate::limit::{Circuit, RetryBudget, ToolLimit};
use crate::units::{ByteSize, Timeout};
use crate::verify::{Retention, Verify};

/// A declared external action: one HTTP request, or one for each page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// What it does, for people and models.
    #[serde(default)]
    pub description: String,
    /// The HTTP method. Of a GraphQL tool it is POST.
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
    /// The GraphQL document with the tool's one operation. With it, the body is made of it and `variables`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphql: Option<String>,
    /// The jq program that makes the operation's variables of the input. `None`: the fields of the input that the operation declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<String>,
    /// Whether GraphQL data beside errors is an answer. Otherwise it is an error.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// How the pages of a list are followed. `None`: one request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pages: Option<Pages>,
    /// The credential to send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// How requests are signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign: Option<Sign>,
    /// The client certificate to show, and the authority to trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// How long one attempt may take.
    #[serde(default)]
    pub timeout: Timeout,
    /// How many attempts a task has, the first included.
    #[serde(default = "default_attempts")]
    pub attempts: u32,
    /// Whether its requests say which trace they belong to (`traceparent`).
    #[serde(default = "default_trace", skip_serializing_if = "Clone::clone")]
    pub trace: bool,
    /// What a repeated request does.
    pub effect: Effect,
    /// The header in which the API takes an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_header: Option<String>,
    /// The jq program that makes the idempotency key of the input. `None`: event id and route name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// How often it may be called. `None`: as often as there is work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<ToolLimit>,
    /// When it is left alone because it fails. `None`: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circuit: Option<Circuit>,
    /// How many of its calls may be retries. `None`: as many as attempts allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_budget: Option<RetryBudget>,
    /// How it is found out whether a call was made whose answer never came. Only for the effect `unsafe`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// Work that the upstream takes at once and finishes later. `None`: its answer is the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Job>,
    /// How long a task's record is kept after its last change: its result, and its key.
    #[serde(default, skip_serializing_if = "is_default")]
    pub result_retention: Retention,
    /// How much of a response is read.
    #[serde(default)]
    pub max_response: ByteSize,
    /// The JSON Schema of the input. `None`: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The jq program that makes the result of `{answer, status, headers, input}`. `None`: the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The JSON Schema of the output, which is the result. `None`: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
}

fn default_trace() -> bool {
    true
}

pub(crate) fn default_attempts() -> u32 {
    5
}

/// What says nothing new is left out, so that a bridge from before there was the key can read the document.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where a tool's credential is and how it is sent. The credential itself is nowhere in a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AuthForm", into = "AuthForm")]
pub struct Auth {
    /// Where it comes from.
    pub credential: Credential,
    /// What carries it.
    pub carrier: Carrier,
}

/// Where a credential comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// The secret of this name.
    Secret(String),
    /// The access token of a connection: `PROVIDER/ACCOUNT`, the account as it is or a template, `{field}` of the input.
    Connection(String),
}

impl Credential {
    /// What a document calls it. It is what tools that share a limit by credential have in common.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Secret(name) | Self::Connection(name) => name,
        }
    }
}

/// What carries a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// A header.
    Header {
        /// Its name.
        name: String,
        /// What stands before the credential in it.
        prefix: String,
    },
    /// A parameter of the URL's query.
    Query {
        /// Its name.
        name: String,
    },
    /// The header `Authorization` in the scheme Basic (RFC 7617).
    Basic {
        /// The user, whose password the secret is. `None`: the secret is `user:password`.
        user: Option<String>,
    },
}

/// [`Auth`] as a document writes it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthForm {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    connection: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    basic: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user: Option<String>,
}

impl From<Auth> for AuthForm {
    fn from(auth: Auth) -> Self {
        let (secret, connection) = match auth.credential {
            Credential::Secret(name) => (Some(name), None),
            Credential::Connection(name) => (None, Some(name)),
        };
        let form = Self { secret, connection, header: None, prefix: None, query: None, basic: false, user: None };
        match auth.carrier {
            Carrier::Header { name, prefix } => Self { header: Some(name), prefix: Some(prefix), ..form },
            Carrier::Query { name } => Self { query: Some(name), ..form },
            Carrier::Basic { user } => Self { basic: true, user, ..form },
        }
    }
}

impl TryFrom<AuthForm> for Auth {
    type Error = &'static str;

    fn try_from(form: AuthForm) -> Result<Self, Self::Error> {
        let credential = match (&form.secret, &form.connection) {
            (Some(name), None) => Credential::Secret(name.clone()),
            (None, Some(name)) => Credential::Connection(name.clone()),
            (Some(_), Some(_)) | (None, None) => return Err("auth has a secret or a connection"),
        };
        let carrier = match form {
            AuthForm { header: Some(name), prefix: Some(prefix), query: None, basic: false, user: None, .. } => {
                Carrier::Header { name, prefix }
            }
            AuthForm { header: None, prefix: None, query: Some(name), basic: false, user: None, .. } => {
                Carrier::Query { name }
            }
            AuthForm { header: None, prefix: None, query: None, basic: true, user, .. } => Carrier::Basic { user },
            _ => return Err("auth has header and prefix, or query, or basic"),
        };
        Ok(Self { credential, carrier })
    }
}

/// How a tool's requests are signed: an HMAC (RFC 2104) in a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sign {
    /// The name of the secret that is the key.
    pub secret: String,
    /// How the secret is written.
    pub secret_encoding: SecretEncoding,
    /// The hash.
    pub algorithm: Algorithm,
    /// What is signed: a template of `{method}`, `{host}`, `{path}`, `{query}`, `{timestamp}`, `{id}` and `{body}`.
    pub over: String,
    /// How the signature is written.
    pub encoding: Encoding,
    /// The header that carries the signature.
    pub header: String,
    /// What stands before it there: a template of `{timestamp}` and `{id}`.
    pub prefix: String,
    /// The header that carries the time of the signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// How the time is written.
    pub timestamp_unit: TimestampUnit,
    /// The header that carries the request's id, which is the task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
}

/// Mutual TLS: who a tool's requests come from, and which servers it believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The name of the secret with the client's certificate chain and private key, PEM. `None`: no certificate is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// The name of the secret with the authorities' certificates, PEM, in the place of the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// How the pages of a list are followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    /// What tells where the next page is.
    pub kind: PageKind,
    /// The jq program that makes the array of a page's items of its answer.
    pub items: String,
    /// The jq program over a page's answer: the next cursor, the next address, or whether there is more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The query parameter that asks for a page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// The field of the body that asks for a page; of a GraphQL tool the variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The number of the first page, or the offset of the first item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u32>,
    /// How many items a full page has: one with fewer is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u32>,
    /// The most pages that are asked for.
    pub max: u32,
    /// The most items of a result.
    pub max_items: u32,
}
