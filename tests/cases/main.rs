//! Everything that needs more than one crate, in one binary.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tests say what they expect"
)]

mod api_document;
mod backends;
mod backup;
mod balancing;
mod blue_green;
mod canary;
mod canary_steps;
mod circuit_breaker;
mod config_api;
mod crash;
mod delta_equals_full;
mod deployments;
mod examples;
mod explain;
mod failing_disk;
mod first_request;
mod fleet;
mod full_disk;
mod golden;
mod groups;
mod health;
mod hostile;
mod hostile_control_plane;
mod hostile_proxy;
mod hot_reload;
mod http2;
mod identity;
mod lbctl;
mod log_level;
mod mirroring;
mod operators;
mod overrides;
mod partition;
mod poison;
mod protection;
mod raw_requests;
mod raw_responses;
mod retries;
mod route_deployments;
mod secrets;
mod session_limits;
mod session_moves;
mod stand_ins;
mod stickiness;
mod tidy;
mod timeouts;
mod without_control_plane;
