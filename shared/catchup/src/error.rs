//! Why a run could not do its work.

use clawbridge_tasks::{Code, TaskError};
use std::fmt;

/// Why a provider's log could not be read, or nothing could be asked for. Holds no secret, and nothing of an answer but its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatchUpError {
    /// The secret with the token is missing or cannot be sent: somebody has to set it.
    NoToken(String),
    /// The provider does not know the token (401): it expired, was revoked or mistyped.
    TokenRefused,
    /// The token may not do this (403).
    TokenForbidden,
    /// There is no such webhook, or the token may not see it (404).
    HookNotFound,
    /// The address of the API is not public and not allowed.
    AddressForbidden(String),
    /// The provider did not answer, or not now: the next run tries again.
    Unavailable(String),
    /// An answer that is not the provider's log.
    Unexpected(String),
}

impl CatchUpError {
    /// Stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            CatchUpError::NoToken(_) => "TOKEN_UNAVAILABLE",
            CatchUpError::TokenRefused => "TOKEN_REFUSED",
            CatchUpError::TokenForbidden => "TOKEN_FORBIDDEN",
            CatchUpError::HookNotFound => "HOOK_NOT_FOUND",
            CatchUpError::AddressForbidden(_) => "ADDRESS_FORBIDDEN",
            CatchUpError::Unavailable(_) => "PROVIDER_UNAVAILABLE",
            CatchUpError::Unexpected(_) => "UNEXPECTED_RESPONSE",
        }
    }

    /// Whether it passes without anybody doing something about it.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, CatchUpError::Unavailable(_))
    }
}

impl fmt::Display for CatchUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What the token needs: https://docs.github.com/en/rest/repos/webhooks and …/rest/orgs/webhooks.
        const NEEDS: &str = "it needs \"Webhooks\" (write) of the repository or organization, or the scope admin:repo_hook or admin:org_hook";
        match self {
            CatchUpError::NoToken(reason) => f.write_str(reason),
            CatchUpError::TokenRefused => {
                write!(f, "the provider refused the token (401); set the secret again with one that is valid: {NEEDS}")
            }
            CatchUpError::TokenForbidden => {
                write!(f, "the token may not read the log of deliveries or redeliver (403): {NEEDS}")
            }
            CatchUpError::HookNotFound => {
                write!(f, "there is no such webhook, or the token may not see it (404): look at hook; {NEEDS}")
            }
            CatchUpError::AddressForbidden(reason) | CatchUpError::Unavailable(reason) => f.write_str(reason),
            CatchUpError::Unexpected(reason) => write!(f, "{reason}; look at api and hook"),
        }
    }
}

impl std::error::Error for CatchUpError {}

impl From<TaskError> for CatchUpError {
    fn from(error: TaskError) -> CatchUpError {
        match error.code {
            Code::AddressForbidden => CatchUpError::AddressForbidden(error.message),
            // Where Secrets Manager did not answer, nobody has to set anything.
            Code::CredentialUnavailable if error.class != clawbridge_tasks::Class::Transient => {
                CatchUpError::NoToken(error.message)
            }
            _ => CatchUpError::Unavailable(error.message),
        }
    }
}
