//! A tool, as a document declares it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::words::{Effect, Method};
use crate::units::{ByteSize, Timeout};

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

pub(crate) fn default_attempts() -> u32 {
    5
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
