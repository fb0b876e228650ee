//! Connections: authorised accounts at OAuth providers, their token sets kept and refreshed.

mod name;

pub use name::{ConnectionName, NotAName};
