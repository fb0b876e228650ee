//! The endpoints, a file for each subject. A new subject is a file with `endpoints()`, a line here and its schemas.

mod config;
mod events;
mod status;
pub(crate) mod tasks;
mod tokens;
mod tools;

use crate::endpoint::Endpoint;

/// All of them.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    [
        status::endpoints(),
        tasks::endpoints(),
        tools::endpoints(),
        events::endpoints(),
        config::endpoints(),
        tokens::endpoints(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
