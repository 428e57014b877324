//! stub

pub mod rule;
