//! Skills: bundles of tools, routes and what they need, put into a configuration document and taken out of it without residue.
//!
//! [`Bundle`] is what somebody wrote, [`install`] and [`remove`] make one document of another, [`Record`] is what is remembered in between: which
//! members a skill brought, as they were. A member that is no longer as it was is the user's, and is not taken away unless they say so. What results is
//! held to every rule of `clawbridge_config`; a bundle can say nothing that bridge.toml cannot. [`catalogue`] are the bundles that come along.
//!
//! Pure: no clock, no network, no file.

mod bundle;
mod catalogue;
mod guide;
mod install;
mod refused;
mod version;

pub use bundle::{Bundle, MAX_BUNDLE_BYTES, Parameter, ParameterKind, ProviderNeed, SecretNeed, SourceNeed, tool_of};
pub use catalogue::{catalogue, in_catalogue};
pub use guide::skill_md;
pub use install::{Change, Installed, Kind, Member, Options, Record, State, Wanted, install, keep, remove, states};
pub use refused::{Problem, Refused, Why};
pub use version::{NotAVersion, Version};
