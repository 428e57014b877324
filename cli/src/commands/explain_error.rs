//! `lbctl explain-error`: what a code of a finding means, with an example.
//!
//! The texts are data beside this file. A test holds them against the language, so that an example
//! is wrong for the reason it is there for.

use serde::{Deserialize, Serialize};

use crate::{
    args::ExplainError,
    exit::{Exit, Failure},
    output::{Output, table},
};

const TEXTS: &str = include_str!("explain_error/codes.yaml");

/// What is known about a code.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Known {
    /// `LB` and four digits.
    pub(crate) code: String,
    /// What it means, in a line.
    pub(crate) title: String,
    /// Why it is found, and what to do.
    pub(crate) why: String,
    /// What has it.
    pub(crate) wrong: String,
    /// The same without.
    pub(crate) right: String,
    /// What examples need that one document does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) outside: Option<String>,
}

/// Every code.
pub(crate) fn all() -> Result<Vec<Known>, Failure> {
    serde_saphyr::from_str(TEXTS)
        .map_err(|error| Failure::new(format!("could not read the texts of codes: {error}")))
}

/// Explains one, or lists all.
pub(crate) fn run(settings: &ExplainError, output: &Output) -> Result<Exit, Failure> {
    let all = all()?;
    let Some(code) = &settings.code else {
        let names = |all: &Vec<Known>| all.iter().map(|known| known.code.clone()).collect();
        output.value(&all, names, |all| {
            let rows = all.iter().map(|k| vec![k.code.clone().into(), k.title.clone().into()]);
            table::draw(output, &["CODE", "MEANING"], rows.collect())
        })?;
        return Ok(Exit::Ok);
    };
    let wanted = code.to_ascii_uppercase();
    let known = all.iter().find(|known| known.code == wanted).ok_or_else(|| {
        Failure::new(format!("`{code}` is no code of this version"))
            .exit(Exit::NotFound)
            .fix("see all with: lbctl explain-error")
    })?;
    output.value(known, |known| vec![known.code.clone()], draw)?;
    Ok(Exit::Ok)
}

fn draw(known: &Known) -> String {
    let Known { code, title, why, wrong, right, outside } = known;
    let outside = outside.as_ref().map(|what| format!("The examples need {what}.\n"));
    let indented = |text: &str| -> String {
        text.lines().map(|line| format!("  {line}").trim_end().to_owned() + "\n").collect()
    };
    format!(
        "{code}: {title}\n\n{}{}\nwrong\n{}\nright\n{}",
        wrapped(why),
        outside.unwrap_or_default(),
        indented(wrong),
        indented(right)
    )
}

/// Breaks a text into lines that are easily read.
fn wrapped(text: &str) -> String {
    let (mut lines, mut line) = (String::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 80 {
            lines += &line;
            lines.push('\n');
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines + &line + "\n"
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lb_model::{Bundle, Config, Severity};

    use super::*;

    /// The codes that are found, and those of them that stop the configuration.
    fn found(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let bundle = Bundle::of_text("lb.yaml", text);
        let found = match Config::check(&bundle, 1_700_000_000) {
            Ok(parsed) => parsed.warnings,
            Err(found) => found,
        };
        let errors = found.iter().filter(|finding| finding.severity == Severity::Error);
        let errors = errors.map(|finding| finding.code.clone()).collect();
        (found.iter().map(|finding| finding.code.clone()).collect(), errors)
    }

    #[test]
    fn every_code_of_the_language_is_explained() {
        let source = include_str!("../../../model/src/diagnostic.rs");
        let codes: Vec<_> = source
            .split("pub const ")
            .filter_map(|rest| rest.split_once(": &str = \"LB").map(|(_, rest)| rest))
            .filter_map(|rest| rest.get(..4))
            .map(|digits| format!("LB{digits}"))
            .collect();
        assert!(codes.len() > 30, "{codes:?}");
        let known: Vec<_> = all().unwrap().into_iter().map(|known| known.code).collect();
        assert_eq!(known, codes);
    }

    #[test]
    fn an_example_is_wrong_for_its_reason_and_the_other_is_not() {
        let mut faults = Vec::new();
        for known in all().unwrap() {
            let Known { code, title, why, wrong, right, outside } = known;
            assert!(!title.is_empty() && !why.is_empty() && wrong != right, "{code}");
            if outside.is_some() {
                continue;
            }
            let (wrong, _) = found(&wrong);
            if !wrong.contains(&code) {
                faults.push(format!("{code}: the wrong one has {wrong:?}"));
            }
            let (right, mut errors) = found(&right);
            // Files that an example names are not here.
            errors.remove("LB0401");
            if right.contains(&code) || !errors.is_empty() {
                faults.push(format!("{code}: the right one has {right:?}"));
            }
        }
        assert!(faults.is_empty(), "{faults:#?}");
    }

    #[test]
    fn an_explanation_is_a_text_with_both_examples() {
        let known = all().unwrap().into_iter().find(|known| known.code == "LB0502").unwrap();
        let expected = "\
LB0502: there is nothing to serve

Without a backend, or with an empty pool, every request would end with an error.

wrong
  backends: {}

right
  backends: { web1: { url: \"http://10.0.0.1:80\" } }
";
        assert_eq!(draw(&known), expected);
    }
}
