//! Connections: authorised accounts at OAuth providers, their token sets kept and refreshed.
//!
//! [`refresh`], [`consent`] and [`revoke`] are pure: they say which await comes next, and are told what came of it. [`Connections`] carries the
//! steps out: token sets are versions of a secret, the registry table has an item for each connection that indexes it and leases its refresh.

mod connections;
pub mod consent;
mod exchange;
mod item;
pub mod links;
mod memory;
mod name;
pub mod record;
pub mod refresh;
pub mod revoke;
pub mod step;
mod store;
mod test;
pub mod version;
mod withdraw;

pub use connections::{AccessToken, Connections, Happening, Providers, Settings, Swept, Unusable};
pub use exchange::{Exchange, Server, Wanted};
pub use memory::FRESH;
pub use name::{ConnectionName, NotAName};
pub use store::Page;
pub use test::{TestAnswer, Tested, Untested};
pub use withdraw::{NotWithdrawn, Told};
