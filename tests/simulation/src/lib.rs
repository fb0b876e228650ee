//! A deterministic simulation of the task machine.
//!
//! Workers, a queue, a table and an upstream in virtual time. What decides is the real code, [`clawbridge_tasks`]: its receipts say which
//! step comes next, its changes say what is written and whether the fence holds. Only what is around it is made up: where a step's
//! request and its answer get to, and when. One seed gives one run, so a run that fails can be looked at with `--seed N --trace`.
//!
//! What goes wrong (each at a rate of the seed's own, some seeds without it): the process dies before, during or after any step, or is
//! killed at the end of its time; it stands still for longer than a lease; clocks differ; the table throttles, or times out with or
//! without effect, or a write lands long after its sender has given up; the queue delivers late, twice, in another order, or once more
//! after the message was deleted; a send that was taken is reported as failed; the upstream refuses, breaks, goes silent, acts and does
//! not answer, acts long after the call was given up; its verify fails or does not know; persons retry, settle, cancel and replay, some
//! without looking, on what they saw a minute ago.
//!
//! What is checked is in [`Violation`]. That it can fail is shown by breaking one [`Rule`] at a time.
//!
//! # What is promised of `verify`, precisely
//!
//! An `unsafe` effect is repeated only if its verify said that it was not done, or a person wants it. So it happens once, unless a person
//! wants otherwise, as long as the upstream has acted by `settle` after the call was given up, less what two workers' clocks differ, and
//! its verify sees from then on what was done. An upstream that acts later than that makes verify lie, and then the effect is repeated:
//! seeds with such an upstream are checked only for that a verify said *not done* before each repetition.

pub mod connections;
mod figures;
mod queue;
mod rules;
mod scenario;
mod upstream;
mod violation;
mod world;

pub use figures::{Fault, Figures};
pub use rules::Rule;
pub use violation::Violation;

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// What was done, and what went wrong on purpose.
    pub figures: Figures,
    /// What must not happen and did, each once.
    pub violations: Vec<Violation>,
    /// One line for each thing that happened, if asked for.
    pub trace: Vec<String>,
}

/// Runs one seed with one rule broken, or none.
#[must_use]
pub fn run(seed: u64, rule: Rule, trace: bool) -> Report {
    world::World::new(seed, rule, trace).run()
}
