//! The way out: HTTP clients that call nothing but what may be called.
//!
//! Whoever calls something outside (tools, catching up, authorization servers) does it through [`Clients`]: addresses are public or allowed by
//! `[network] allow`, checked after resolution and pinned for the connection; redirects are not followed, proxies not inherited, answers
//! read to a bound.

mod address;
mod client;
mod endpoint;
mod request;
mod tls;

pub use address::is_public;
pub use client::{Clients, Forbidden, Received, USER_AGENT, Via, client_for_commands, client_for_streams, exchange};
pub use endpoint::{ENDPOINT_BODY_BYTES, check_endpoint};
pub use request::{Outbound, Request};
pub use tls::{Identity, unusable};
