//! Draws findings where they are: the line of the document with a mark under the fault.
//!
//! On a terminal miette draws them; elsewhere they are plain lines that editors and people can
//! both read, each beginning with `FILE:LINE:COLUMN: `.

use std::fmt;

use lb_model::{Bundle, Diagnostic, Diagnostics, Severity, diagnostic::Place};
use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, SourceCode, SourceSpan};

/// How findings are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Plain lines.
    Plain,
    /// Boxes and arrows, with or without colours.
    Graphical { color: bool },
}

/// Draws all findings.
pub(crate) fn draw(found: &Diagnostics, bundle: &Bundle, style: Style) -> String {
    let mut text = String::new();
    for diagnostic in found {
        let source = diagnostic.place.as_ref().and_then(|place| {
            let source = bundle.documents.iter().find(|source| source.name == place.file)?;
            Some((place, source.text.as_str()))
        });
        match style {
            Style::Plain => plain(&mut text, diagnostic, source),
            Style::Graphical { color } => graphical(&mut text, diagnostic, source, color),
        }
    }
    text
}

/// How many findings of each kind there are, in words.
pub(crate) fn count(found: &Diagnostics) -> String {
    let of = |severity| found.iter().filter(|finding| finding.severity == severity).count();
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    match (errors, warnings) {
        (0, 0) => "no warnings".to_owned(),
        (0, _) => plural(warnings, "warning"),
        (_, 0) => plural(errors, "error"),
        _ => format!("{}, {}", plural(errors, "error"), plural(warnings, "warning")),
    }
}

/// `1 route`, `2 routes`.
pub(crate) fn plural(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{count} {stem}ies"),
        (_, None) => format!("{count} {noun}s"),
    }
}

/// What is wrong, with the value it is about.
fn headline(diagnostic: &Diagnostic) -> String {
    if diagnostic.path.is_empty() {
        diagnostic.message.clone()
    } else {
        format!("{}: {}", diagnostic.path, diagnostic.message)
    }
}

fn plain(text: &mut String, diagnostic: &Diagnostic, source: Option<(&Place, &str)>) {
    if let Some(place) = &diagnostic.place {
        *text += &format!("{place}: ");
    }
    *text += &format!("{}[{}]: ", diagnostic.severity, diagnostic.code);
    *text += &headline(diagnostic);
    text.push('\n');
    if let Some((place, source)) = source
        && let Some(line) = source.lines().nth(place.line.saturating_sub(1) as usize)
    {
        let number = place.line.to_string();
        let margin = " ".repeat(number.len());
        let before = line.chars().take(place.column.saturating_sub(1) as usize);
        // Tabs stay tabs, so that the mark stands where the terminal puts the fault.
        let indent: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        let mark = "^".repeat(marked(place, source));
        *text += &format!("{number} | {line}\n{margin} | {indent}{mark}\n");
    }
    if let Some(help) = &diagnostic.help {
        *text += &format!("  help: {help}\n");
    }
}

/// How many characters to mark: the fault, but not past the end of its line.
fn marked(place: &Place, source: &str) -> usize {
    let span = span(place, source);
    let fault = source.get(span.offset()..span.offset() + span.len()).unwrap_or_default();
    fault.lines().next().unwrap_or_default().chars().count().max(1)
}

/// The place in bytes, within the text whatever the place says.
fn span(place: &Place, source: &str) -> SourceSpan {
    let start = (place.offset as usize).min(source.len());
    let end = start.saturating_add(place.len as usize).min(source.len());
    (start..end).into()
}

fn graphical(
    text: &mut String,
    diagnostic: &Diagnostic,
    source: Option<(&Place, &str)>,
    color: bool,
) {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false);
    let report = Report {
        diagnostic,
        source: source.map(|(place, text)| {
            let span = span(place, text);
            // A document may be long and the fault one line of it: mark that line only.
            let len = marked_bytes(text, &span);
            let span = SourceSpan::new(span.offset().into(), len);
            (miette::NamedSource::new(&place.file, text.to_owned()), span)
        }),
    };
    if handler.render_report(text, &report).is_err() {
        plain(text, diagnostic, source);
    }
    text.push('\n');
}

fn marked_bytes(source: &str, span: &SourceSpan) -> usize {
    let fault = source.get(span.offset()..span.offset() + span.len()).unwrap_or_default();
    fault.lines().next().unwrap_or_default().len()
}

/// A finding as miette wants it.
#[derive(Debug)]
struct Report<'a> {
    diagnostic: &'a Diagnostic,
    source: Option<(miette::NamedSource<String>, SourceSpan)>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&headline(self.diagnostic))
    }
}

impl std::error::Error for Report<'_> {}

impl miette::Diagnostic for Report<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(format!("{}[{}]", self.diagnostic.severity, self.diagnostic.code)))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
            Severity::Info => miette::Severity::Advice,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        self.diagnostic.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_ref().map(|(source, _)| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let (_, span) = self.source.as_ref()?;
        Some(Box::new(std::iter::once(LabeledSpan::new_primary_with_span(None, *span))))
    }
}

#[cfg(test)]
mod tests {
    use lb_model::Config;

    use super::*;

    fn found(text: &str) -> (Diagnostics, Bundle) {
        let bundle = Bundle::of_text("lb.yaml", text);
        let found = match Config::parse(&bundle, 1_700_000_000) {
            Ok(parsed) => parsed.warnings,
            Err(found) => found,
        };
        (found, bundle)
    }

    const WRONG: &str = "backends:\n  web1: { url: \"http://127.0.0.1:9001\", wieght: 2 }\n";

    #[test]
    fn a_fault_is_drawn_under_its_text() {
        let (found, bundle) = found(WRONG);
        let text = draw(&found, &bundle, Style::Plain);
        let mut lines = text.lines();
        let first = lines.next().unwrap();
        assert!(first.starts_with("lb.yaml:2:41: error[LB0101]: "), "{text}");
        assert_eq!(lines.next().unwrap(), format!("2 | {}", WRONG.lines().nth(1).unwrap()));
        let mark = format!("  | {}^^^^^^", " ".repeat(40));
        assert_eq!(lines.next().unwrap(), mark, "{text}");
        assert!(lines.next().unwrap().starts_with("  help: "), "{text}");
    }

    #[test]
    fn a_terminal_gets_the_same_facts_with_and_without_colours() {
        let (found, bundle) = found(WRONG);
        let text = draw(&found, &bundle, Style::Graphical { color: false });
        assert!(text.contains("error[LB0101]") && text.contains("lb.yaml:2:41"), "{text}");
        assert!(text.contains("wieght") && !text.contains('\x1b'), "{text}");
        let text = draw(&found, &bundle, Style::Graphical { color: true });
        assert!(text.contains('\x1b'), "{text}");
    }

    #[test]
    fn a_place_outside_its_document_is_no_reason_to_fail() {
        let (mut found, bundle) = (Diagnostics::default(), Bundle::of_text("lb.yaml", "ä"));
        for (line, offset, len) in [(9, 900, 9), (1, 1, 7), (1, 0, u32::MAX)] {
            let place = Place { file: "lb.yaml".into(), line, column: 1, offset, len };
            found.push(Diagnostic {
                code: "LB0001".into(),
                severity: Severity::Error,
                place: Some(place),
                path: String::new(),
                message: "odd".into(),
                help: None,
            });
        }
        for style in [Style::Plain, Style::Graphical { color: false }] {
            assert_eq!(draw(&found, &bundle, style).matches("odd").count(), 3);
        }
    }

    #[test]
    fn findings_are_counted_in_words() {
        let (found, _) = found("backends: { a: { url: nonsense, b: 1 } }\n");
        assert_eq!(count(&found), "2 errors");
        assert_eq!(count(&Diagnostics::default()), "no warnings");
    }

    #[test]
    fn nouns_have_plurals() {
        assert_eq!(plural(1, "proxy"), "1 proxy");
        assert_eq!(plural(2, "proxy"), "2 proxies");
        assert_eq!(plural(0, "entry point"), "0 entry points");
    }
}
