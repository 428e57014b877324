//! Looking again and again, while the control plane comes and goes.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering::Relaxed},
    },
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{
    end, lbctl,
    pretend::{Pretend, problem, proxies},
};

/// A control plane that answers with proxies while `status` is 200, and with a problem otherwise.
fn coming_and_going() -> (Pretend, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&status);
    let server = Pretend::new(move |_| match now.load(Relaxed) {
        200 => (200, proxies(42, &[("a", "synced", 42)])),
        status => problem(status, "store_unavailable", &json!({})),
    });
    (server, status)
}

#[test]
fn documents_follow_each_other_and_an_absence_is_told_once() {
    let (server, status) = coming_and_going();
    let line = ["proxies", "-w", "--interval", "20ms", "-o", "json", "--server", &server.address];
    let mut child = lbctl(&line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut documents = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut messages = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut next =
        || -> Value { serde_json::from_str(&documents.next().unwrap().unwrap()).unwrap() };
    for _ in 0..3 {
        assert_eq!(next()["proxies"][0]["id"], "a");
    }
    status.store(503, Relaxed);
    assert!(messages.next().unwrap().unwrap().contains("waiting for it"));
    status.store(200, Relaxed);
    assert!(messages.next().unwrap().unwrap().contains("is back"));
    next();
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn the_first_look_fails_as_ever_and_so_does_a_refusal() {
    let line = ["status", "--watch", "--server", "127.0.0.1:1"];
    assert_eq!(end(&lbctl(&line).output().unwrap()).0, 4);
    let (server, status) = coming_and_going();
    status.store(401, Relaxed);
    let line = ["proxies", "--watch", "--server", &server.address];
    assert_eq!(end(&lbctl(&line).output().unwrap()).0, 5);
}

#[test]
fn it_ends_when_nobody_reads_any_more() {
    let (server, _) = coming_and_going();
    let line = ["proxies", "-w", "--interval", "10ms", "--server", &server.address];
    let mut child = lbctl(&line).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
