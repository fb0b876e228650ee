//! SQS, Secrets Manager, DynamoDB, API Gateway and the SQS event source on one machine.

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

pub use local::LocalAws;
pub use store::{OpenError, State};
