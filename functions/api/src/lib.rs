//! Function `api`: the bridge for people, programs and agents: REST under `/api/v1/`, and the Model Context Protocol at `/mcp` (`mcp`).
//!
//! Each endpoint is a row (`endpoint`), by subject (`handlers`). The router, the token's scopes, the checks of parameters and bodies and the OpenAPI
//! document are made of the rows. A handler gets a [`call::Call`] that was found right, and what it fails with is a [`problem::Problem`].

mod allowance;
mod call;
mod cursor;
mod endpoint;
mod handlers;
mod mcp;
mod openapi;
mod problem;
mod router;
mod schemas;
mod state;

pub use openapi::document;
pub use state::{Api, Settings, TOKENS_KEPT};

use clawbridge_journal::Entry;

/// Writes down what failed inside and a caller is not told.
fn note_inside(reason: &str, subject: &str) {
    clawbridge_journal::write(&Entry::BridgeFailed { code: "API_FAILED", reason, subject });
}
