//! Who may do what through the API. Pure: tokens are made of randomness that is passed in, and judged at a time that is passed in.
//!
//! A [`Token`] is shown once; kept is its [`TokenHash`] in a [`TokenRecord`]. What comes with a request is [`Presented`], and only [`admit`] makes a
//! [`Caller`] of it, who is asked for each thing whether [`Caller::may`]. Agents have an app key and an app secret instead: [`PresentedAgent`],
//! [`AgentRecord`], [`admit_agent`].

mod agent;
mod caller;
mod rate;
mod scope;
mod token;

pub use agent::{
    Agent, AgentKeyError, AgentRecord, AgentRefused, AppKey, AppSecret, AppSecretHash, KeptSecret, PresentedAgent,
    admit_agent,
};
pub use caller::{Caller, Refused, TokenRecord, admit};
pub use rate::{Rate, RateError};
pub use scope::{Scope, ScopeError, Wish};
pub use token::{Presented, Token, TokenError, TokenHash, is_token_name};
