//! The endpoints, a file for each subject. A new subject is a file with `endpoints()`, a line here and its schemas.

mod agents;
mod config;
mod connections;
mod deliveries;
mod events;
mod pairings;
mod skills;
mod status;
pub(crate) mod tasks;
mod tokens;
mod tools;
mod webhooks;

use crate::endpoint::Endpoint;

/// All of them.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    [
        status::endpoints(),
        tasks::endpoints(),
        tools::endpoints(),
        events::endpoints(),
        config::endpoints(),
        connections::endpoints(),
        skills::endpoints(),
        agents::endpoints(),
        pairings::endpoints(),
        tokens::endpoints(),
        webhooks::endpoints(),
        deliveries::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
