//! Where a server really listens, left where its operator finds it.
//!
//! A port may be 0, so whoever starts a server cannot know where it answers. It writes
//! `addresses.json` into its data directory as soon as it does, whole or not at all.

use std::{fs, io, path::Path};

/// The name of the file in a data directory.
pub const FILE: &str = "addresses.json";

/// Writes `addresses.json` with these names and values beside the process id.
///
/// # Errors
///
/// What the file system says.
pub fn write(directory: &Path, named: &[(&str, String)]) -> io::Result<()> {
    let fields: Vec<String> = named
        .iter()
        .map(|(name, value)| {
            // Names and addresses hold nothing that JSON escapes.
            debug_assert!(!value.contains(['"', '\\']));
            format!(",\"{name}\":\"{value}\"")
        })
        .collect();
    let text = format!("{{\"pid\":{}{}}}\n", std::process::id(), fields.concat());
    let temporary = directory.join(".addresses.json");
    fs::write(&temporary, text)?;
    fs::rename(temporary, directory.join(FILE))
}
