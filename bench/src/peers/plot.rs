//! A picture of a comparison: for each scenario the bars of all contenders, beside the best peer.
//!
//! SVG is text, so it is written by hand. Bars show medians as ratios to the best peer, thin
//! lines the range of all rounds; the numbers are the figures themselves.

use std::fmt::Write;

use super::{
    comparison::{Cell, Comparison, OURS, Spread},
    scenario::{Figure, Part},
};

/// Panels beside each other.
const COLUMNS: usize = 3;
/// All lengths are in pixels.
const PANEL: f64 = 400.0;
const MARGIN: f64 = 28.0;
const HEADER: f64 = 96.0;
const TITLE: f64 = 50.0;
const BAR: f64 = 15.0;
const STEP: f64 = 22.0;
const BELOW: f64 = 26.0;
/// From the left of a panel to its bars, and their room.
const NAMES: f64 = 82.0;
const ROOM: f64 = 196.0;
/// The largest ratio that is drawn; longer bars are cut, which shows.
const LONGEST: f64 = 4.0;

const STYLE: &str = "text{font-family:'Inter','Segoe UI','Helvetica Neue',Arial,'DejaVu Sans',sans-serif;font-size:12px;fill:#343a40;\
    paint-order:stroke;stroke:#fff;stroke-width:3px;stroke-linejoin:round}\
    .head{font-size:20px;font-weight:600;fill:#212529}.fact{font-size:12px;fill:#868e96}\
    .title{font-size:14px;font-weight:600;fill:#212529}.what{font-size:11px;fill:#868e96}\
    .name{text-anchor:end}.ours{font-weight:600;fill:#0b5394}.fault{font-style:italic;fill:#c92a2a}\
    .bar{fill:#ced4da}.best{fill:#868e96}.lb{fill:#1971c2}.again{fill:#74b0e8}\
    .one{stroke:#868e96;stroke-width:1;stroke-dasharray:3 3}.range{stroke:#212529;stroke-width:1}\
    .cut{stroke:#fff;stroke-width:2.5}";

/// The whole picture.
pub(super) fn svg(comparison: &Comparison) -> String {
    let parts = comparison.parts();
    let rows: Vec<&[Part]> = parts.chunks(COLUMNS).collect();
    let heights: Vec<f64> = rows
        .iter()
        .map(|row| {
            let most = row.iter().map(|part| comparison.ranking(*part).len()).max().unwrap_or(0);
            TITLE + STEP * most as f64 + BELOW
        })
        .collect();
    let columns = parts.len().clamp(1, COLUMNS);
    let width = 2.0 * MARGIN + PANEL * columns as f64;
    let height = HEADER + heights.iter().sum::<f64>() + MARGIN;

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>{STYLE}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    text(&mut out, (MARGIN, 38.0), "head", "lb beside its peers");
    let legend = "shorter is better; the dashed line is the best peer; thin lines are the range";
    text(&mut out, (MARGIN, 58.0), "fact", legend);
    let facts: Vec<_> =
        ["versions", "measured"].iter().filter_map(|what| comparison.fact(what)).collect();
    text(&mut out, (MARGIN, 76.0), "fact", &facts.join("; "));
    let mut top = HEADER;
    for (row, height) in rows.iter().zip(&heights) {
        for (column, part) in row.iter().enumerate() {
            panel(&mut out, comparison, *part, (MARGIN + PANEL * column as f64, top));
        }
        top += height;
    }
    out.push_str("</svg>\n");
    out
}

/// One scenario, with its left upper corner at a place.
fn panel(out: &mut String, comparison: &Comparison, part: Part, (left, top): (f64, f64)) {
    let figure = part.figures()[0];
    text(out, (left, top + 18.0), "title", part.name());
    let what = format!("{}, {}", figure.heading(), part.title());
    text(out, (left, top + 34.0), "what", &what);
    let cells = comparison.ranking(part);
    let best = comparison.best(part, figure);
    let scale = Scale::of(&cells, figure, best);
    let start = left + NAMES;
    // First, so that neither bars nor numbers are crossed out.
    if scale.reference.is_some() {
        let x = start + scale.length(1.0);
        let (from, to) = (top + TITLE - 5.0, top + TITLE + STEP * cells.len() as f64);
        line(out, "one", (x, from), (x, to));
    }
    for (index, cell) in cells.iter().enumerate() {
        let y = top + TITLE + STEP * index as f64;
        row(out, cell, figure, &scale, (start, y));
    }
}

/// One contender: its name, its bar, its number.
fn row(out: &mut String, cell: &Cell, figure: Figure, scale: &Scale, (start, y): (f64, f64)) {
    let name = cell.contender.name.as_str();
    let is_ours = name == OURS || name.starts_with("lb ");
    let baseline = y + BAR - 3.5;
    text(out, (start - 8.0, baseline), if is_ours { "name ours" } else { "name" }, name);
    let Some(spread) = cell.spread(figure) else {
        text(out, (start + 4.0, baseline), "fault", "not valid");
        return;
    };
    let Spread { median, least, most } = spread;
    let class = match scale.reference {
        _ if name == OURS => "lb",
        _ if is_ours => "again",
        Some(best) if (median - best).abs() < f64::EPSILON => "best",
        _ => "bar",
    };
    let ratio = scale.ratio(median);
    let length = scale.length(ratio);
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{start:.1}\" y=\"{y:.1}\" width=\"{length:.1}\" \
         height=\"{BAR}\" rx=\"2\"/>"
    );
    let mut end = length;
    if ratio > scale.most {
        let x = start + length - 12.0;
        line(out, "cut", (x, y + BAR + 1.0), (x + 6.0, y - 1.0));
    } else {
        let (from, to) = (scale.length(scale.ratio(least)), scale.length(scale.ratio(most)));
        let middle = y + BAR / 2.0;
        line(out, "range", (start + from, middle), (start + to, middle));
        for x in [from, to] {
            line(out, "range", (start + x, middle - 3.0), (start + x, middle + 3.0));
        }
        end = end.max(to);
    }
    let mut label = figure.show(median);
    if scale.reference.is_some() {
        let _ = write!(label, "  ×{ratio:.2}");
    }
    text(out, (start + end + 7.0, baseline), if is_ours { "ours" } else { "" }, &label);
}

/// How ratios become lengths.
struct Scale {
    /// The best peer's value; without one, values are beside the smallest one.
    reference: Option<f64>,
    smallest: f64,
    /// The ratio that takes all the room.
    most: f64,
}

impl Scale {
    fn of(cells: &[&Cell], figure: Figure, reference: Option<f64>) -> Self {
        let spreads: Vec<_> = cells.iter().filter_map(|cell| cell.spread(figure)).collect();
        let smallest = spreads.iter().map(|spread| spread.median).fold(f64::INFINITY, f64::min);
        let mut scale = Self { reference, smallest, most: 1.0 };
        let ratios = spreads.iter().map(|spread| scale.ratio(spread.median));
        scale.most = ratios.fold(1.2, f64::max).min(LONGEST);
        scale
    }

    fn ratio(&self, value: f64) -> f64 {
        value / self.reference.unwrap_or(self.smallest).max(f64::MIN_POSITIVE)
    }

    fn length(&self, ratio: f64) -> f64 {
        ROOM * (ratio / self.most).min(1.0)
    }
}

fn text(out: &mut String, (x, y): (f64, f64), class: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{class}\" xml:space=\"preserve\">{words}</text>"
    );
}

fn line(out: &mut String, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
    let _ = writeln!(
        out,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// Text as XML takes it, between tags and in attributes.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML has no place for other control characters, however written.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::comparison::tests::some;

    #[test]
    fn what_means_something_to_xml_is_escaped() {
        assert_eq!(
            escaped("a<b> & \"c\" 'd'\u{7}"),
            "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;\u{fffd}"
        );
    }

    #[test]
    fn every_contender_has_its_bar_and_faults_are_said() {
        let picture = svg(&some());
        assert!(picture.contains("slow &lt;one&gt;") && !picture.contains("<one>"));
        assert!(picture.contains(">22.0  ×0.55<"), "{picture}");
        assert!(picture.contains("not valid"));
        assert_eq!(picture.matches("rx=\"2\"").count(), 4);
        assert!(!picture.contains("NaN") && !picture.contains("inf"));
    }

    #[test]
    fn an_empty_comparison_is_a_picture_too() {
        assert!(svg(&Comparison::default()).ends_with("</svg>\n"));
    }

    #[test]
    fn a_bar_that_is_too_long_is_cut() {
        let scale = Scale { reference: Some(10.0), smallest: 1.0, most: LONGEST };
        assert!((scale.length(scale.ratio(1_000.0)) - ROOM).abs() < 1e-9);
        assert!((scale.length(scale.ratio(20.0)) - ROOM / 2.0).abs() < 1e-9);
    }
}
