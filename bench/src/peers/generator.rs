//! Load as wrk and h2load make it, and what they say became of it.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::{document::HOST, lanes::USER_AGENT};

/// How much longer than asked a generator may take.
const GRACE: Duration = Duration::from_secs(20);

/// A POST of 16 KiB, for wrk.
pub(super) const POST_SCRIPT: &str = "wrk.method = \"POST\"\n\
    wrk.body = (\"0123456789abcdef\"):rep(1024)\n\
    wrk.headers[\"Content-Type\"] = \"application/octet-stream\"\n";

/// What wrk does beside sending GETs over kept connections.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wrk<'a> {
    /// A script in Lua.
    pub(crate) script: Option<&'a Path>,
    /// What each request has as its cookie.
    pub(crate) cookie: Option<&'a str>,
    /// Each request has a connection of its own.
    pub(crate) closes: bool,
}

/// What became of the requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Done {
    /// Answered well.
    pub(crate) requests: u64,
    /// How long it took.
    pub(crate) seconds: f64,
}

impl Wrk<'_> {
    /// Runs wrk with 64 connections.
    pub(crate) async fn run(self, url: &str, seconds: u32) -> Result<Done> {
        let mut command = Command::new("wrk");
        command.args(["-t1", "-c64", "--timeout", "5s", "-d"]).arg(format!("{seconds}s"));
        command.arg("-H").arg(format!("Host: {HOST}"));
        command.arg("-H").arg(format!("User-Agent: {USER_AGENT}"));
        command.args(["-H", "Accept: */*"]);
        if let Some(cookie) = self.cookie {
            command.arg("-H").arg(format!("Cookie: {cookie}"));
        }
        if self.closes {
            command.args(["-H", "Connection: close"]);
        }
        if let Some(script) = self.script {
            command.arg("-s").arg(script);
        }
        command.arg(url);
        said_by_wrk(&run(command, seconds).await?)
    }
}

/// Runs h2load with 8 connections of 32 streams each.
pub(super) async fn h2load(url: &str, seconds: u32) -> Result<Done> {
    let mut command = Command::new("h2load");
    command.args(["-t1", "-c8", "-m32", "-D", &seconds.to_string()]);
    command.arg("-H").arg(format!(":authority: {HOST}"));
    command.arg("-H").arg(format!("User-Agent: {USER_AGENT}"));
    command.args(["-H", "Accept: */*", url]);
    said_by_h2load(&run(command, seconds).await?)
}

async fn run(mut command: Command, seconds: u32) -> Result<String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let limit = Duration::from_secs(seconds.into()) + GRACE;
    let running = command.stdin(std::process::Stdio::null()).kill_on_drop(true).output();
    let Ok(output) = tokio::time::timeout(limit, running).await else {
        bail!("{program} did not end within {limit:?}");
    };
    let output = output.with_context(|| format!("could not run {program}"))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    ensure!(output.status.success(), "{program} failed: {said}");
    Ok(said)
}

/// Reads what wrk says. Any failure is an error.
fn said_by_wrk(text: &str) -> Result<Done> {
    let wrong = |line: &&str| {
        line.trim_start().starts_with("Socket errors:") || line.contains("Non-2xx or 3xx")
    };
    if let Some(line) = text.lines().find(wrong) {
        bail!("{}", line.trim());
    }
    let line = text.lines().find(|line| line.contains(" requests in "));
    let (requests, rest) = line
        .and_then(|line| line.trim().split_once(" requests in "))
        .with_context(|| format!("wrk said nothing of requests: {text}"))?;
    let time = rest.split(',').next().and_then(wrk_seconds).context("wrk said no time")?;
    counted(requests.parse()?, time)
}

/// A time as wrk writes it, such as `4.10s`, `1.00m` or `800.00ms`.
fn wrk_seconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
    let (number, unit) = units.iter().find_map(|(unit, seconds)| {
        Some((text.strip_suffix(unit)?.parse::<f64>().ok()?, seconds))
    })?;
    Some(number * unit)
}

/// Reads what h2load says. Any failure is an error.
fn said_by_h2load(text: &str) -> Result<Done> {
    let line = |start: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(start));
        found.with_context(|| format!("h2load said no `{start}`: {text}"))
    };
    let (requests, statuses) = (line("requests: ")?, line("status codes: ")?);
    for (counts, what) in [(requests, "failed"), (requests, "errored"), (requests, "timeout")] {
        ensure!(count(counts, what)? == 0, "requests: {requests}");
    }
    for what in ["3xx", "4xx", "5xx"] {
        ensure!(count(statuses, what)? == 0, "status codes: {statuses}");
    }
    let time = line("finished in ")?.split(',').next().and_then(wrk_seconds);
    let good = count(requests, "succeeded")?;
    // With a duration it says how many it did in that, and its rate.
    counted(good, time.context("h2load said no time")?)
}

/// The number before a word in a list such as `5 total, 4 done`.
fn count(list: &str, word: &str) -> Result<u64> {
    let items = list.split(", ").map(|item| item.trim().split_once(' '));
    let found = items.flatten().find(|(_, name)| *name == word);
    let (number, _) = found.with_context(|| format!("no `{word}` in `{list}`"))?;
    number.parse().with_context(|| format!("`{number}` is no number"))
}

fn counted(requests: u64, seconds: f64) -> Result<Done> {
    ensure!(requests > 0 && seconds > 0.0, "no request succeeded");
    Ok(Done { requests, seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 4s test @ http://127.0.0.1:18080/s\n\
        \x20 1 threads and 64 connections\n\
        \x20 Thread Stats   Avg      Stdev     Max   +/- Stdev\n\
        \x20   Latency     1.59ms  205.63us   7.44ms   92.32%\n\
        \x20   Req/Sec    40.31k     1.05k   41.62k    80.00%\n\
        \x20 164345 requests in 4.10s, 30.88MB read\n";

    #[test]
    fn what_wrk_says_is_read() {
        let good = format!("{WRK}Requests/sec:  40086.05\nTransfer/sec:      7.53MB\n");
        assert_eq!(said_by_wrk(&good).unwrap(), Done { requests: 164_345, seconds: 4.1 });
        assert!(said_by_wrk("unable to connect").is_err());
    }

    #[test]
    fn a_failure_that_wrk_saw_is_an_error() {
        for line in [
            "  Socket errors: connect 0, read 3, write 0, timeout 0",
            "  Non-2xx or 3xx responses: 17",
        ] {
            let error = said_by_wrk(&format!("{WRK}{line}\n")).unwrap_err().to_string();
            assert_eq!(error, line.trim());
        }
    }

    #[test]
    fn what_h2load_says_is_read_and_failures_are_errors() {
        let said = |failed: u32, lost: u32| {
            format!(
                "finished in 4.00s, 38000.25 req/s, 7.50MB/s\n\
                 requests: 152001 total, 152001 started, 152001 done, 152001 succeeded, \
                 {failed} failed, 0 errored, 0 timeout\n\
                 status codes: 152001 2xx, 0 3xx, 0 4xx, {lost} 5xx\n"
            )
        };
        assert_eq!(said_by_h2load(&said(0, 0)).unwrap().requests, 152_001);
        assert!(said_by_h2load(&said(1, 0)).is_err());
        assert!(said_by_h2load(&said(0, 2)).unwrap_err().to_string().contains("2 5xx"));
    }

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("4.10s", 4.1), ("1.50m", 90.0), ("800.00ms", 0.8), ("5us", 5e-6)] {
            assert!((wrk_seconds(text).unwrap() - seconds).abs() < 1e-9, "{text}");
        }
    }
}
