//! Clients that others wrote: curl and h2load.

use std::process::Output;

use tokio::process::Command;

/// What curl saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status; 0 without an answer.
    pub status: u16,
    /// `1.1` or `2`.
    pub http_version: String,
    /// The body.
    pub body: String,
}

/// Runs curl with these arguments.
pub async fn curl(arguments: &[&str]) -> Answer {
    let mut all = vec!["--silent", "--show-error", "--noproxy", "*", "--max-time", "15"];
    all.extend(["--write-out", "\n%{http_code} %{http_version}"]);
    all.extend(arguments);
    let output = run("curl", &all).await;
    let text = String::from_utf8_lossy(&output.stdout);
    let (body, written) = text.rsplit_once('\n').expect("what --write-out adds");
    let (status, version) = written.split_once(' ').expect("a status and a version");
    assert!(
        output.status.success(),
        "curl {arguments:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Answer {
        status: status.parse().expect("a status"),
        http_version: version.to_owned(),
        body: body.to_owned(),
    }
}

/// Sends `requests` requests over HTTP/2 with h2load; how many were answered with 2xx.
pub async fn h2load(url: &str, requests: u32, clients: u32, streams: u32) -> u32 {
    let (n, c, m) = (requests.to_string(), clients.to_string(), streams.to_string());
    let output = run("h2load", &["-n", &n, "-c", &c, "-m", &m, url]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    // status codes: 100 2xx, 0 3xx, 0 4xx, 0 5xx
    let line = text.lines().find_map(|line| line.strip_prefix("status codes: "));
    let count = line.and_then(|line| line.split(' ').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("h2load said: {text}"))
}

async fn run(program: &str, arguments: &[&str]) -> Output {
    match Command::new(program).args(arguments).kill_on_drop(true).output().await {
        Ok(output) => output,
        Err(error) => panic!("could not run {program}, which these tests need: {error}"),
    }
}
