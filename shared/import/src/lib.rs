//! Declarations of tools.
#![allow(dead_code)]
mod at;
mod names;
mod problem;
mod read;
mod schema;
mod toml;
mod tree;
pub use problem::{Code, Note, NoteCode, Problem};
