//! Senders that never retry: what their delivery logs say was missed, and asking for it again.
//!
//! Some providers deliver once and keep a log of it (GitHub: three days). [`missed`] reads such a log and decides what is worth asking for
//! again (pure: attempts and a point in time in, verdicts out); [`run`] pages through the log over HTTP and asks, within bounds. Nothing
//! is stored: the provider's log is the whole memory, so a run that was cut short is continued by the next.
//!
//! A redelivery is a webhook like any other: it comes in through the front door, signed, under the id of its first delivery. Asking twice
//! for the same one is therefore harmless, and costs a request.

mod error;
mod github;
mod plan;
mod provider;
mod run;

pub use error::CatchUpError;
pub use plan::{
    Asked, Attempt, By, FIRST_PAUSE, KEPT, MAX_REDELIVERIES, Missed, Reason, UNDER_WAY, Verdict, missed, pause,
};
pub use run::{Fate, Found, MAX_PAGES, MAX_REDELIVERIES_PER_RUN, Order, Report, Stopped, run};
