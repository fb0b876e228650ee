//! OAuth 2.0, the client's side: what is asked of an authorization server, and what its answers mean.
//!
//! Pure: bytes, times and random bytes come as arguments, requests and verdicts go out. `clawbridge-connections` sends and stores.

mod answer;
mod token_set;

pub use answer::{Refused, Retry};
pub use token_set::{TokenKind, TokenSet, Unreadable};
