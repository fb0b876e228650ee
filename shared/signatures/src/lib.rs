//! Webhook signature schemes: bytes in, verdict out.
//!
//! Pure: no I/O and no clock. A [`Source`] (what a source secret holds: a scheme and its live signing secrets) and a [`Request`] go in,
//! [`verify`] answers with a [`Verified`] delivery or a [`Refusal`]. Only a verified delivery can be given a name.
//! [`sign`] is the inverse: the headers that a sender would add.
//!
//! Where a provider's public key must be fetched, [`wanted`] says so and [`verify_with`] takes it. [`greet`] answers what a provider asks without a
//! signature, [`receive`] says what a verified request is: a handshake, or events, each with a name of its own.
//!
//! A scheme is a row of data (`table`) wherever it can be: header, prefix, encoding, algorithm, what is signed, where the timestamp is and
//! how old it may be. The configurable `hmac` scheme is the same row written by an operator ([`HmacOptions`]).
//!
//! Rules that every scheme keeps:
//! - a received signature is decoded to bytes and compared with the MAC in constant time; text is never compared;
//! - a timestamp is ASCII digits of one fixed length, and is signed as the text that was received;
//! - the window is checked in both directions, after the MAC;
//! - a header that must have one value and has two is refused;
//! - an empty secret is refused when the source is configured, not when a request arrives.

mod code;
mod explain;
mod handshake;
mod identify;
mod mac;
mod options;
mod pick;
mod public_key;
mod receive;
mod refusal;
mod request;
mod sign;
mod source;
mod suggest;
mod table;
mod template;
mod timestamp;
mod verify;

pub use explain::{Age, BodySeen, Explanation, Finding, Part, Role, Seen, Signed, explain};
pub use handshake::{Greeting, Reply, greet, may_be_challenge};
pub use identify::{Identity, MAX_DELIVERY_ID_CHARS, MAX_EVENT_TYPE_CHARS, UNKNOWN_TYPE, identify, kept_headers};
pub use mac::{Algorithm, Encoding};
pub use options::{HmacOptions, SecretEncoding, TokenOptions, UnknownName};
pub use receive::{Event, Received, receive};
pub use refusal::Refusal;
pub use request::{Headers, Request};
pub use sign::{Outgoing, SignError, sign};
pub use source::{Options, Source, SourceError};
pub use table::{Scheme, UnknownScheme};
pub use timestamp::TimestampUnit;
pub use verify::{Verified, Wanted, verify, verify_with, wanted};
