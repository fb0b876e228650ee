//! Who may do what through the API. Pure: tokens are made of randomness that is passed in, and judged at a time that is passed in.
//!
//! A [`Token`] is shown once; kept is its [`TokenHash`] in a [`TokenRecord`]. What comes with a request is [`Presented`], and only [`admit`] makes a
//! [`Caller`] of it, who is asked for each thing whether [`Caller::may`].

mod caller;
mod rate;
mod scope;
mod token;

pub use caller::{Caller, Refused, TokenRecord, admit};
pub use rate::{Rate, RateError};
pub use scope::{Scope, ScopeError, Wish};
pub use token::{Presented, Token, TokenError, TokenHash, is_token_name};
