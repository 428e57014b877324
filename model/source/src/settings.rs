//! Values set from outside the documents: `LB_` variables of the environment, and flags.

use std::{fs::File, path::Path};

use lb_model::{
    Document, Setting,
    bundle::{Content, MAX_FILE, read_at_most},
};

use crate::{Reading, Sources, Unreadable};

/// What settings in the environment begin with.
const PREFIX: &str = "LB_";
/// What stands between two keys in the name of a variable.
const NEST: &str = "__";
/// What a name ends with whose value is the name of a file that holds the value.
const FILE: &str = "_FILE";
/// Settings of the servers themselves, which are no part of the configuration.
const SERVERS: [&str; 2] = ["LB_CONTROL_PLANE_", "LB_DATA_PLANE_"];

/// Adds the settings, weakest first: the environment by name, then flags in their order.
pub(super) fn gather(sources: &Sources, reading: &mut Reading) -> Result<(), Unreadable> {
    for (variable, value) in &sources.environment {
        let Some(keys) = variable.strip_prefix(PREFIX) else { continue };
        if SERVERS.iter().any(|server| variable.starts_with(server)) {
            continue;
        }
        let (keys, file) = match keys.strip_suffix(FILE) {
            Some(keys) => (keys, Some(value)),
            None => (keys, None),
        };
        let path: Vec<_> = keys.split(NEST).map(str::to_ascii_lowercase).collect();
        // Another program may use names that begin alike, and clusters make some for every
        // service; only a name with two keys or with a key of the language is meant for us.
        let is_meant = path.len() > 1 || Document::keys().any(|key| key == path[0]);
        if !is_meant || path.iter().any(String::is_empty) {
            reading.ignored.push(variable.clone());
            continue;
        }
        let value = match file {
            None => value.clone().into_bytes(),
            Some(file) => {
                reading.looked_at.insert(file.into());
                let read = File::open(Path::new(file));
                let read = read.and_then(|mut file| read_at_most(&mut file, MAX_FILE));
                read.map_err(|error| Unreadable::Setting {
                    variable: variable.clone(),
                    file: file.clone(),
                    error,
                })?
            }
        };
        let origin = format!("environment variable {variable}");
        reading.bundle.settings.push(Setting { path, value: Content(value), origin });
    }
    for (path, value) in &sources.flags {
        reading.bundle.settings.push(Setting {
            path: path.split('.').map(str::to_owned).collect(),
            value: Content(value.clone().into_bytes()),
            origin: format!("flag --set {path}"),
        });
    }
    Ok(())
}

/// Reads `PATH=VALUE` as flags give it.
///
/// # Errors
///
/// [`Unreadable::Flag`] when there is no `=`, or a key is empty.
pub fn pair(text: &str) -> Result<(String, String), Unreadable> {
    let pair = text.split_once('=');
    let pair = pair.filter(|(path, _)| path.split('.').all(|key| !key.trim().is_empty()));
    let (path, value) = pair.ok_or_else(|| Unreadable::Flag { text: text.to_owned() })?;
    Ok((path.trim().to_owned(), value.to_owned()))
}
