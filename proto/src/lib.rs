//! The wire form of what the control plane and its proxies say to each other. Generated from
//! `lb/v1/*.proto`; its meaning is in `lb-model`.
//!
//! Messages are always there; the gRPC client and server come with the features of those names,
//! so that the model can use the messages without a transport.

#![allow(
    missing_docs,
    unreachable_pub,
    rust_2018_idioms,
    clippy::pedantic,
    reason = "generated; the .proto files carry the documentation"
)]

/// Version 1 of the protocol.
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/lb.v1.rs"));
}
