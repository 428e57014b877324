//! The one place that writes: data to standard output, messages to standard error.
//!
//! A reader that goes away (`lbctl get | head -1`) is no failure: the rest is dropped quietly.

pub(crate) mod changes;
pub(crate) mod consent;
pub(crate) mod diagnostics;
pub(crate) mod table;
pub(crate) mod time;

use std::{
    fmt,
    io::{self, ErrorKind, IsTerminal, Write},
};

use serde::Serialize;

use self::consent::Consent;
use crate::{
    args::{Color, Environment, Format, Global},
    exit::Failure,
};

/// How and how much is written.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// How data is written.
    pub(crate) format: Format,
    /// Whether standard output takes colours.
    pub(crate) color: bool,
    /// Whether standard error takes colours.
    pub(crate) message_color: bool,
    /// Whether tables have a first line.
    pub(crate) headers: bool,
    /// Whether a person sits before standard output.
    pub(crate) on_terminal: bool,
    /// Whether a person reads standard error.
    pub(crate) messages_on_terminal: bool,
    /// Whether structured data takes one line a document, for there will be more.
    is_stream: bool,
    quiet: bool,
    debug: bool,
    consent: Consent,
}

impl Output {
    /// Decides from flags, the environment and what the streams are. The format may come from a
    /// context, which may be protected.
    pub(crate) fn new(
        global: &Global,
        environment: &Environment,
        format: Format,
        protected: Option<String>,
    ) -> Self {
        let on_terminal = io::stdout().is_terminal();
        let messages_on_terminal = io::stderr().is_terminal();
        Self {
            format,
            color: wants_color(global.color, environment, on_terminal),
            message_color: wants_color(global.color, environment, messages_on_terminal),
            headers: !global.no_headers,
            on_terminal,
            messages_on_terminal,
            is_stream: false,
            quiet: global.quiet,
            debug: global.debug,
            consent: Consent::new(global, protected),
        }
    }

    /// The same for a stream of documents.
    pub(crate) fn streaming(&self) -> Self {
        Self { is_stream: true, ..self.clone() }
    }

    /// Whether somebody will be asked before something is destroyed.
    pub(crate) fn will_ask(&self) -> bool {
        self.consent.will_ask(true)
    }

    /// Whether somebody will be asked before any change at all.
    pub(crate) fn is_guarded(&self) -> bool {
        self.consent.will_ask(false)
    }

    /// Before a change that can be taken back: asks where a context is protected.
    ///
    /// # Errors
    ///
    /// It was not wanted, or nobody can be asked.
    pub(crate) fn permit(&self, what: &str) -> Result<(), Failure> {
        self.ask(what, false)
    }

    /// Before a change that cannot be taken back easily: says what will happen, and asks whoever
    /// sits there.
    ///
    /// # Errors
    ///
    /// It was not wanted, or nobody can be asked.
    pub(crate) fn confirm(&self, what: &str) -> Result<(), Failure> {
        self.ask(what, true)
    }

    fn ask(&self, what: &str, is_destructive: bool) -> Result<(), Failure> {
        if self.consent.will_ask(is_destructive) {
            self.important(what);
        }
        self.consent.ask(is_destructive, prompt, &mut io::stdin().lock())
    }

    /// Whether data is for programs: nothing but the document itself goes to standard output.
    pub(crate) const fn is_structured(&self) -> bool {
        matches!(self.format, Format::Json | Format::Yaml | Format::JsonPath(_))
    }

    /// Writes data as it is; a line end is added if it has none.
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        self.flow(text).map(|_| ())
    }

    /// As [`Output::data`]; says whether anybody still reads.
    #[expect(clippy::unused_self, reason = "whoever writes holds the output, and nobody else can")]
    pub(crate) fn flow(&self, text: &str) -> Result<bool, Failure> {
        let mut stdout = io::stdout().lock();
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        let written = stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.write_all(end.as_bytes()))
            .and_then(|()| stdout.flush());
        match written {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::new(format!("could not write to standard output: {error}")))
            }
            written => Ok(written.is_ok()),
        }
    }

    /// Writes data that a person asked for and a quiet script did not.
    pub(crate) fn summary(&self, text: &str) -> Result<(), Failure> {
        if self.quiet { Ok(()) } else { self.data(text) }
    }

    /// Writes a value in the format asked for: as text made by `table`, as names, or whole.
    pub(crate) fn value<T: Serialize>(
        &self,
        value: &T,
        names: impl FnOnce(&T) -> Vec<String>,
        table: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        self.data(&self.render(value, names, table)?)
    }

    /// As [`Output::value`], without writing it.
    pub(crate) fn render<T: Serialize>(
        &self,
        value: &T,
        names: impl FnOnce(&T) -> Vec<String>,
        table: impl FnOnce(&T) -> String,
    ) -> Result<String, Failure> {
        match self.format {
            Format::Table | Format::Wide => Ok(table(value)),
            Format::Name => Ok(names(value).into_iter().map(|name| name + "\n").collect()),
            Format::Json | Format::Yaml | Format::JsonPath(_) => self.text(value),
        }
    }

    /// Writes a value whole, as YAML if that is asked for and as JSON otherwise; or what an
    /// expression finds in it.
    pub(crate) fn structured<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        self.data(&self.text(value)?)
    }

    fn text<T: Serialize>(&self, value: &T) -> Result<String, Failure> {
        let text = match (&self.format, self.is_stream) {
            (Format::JsonPath(query), _) => serde_json::to_value(value)
                .map(|value| query.find(&value))
                .map_err(|error| error.to_string()),
            (Format::Yaml, is_stream) => serde_saphyr::to_string(value)
                .map(|text| if is_stream { format!("---\n{text}") } else { text })
                .map_err(|error| error.to_string()),
            (_, true) => serde_json::to_string(value).map_err(|error| error.to_string()),
            (_, false) => serde_json::to_string_pretty(value).map_err(|error| error.to_string()),
        };
        text.map_err(|error| Failure::new(format!("could not write it down: {error}")))
    }

    /// Tells a person something, unless it should be quiet.
    pub(crate) fn note(&self, text: impl fmt::Display) {
        if !self.quiet {
            message(&text);
        }
    }

    /// Says what to do next to a person who sits there.
    pub(crate) fn hint(&self, text: impl fmt::Display) {
        if self.messages_on_terminal && !self.is_structured() {
            self.note(text);
        }
    }

    /// Tells a person something that must not be missed.
    #[expect(clippy::unused_self, reason = "whoever writes holds the output, and nobody else can")]
    pub(crate) fn important(&self, text: impl fmt::Display) {
        message(&text);
    }

    /// Says why the command failed.
    pub(crate) fn fault(&self, failure: &Failure) {
        let red = if self.message_color { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        message(&format_args!("{}error{}: {failure}", red.0, red.1));
        if self.debug {
            for cause in &failure.causes {
                message(&format_args!("  because: {cause}"));
            }
        }
    }
}

/// Whether to use colours: the flag first, then the environment, then what the stream is.
fn wants_color(flag: Color, environment: &Environment, on_terminal: bool) -> bool {
    match flag {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if environment.no_color => false,
        Color::Auto if environment.force_color => true,
        Color::Auto => on_terminal && !environment.dumb_terminal,
    }
}

/// Writes a question, without a line end.
fn prompt(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes to standard error. If that fails there is nobody left to tell.
fn message(text: &dyn fmt::Display) {
    let mut text = text.to_string();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_flag_then_the_environment_then_the_terminal() {
        let plain = Environment::default();
        let no = Environment { no_color: true, force_color: true, ..Environment::default() };
        let force = Environment { force_color: true, ..Environment::default() };
        let dumb = Environment { dumb_terminal: true, ..Environment::default() };
        for (flag, environment, on_terminal, expected) in [
            (Color::Auto, &plain, true, true),
            (Color::Auto, &plain, false, false),
            (Color::Auto, &no, true, false),
            (Color::Auto, &force, false, true),
            (Color::Auto, &dumb, true, false),
            (Color::Always, &no, false, true),
            (Color::Never, &force, true, false),
        ] {
            let found = wants_color(flag, environment, on_terminal);
            assert_eq!(found, expected, "{flag:?} {environment:?} {on_terminal}");
        }
    }
}
