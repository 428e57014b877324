//! Draws what differs: a sign, the object, and its values before and after. Colours repeat what
//! the signs say.

use lb_model::api::{Change, ChangeAction, FieldChange};

const GREEN: &str = "\x1b[32m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";
/// How much of a long value is shown.
const MOST: usize = 160;

/// How many objects were changed, added and removed.
pub(crate) fn summary(changes: &[Change]) -> String {
    let count = |action| changes.iter().filter(|change| change.action == action).count();
    format!(
        "{} changed, {} added, {} removed",
        count(ChangeAction::Changed),
        count(ChangeAction::Added),
        count(ChangeAction::Removed)
    )
}

/// The objects, `kind/name`.
pub(crate) fn names(changes: &[Change]) -> Vec<String> {
    changes.iter().map(|change| format!("{}/{}", change.kind, change.name)).collect()
}

/// One line for each value.
pub(crate) fn draw(changes: &[Change], color: bool) -> String {
    let mut text = String::new();
    for change in changes {
        let (sign, paint) = match change.action {
            ChangeAction::Added => ('+', GREEN),
            ChangeAction::Removed => ('-', RED),
            ChangeAction::Changed => ('~', YELLOW),
        };
        let (paint, plain) = if color { (paint, PLAIN) } else { ("", "") };
        text += &format!("  {paint}{sign} {}/{}{plain}\n", change.kind, change.name);
        let width = change.fields.iter().map(|field| field.path.chars().count());
        let width = width.max().unwrap_or(0);
        for FieldChange { path, before, after } in &change.fields {
            let line = match (before, after) {
                (Some(before), Some(after)) => format!("{} → {}", short(before), short(after)),
                (Some(value), None) if change.action == ChangeAction::Changed => {
                    format!("{} → nothing", short(value))
                }
                (None, Some(value)) if change.action == ChangeAction::Changed => {
                    format!("nothing → {}", short(value))
                }
                (Some(value), None) | (None, Some(value)) => short(value),
                (None, None) => continue,
            };
            if path.is_empty() {
                text += &format!("      {line}\n");
            } else {
                text += &format!("      {path:<width$}  {line}\n");
            }
        }
    }
    text
}

/// A value in one line.
fn short(value: &str) -> String {
    let line = value.trim_end().replace('\n', "\\n");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(
        action: ChangeAction,
        name: &str,
        fields: &[(&str, Option<&str>, Option<&str>)],
    ) -> Change {
        let text = |value: Option<&str>| value.map(str::to_owned);
        let fields = fields.iter().map(|(path, before, after)| FieldChange {
            path: (*path).to_owned(),
            before: text(*before),
            after: text(*after),
        });
        Change { kind: "service".into(), name: name.into(), action, fields: fields.collect() }
    }

    #[test]
    fn signs_and_values_tell_what_happens() {
        let changes = [
            change(ChangeAction::Added, "new", &[("backends", None, Some("[a]"))]),
            change(
                ChangeAction::Changed,
                "shop",
                &[("strategy", Some("p2c"), None), ("timeouts.total", Some("1s"), Some("2s"))],
            ),
            change(ChangeAction::Removed, "old", &[("backends", Some("[b]"), None)]),
        ];
        assert_eq!(
            draw(&changes, false),
            "  + service/new\n      backends  [a]\n  ~ service/shop\n      strategy        p2c → \
             nothing\n      timeouts.total  1s → 2s\n  - service/old\n      backends  [b]\n"
        );
        assert_eq!(summary(&changes), "1 changed, 1 added, 1 removed");
        assert_eq!(names(&changes)[0], "service/new");
    }

    #[test]
    fn long_and_broken_values_stay_on_a_line() {
        let long = "x".repeat(500);
        assert_eq!(short(&long).chars().count(), MOST + 1);
        assert_eq!(short("a\nb\n"), "a\\nb");
    }
}
