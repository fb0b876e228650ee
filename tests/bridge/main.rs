//! The running bridge: real processes, real sockets, the command line as a person uses it.

mod bodies;
mod catch_up;
mod crash;
mod credentials;
mod deliveries;
mod dev;
mod fixtures;
mod local;
mod messages;
mod operator;
mod order;
mod outcomes;
mod providers;
mod readme;
mod refusals;
mod requests;
mod setup;
mod sources;
mod support;
mod tasks;
mod tools;
mod verify;
mod webhook;
