//! A control plane that only pretends: answers each request as a test says.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `PUT /api/v1/config?author=...`.
    pub(crate) line: String,
    /// The header in lower case.
    pub(crate) header: String,
    pub(crate) body: String,
}

/// A server that goes on until the test ends.
pub(crate) struct Pretend {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Pretend {
    /// Answers every request with a status and a document.
    pub(crate) fn new(answer: impl Fn(&Asked) -> (u16, Value) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    if stream.read_line(&mut head).unwrap() == 0 {
                        break;
                    }
                }
                let (line, header) = head.split_once("\r\n").unwrap_or_default();
                let header = header.to_lowercase();
                let length = header.split("content-length: ").nth(1);
                let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
                let mut body = vec![0; length.unwrap_or(0)];
                stream.read_exact(&mut body).unwrap();
                let line = line.trim_end_matches(" HTTP/1.1").to_owned();
                let body = String::from_utf8(body).unwrap();
                let asked = Asked { line, header, body };
                log.lock().unwrap().push(asked.clone());
                let (status, document) = answer(&asked);
                let document = document.to_string();
                let _ = write!(
                    stream.get_mut(),
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{document}",
                    document.len()
                );
            }
        });
        Self { address, asked }
    }

    /// The requests that begin so.
    pub(crate) fn asked(&self, line: &str) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|asked| asked.line.starts_with(line)).cloned().collect()
    }
}

/// `GET /api/v1/config` at a version.
pub(crate) fn config(version: u64) -> Value {
    json!({ "version": version, "documents": [], "files": [] })
}

/// What a commit answers.
pub(crate) fn committed(version: u64) -> Value {
    json!({ "version": version, "changed": true, "warnings": [], "connected_proxies": 2 })
}

/// `GET /api/v1/proxies`, with each proxy's id, state and version.
pub(crate) fn proxies(version: u64, each: &[(&str, &str, u64)]) -> Value {
    let each = each.iter().map(|(id, state, runs)| {
        let rejected = (*state == "rejected").then_some(version);
        let fault = json!({ "kind": "entry_point", "name": "web", "code": "bind_failed",
            "message": "permission denied" });
        let errors = if rejected.is_some() { vec![fault] } else { vec![] };
        json!({ "id": id, "state": state, "version": runs, "rejected_version": rejected,
            "errors": errors, "software_version": "0.1.0", "since": "2026-03-01T12:00:00Z",
            "admin_address": "127.0.0.1:9702",
            "listeners": [{ "entry_point": "web", "address": "0.0.0.0:8000" }] })
    });
    json!({ "version": version, "proxies": each.collect::<Vec<_>>() })
}

/// A problem.
pub(crate) fn problem(status: u16, code: &str, more: &Value) -> (u16, Value) {
    let mut problem = json!({ "type": "about:blank", "title": "No", "status": status,
        "code": code, "detail": "It does not work." });
    problem.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    (status, problem)
}
