//! Subscriptions: endpoints that want the bridge's own events. Pure: values in, values out; no table, no network, no clock.
//!
//! [`Subscription`] says which events an endpoint wants and where it stands, [`payload`](payload()) what it is sent, [`Secrets`] with which
//! headers, [`verdict`] what its answer means and when it is tried again.

mod kinds;
mod payload;
mod secrets;
mod subscription;
mod verdict;

pub use kinds::{KINDS, is_wanted_by_somebody};
pub use payload::{payload, text};
pub use secrets::{Document, MAX_OVERLAP, Secrets, SecretsError, WrittenSecret, check_secret};
pub use subscription::{
    Filter, MAX_DESCRIPTION_CHARS, MAX_PATTERNS, MAX_SUBSCRIPTIONS, MAX_URL_BYTES, PatternError, Reason, Status,
    Subscription, UrlError, check_pattern, check_url, is_id, is_loopback, of_tool, tool,
};
pub use verdict::{
    ATTEMPTS, Ending, GIVEN_UP_AFTER, LONGEST, PAUSE_FAILURES, Verdict, is_to_be_paused, pause_before, verdict,
};
