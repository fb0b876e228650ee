//! What an authorization server's refusal means.

use std::time::Duration;

/// Why there are no tokens, typed by what is done next. Texts hold nothing that came from the server but registered error codes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `invalid_grant`: what was presented (refresh token, code, assertion) is not good, or no longer.
    #[error("{code}: {reason}")]
    Grant {
        /// The server's error code, `invalid_grant` and what some providers say in its place.
        code: String,
        /// In plain words.
        reason: String,
    },
    /// `invalid_client` and its like: the stack's own registration is wrong. A person has to mend it; the tokens may be good.
    #[error("{code}: {reason}")]
    Client {
        /// The server's error code.
        code: String,
        /// In plain words.
        reason: String,
    },
    /// Not now: overloaded, unreachable, cut off, an answer that is none. Tried again.
    #[error("{0}")]
    Later(Retry),
    /// The server asks for a DPoP proof with this nonce (RFC 9449, section 8). Asked again at once.
    #[error("a proof with a nonce is wanted")]
    Nonce(String),
}

/// A refusal that may pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Retry {
    /// A stable code: `RATE_LIMITED`, `UNAVAILABLE`, `TIMEOUT`, `UPSTREAM_ERROR`, `UNEXPECTED_RESPONSE`.
    pub code: &'static str,
    /// In plain words.
    pub reason: String,
    /// How long the server wants to be left alone.
    pub after: Option<Duration>,
    /// Whether the request may have been received: then what it presented may be spent.
    pub may_have_acted: bool,
}
