//! From paths to a bundle: documents, the files they name, and the layers over them.
//!
//! Only whoever reads a document knows the disk and the environment it belongs to, so everything
//! it needs from there is gathered here and shipped with it. What could not be had becomes a
//! finding, at the place that names it, when the bundle is parsed.

#![warn(missing_docs)]

mod settings;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

pub use lb_model::bundle::reason;
use lb_model::{
    Bundle, FileReference,
    bundle::{MAX_FILE, Source, read_at_most},
    yaml,
};
pub use settings::pair;

/// What standard input is called among documents.
pub const STDIN: &str = "<stdin>";

/// Where a configuration is written.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Files, directories that stand for their `*.yaml` and `*.yml`, or `-` for standard input.
    pub paths: Vec<PathBuf>,
    /// The variables of the environment: `${NAME}` looks here, and `LB_` names set values.
    pub environment: BTreeMap<String, String>,
    /// `PATH=VALUE` pairs of the command line, which win over everything.
    pub flags: Vec<(String, String)>,
}

/// What was read.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The documents and all that they need.
    pub bundle: Bundle,
    /// Every file and directory that was looked at; a change in one may change the bundle.
    pub looked_at: BTreeSet<PathBuf>,
    /// Variables of the environment that look like settings and are none.
    pub ignored: Vec<String>,
}

/// Why there is nothing to parse.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// A document cannot be read.
    #[error("could not read {name}: {}", reason(error))]
    Document {
        /// Which document.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A directory cannot be listed.
    #[error("could not read the directory {}: {}", path.display(), reason(error))]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A directory without documents.
    #[error("there is no *.yaml or *.yml in {}", path.display())]
    Empty {
        /// Which directory.
        path: PathBuf,
    },
    /// A setting whose value is in a file that cannot be read.
    #[error("could not read {file}, which {variable} names: {}", reason(error))]
    Setting {
        /// The variable of the environment.
        variable: String,
        /// The file.
        file: String,
        /// Why.
        error: io::Error,
    },
    /// A flag that is no pair.
    #[error("`{text}` sets nothing; write PATH=VALUE, such as services.shop.strategy=p2c")]
    Flag {
        /// What was written.
        text: String,
    },
}

/// Reads documents, the files they name, and the layers over them. `stdin` is read once, and only
/// if a path is `-`.
///
/// # Errors
///
/// [`Unreadable`] when there is nothing to parse. A file that a document names and that is not
/// there is none: parsing finds it, with its place.
pub fn read(sources: &Sources, stdin: &mut dyn Read) -> Result<Reading, Unreadable> {
    let mut reading = Reading::default();
    let mut seen = BTreeSet::new();
    for path in expand(&sources.paths, &mut reading.looked_at)? {
        let is_stdin = path.as_os_str() == "-";
        let name = if is_stdin { STDIN.to_owned() } else { path.display().to_string() };
        if !seen.insert(name.clone()) {
            continue;
        }
        let read = if is_stdin {
            read_at_most(stdin, yaml::MAX_BYTES)
        } else {
            reading.looked_at.insert(path.clone());
            File::open(&path).and_then(|mut file| read_at_most(&mut file, yaml::MAX_BYTES))
        };
        let bytes = read.map_err(|error| Unreadable::Document { name: name.clone(), error })?;
        reading.bundle.documents.push(Source::from_bytes(name, bytes));
    }
    reading.bundle.documents.sort_by(|a, b| a.name.cmp(&b.name));
    reading.bundle.gather_variables(|name| sources.environment.get(name).cloned());
    settings::gather(sources, &mut reading)?;
    let looked_at = &mut reading.looked_at;
    reading.bundle.gather(|reference| {
        let path = resolve(reference);
        looked_at.insert(path.clone());
        read_at_most(&mut File::open(path)?, MAX_FILE)
    });
    Ok(reading)
}

/// Replaces directories by the documents in them.
fn expand(
    paths: &[PathBuf],
    looked_at: &mut BTreeSet<PathBuf>,
) -> Result<Vec<PathBuf>, Unreadable> {
    let mut files = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" || !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        looked_at.insert(path.clone());
        let unreadable = |error| Unreadable::Directory { path: path.clone(), error };
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
            return Err(Unreadable::Empty { path: path.clone() });
        }
        inside.sort();
        files.extend(inside);
    }
    Ok(files)
}

/// Where a file is that a document names: relative to the document.
fn resolve(reference: &FileReference) -> PathBuf {
    let base = match reference.document.as_str() {
        STDIN => Path::new(""),
        document => Path::new(document).parent().unwrap_or(Path::new("")),
    };
    base.join(&reference.path)
}
