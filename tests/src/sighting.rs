//! What servers behind the proxy saw, whoever wrote them.
//!
//! Each origin answers a request with `METHOD TARGET MARKER`, in the field `x-seen` and as the
//! body, so that a client can tell whose answer it got; the marker is the request's `x-marker`.
//! Targets of the form `/status/204` are answered with that status.

use std::net::SocketAddr;

use crate::{nginx::Nginx, node::Node, recorder::Recorder, scratch::Scratch};

/// A request as a server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The method; empty for what could not be read.
    pub method: String,
    /// The target.
    pub target: String,
    /// The field `x-marker`, or `-`.
    pub marker: String,
    /// The fields, names in lower case, if the server tells.
    pub fields: Option<Vec<(String, String)>>,
    /// The body in so far as it came, as text.
    pub body: String,
    /// How much of it there was.
    pub extent: Extent,
}

/// How much of a request there was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// The connection ended before the request did.
    Cut,
    /// It was no request, for this reason.
    Malformed(String),
}

impl Sighting {
    /// What the answer to it says.
    pub fn seen(&self) -> String {
        format!("{} {} {}", self.method, self.target, self.marker)
    }
}

/// A server behind the proxy.
#[derive(Debug)]
pub enum Origin {
    /// Ours, which is as strict as can be.
    Recorder(Recorder),
    /// nginx.
    Nginx(Nginx),
    /// The server of Node.js, told to be lenient.
    Node(Node),
}

impl Origin {
    /// Starts one of each kind.
    pub async fn start_all(scratch: &Scratch) -> Vec<Self> {
        let (recorder, nginx, node) =
            tokio::join!(Recorder::start(), Nginx::echoing(scratch), Node::start(scratch));
        vec![Self::Recorder(recorder), Self::Nginx(nginx), Self::Node(node)]
    }

    /// What it is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Recorder(_) => "recorder",
            Self::Nginx(_) => "nginx",
            Self::Node(_) => "node",
        }
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        match self {
            Self::Recorder(recorder) => recorder.address(),
            Self::Nginx(nginx) => nginx.address(),
            Self::Node(node) => node.address(),
        }
    }

    /// Everything it has seen so far, in order.
    pub fn sightings(&self) -> Vec<Sighting> {
        match self {
            Self::Recorder(recorder) => recorder.sightings(),
            Self::Nginx(nginx) => nginx.sightings(),
            Self::Node(node) => node.sightings(),
        }
    }
}
