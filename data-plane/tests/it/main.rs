//! The proxy as its users meet it: real sockets, real threads, backends that misbehave.
//!
//! Ports are 0 and every wait is for a condition, with a deadline that only a failure reaches.

// Helpers of tests are tests: what fails in them fails the case.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod client;
mod origin;
mod proxy;
mod streams;

mod backends;
mod frames;
mod h1;
mod h2;
mod h2spec;
mod live;
mod strict;
