//! Tools: one declared call of an external API, from typed input to typed output.
//!
//! Around each call, in this order: input schema, credentials, request, classification of the answer, projection, output schema. Nothing is called that
//! is not public unless allowed, redirects are not followed, answers are read to a bound.

mod call;
mod classify;
mod credentials;
mod elsewhere;
mod excerpt;
mod form;
mod forward;
mod graphql;
mod pages;
mod plan;
mod quota;
mod redact;
mod request;
mod sign;
mod tokens;

pub use call::{Called, Caller, Deployment, check_output};
pub use classify::{Answer, classify, retry_after};
pub use credentials::credential;
pub use elsewhere::{Led, NotLoopback, StandIns, Upstreams, failure_header, is_ours};
pub use plan::Plan;
pub use quota::{Quota, quota, request_id};
pub use redact::Redaction;
pub use request::Sender;
