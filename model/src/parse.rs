//! From what was written to what is true.
//!
//! Every step takes what it needs, gives what it could make, and reports what it could not. A
//! configuration comes out only if nothing was reported as an error.

mod acme;
mod certificates;
mod defaults;
mod discovery;
mod entry_points;
mod health_check;
mod jwt;
mod middlewares;
mod observability;
mod overlap;
mod plugins;
mod policies;
mod protocols;
mod resilience;
mod routes;
mod run;
mod second_look;
mod services;
mod shadow;
mod traffic_management;
mod waf;

#[cfg(feature = "wire")]
pub(crate) use resilience::endless;
#[cfg(feature = "wire")]
pub(crate) use services::is_path;

use std::{
    collections::{BTreeMap, HashSet},
    num::NonZeroU32,
};

use crate::{
    bundle::Bundle,
    config::{Config, Parsed},
    diagnostic::{Diagnostic, Diagnostics, Severity, code},
    difference::Written,
    document::{At, Document, Named, Spanned, nearest},
    layers,
    value::FilePath,
};

impl Config {
    /// Reads a bundle into a configuration that this version runs in full. `now`, in seconds
    /// since 1970, decides whether a certificate has expired.
    ///
    /// # Errors
    ///
    /// All faults of all documents at once, in reading order, warnings among them. What this
    /// version does not run is a fault where it is turned on.
    pub fn parse(bundle: &Bundle, now: i64) -> Result<Parsed, Diagnostics> {
        let (config, found) = read(bundle, now);
        Self::judge(config, found)
    }

    /// Reads a bundle as [`Config::parse`] does, and gives what was written beside what it means,
    /// for which the documents would otherwise be read twice. `key` is as in [`Written::read`].
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub fn parse_written(
        bundle: &Bundle,
        now: i64,
        key: &[u8; 32],
    ) -> Result<(Parsed, Written), Diagnostics> {
        let (layered, mut found) = layers::layered(bundle);
        let (document, faults) = Document::of_trees(&layered.trees, bundle);
        found.extend(faults);
        let (config, found) = understood(&document, bundle, found, now);
        let parsed = Self::judge(config, found)?;
        Ok((parsed, Written::of(bundle, &layered, &document, key)))
    }

    /// Reads a bundle as [`Config::parse`] does, and only warns of what this version does not
    /// run. The configuration says all that was written, so that it can be looked at; a proxy
    /// could not run it.
    ///
    /// # Errors
    ///
    /// All faults but those, as [`Config::parse`] gives them.
    pub fn check(bundle: &Bundle, now: i64) -> Result<Parsed, Diagnostics> {
        let (config, found) = read(bundle, now);
        Self::judge(config, found.graded(code::NOT_YET, Severity::Warning))
    }

    fn judge(config: Self, found: Diagnostics) -> Result<Parsed, Diagnostics> {
        let found = found.sorted();
        if found.has_errors() {
            return Err(found);
        }
        Ok(Parsed { config, warnings: found })
    }
}

/// What could be made of a bundle, and everything there is to say about it.
fn read(bundle: &Bundle, now: i64) -> (Config, Diagnostics) {
    let (document, found) = Document::read(bundle);
    understood(&document, bundle, found, now)
}

/// What could be made of a document, and what was found before and on the way.
fn understood(
    document: &Document,
    bundle: &Bundle,
    found: Diagnostics,
    now: i64,
) -> (Config, Diagnostics) {
    let mut faults = Faults {
        bundle,
        files: bundle.index(),
        now,
        found,
        path: Vec::new(),
        suggestions: SUGGESTIONS,
    };
    let config = faults.config(document);
    (config, faults.found)
}

/// How often the nearest name is looked for. It takes as long as there are names, so a document
/// with ten thousand of them, all wrong, must not ask each time.
const SUGGESTIONS: u32 = 100;

/// Gathers findings, with the path of what is being looked at.
struct Faults<'a> {
    bundle: &'a Bundle,
    files: BTreeMap<(&'a str, &'a str), &'a [u8]>,
    now: i64,
    found: Diagnostics,
    path: Vec<String>,
    suggestions: u32,
}

/// The names of one map, to look up what refers to it.
struct Names<'d> {
    /// What one of them is, and in which map it stands.
    kind: &'static str,
    map: &'static str,
    known: HashSet<&'d str>,
}

impl<'d> Names<'d> {
    fn of<N: AsRef<str>, T>(
        kind: &'static str,
        map: &'static str,
        written: Option<&'d Named<N, T>>,
    ) -> Self {
        let known = written.into_iter().flatten().map(|(name, _)| name.value.as_ref());
        Self { kind, map, known: known.collect() }
    }

    fn and<N: AsRef<str> + 'd>(mut self, more: impl Iterator<Item = &'d N>) -> Self {
        self.known.extend(more.map(AsRef::as_ref));
        self
    }

    fn contains(&self, name: &str) -> bool {
        self.known.contains(name)
    }
}

impl Faults<'_> {
    fn config(&mut self, document: &Document) -> Config {
        let mut backends = self.backends(document);
        let mut services = self.services(document, &backends);
        let entry_points = self.entry_points(document);
        let placement = self.placement(document);
        let certificates = self.certificates(document);
        let mut routes = self.routes(document, &entry_points, &services);
        let made = (&entry_points, &mut services, &mut routes);
        let (policies, own_deployments) = self.policies(document, made, &mut backends);
        self.tls_options(document);
        self.http3(document);
        self.observability(document);
        self.service_discovery(document);
        self.lets_encrypt(document);
        let config = Config {
            entry_points,
            backends,
            services,
            routes,
            certificates,
            placement,
            own_deployments,
            policies,
        };
        // What follows from the rest is only said when the rest is right.
        if !self.found.has_errors_beside(code::NOT_YET) {
            self.look_again(document, &config);
        }
        config
    }

    /// Runs `body` with `key` on the path, if there is a key.
    fn within<T>(&mut self, key: &str, body: impl FnOnce(&mut Self) -> T) -> T {
        if key.is_empty() {
            return body(self);
        }
        self.path.push(key.to_owned());
        let result = body(self);
        self.path.pop();
        result
    }

    /// Runs `body` for each item of a list, with its number on the path.
    fn each<'i, I: 'i, T>(
        &mut self,
        key: &str,
        items: impl IntoIterator<Item = &'i I>,
        mut body: impl FnMut(&mut Self, &'i I) -> T,
    ) -> Vec<T> {
        let items = items.into_iter().enumerate();
        items
            .map(|(index, item)| self.within(&format!("{key}[{index}]"), |f| body(f, item)))
            .collect()
    }

    fn error(&mut self, at: At, code: &str, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Error, Some(at), code, message.into(), help.into());
    }

    fn warn(&mut self, at: At, code: &str, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Warning, Some(at), code, message.into(), help.into());
    }

    fn note(&mut self, at: At, code: &str, message: impl Into<String>, help: impl Into<String>) {
        self.report(Severity::Info, Some(at), code, message.into(), help.into());
    }

    fn report(
        &mut self,
        severity: Severity,
        at: Option<At>,
        code: &str,
        message: String,
        help: String,
    ) {
        let place = at.map(|at| at.position.in_file(self.file_name(at)));
        self.found.push(Diagnostic {
            code: code.to_owned(),
            severity,
            place,
            path: self.path.join("."),
            message,
            help: Some(help).filter(|help| !help.is_empty()),
        });
    }

    fn file_name(&self, at: At) -> &str {
        self.bundle.source_name(at.source)
    }

    /// Whether a name leads somewhere; if not, that is reported with the nearest one.
    fn refers<T: AsRef<str>>(&mut self, name: &Spanned<T>, names: &Names<'_>) -> bool {
        let wanted = name.value.as_ref();
        if names.contains(wanted) {
            return true;
        }
        let near = if self.suggestions > 0 {
            self.suggestions -= 1;
            nearest(wanted, names.known.iter().copied())
        } else {
            None
        };
        let help = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("add it to the {} map", names.map),
        };
        let message = format!("there is no {} `{wanted}`", names.kind);
        self.error(name.at, code::UNKNOWN_REFERENCE, message, help);
        false
    }

    /// Runs `body` for what of a list leads somewhere, and gives these names once each.
    fn references<T: AsRef<str> + Clone + Eq + std::hash::Hash>(
        &mut self,
        key: &str,
        listed: &[Spanned<T>],
        names: &Names<'_>,
        twice: &str,
    ) -> Vec<T> {
        let mut seen = HashSet::with_capacity(listed.len());
        self.within(key, |faults| {
            let mut good = Vec::with_capacity(listed.len());
            for name in listed {
                if !faults.refers(name, names) {
                    continue;
                }
                if seen.insert(&name.value) {
                    good.push(name.value.clone());
                } else {
                    let message = format!("`{}` is listed already", name.value.as_ref());
                    faults.error(name.at, code::DUPLICATE_REFERENCE, message, twice);
                }
            }
            good
        })
    }

    /// The content of a file that a key names, or a finding that says why there is none. `inline`
    /// says what may be written instead.
    fn file(&mut self, key: &str, path: &Spanned<FilePath>, inline: &str) -> Option<&[u8]> {
        let document = self.bundle.base_of(path.at.source).to_owned();
        let name = path.value.as_str();
        if let Some(content) = self.files.get(&(document.as_str(), name)) {
            return Some(content);
        }
        let (what, help) = match self.bundle.unread(&document, name) {
            Some(unread) => {
                (format!("could not be read: {}", unread.reason), unread.help.to_owned())
            }
            None => (
                "was not given".to_owned(),
                format!("whoever reads the document ships its files: use `lbctl apply`{inline}"),
            ),
        };
        self.within(key, |faults| {
            let message = format!("the file `{name}` {what}");
            faults.error(path.at, code::FILE_MISSING, message, help);
        });
        None
    }
}

/// The value of a key, or its default.
fn or<T: Clone>(written: Option<&Spanned<T>>, default: T) -> T {
    written.map_or(default, |written| written.value.clone())
}

/// The number of a key that is never 0, or its default.
fn number(written: Option<Spanned<NonZeroU32>>, default: u32) -> u32 {
    written.map_or(default, |written| written.value.get())
}

/// The values of a list, or none.
fn list<T: Clone>(written: Option<&Vec<Spanned<T>>>) -> Vec<T> {
    written.into_iter().flatten().map(|item| item.value.clone()).collect()
}

#[cfg(test)]
mod tests;
