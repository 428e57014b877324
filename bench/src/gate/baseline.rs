//! What a request may cost, where that is kept, and how a count is held against it.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::{
    counting::{Cost, output},
    lanes::Protocol,
};

/// How much dearer or cheaper a request may become before it is said.
const TOLERANCE: f64 = 0.05;

/// What else may change a count than our code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Environment {
    /// `rustc --version`.
    compiler: String,
    /// `valgrind --version`: it decides which instructions programs see.
    valgrind: String,
    /// The processor, for the same reason.
    processor: String,
}

impl Environment {
    /// Of this machine.
    pub(super) async fn here() -> Self {
        let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpus.lines().find_map(|line| line.strip_prefix("model name"));
        let name = name.and_then(|name| name.split_once(": ")).map(|(_, name)| name);
        Self {
            compiler: version("rustc").await,
            valgrind: version("valgrind").await,
            processor: name.unwrap_or("unknown").to_owned(),
        }
    }
}

async fn version(program: &str) -> String {
    let mut command = Command::new(program);
    command.arg("--version");
    let said = output(command).await.ok().map(|output| output.stdout);
    said.map_or("unknown".to_owned(), |said| String::from_utf8_lossy(&said).trim().to_owned())
}

/// Costs, and where they were counted.
#[derive(Debug, Clone)]
pub(super) struct Baseline {
    pub(super) environment: Environment,
    pub(super) requests: u32,
    pub(super) costs: Vec<(Protocol, Cost)>,
}

impl Baseline {
    /// Reads the one that was recorded.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("could not read {}; `--bless` records one", path.display()))?;
        let baseline = serde_json::from_str(&text).map_err(Into::into).and_then(Self::of);
        baseline.with_context(|| {
            format!("{} is no baseline; `--bless` records a new one", path.display())
        })
    }

    fn of(value: Value) -> Result<Self> {
        let costs = Protocol::ALL.into_iter().map(|protocol| {
            let cost = value["per_request"][protocol.name()].clone();
            let cost = serde_json::from_value(cost)
                .with_context(|| format!("no cost of {}", protocol.name()))?;
            Ok((protocol, cost))
        });
        Ok(Self {
            environment: serde_json::from_value(value["environment"].clone())?,
            requests: serde_json::from_value(value["requests"].clone())?,
            costs: costs.collect::<Result<_>>()?,
        })
    }

    /// Records it.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.json()?).with_context(|| format!("could not write {}", path.display()))
    }

    /// As it is recorded.
    pub(super) fn json(&self) -> Result<String> {
        let costs = self.costs.iter().map(|(protocol, cost)| {
            let cost = Cost {
                instructions: cost.instructions.round(),
                system_calls: (cost.system_calls * 100.0).round() / 100.0,
            };
            (protocol.name().to_owned(), json!(cost))
        });
        let value = json!({
            "environment": serde_json::to_value(&self.environment)?,
            "requests": self.requests,
            "per_request": Value::Object(costs.collect()),
        });
        Ok(format!("{value:#}\n"))
    }

    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = format!("  {:8}  {:>14}  {:>14}", "request", "instructions", "system calls");
        for (protocol, cost) in &self.costs {
            let Cost { instructions, system_calls } = cost;
            let name = protocol.name();
            let _ = write!(text, "\n  {name:8}  {instructions:>14.0}  {system_calls:>14.2}");
        }
        text
    }

    fn cost(&self, protocol: Protocol) -> Option<Cost> {
        self.costs.iter().find(|(known, _)| *known == protocol).map(|(_, cost)| *cost)
    }
}

/// How what was counted compares with the baseline.
#[derive(Debug)]
pub(super) struct Judgement(Vec<Change>);

#[derive(Debug)]
struct Change {
    protocol: Protocol,
    what: &'static str,
    known: f64,
    now: f64,
}

/// Holds costs against the baseline.
pub(super) fn judge(known: &Baseline, costs: &[(Protocol, Cost)]) -> Judgement {
    let mut changes = Vec::new();
    for (protocol, now) in costs {
        let Some(known) = known.cost(*protocol) else { continue };
        let protocol = *protocol;
        let (what, known_value) = ("instructions", known.instructions);
        changes.push(Change { protocol, what, known: known_value, now: now.instructions });
        let (what, known_value) = ("system calls", known.system_calls);
        changes.push(Change { protocol, what, known: known_value, now: now.system_calls });
    }
    Judgement(changes)
}

impl Change {
    /// By how much it became dearer, as a share.
    fn share(&self) -> f64 {
        self.now / self.known.max(f64::MIN_POSITIVE) - 1.0
    }

    fn verdict(&self) -> &'static str {
        match self.share() {
            share if share > TOLERANCE => "TOO MUCH",
            share if share < -TOLERANCE => "better",
            _ => "as before",
        }
    }
}

impl Judgement {
    /// Whether nothing became too dear.
    pub(super) fn passed(&self) -> bool {
        self.0.iter().all(|change| change.share() <= TOLERANCE)
    }

    /// Says what was found, and what is to be done about it.
    pub(super) fn tell(&self, known: &Baseline, counted: &Baseline, file: &Path) -> String {
        let mut text = "gate: what a request costs, beside the baseline\n".to_owned();
        for change in &self.0 {
            let Change { protocol, what, known, now } = change;
            let digits = if *known < 1_000.0 { 2 } else { 0 };
            let _ = writeln!(
                text,
                "  {:8}  {what:12}  {known:>10.digits$}  {now:>10.digits$}  {:>+6.1} %  {}",
                protocol.name(),
                100.0 * change.share(),
                change.verdict()
            );
        }
        let tolerance = 100.0 * TOLERANCE;
        if !self.passed() {
            let _ = write!(
                text,
                "  A request costs more than {tolerance} % more than {} says. Find the cause: \
                 with `--keep`, here and on the commit before, `callgrind_annotate` shows from \
                 callgrind/*.callgrind which functions grew. If it is worth it, record it with `cargo xtask bench gate --bless` and say why in the commit.",
                file.display()
            );
        } else if self.0.iter().any(|change| change.share() < -TOLERANCE) {
            let _ = write!(
                text,
                "  A request costs much less than {} says. So that it stays so, record it with \
                 `cargo xtask bench gate --bless` and commit the file.",
                file.display()
            );
        } else {
            let _ = write!(text, "  nothing moved by more than {tolerance} %");
        }
        if known.environment != counted.environment {
            let (then, now) = (&known.environment, &counted.environment);
            let _ = write!(
                text,
                "\n  The baseline is of another environment, which may matter:\n    \
                 then: {}, {}, {}\n    now:  {}, {}, {}",
                then.compiler,
                then.valgrind,
                then.processor,
                now.compiler,
                now.valgrind,
                now.processor
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(instructions: f64, system_calls: f64) -> Baseline {
        let environment = Environment {
            compiler: "rustc 1".to_owned(),
            valgrind: "valgrind-3".to_owned(),
            processor: "one".to_owned(),
        };
        let cost = Cost { instructions, system_calls };
        let costs = Protocol::ALL.map(|protocol| (protocol, cost)).to_vec();
        Baseline { environment, requests: 1, costs }
    }

    fn told(now: &Baseline) -> (bool, String) {
        let known = baseline(10_000.0, 6.0);
        let judgement = judge(&known, &now.costs);
        (judgement.passed(), judgement.tell(&known, now, Path::new("baseline.json")))
    }

    #[test]
    fn a_request_that_became_dearer_fails_and_says_what_to_do() {
        let (passed, text) = told(&baseline(10_600.0, 6.0));
        assert!(!passed && text.contains("TOO MUCH") && text.contains("--bless"), "{text}");
        let (passed, text) = told(&baseline(10_000.0, 6.4));
        assert!(!passed && text.contains("+6.7 %"), "{text}");
    }

    #[test]
    fn a_request_that_became_cheaper_passes_and_asks_for_a_new_baseline() {
        let (passed, text) = told(&baseline(9_000.0, 6.0));
        assert!(passed && text.contains("better") && text.contains("--bless"), "{text}");
    }

    #[test]
    fn small_changes_pass_in_silence() {
        let (passed, text) = told(&baseline(10_400.0, 5.9));
        assert!(passed && text.contains("nothing moved") && !text.contains("--bless"), "{text}");
    }

    #[test]
    fn another_environment_is_said() {
        let mut now = baseline(10_000.0, 6.0);
        now.environment.compiler = "rustc 2".to_owned();
        assert!(told(&now).1.contains("now:  rustc 2"));
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        let recorded = baseline(10_000.4, 6.004);
        let read = Baseline::of(serde_json::from_str(&recorded.json().unwrap()).unwrap()).unwrap();
        let instructions = read.cost(Protocol::H2Tls).unwrap().instructions;
        assert!((instructions - 10_000.0).abs() < 0.1, "{instructions}");
        assert_eq!(read.environment, recorded.environment);
        assert!(Baseline::of(json!({})).is_err());
    }
}
