//! What was measured of whom: medians, ranges, ratios, as a table and as JSON.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::scenario::{Figure, Part};

/// What lb is called, and what when it takes part a second time.
pub(super) const OURS: &str = "lb";
pub(super) const AGAIN: &str = "lb again";

/// What one measurement gave, or why it is not valid.
pub(super) type Sample = Result<Vec<(Figure, f64)>, String>;

/// All that was measured in a run.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// Under which circumstances.
    facts: Vec<(&'static str, String)>,
    cells: Vec<Cell>,
}

/// One contender in one scenario.
#[derive(Debug)]
pub(super) struct Cell {
    pub(super) part: Part,
    pub(super) contender: Contender,
    samples: Vec<Sample>,
}

/// Who is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Contender {
    pub(super) name: String,
    /// Whether others are measured against it.
    pub(super) is_reference: bool,
}

/// The middle of some values and their ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// Of nothing there is none.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let (low, high) = (values[(values.len() - 1) / 2], values[values.len() / 2]);
        Some(Self { median: f64::midpoint(low, high), least, most })
    }
}

impl Cell {
    /// The values of a figure. One failure makes all of them worthless.
    pub(super) fn spread(&self, figure: Figure) -> Option<Spread> {
        let value = |sample: &Sample| {
            let values = sample.as_ref().ok()?;
            values.iter().find(|(found, _)| *found == figure).map(|(_, value)| *value)
        };
        Spread::of(self.samples.iter().map(value).collect::<Option<_>>()?)
    }

    /// Why it is not valid.
    pub(super) fn fault(&self) -> Option<&str> {
        self.samples.iter().find_map(|sample| sample.as_ref().err()).map(String::as_str)
    }
}

impl Comparison {
    /// Nothing yet, under these circumstances.
    pub(super) fn under(facts: Vec<(&'static str, String)>) -> Self {
        Self { facts, cells: Vec::new() }
    }

    /// By what share lb was from itself in each scenario: what differences must exceed to mean
    /// anything.
    fn against_itself(&self) -> Vec<(Part, f64)> {
        let median = |part: Part, name: &str| {
            let mut cells = self.cells.iter().filter(|cell| cell.part == part);
            let cell = cells.find(|cell| cell.contender.name == name)?;
            Some(cell.spread(part.figures()[0])?.median)
        };
        let both = |part| Some((median(part, OURS)?, median(part, AGAIN)?));
        let parts = self.parts().into_iter();
        parts.filter_map(|part| both(part).map(|(one, other)| (part, other / one - 1.0))).collect()
    }

    /// One of the circumstances.
    pub(super) fn fact(&self, what: &str) -> Option<&str> {
        self.facts.iter().find(|(known, _)| *known == what).map(|(_, fact)| fact.as_str())
    }

    /// Adds what was measured.
    pub(super) fn add(&mut self, part: Part, contender: &Contender, sample: Sample) {
        let is_it = |cell: &&mut Cell| cell.part == part && cell.contender == *contender;
        if let Some(cell) = self.cells.iter_mut().find(is_it) {
            cell.samples.push(sample);
        } else {
            let contender = contender.clone();
            self.cells.push(Cell { part, contender, samples: vec![sample] });
        }
    }

    /// The scenarios in the order in which they were measured first.
    pub(super) fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        for cell in &self.cells {
            if !parts.contains(&cell.part) {
                parts.push(cell.part);
            }
        }
        parts
    }

    /// The contenders of a scenario, the best first, those that are not valid last.
    pub(super) fn ranking(&self, part: Part) -> Vec<&Cell> {
        let mut cells: Vec<_> = self.cells.iter().filter(|cell| cell.part == part).collect();
        let figure = part.figures()[0];
        let key = |cell: &Cell| {
            let median = cell.spread(figure).map_or(f64::INFINITY, |spread| spread.median);
            if figure.prefers_more() { -median } else { median }
        };
        cells.sort_by(|one, other| key(one).total_cmp(&key(other)));
        cells
    }

    /// The median of the best one that others are measured against.
    pub(super) fn best(&self, part: Part, figure: Figure) -> Option<f64> {
        let cells = self.cells.iter().filter(|cell| cell.part == part);
        let references = cells.filter(|cell| cell.contender.is_reference);
        let medians = references.filter_map(|cell| Some(cell.spread(figure)?.median));
        medians.reduce(if figure.prefers_more() { f64::max } else { f64::min })
    }

    /// The table.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("peers");
        for (what, fact) in &self.facts {
            let _ = write!(text, "\n  {what:10}  {fact}");
        }
        let apart: Vec<_> = self
            .against_itself()
            .iter()
            .map(|(part, share)| format!("{} {:+.1} %", part.name(), 100.0 * share))
            .collect();
        if !apart.is_empty() {
            let _ = write!(text, "\n  {:10}  {}", "lb to lb", apart.join(", "));
        }
        for part in self.parts() {
            let _ = write!(text, "\n\n{}: {}\n  {:14}", part.name(), part.title(), "");
            for figure in part.figures() {
                let _ = write!(text, "{:>13}  {:17}", figure.heading(), "");
                if figure.is_compared() {
                    let _ = write!(text, "{:>7}  ", "× best");
                }
            }
            let len = text.trim_end().len();
            text.truncate(len);
            for cell in self.ranking(part) {
                self.line(cell, &mut text);
            }
        }
        text
    }

    fn line(&self, cell: &Cell, text: &mut String) {
        let _ = write!(text, "\n  {:14}", cell.contender.name);
        if let Some(fault) = cell.fault() {
            let _ = write!(text, "not valid: {}", fault.lines().next().unwrap_or_default());
            return;
        }
        for figure in cell.part.figures() {
            let Some(Spread { median, least, most }) = cell.spread(*figure) else { continue };
            let range = format!("({}–{})", figure.show(least), figure.show(most));
            let _ = write!(text, "{:>13}  {range:17}", figure.show(median));
            if figure.is_compared() {
                let ratio = self.best(cell.part, *figure).map(|best| median / best);
                let ratio = ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
                let _ = write!(text, "{ratio:>7}  ");
            }
        }
        let len = text.trim_end().len();
        text.truncate(len);
    }

    /// All of it, each sample as well.
    pub(super) fn json(&self) -> String {
        let parts = self.parts().into_iter().map(|part| {
            let contenders = self.ranking(part).into_iter().map(|cell| self.cell_json(cell));
            json!({
                "name": part.name(),
                "title": part.title(),
                "contenders": contenders.collect::<Vec<_>>(),
            })
        });
        let facts: Map<_, _> =
            self.facts.iter().map(|(what, fact)| ((*what).to_owned(), json!(fact))).collect();
        let apart = self.against_itself();
        let apart: Map<_, _> =
            apart.iter().map(|(part, share)| (part.name().to_owned(), json!(share))).collect();
        let report = json!({
            "benchmark": "peers",
            "date": jiff::Timestamp::now().to_string(),
            "facts": facts,
            "lb_again_to_lb": apart,
            "scenarios": parts.collect::<Vec<_>>(),
        });
        format!("{report:#}\n")
    }

    fn cell_json(&self, cell: &Cell) -> Value {
        let mut figures = Map::new();
        for figure in cell.part.figures() {
            let Some(spread) = cell.spread(*figure) else { continue };
            let best = self.best(cell.part, *figure).filter(|_| figure.is_compared());
            let value = json!({
                "median": spread.median,
                "min": spread.least,
                "max": spread.most,
                "ratio_to_best_peer": best.map(|best| spread.median / best),
            });
            figures.insert(figure.key().to_owned(), value);
        }
        let samples = cell.samples.iter().map(|sample| match sample {
            Ok(values) => {
                let value =
                    |(figure, value): &(Figure, f64)| (figure.key().to_owned(), json!(value));
                Value::Object(values.iter().map(value).collect())
            }
            Err(fault) => json!({ "fault": fault }),
        });
        json!({
            "name": cell.contender.name,
            "is_peer": cell.contender.is_reference,
            "valid": cell.fault().is_none(),
            "figures": figures,
            "samples": samples.collect::<Vec<_>>(),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::peers::scenario::Scenario;

    const H1: Part = Part::Whole(Scenario::H1);

    pub(in super::super) fn some() -> Comparison {
        let mut all = Comparison::default();
        all.facts.push(("rounds", "2 rounds".to_owned()));
        let mut add = |name: &str, is_reference, values: &[f64]| {
            let contender = Contender { name: name.to_owned(), is_reference };
            for value in values {
                let figures = vec![
                    (Figure::Processor, *value),
                    (Figure::Rate, 1e6 / value),
                    (Figure::Busy, 1.0),
                ];
                all.add(H1, &contender, Ok(figures));
            }
        };
        add("slow <one>", true, &[40.0, 60.0]);
        add("lb", false, &[20.0, 24.0]);
        add("lb again", false, &[22.0, 22.4]);
        add("quick", true, &[30.0, 50.0, 40.0]);
        let bad = Contender { name: "bad".to_owned(), is_reference: true };
        all.add(H1, &bad, Ok(vec![(Figure::Processor, 1.0)]));
        all.add(H1, &bad, Err("Socket errors: read 1\nand more".to_owned()));
        all
    }

    #[test]
    fn the_best_peer_is_the_measure_and_what_failed_is_none() {
        let all = some();
        assert_eq!(all.best(H1, Figure::Processor), Some(40.0));
        assert_eq!(all.best(H1, Figure::Rate), Some(25_000.0));
        let names: Vec<_> =
            all.ranking(H1).into_iter().map(|cell| cell.contender.name.clone()).collect();
        assert_eq!(names, ["lb", "lb again", "quick", "slow <one>", "bad"]);
    }

    #[test]
    fn medians_and_ranges_are_of_all_rounds() {
        let spread = |values: &[f64]| Spread::of(values.to_vec()).unwrap();
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(spread(&[4.0, 1.0]), Spread { median: 2.5, least: 1.0, most: 4.0 });
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn the_table_says_ratios_and_faults() {
        let text = some().text();
        let lb = text.lines().find(|line| line.starts_with("  lb  ")).unwrap();
        assert!(lb.contains("22.0") && lb.contains("(20.0–24.0)") && lb.contains("0.55"), "{lb}");
        assert!(text.contains("not valid: Socket errors: read 1\n") || text.ends_with("read 1"));
    }

    #[test]
    fn the_json_holds_every_sample() {
        let json: Value = serde_json::from_str(&some().json()).unwrap();
        let contenders = &json["scenarios"][0]["contenders"];
        assert_eq!(contenders[0]["figures"]["cpu_us"]["ratio_to_best_peer"], 0.55);
        assert_eq!(contenders[2]["samples"].as_array().unwrap().len(), 3);
        assert_eq!(contenders[4]["valid"], false);
        assert!((json["lb_again_to_lb"]["h1"].as_f64().unwrap() - 0.2 / 22.0).abs() < 1e-9);
    }
}
