//! What went wrong with an attempt: a code that an agent can act on, a class that the worker acts on.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Stable codes, as an agent and an operator see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// 429: the upstream wants fewer calls.
    RateLimited,
    /// 408, 425, 503, or no connection.
    Unavailable,
    /// No complete answer in time.
    Timeout,
    /// 500, 502, 504.
    UpstreamError,
    /// The input does not fit the tool, or the upstream refused it (400, 422, other 4xx).
    ValidationError,
    /// 409.
    Conflict,
    /// 401, also after the credential was read again.
    AuthenticationFailed,
    /// 403.
    Forbidden,
    /// 404, 410.
    NotFound,
    /// An answer that is none of these, is malformed, or breaks the output schema.
    UnexpectedResponse,
    /// The secret that the tool names is missing or cannot be read.
    CredentialUnavailable,
    /// The account that the tool uses has to be authorised again.
    ConnectionExpired,
    /// The tool is not declared (any more).
    UnknownTool,
    /// The address is not public and not allowed.
    AddressForbidden,
    /// The outcome of an earlier attempt is not known, and the tool must not act twice.
    OutcomeUnknown,
    /// The worker died or was cut off in too many attempts.
    AttemptsExhausted,
    /// The upstream took it and said later that it failed.
    JobFailed,
    /// The agent did not connect in time.
    AgentOffline,
    /// The agent has the prompt, or was there to take it, and did not answer in time.
    AgentTimeout,
    /// The agent said that it failed, or its answer broke off.
    AgentFailed,
    /// The agent cannot be asked this, or there is none of the name.
    AgentRefused,
    /// A person decided that it has failed.
    GivenUp,
    /// A person took it back.
    Cancelled,
}

impl Code {
    /// The code as it is written everywhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Code::RateLimited => "RATE_LIMITED",
            Code::Unavailable => "UNAVAILABLE",
            Code::Timeout => "TIMEOUT",
            Code::UpstreamError => "UPSTREAM_ERROR",
            Code::ValidationError => "VALIDATION_ERROR",
            Code::Conflict => "CONFLICT",
            Code::AuthenticationFailed => "AUTHENTICATION_FAILED",
            Code::Forbidden => "FORBIDDEN",
            Code::NotFound => "NOT_FOUND",
            Code::UnexpectedResponse => "UNEXPECTED_RESPONSE",
            Code::CredentialUnavailable => "CREDENTIAL_UNAVAILABLE",
            Code::ConnectionExpired => "CONNECTION_EXPIRED",
            Code::UnknownTool => "UNKNOWN_TOOL",
            Code::AddressForbidden => "ADDRESS_FORBIDDEN",
            Code::OutcomeUnknown => "OUTCOME_UNKNOWN",
            Code::AttemptsExhausted => "ATTEMPTS_EXHAUSTED",
            Code::JobFailed => "JOB_FAILED",
            Code::AgentOffline => "AGENT_OFFLINE",
            Code::AgentTimeout => "AGENT_TIMEOUT",
            Code::AgentFailed => "AGENT_FAILED",
            Code::AgentRefused => "AGENT_REFUSED",
            Code::GivenUp => "GIVEN_UP",
            Code::Cancelled => "CANCELLED",
        }
    }
}

/// What kind of failure it was, which decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// Passing: try again.
    Transient,
    /// The upstream is broken: try again, then give up.
    Server,
    /// The request is wrong: never again.
    Client,
    /// The credential is wrong: never again by itself.
    Auth,
    /// There is no such thing there: a result, not an alarm.
    Missing,
    /// Nobody can say: keep the evidence.
    Unknown,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskError {
    /// Stable code.
    pub code: Code,
    /// What to do about it.
    pub class: Class,
    /// For a person: what failed and what to do. Holds no secret.
    pub message: String,
    /// HTTP status of the upstream, if it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The beginning of an answer that could not be used, credentials removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// Whether the upstream may have acted.
    #[serde(default)]
    pub may_have_acted: bool,
    /// How long the upstream asked to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl TaskError {
    /// An error before anything was sent.
    #[must_use]
    pub fn unsent(code: Code, class: Class, message: impl Into<String>) -> TaskError {
        TaskError {
            code,
            class,
            message: message.into(),
            status: None,
            evidence: None,
            may_have_acted: false,
            retry_after: None,
        }
    }
}
