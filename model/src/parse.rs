//! From what was written to what is true.
//!
//! Every step takes what it needs, gives what it could make, and reports what it could not. A
//! configuration comes out only if nothing was reported as an error.

mod certificates;
mod defaults;
mod entry_points;
mod routes;
mod services;

use crate::{
    bundle::Bundle,
    config::{Config, Parsed},
    diagnostic::{Diagnostic, Diagnostics, Severity, code},
    document::{At, Document},
    value::Duration,
};

impl Config {
    /// Reads a bundle into a configuration. `now`, in seconds since 1970, decides whether a
    /// certificate has expired.
    ///
    /// # Errors
    ///
    /// All faults of all documents at once, in reading order, warnings among them.
    pub fn parse(bundle: &Bundle, now: i64) -> Result<Parsed, Diagnostics> {
        let (document, found) = Document::read(bundle);
        let mut faults = Faults { bundle, found, path: Vec::new() };
        let config = faults.config(&document, now);
        let found = faults.found.sorted();
        if found.has_errors() {
            return Err(found);
        }
        Ok(Parsed { config, warnings: found })
    }
}

/// Gathers findings, with the path of what is being looked at.
struct Faults<'a> {
    bundle: &'a Bundle,
    found: Diagnostics,
    path: Vec<String>,
}

impl Faults<'_> {
    fn config(&mut self, document: &Document, now: i64) -> Config {
        let backends = self.backends(document);
        let services = self.services(document, &backends);
        let entry_points = self.entry_points(document);
        let placement = self.placement(document);
        let certificates = self.certificates(document, now);
        let routes = self.routes(document, &entry_points, &services);
        let config = Config { entry_points, backends, services, routes, certificates, placement };
        // What follows from the rest is only said when the rest is right.
        if !self.found.has_errors() {
            self.look_again(document, &config);
        }
        config
    }

    /// Runs `body` with `key` on the path.
    fn within<T>(&mut self, key: &str, body: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(key.to_owned());
        let result = body(self);
        self.path.pop();
        result
    }

    fn error(&mut self, at: At, code: &str, message: String, help: impl Into<String>) {
        self.report(Severity::Error, Some(at), code, message, help.into());
    }

    fn warn(&mut self, at: At, code: &str, message: String, help: impl Into<String>) {
        self.report(Severity::Warning, Some(at), code, message, help.into());
    }

    fn report(
        &mut self,
        severity: Severity,
        at: Option<At>,
        code: &str,
        message: String,
        help: String,
    ) {
        let place = at.map(|at| at.position.in_file(self.file(at)));
        self.found.push(Diagnostic {
            code: code.to_owned(),
            severity,
            place,
            path: self.path.join("."),
            message,
            help: Some(help).filter(|help| !help.is_empty()),
        });
    }

    fn file(&self, at: At) -> &str {
        self.bundle.source_name(at.source)
    }

    /// A duration that must not be zero.
    fn positive(
        &mut self,
        key: &str,
        value: Option<&crate::document::Spanned<Duration>>,
        default: Duration,
    ) -> Duration {
        let Some(value) = value else { return default };
        if value.value == Duration::ZERO {
            self.within(key, |faults| {
                let message = "zero would mean never or always, and neither works".to_owned();
                faults.error(value.at, code::INVALID_VALUE, message, format!("write {default}"));
            });
        }
        value.value
    }
}

#[cfg(test)]
mod tests;
