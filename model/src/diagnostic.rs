//! What is wrong with a configuration, said so that its author can mend it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whether a finding stops a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration works; its author should look again.
    Warning,
    /// The configuration works as written; this says how, where that is easily mistaken.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        })
    }
}

/// A place in a source. Lines and columns count from 1, columns in characters; a source that has
/// no lines, such as a variable of the environment, is line 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Place {
    /// The name of the document, as given by whoever read it.
    pub file: String,
    /// The line.
    pub line: u32,
    /// The column of the first character.
    pub column: u32,
    /// Where the text begins, in bytes from the start of the document.
    pub offset: u32,
    /// How many bytes the text takes.
    pub len: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            _ => write!(f, "{}:{}:{}", self.file, self.line, self.column),
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Diagnostic {
    /// A stable code, `LB` and four digits; see [`code`].
    pub code: String,
    /// Whether it stops the configuration.
    pub severity: Severity,
    /// Where; absent when the fault is in no document.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<Place>,
    /// The path of the value, such as `services.shop.health_check.interval`.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub path: String,
    /// What is wrong and why.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}[{}]: ", self.severity, self.code)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

/// Findings in the order of their places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct Diagnostics(Vec<Diagnostic>);

/// Findings past this many are not kept: a hostile document must not fill memory. An error is
/// kept before anything milder.
const MOST: usize = 1_000;

impl Diagnostics {
    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.0.len() < MOST {
            self.0.push(diagnostic);
        } else if diagnostic.severity == Severity::Error
            && self.0.last().is_some_and(|last| last.severity != Severity::Error)
        {
            // If an error is last, there is one already, and that is what decides. Otherwise
            // what is milder gathers at the end and leaves from there.
            self.0.sort_by_key(|known| known.severity != Severity::Error);
            self.0.pop();
            self.0.insert(0, diagnostic);
        }
    }

    /// Takes in all findings of another collection.
    pub fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Whether any finding stops the configuration.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }

    /// Whether any finding asks for a second look, or stops the configuration.
    pub fn has_warnings(&self) -> bool {
        self.0.iter().any(|d| d.severity <= Severity::Warning)
    }

    /// Whether any finding but those of a code stops the configuration.
    pub(crate) fn has_errors_beside(&self, code: &str) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error && d.code != code)
    }

    /// Gives every finding of a code another severity.
    #[must_use]
    pub(crate) fn graded(mut self, code: &str, severity: Severity) -> Self {
        for diagnostic in self.0.iter_mut().filter(|diagnostic| diagnostic.code == code) {
            diagnostic.severity = severity;
        }
        self
    }

    /// Puts the findings in reading order.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| (&a.place, &a.path).cmp(&(&b.place, &b.path)));
        self
    }

    /// The findings.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// How many findings there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|diagnostic| writeln!(f, "{diagnostic}"))
    }
}

/// The codes of findings. A code never changes its meaning.
pub mod code {
    /// The text is not YAML.
    pub const SYNTAX: &str = "LB0001";
    /// The document is larger or deeper than is read.
    pub const TOO_LARGE: &str = "LB0002";
    /// A key stands twice.
    pub const DUPLICATE_KEY: &str = "LB0003";
    /// A YAML feature that the language does not use: anchors, tags, several documents.
    pub const UNSUPPORTED_YAML: &str = "LB0004";
    /// A key that the language does not have.
    pub const UNKNOWN_KEY: &str = "LB0101";
    /// A map, list or scalar stands where another is wanted.
    pub const WRONG_SHAPE: &str = "LB0102";
    /// A scalar is not a value of its type.
    pub const INVALID_VALUE: &str = "LB0103";
    /// A key that must be there is missing.
    pub const MISSING: &str = "LB0104";
    /// The language has it, this version does not run it yet.
    pub const NOT_YET: &str = "LB0105";
    /// Keys that contradict each other.
    pub const CONFLICT: &str = "LB0106";
    /// `${NAME}` names a variable that has no value.
    pub const UNSET_VARIABLE: &str = "LB0107";
    /// A value set from outside has no place in the documents.
    pub const NO_SUCH_PLACE: &str = "LB0108";
    /// A block that is there and does not say whether it is enabled.
    pub const NOT_ENABLED: &str = "LB0109";
    /// A name that nothing carries.
    pub const UNKNOWN_REFERENCE: &str = "LB0201";
    /// The same thing named twice in a list.
    pub const DUPLICATE_REFERENCE: &str = "LB0202";
    /// Two entry points on one address.
    pub const ADDRESS_TAKEN: &str = "LB0203";
    /// The same name in two documents.
    pub const DUPLICATE_NAME: &str = "LB0204";
    /// A block for every service that fits none, or fits several where one is meant.
    pub const WRONG_SCOPE: &str = "LB0205";
    /// A rule that cannot be read.
    pub const INVALID_RULE: &str = "LB0301";
    /// Two routes that match the same requests with the same priority.
    pub const SHADOWED_ROUTE: &str = "LB0302";
    /// A route that never answers, because another takes all its requests before it.
    pub const UNREACHABLE_ROUTE: &str = "LB0303";
    /// A regular expression that cannot be used.
    pub const INVALID_PATTERN: &str = "LB0304";
    /// A pattern that matches what is not meant.
    pub const BROAD_PATTERN: &str = "LB0305";
    /// A file that is named and was not given.
    pub const FILE_MISSING: &str = "LB0401";
    /// A certificate or key that cannot be used.
    pub const INVALID_CERTIFICATE: &str = "LB0402";
    /// A certificate that clients will refuse.
    pub const EXPIRED_CERTIFICATE: &str = "LB0403";
    /// TLS without a certificate for it.
    pub const NO_CERTIFICATE: &str = "LB0404";
    /// A key for tokens that cannot be used, or does not fit their algorithm.
    pub const INVALID_KEY: &str = "LB0405";
    /// A secret that is easily guessed.
    pub const WEAK_SECRET: &str = "LB0406";
    /// TLS that is known to be broken.
    pub const WEAK_TLS: &str = "LB0407";
    /// A file that is not of its kind.
    pub const INVALID_FILE: &str = "LB0408";
    /// A certificate that would be renewed at another time than one may think.
    pub const RENEWAL: &str = "LB0409";
    /// Something configured that nothing uses.
    pub const UNUSED: &str = "LB0501";
    /// There is nothing to serve.
    pub const EMPTY: &str = "LB0502";
    /// Requests that come back to where they were sent from.
    pub const LOOP: &str = "LB0503";
    /// Something that anybody on the network may decide.
    pub const OPEN: &str = "LB0504";
    /// How requests are divided, where keys are easily mistaken.
    pub const DIVIDED: &str = "LB0505";
}
