//! From paths to a bundle: reads documents, and the files they name.
//!
//! The rim reads; [`merge`] decides what a file that could not be read means. A control plane
//! opens no file of an operator's, so everything a document names is read here and shipped.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use lb_model::{
    Bundle, Config, Diagnostic, Diagnostics, Document, FileReference, Parsed, Severity,
    bundle::{Content, NamedFile, Source},
    diagnostic::{Place, code},
    yaml,
};

use crate::exit::{Exit, Failure};

/// The most that a file named by a document may hold.
const MAX_FILE: u64 = 1 << 20;
/// What standard input is called.
const STDIN: &str = "<stdin>";

/// What was read, and what could not be.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The documents and their files.
    pub(crate) bundle: Bundle,
    /// What could not be read, each at the place that names it.
    unread: Vec<Diagnostic>,
}

/// Reads documents and the files they name. A directory stands for its `*.yaml` and `*.yml`.
pub(crate) fn read(paths: &[PathBuf], stdin: &mut dyn Read) -> Result<Reading, Failure> {
    let mut documents = Vec::new();
    let mut unread = Vec::new();
    let mut seen = BTreeSet::new();
    for path in expand(paths)? {
        let name =
            if path.as_os_str() == "-" { STDIN.to_owned() } else { path.display().to_string() };
        if !seen.insert(name.clone()) {
            continue;
        }
        let read = if path.as_os_str() == "-" {
            limited(stdin, yaml::MAX_BYTES as u64)
        } else {
            File::open(&path).and_then(|mut file| limited(&mut file, yaml::MAX_BYTES as u64))
        };
        let bytes = read.map_err(|error| {
            let fix = "give another file or directory, or `-` for standard input";
            Failure::new(format!("could not read {name}: {}", reason(&error))).fix(fix)
        })?;
        let text = String::from_utf8(bytes).unwrap_or_else(|error| {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            unread.push(not_utf8(&name, &text, valid));
            text
        });
        documents.push(Source { name, text });
    }
    documents.sort_by(|a, b| a.name.cmp(&b.name));
    let mut bundle = Bundle { documents, files: Vec::new() };
    let (document, _) = Document::read(&bundle);
    let mut done = BTreeSet::new();
    for reference in document.file_references(&bundle) {
        if reference.path.is_empty()
            || !done.insert((reference.document.clone(), reference.path.clone()))
        {
            continue;
        }
        match named_file(&reference) {
            Ok(content) => bundle.files.push(NamedFile {
                document: reference.document,
                path: reference.path,
                content: Content(content),
            }),
            Err(error) => unread.push(missing(&reference, &error)),
        }
    }
    Ok(Reading { bundle, unread })
}

impl Reading {
    /// Checks what was read. `now` is in seconds since 1970.
    pub(crate) fn check(&self, now: i64) -> Result<Parsed, Diagnostics> {
        match Config::parse(&self.bundle, now) {
            Ok(parsed) if self.unread.is_empty() => Ok(parsed),
            Ok(parsed) => Err(merge(parsed.warnings, &self.unread)),
            Err(found) => Err(merge(found, &self.unread)),
        }
    }

    /// The documents by name, for people.
    pub(crate) fn names(&self) -> String {
        let names = self.bundle.documents.iter().map(|source| source.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    }
}

/// Puts what could not be read in the place of what the parser says of it, which knows no reason.
fn merge(found: Diagnostics, unread: &[Diagnostic]) -> Diagnostics {
    let mut merged = Diagnostics::default();
    let mut used = vec![false; unread.len()];
    for finding in &found {
        // Text that is not UTF-8 was mended to be shown; what the parser says of it, and of the
        // whole that it is a part of, misleads.
        let file = |finding: &Diagnostic| finding.place.as_ref().map(|place| place.file.clone());
        let misleads = unread.iter().any(|other| {
            other.code == code::SYNTAX && (finding.place.is_none() || file(other) == file(finding))
        });
        if misleads {
            continue;
        }
        let same_file = (finding.code == code::FILE_MISSING)
            .then(|| unread.iter().position(|other| is_same(finding, other)))
            .flatten();
        match same_file {
            Some(index) => {
                used[index] = true;
                let other = &unread[index];
                merged.push(Diagnostic {
                    message: other.message.clone(),
                    help: other.help.clone(),
                    ..finding.clone()
                });
            }
            None => merged.push(finding.clone()),
        }
    }
    for (finding, used) in unread.iter().zip(used) {
        if !used {
            merged.push(finding.clone());
        }
    }
    merged.sorted()
}

/// Whether two findings are about the same written path: the one place, or the same text in the
/// same document, as when one file holds both a chain and its key.
fn is_same(finding: &Diagnostic, unread: &Diagnostic) -> bool {
    let quoted = |finding: &Diagnostic| finding.message.split('`').nth(1).map(str::to_owned);
    let file = |finding: &Diagnostic| finding.place.as_ref().map(|place| place.file.clone());
    unread.code == code::FILE_MISSING
        && file(finding) == file(unread)
        && quoted(finding) == quoted(unread)
}

/// Replaces directories by the documents in them.
fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" || !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let unreadable = |error: io::Error| {
            let what =
                format!("could not read the directory {}: {}", path.display(), reason(&error));
            Failure::new(what)
        };
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?.path();
            let is_document =
                entry.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
            if is_document && !entry.is_dir() {
                inside.push(entry);
            }
        }
        if inside.is_empty() {
            return Err(Failure::new(format!("there is no *.yaml or *.yml in {}", path.display()))
                .exit(Exit::Failure)
                .fix("name the files, or another directory"));
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

fn named_file(reference: &FileReference) -> Result<Vec<u8>, Unread> {
    let base = match reference.document.as_str() {
        STDIN => Path::new(""),
        document => Path::new(document).parent().unwrap_or(Path::new("")),
    };
    // By components, so that `./a.pem` is shown as `a.pem`.
    let path: PathBuf = base.join(&reference.path).components().collect();
    let at = |error| Unread { path: path.clone(), error };
    let mut file = File::open(&path).map_err(at)?;
    limited(&mut file, MAX_FILE).map_err(at)
}

/// A file that could not be read, and why.
struct Unread {
    path: PathBuf,
    error: io::Error,
}

/// Reads all of it, unless that is more than `most` bytes.
fn limited(from: &mut dyn Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let most = most >> 20;
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {most} MiB"),
        ));
    }
    Ok(bytes)
}

/// What the system says, without its number.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

fn missing(reference: &FileReference, unread: &Unread) -> Diagnostic {
    let help = match unread.error.kind() {
        io::ErrorKind::FileTooLarge => {
            "no certificate or key is that large; name the right file".to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            format!("let this user read {}, or write the PEM text inline", unread.path.display())
        }
        _ => format!(
            "put the file at {}, or correct the path, which is relative to the document",
            unread.path.display()
        ),
    };
    Diagnostic {
        code: code::FILE_MISSING.to_owned(),
        severity: Severity::Error,
        place: Some(reference.place.clone()),
        path: String::new(),
        message: format!(
            "the file `{}` could not be read: {}",
            reference.path,
            reason(&unread.error)
        ),
        help: Some(help),
    }
}

fn not_utf8(name: &str, text: &str, valid: usize) -> Diagnostic {
    // Up to there the text is as it was, so lines and columns are right.
    let before = text.get(..valid).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let place = Place {
        file: name.to_owned(),
        line: line as u32,
        column: column as u32,
        offset: valid as u32,
        len: '\u{fffd}'.len_utf8() as u32,
    };
    Diagnostic {
        code: code::SYNTAX.to_owned(),
        severity: Severity::Error,
        place: Some(place),
        path: String::new(),
        message: "the document is not UTF-8 here".to_owned(),
        help: Some("save it as UTF-8".to_owned()),
    }
}

#[cfg(test)]
mod tests;
