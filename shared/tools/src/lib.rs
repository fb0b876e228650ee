//! Tools: one declared call of an external API, from typed input to typed output.
//!
//! Around each call, in this order: input schema, credentials, request, classification of the answer, projection, output schema. Nothing is called that
//! is not public unless allowed, redirects are not followed, answers are read to a bound.

mod address;
mod call;
mod classify;
mod client;
mod outbound;
mod redact;

pub use address::is_public;
pub use call::{Called, Caller, Deployment, credential};
pub use classify::{Answer, classify};
pub use client::{Received, client_for_commands};
pub use outbound::Outbound;
pub use redact::Redaction;
