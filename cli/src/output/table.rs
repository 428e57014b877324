//! Tables for people: columns aligned by spaces, nothing cut off, no line that is not data.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use super::Output;

/// What a state means for whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// As it should be.
    Good,
    /// On its way, or unknown.
    Unsure,
    /// Somebody should look.
    Bad,
    /// Neither.
    Plain,
}

/// One field of a table.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    text: String,
    mood: Mood,
}

impl Field {
    /// A field in a colour.
    pub(crate) fn in_mood(text: impl Into<String>, mood: Mood) -> Self {
        Self { text: text.into(), mood }
    }
}

impl<T: Into<String>> From<T> for Field {
    fn from(text: T) -> Self {
        Self { text: text.into(), mood: Mood::Plain }
    }
}

/// Draws a table. An empty field is drawn as `-`, so that columns can be counted.
pub(crate) fn draw(output: &Output, header: &[&str], rows: Vec<Vec<Field>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.force_no_tty();
    if output.color {
        table.enforce_styling();
    }
    if output.headers {
        table
            .set_header(header.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
    }
    for row in rows {
        table.add_row(row.into_iter().map(cell));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| line.trim_end().to_owned() + "\n");
    lines.collect()
}

fn cell(field: Field) -> Cell {
    // A line end in a message would break the table.
    let text = field.text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cell = Cell::new(if text.is_empty() { "-".to_owned() } else { text });
    match field.mood {
        Mood::Good => cell.fg(Color::Green),
        Mood::Unsure => cell.fg(Color::Yellow),
        Mood::Bad => cell.fg(Color::Red),
        Mood::Plain => cell,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::args::{Arguments, Environment, Format};

    /// An output as `lbctl status FLAGS` would get it, with neither stream a terminal.
    pub(crate) fn output(flags: &[&str]) -> Output {
        let line = [&["lbctl", "status"], flags].concat();
        let global = Arguments::read(line).unwrap().global;
        let format = global.output.clone().unwrap_or(Format::Table);
        let output = Output::new(&global, &Environment::default(), format, None);
        Output { color: flags.contains(&"always"), on_terminal: false, ..output }
    }

    fn rows() -> Vec<Vec<Field>> {
        vec![
            vec!["web1".into(), Field::in_mood("up", Mood::Good), "".into()],
            vec!["a-longer-name".into(), Field::in_mood("down", Mood::Bad), "no\nanswer".into()],
        ]
    }

    #[test]
    fn columns_line_up_and_lines_have_no_tail() {
        let text = draw(&output(&[]), &["BACKEND", "HEALTH", "PROBLEM"], rows());
        let expected = "\
BACKEND        HEALTH  PROBLEM
web1           up      -
a-longer-name  down    no answer
";
        assert_eq!(text, expected);
    }

    #[test]
    fn headers_can_be_left_out() {
        let text = draw(&output(&["--no-headers"]), &["BACKEND", "HEALTH", "PROBLEM"], rows());
        assert!(text.starts_with("web1"), "{text}");
        assert_eq!(text.lines().count(), 2);
    }

    #[test]
    fn colours_are_drawn_only_when_wanted() {
        let plain = draw(&output(&[]), &["A", "B", "C"], rows());
        assert!(!plain.contains('\x1b'));
        let colored = draw(&output(&["--color", "always"]), &["A", "B", "C"], rows());
        assert!(colored.contains('\x1b'), "{colored:?}");
    }

    #[test]
    fn nothing_is_ever_cut_off() {
        let long = "x".repeat(500);
        let text = draw(&output(&[]), &["A"], vec![vec![long.clone().into()]]);
        assert!(text.contains(&long));
    }
}
