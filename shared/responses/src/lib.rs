//! The channel's protocol: what users and agents say to each other, and how one way of saying it becomes another.
//!
//! ```text
//! user ── response.create ──▶ frames ─▶ session ─▶ dialects::encode_request ─▶ agent's connector
//! user ◀── response.* events ── machine ◀── AgentEvent ◀── order ◀── dialects::decode ◀── agent's connector
//!                                                                 ◀── sse ◀── OpenClaw gateway (for a connector of ours)
//! ```
//!
//! Users speak Open Responses (specification of 2026-04-24) over a WebSocket; agents speak what their connector speaks. In between stands
//! [`AgentEvent`], which belongs to no dialect.
//!
//! | module | subject |
//! |---|---|
//! | [`model`] | a response, its items, the input, and their JSON |
//! | [`machine`] | one answer: agent events in, Open Responses events out |
//! | [`dialects`] | connectors' frames, both ways; our own protocol, `bridge.v1` |
//! | [`correlate`] | to which response a frame belongs that does not say so |
//! | [`order`] | frames that arrive out of order |
//! | [`frames`] | what users send; what they are told when it is wrong |
//! | [`session`] | whose turn it is; what a turn may continue |
//! | [`sse`] | the gateway's answers to `POST /v1/responses` |
//!
//! Everything here is pure: bytes, ids and times are arguments, and what must outlive a call ([`machine::Machine`],
//! [`order::Numbered`], [`order::HeldBack`], [`session::Line`], [`session::Chain`], [`correlate::Turns`]) can be serialised.

mod agent;
pub mod correlate;
pub mod dialects;
pub mod frames;
mod ids;
mod json;
pub mod machine;
pub mod model;
pub mod order;
pub mod session;
pub mod sse;
#[cfg(test)]
mod testing;
mod words;

pub use agent::{AgentEvent, AgentFunctionCall};
pub use ids::{AgentKey, IdError, MAX_ID_CHARS, ResponseId, SessionId};
pub use json::MAX_DEPTH;
