//! The harness of the end-to-end tests: real binaries, real sockets, conditions instead of pauses.
//!
//! A [`cluster::Cluster`] runs a control plane and proxies in a directory of its own. A
//! [`backend::Backend`] does what a test tells it to. The clients see what users would see. All
//! ports are picked by the system, so any number of tests run beside each other. What cannot be
//! set up ends the test with a panic that says what was tried.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot be set up has failed"
)]

pub mod backend;
pub mod certificate;
pub mod client;
pub mod cluster;
pub mod control_plane;
pub mod corpus;
pub mod curl;
pub mod disk;
pub mod eventually;
pub mod fake_control_plane;
pub mod faults;
pub mod load;
pub mod member;
pub mod namespace;
pub mod nginx;
pub mod node;
pub mod process;
pub mod proxy;
pub mod recorder;
pub mod scratch;
pub mod sighting;
pub mod strict_request;
pub mod wire;
