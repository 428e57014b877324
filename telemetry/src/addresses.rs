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
    let mut text = format!("{{\"pid\":{}", std::process::id());
    for (name, value) in named {
        // Names and addresses hold nothing that JSON escapes.
        debug_assert!(!value.contains(['"', '\\']));
        text += &format!(",\"{name}\":\"{value}\"");
    }
    text += "}\n";
    let temporary = directory.join(".addresses.json");
    fs::write(&temporary, text)?;
    fs::rename(temporary, directory.join(FILE))
}
