//! The running bridge: real processes, real sockets, the command line as a person uses it.

mod bodies;
mod catch_up;
mod certificates;
mod crash;
mod credentials;
mod deliveries;
mod dev;
mod fixtures;
mod graphql;
mod hostile;
mod local;
mod messages;
mod operator;
mod outcomes;
mod pages;
mod providers;
mod readme;
mod refusals;
mod setup;
mod sources;
mod support;
mod tasks;
mod tool_commands;
mod tools;
mod verify;
mod webhook;
