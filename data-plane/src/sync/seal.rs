//! The key that seals what this proxy keeps of its configuration.
//!
//! It stands in `seal.key` of the data directory, for its owner only, and is made at the first
//! start. A copy of `last-good/` alone tells nothing. Losing the key costs nothing but the
//! snapshots sealed with it: the control plane sends everything anew.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use lb_model::seal::SealKey;

const FILE: &str = "seal.key";

/// The key in a data directory. One that is missing or damaged gives way to a new one, and the
/// snapshots sealed with it are not used. One that others can read is closed to them and used on:
/// a proxy that starts alone must serve, and what was read cannot be unread.
///
/// # Errors
///
/// When a new key cannot be made or kept.
pub fn key(directory: &Path) -> io::Result<SealKey> {
    let path = directory.join(FILE);
    match read(&path) {
        Ok(Some(key)) => return Ok(key),
        Ok(None) => {
            let has_snapshots = fs::read_dir(directory.join("last-good"))
                .is_ok_and(|mut entries| entries.next().is_some());
            if has_snapshots {
                tracing::error!(path = %path.display(), "the key of the last good snapshots is missing; they cannot be used");
            }
        }
        Err(reason) => {
            tracing::error!(path = %path.display(), reason, "the key of the last good snapshots is not used, and neither are they");
        }
    }
    let key = SealKey::generate().map_err(io::Error::other)?;
    let temporary = path.with_extension("writing");
    // One that was left behind may have another mode.
    let _ = fs::remove_file(&temporary);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
    writeln!(file, "{}", key.to_hex().expose_secret())?;
    file.sync_all()?;
    fs::rename(&temporary, &path)?;
    File::open(directory)?.sync_all()?;
    Ok(key)
}

fn read(path: &Path) -> Result<Option<SealKey>, String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "could be read by others; closed to them");
        let mode = fs::Permissions::from_mode(0o600);
        fs::set_permissions(path, mode).map_err(|error| error.to_string())?;
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    SealKey::from_hex(&text)
        .map(Some)
        .ok_or_else(|| "it does not hold 64 hexadecimal digits".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_kept_and_one_that_is_no_good_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        let hex = |key: SealKey| key.to_hex().expose_secret().clone();
        let made = hex(key(directory.path()).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(hex(key(directory.path()).unwrap()), made);

        fs::write(&path, "damaged").unwrap();
        let second = hex(key(directory.path()).unwrap());
        assert_ne!(second, made);
        fs::remove_file(&path).unwrap();
        let third = hex(key(directory.path()).unwrap());
        assert_ne!(third, second);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(hex(key(directory.path()).unwrap()), third, "used on");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
