//! `lbctl doctor`: looks at everything between here and the backends, and says what to do.
//!
//! [`facts`] asks, [`judge`] decides. A check that cannot be made is left out and says why; it is
//! never counted as well.

mod facts;
mod judge;

use serde::Serialize;

use crate::{
    args::Environment,
    context::settings::Settings,
    exit::{Exit, Failure},
    output::{Output, diagnostics::plural},
};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// Well.
    Ok,
    /// It could not be made.
    Skipped,
    /// Somebody should look.
    Warning,
    /// Something does not work.
    Failed,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Check {
    /// What it is about.
    group: &'static str,
    /// Its name within the group.
    name: String,
    /// How it ended.
    verdict: Verdict,
    /// What was found.
    detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

/// All checks.
#[derive(Debug, Serialize)]
struct Report {
    /// The worst of all.
    verdict: Verdict,
    /// In reading order.
    checks: Vec<Check>,
}

/// Asks, decides and shows. Fails if a check failed.
pub(crate) async fn run(
    settings: Result<&Settings, &Failure>,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let facts = facts::gather(settings, environment).await;
    let checks = judge::all(&facts);
    let verdict = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
    let report = Report { verdict, checks };
    let names = |report: &Report| {
        let odd = report.checks.iter().filter(|check| check.verdict >= Verdict::Warning);
        odd.map(|check| format!("{}/{}", check.group, check.name)).collect()
    };
    output.value(&report, names, |report| draw(report, output.color))?;
    if !output.is_structured() {
        output.note(summary(&report));
    }
    Ok(if verdict == Verdict::Failed { Exit::Failure } else { Exit::Ok })
}

fn draw(report: &Report, color: bool) -> String {
    let (mut text, mut group) = (String::new(), "");
    let width = report.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    for check in &report.checks {
        if check.group != group {
            group = check.group;
            let gap = if text.is_empty() { "" } else { "\n" };
            text += &format!("{gap}{group}\n");
        }
        let (mark, paint) = match check.verdict {
            Verdict::Ok => ("✓", "\x1b[32m"),
            Verdict::Skipped => ("-", ""),
            Verdict::Warning => ("!", "\x1b[33m"),
            Verdict::Failed => ("✗", "\x1b[31m"),
        };
        let (paint, plain) = if color && !paint.is_empty() { (paint, "\x1b[0m") } else { ("", "") };
        let detail = check.detail.replace('\n', "\n      ");
        text += &format!("  {paint}{mark}{plain} {:<width$}  {detail}\n", check.name);
        if let Some(fix) = &check.fix {
            text += &format!("      fix: {fix}\n");
        }
    }
    text
}

fn summary(report: &Report) -> String {
    let of = |verdict| report.checks.iter().filter(|check| check.verdict == verdict).count();
    let (failed, warnings) = (of(Verdict::Failed), of(Verdict::Warning));
    let mut text = format!("{}: ", plural(report.checks.len(), "check"));
    text += &match (failed, warnings) {
        (0, 0) => "nothing is wrong".to_owned(),
        (0, _) => plural(warnings, "warning"),
        (_, 0) => format!("{failed} failed"),
        _ => format!("{failed} failed, {}", plural(warnings, "warning")),
    };
    match of(Verdict::Skipped) {
        0 => text,
        left => format!("{text}; {left} could not be made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, verdict: Verdict, fix: Option<&str>) -> Check {
        Check {
            group: "client",
            name: name.to_owned(),
            verdict,
            detail: "so it is".to_owned(),
            fix: fix.map(str::to_owned),
        }
    }

    #[test]
    fn each_check_is_a_line_with_its_mark_and_its_fix() {
        let checks = vec![
            check("server", Verdict::Ok, None),
            check("tls", Verdict::Failed, Some("do this")),
        ];
        let report = Report { verdict: Verdict::Failed, checks };
        let expected = "client\n  ✓ server  so it is\n  ✗ tls     so it is\n      fix: do this\n";
        assert_eq!(draw(&report, false), expected);
        assert!(draw(&report, true).contains("\x1b[31m✗\x1b[0m"));
        assert_eq!(summary(&report), "2 checks: 1 failed");
    }
}
