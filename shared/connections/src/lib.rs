//! Connections: authorised accounts at OAuth providers, their token sets kept and refreshed.

pub mod consent;
mod name;
pub mod record;
pub mod refresh;
pub mod revoke;
pub mod step;
pub mod version;

pub use name::{ConnectionName, NotAName};
