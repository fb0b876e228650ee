//! The running bridge: real processes, real sockets, the command line as a person uses it.

mod bodies;
mod dev;
mod operator;
mod setup;
mod sources;
mod support;
mod webhook;
