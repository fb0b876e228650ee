//! Protection of upstreams: rates, pauses, circuits, calls under way and retries that all environments keep together.
//!
//! [`Limits::acquire`] is asked before a call, [`Limits::report`] told after it; what must wait goes back to the queue. [`Limits::spend`] is for
//! callers of the bridge itself, who are refused rather than made to wait. What decides is pure:
//! [`account`] (what is let through before it is paid for), [`bucket`] (how often), [`circuit`] (whether at all), [`lease`] (what one environment takes ahead, and in which order it comes back),
//! [`learn`] (what an upstream says), [`slots`] (how many at one time), [`budget`] (how many retries). The `limits` table carries the decisions out, each with one conditional update.
//!
//! Table calls, by path:
//!
//! | a tool with | costs |
//! |---|---|
//! | nothing of all that | none |
//! | a limit | one update for each call, fewer where calls are frequent (an environment takes several tokens at once); [`MAX_TRIES`] at most. None while it is known that there is no token |
//! | a circuit | one read each [`circuit::FRESH`] in which there are calls; one update for each failure, [`MAX_TRIES`] at most; two for a probe. None while it is known to be open |
//! | a bound on calls under way | one update to take a slot, [`MAX_TRIES`] at most, one to give it back. None while it is known that all are held |
//! | a retry budget | none for a first attempt, nor for a retry that the environment's own share pays for; one update for another. None while the budget is known to be spent |
//! | a caller of the bridge | none while what the environment has let through on account ([`account`]) is less than a tenth of the bucket; then one update for all of it. None while it is known that there is no token |
//! | an answer that says to wait | one update, if there is a limit or a circuit |
//!
//! When the table does not answer within a second, an environment goes by what it knows for five seconds: all of it is
//! then kept by each environment for itself. No work is lost or held up.

pub mod account;
pub mod bucket;
pub mod budget;
pub mod circuit;
mod guard;
pub mod learn;
pub mod lease;
mod limits;
mod memory;
pub mod slots;
mod store;

pub use budget::Attempt;
pub use guard::{Guard, Scope};
pub use learn::Said;
pub use limits::{Acquired, Ended, Later, Limits, MAX_TRIES, Permit, Spent, Why};
pub use store::{Circuit, Kept, StoreError};
