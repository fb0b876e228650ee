//! The operator's commands: what happened, and what to do about it.

mod accounts;
mod catch_up;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod connections;
pub(crate) mod doctor;
pub(crate) mod events;
mod fixture;
pub(crate) mod import;
pub(crate) mod limits;
mod proof;
pub(crate) mod reach;
pub(crate) mod secrets;
pub(crate) mod send;
pub(crate) mod sources;
mod submit;
mod table;
pub(crate) mod tasks;
pub(crate) mod tokens;
pub(crate) mod tools;
pub(crate) mod verify;

use crate::out::say;
use serde::Serialize;

/// Prints a value as JSON, for scripts.
fn print_json(value: &impl Serialize) {
    say!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}
