//! The HTTP server of Node.js as a backend: another server that we did not write.
//!
//! It runs with its lenient parser, which takes much that RFC 9112 forbids: what lb lets through
//! by mistake shall have somebody to misread it.

use std::{net::SocketAddr, path::PathBuf};

use serde_json::Value;

use crate::{
    eventually::eventually,
    process::Process,
    scratch::Scratch,
    sighting::{Extent, Sighting},
};

const SCRIPT: &str = include_str!("node_origin.js");

/// A running Node.js server that answers as every [`crate::sighting::Origin`] does.
#[derive(Debug)]
pub struct Node {
    _process: Process,
    address: SocketAddr,
    log: PathBuf,
}

impl Node {
    /// Starts one with its files in `scratch`.
    pub async fn start(scratch: &Scratch) -> Self {
        let script = scratch.write("node_origin.js", SCRIPT).display().to_string();
        let directory = scratch.path();
        let (port, log) = (directory.join("node-port"), directory.join("node-requests"));
        let arguments = vec![script, port.display().to_string(), log.display().to_string()];
        let mut process =
            Process::start("node", "node".into(), arguments, directory.join("node.log"));
        let address = eventually("node listens", async || {
            assert!(process.is_running(), "node ended: {}", process.said());
            let text = std::fs::read_to_string(&port).map_err(|error| error.to_string())?;
            format!("127.0.0.1:{text}").parse().map_err(|_| text)
        })
        .await;
        Self { _process: process, address, log }
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything it has seen so far.
    pub fn sightings(&self) -> Vec<Sighting> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(sighting).collect()
    }
}

fn sighting(line: &str) -> Sighting {
    let value: Value = serde_json::from_str(line).expect("a line of the log of node");
    let text = |name: &str| latin1(value[name].as_str().unwrap_or_default());
    let words = value["fields"].as_array().map(|words| {
        let words: Vec<_> = words.iter().map(|word| latin1(word.as_str().unwrap_or(""))).collect();
        words.chunks(2).map(|pair| (pair[0].to_ascii_lowercase(), pair[1].clone())).collect()
    });
    let extent = match value["extent"].as_str() {
        Some("whole") => Extent::Whole,
        Some("cut") => Extent::Cut,
        _ => Extent::Malformed(text("reason")),
    };
    let (method, target, marker) = (text("method"), text("target"), text("marker"));
    Sighting { method, target, marker, fields: words, body: text("body"), extent }
}

/// Node tells bytes as characters of the same number.
fn latin1(text: &str) -> String {
    let bytes: Vec<u8> = text.chars().map(|letter| u32::from(letter) as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}
