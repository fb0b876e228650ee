//! The connector: it runs beside an OpenClaw gateway, dials out to the bridge's channel and speaks `bridge.v1` there, and makes each turn a
//! request on the gateway's loopback address.
//!
//! ```text
//! bridge ◀── bridge.v1 over wss ──▶ run ── Input ──▶ core { link, turns } ── Action ──▶ run ──▶ gateway ── POST /v1/responses ──▶ OpenClaw
//! ```
//!
//! | module | subject |
//! |---|---|
//! | [`settings`] | what it is told: a file, the environment, flags |
//! | [`timing`] | how long everything takes, and the back-off |
//! | [`link`] | connections: open, greet, beat, hand over, lose, open again |
//! | [`turns`] | turns: once each, in their session's order, one frame of each in flight |
//! | [`core`] | both together: inputs to actions |
//! | [`notice`] | what people and programs are told about it |
//! | [`gateway`] | the gateway's HTTP |
//! | [`run`] | sockets, tasks and the clock around the core |
//!
//! All but the last two are pure: time and randomness are arguments.

pub mod core;
pub mod gateway;
pub mod link;
pub mod notice;
pub mod run;
pub mod settings;
pub mod timing;
pub mod turns;

#[cfg(test)]
mod core_tests;
