//! `lbctl check`: every fault of a configuration at once, without a server.
//!
//! What this version does not run is a warning here and an error for whoever applies it.

use std::io;

use jiff::Timestamp;
use lb_model::{Bundle, Config, Diagnostics, Parsed};

use crate::{
    args::{Check, Environment},
    exit::{Exit, Failure},
    output::{
        Output,
        diagnostics::{self, Style, count, plural},
    },
    source::{self, Reading},
};

/// Checks and reports.
pub(crate) fn run(
    check: &Check,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let reading = source::read(&check.files, &check.layers, environment, &mut io::stdin().lock())?;
    let now = Timestamp::now().as_second();
    let (found, config) = match Config::check(&reading.bundle, now) {
        Ok(Parsed { config, warnings }) => (warnings, Some(config)),
        Err(found) => (found, None),
    };
    let fails = config.is_none() || (check.strict && found.has_warnings());
    if output.is_structured() {
        output.structured(&found)?;
    } else {
        draw(&found, &reading.bundle, output);
        if let Some(first) = found.iter().next() {
            output.note(format_args!("what a code means: lbctl explain-error {}", first.code));
        }
        for name in &reading.ignored {
            output.note(format_args!("note: {name} names no value of the configuration"));
        }
        match &config {
            Some(config) if !fails => {
                output.summary(&summary(&reading, config, &found))?;
                let names = check.files.iter().map(|file| format!(" -f {}", file.display()));
                output.hint(format_args!("next: lbctl plan{}", names.collect::<String>()));
            }
            _ => output.important(format_args!(
                "{}: {}{}",
                reading.names(),
                count(&found),
                if config.is_some() { " (--strict)" } else { "" }
            )),
        }
    }
    Ok(if fails { Exit::Invalid } else { Exit::Ok })
}

/// Checks what was read for somebody who goes on only if it is right: draws warnings and faults.
pub(crate) fn report(reading: &Reading, output: &Output) -> Result<Config, Failure> {
    judged(reading, reading.check(Timestamp::now().as_second()), output)
}

/// As [`report`], for somebody who wants to look at what this version does not run as well.
pub(super) fn whole(reading: &Reading, output: &Output) -> Result<Config, Failure> {
    judged(reading, Config::check(&reading.bundle, Timestamp::now().as_second()), output)
}

fn judged(
    reading: &Reading,
    parsed: Result<Parsed, Diagnostics>,
    output: &Output,
) -> Result<Config, Failure> {
    match parsed {
        Ok(Parsed { config, warnings }) => {
            draw(&warnings, &reading.bundle, output);
            Ok(config)
        }
        Err(found) => {
            if output.is_structured() {
                output.structured(&found)?;
            } else {
                draw(&found, &reading.bundle, output);
            }
            Err(Failure::new(format!("{}: {}", reading.names(), count(&found)))
                .exit(Exit::Invalid)
                .fix("nothing was sent"))
        }
    }
}

/// Draws findings on standard error, as that stream wants them.
pub(crate) fn draw(found: &Diagnostics, bundle: &Bundle, output: &Output) {
    let style = if output.messages_on_terminal || output.message_color {
        Style::Graphical { color: output.message_color }
    } else {
        Style::Plain
    };
    let text = diagnostics::draw(found, bundle, style);
    if !text.is_empty() {
        output.important(text);
    }
}

/// What a configuration holds, in one line.
fn summary(reading: &Reading, config: &Config, warnings: &Diagnostics) -> String {
    let mut parts = vec![
        plural(config.entry_points.len(), "entry point"),
        plural(config.backends.len(), "backend"),
        plural(config.services.len(), "service"),
        plural(config.routes.len(), "route"),
    ];
    if !config.certificates.is_empty() {
        parts.push(plural(config.certificates.len(), "certificate"));
    }
    format!("{}: {}; {}", reading.names(), parts.join(", "), count(warnings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Layers;

    #[test]
    fn a_valid_configuration_is_summed_up_in_a_line() {
        let text = "backends: { a: { url: \"http://a\" }, b: { url: \"http://b\" } }\n";
        let reading = source::read(
            &["-".into()],
            &Layers::default(),
            &Environment::default(),
            &mut text.as_bytes(),
        )
        .unwrap();
        let Parsed { config, warnings } = reading.check(1_700_000_000).unwrap();
        assert_eq!(
            summary(&reading, &config, &warnings),
            "<stdin>: 1 entry point, 2 backends, 1 service, 1 route; no warnings"
        );
    }
}
