//! The local services over the wire, as a client that is not ours sees them: HTTP and JSON.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod dynamodb;
mod restart;
mod secrets;
mod server;
mod sqs;
