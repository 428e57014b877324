//! From what was typed to a bundle.
//!
//! A control plane opens no file of an operator's, so documents, the files they name and the layers
//! over them are read here and shipped.

use std::{io, path::PathBuf};

use lb_model::{Bundle, Config, Diagnostics, Parsed};
use lb_source::{Sources, Unreadable};

pub(crate) use lb_source::reason;

use crate::{
    args::{Environment, Layers},
    exit::Failure,
};

/// What was read.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// The documents and all that they need.
    pub(crate) bundle: Bundle,
    /// Variables of the environment that look like settings and are none.
    pub(crate) ignored: Vec<String>,
}

/// Reads documents, the files they name, and the layers over them.
pub(crate) fn read(
    paths: &[PathBuf],
    layers: &Layers,
    environment: &Environment,
    stdin: &mut dyn io::Read,
) -> Result<Reading, Failure> {
    let sources = Sources {
        paths: paths.to_vec(),
        environment: environment.variables.clone(),
        flags: layers.set.clone(),
    };
    let reading = lb_source::read(&sources, stdin).map_err(|error| {
        let fix = match &error {
            Unreadable::Document { .. } | Unreadable::Directory { .. } => {
                "give another file or directory, or `-` for standard input"
            }
            Unreadable::Empty { .. } => "name the files, or another directory",
            Unreadable::Setting { .. } => "correct the variable, or let this user read the file",
            Unreadable::Flag { .. } => "see lbctl apply --help",
        };
        Failure::new(error.to_string()).fix(fix)
    })?;
    Ok(Reading { bundle: reading.bundle, ignored: reading.ignored })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_a_failure_with_its_fix() {
        let read = |path: &str| {
            let paths = [path.into()];
            read(&paths, &Layers::default(), &Environment::default(), &mut io::empty())
        };
        let failure = read("nowhere/lb.yaml").unwrap_err();
        assert_eq!(
            failure.to_string(),
            "could not read nowhere/lb.yaml: no such file or directory; give another file or \
             directory, or `-` for standard input"
        );
    }
}
