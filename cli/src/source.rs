//! From paths to a bundle: reads documents, and the files they name.
//!
//! A control plane opens no file of an operator's, so everything a document names is read here and
//! shipped. What could not be read becomes a finding at the place that names it.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

pub(crate) use lb_model::bundle::reason;
use lb_model::{
    Bundle, Config, Diagnostics, FileReference, Parsed,
    bundle::{MAX_FILE, Source, read_at_most},
    yaml,
};

use crate::exit::{Exit, Failure};

/// What standard input is called.
const STDIN: &str = "<stdin>";

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The documents and their files.
    pub(crate) bundle: Bundle,
}

/// Reads documents and the files they name. A directory stands for its `*.yaml` and `*.yml`.
pub(crate) fn read(paths: &[PathBuf], stdin: &mut dyn Read) -> Result<Reading, Failure> {
    let mut documents = Vec::new();
    let mut seen = BTreeSet::new();
    for path in expand(paths)? {
        let name =
            if path.as_os_str() == "-" { STDIN.to_owned() } else { path.display().to_string() };
        if !seen.insert(name.clone()) {
            continue;
        }
        let read = if path.as_os_str() == "-" {
            read_at_most(stdin, yaml::MAX_BYTES)
        } else {
            File::open(&path).and_then(|mut file| read_at_most(&mut file, yaml::MAX_BYTES))
        };
        let bytes = read.map_err(|error| {
            let fix = "give another file or directory, or `-` for standard input";
            Failure::new(format!("could not read {name}: {}", reason(&error))).fix(fix)
        })?;
        documents.push(Source::from_bytes(name, bytes));
    }
    documents.sort_by(|a, b| a.name.cmp(&b.name));
    let mut bundle = Bundle { documents, ..Bundle::default() };
    bundle.gather(named_file);
    Ok(Reading { bundle })
}

impl Reading {
    /// Checks what was read. `now` is in seconds since 1970.
    pub(crate) fn check(&self, now: i64) -> Result<Parsed, Diagnostics> {
        Config::parse(&self.bundle, now)
    }

    /// The documents by name, for people.
    pub(crate) fn names(&self) -> String {
        let names = self.bundle.documents.iter().map(|source| source.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    }
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

fn named_file(reference: &FileReference) -> io::Result<Vec<u8>> {
    let base = match reference.document.as_str() {
        STDIN => Path::new(""),
        document => Path::new(document).parent().unwrap_or(Path::new("")),
    };
    read_at_most(&mut File::open(base.join(&reference.path))?, MAX_FILE)
}

#[cfg(test)]
mod tests;
