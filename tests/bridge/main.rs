//! The running bridge: real processes, real sockets, the command line as a person uses it.

mod operator;
mod support;
mod webhook;
