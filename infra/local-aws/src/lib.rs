//! SQS, Secrets Manager, DynamoDB, API Gateway and the SQS event source on one machine.
//!
//! Stand-ins that the unchanged AWS SDK clients talk to, for one machine and one person. They hold what the bridge relies on; where they
//! differ from AWS, AWS is right. Known differences:
//!
//! - Signatures (SigV4) are not checked: whoever reaches the port may do everything. Bind it to loopback.
//! - A killed process loses nothing that was answered; a power cut may lose the last commits (SQLite, WAL, `synchronous=NORMAL`).
//! - SQS: no query protocol, no permissions, no in-flight limit, no KMS; a message move task is over when its start is answered.
//! - Secrets Manager: no policies, replicas, rotation schedules or random passwords.
//! - DynamoDB is [dynoxide](https://crates.io/crates/dynoxide-rs); its stream shard ids are shorter than AWS's clients accept.
//! - API Gateway, HTTP API: payload format 2.0 only; no throttling, no authorizers, no CORS. Where AWS documents no answer (headers
//!   too large, a body that never ends), 431 and 408 are given.
//! - API Gateway, WebSocket API: no authorizers, no route responses, no TLS, no compression; header names are in lower case. What AWS
//!   documents nowhere (pongs, the status of a `$connect` out of time, some close codes) is listed in [`websocket`].
//! - The event source mapping polls with one loop and does not slow down when the function fails.

pub mod api;
pub mod clock;
mod dynamodb;
pub mod gateway;
mod local;
pub mod mapping;
pub mod secrets;
mod server;
pub mod sqs;
mod store;
pub mod websocket;

pub use local::LocalAws;
pub use store::{OpenError, State};
