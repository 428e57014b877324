//! What a benchmark found: a table for people, JSON for programs. The only place that prints.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

/// What a benchmark hands over.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// For people.
    pub(crate) text: String,
    /// For programs.
    pub(crate) json: String,
    /// False when what was found must not be.
    pub(crate) passed: bool,
}

impl From<Report> for Outcome {
    fn from(report: Report) -> Self {
        // Targets are told, not enforced: they are for a quiet machine.
        Self { text: report.text(), json: report.json(), passed: true }
    }
}

/// The numbers of one run.
#[derive(Debug)]
pub(crate) struct Report {
    benchmark: String,
    rows: Vec<Row>,
    notes: Vec<String>,
}

#[derive(Debug)]
struct Row {
    what: String,
    value: f64,
    unit: &'static str,
    at_most: Option<f64>,
}

impl Report {
    /// An empty report.
    pub(crate) fn new(benchmark: impl Into<String>) -> Self {
        Self { benchmark: benchmark.into(), rows: Vec::new(), notes: Vec::new() }
    }

    /// Adds a number.
    pub(crate) fn row(&mut self, what: impl Into<String>, value: f64, unit: &'static str) {
        self.rows.push(Row { what: what.into(), value, unit, at_most: None });
    }

    /// Adds a number that should be no more than `at_most`.
    pub(crate) fn target(
        &mut self,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        at_most: f64,
    ) {
        self.rows.push(Row { what: what.into(), value, unit, at_most: Some(at_most) });
    }

    /// Adds the usual quantiles of a distribution, in milliseconds; those named have a target.
    pub(crate) fn quantiles(&mut self, what: &str, times: &Distribution, targets: &[(&str, f64)]) {
        for (name, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("max", 1.0)] {
            let at_most = targets.iter().find(|(of, _)| *of == name).map(|(_, at_most)| *at_most);
            let value = milliseconds(times.quantile(share));
            self.rows.push(Row { what: format!("{what}, {name}"), value, unit: "ms", at_most });
        }
    }

    /// Adds a sentence below the table.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The table.
    fn text(&self) -> String {
        let width = self.rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
        let mut text = format!("{}\n", self.benchmark);
        for row in &self.rows {
            let value = number(row.value);
            let _ = write!(text, "  {:width$}  {value:>10} {:5}", row.what, row.unit);
            if let Some(at_most) = row.at_most {
                let verdict = if row.value <= at_most { "met" } else { "MISSED" };
                let _ = write!(text, "  target {}: {verdict}", number(at_most));
            }
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "  {note}");
        }
        text.truncate(text.trim_end().len());
        text
    }

    /// The same as JSON.
    fn json(&self) -> String {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "what": row.what,
                    "value": row.value,
                    "unit": row.unit,
                    "at_most": row.at_most,
                })
            })
            .collect();
        let date = jiff::Timestamp::now().to_string();
        let report = json!({
            "benchmark": self.benchmark,
            "date": date,
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "rows": rows,
            "notes": self.notes,
        });
        format!("{report:#}\n")
    }
}

/// Times, to ask for quantiles.
#[derive(Debug, Clone, Default)]
pub(crate) struct Distribution(Vec<Duration>);

impl Distribution {
    /// The time that this share kept within; nothing has none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        let at = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(at.saturating_sub(1).min(last)).copied().unwrap_or_default()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<Duration> for Distribution {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut times: Vec<_> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }
}

/// A duration as a number of milliseconds.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1_000.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// Tells whoever waits how far it is.
pub(crate) fn say(text: &str) {
    use std::io::Write as _;
    // If nobody reads, that is fine.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Shows what was found.
#[expect(clippy::print_stdout, reason = "the table is what the program is for")]
pub(crate) fn out(text: &str) {
    println!("{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let times: Distribution = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(times.quantile(0.5), Duration::from_millis(50));
        assert_eq!(times.quantile(0.99), Duration::from_millis(99));
        assert_eq!(times.quantile(1.0), Duration::from_millis(100));
        assert_eq!(Distribution::default().quantile(0.5), Duration::ZERO);
    }
}
