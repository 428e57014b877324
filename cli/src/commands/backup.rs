//! `lbctl backup` and `lbctl restore`.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    process::Command,
};

use crate::{
    args::{Backup, Environment, Restore},
    client::Client,
    exit::{Exit, Failure},
    output::Output,
    source::reason,
    up::binaries::Binaries,
};

/// Fetches a backup. A file appears whole or not at all.
pub(crate) async fn save(
    client: &Client,
    backup: &Backup,
    output: &Output,
) -> Result<Exit, Failure> {
    if backup.file.as_os_str() == "-" {
        client.backup(|part| io::stdout().write_all(part)).await?;
        return Ok(Exit::Ok);
    }
    let name = backup.file.display();
    let failed = |error: io::Error| {
        Failure::new(format!("could not write {name}: {}", reason(&error)))
            .fix("name a file in a directory that you may write")
    };
    let temporary = backup.file.with_extension("writing");
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed)?;
    let fetched = client.backup(|part| file.write_all(part)).await;
    let size = match fetched {
        Ok(size) => size,
        Err(failure) => {
            let _ = fs::remove_file(&temporary);
            return Err(failure);
        }
    };
    file.sync_all().and_then(|()| fs::rename(&temporary, &backup.file)).map_err(failed)?;
    output.note(format_args!(
        "{name}: {size} bytes; keep the control plane's key file too, and elsewhere"
    ));
    Ok(Exit::Ok)
}

/// Has the control plane's own program fill a directory.
pub(crate) fn restore(
    restore: &Restore,
    environment: &Environment,
    output: &Output,
) -> Result<Exit, Failure> {
    let program = Binaries::find(environment.path.as_deref())?.control_plane;
    let directory = restore.data_dir.display();
    let status = Command::new(&program)
        .arg("--data-dir")
        .arg(&restore.data_dir)
        .arg("--restore")
        .arg(&restore.file)
        .args(["--log-level", "warn"])
        .status()
        .map_err(|error| {
            Failure::new(format!("could not run {}: {}", program.display(), reason(&error)))
        })?;
    if !status.success() {
        return Err(Failure::new(format!("{directory} was not restored"))
            .fix("the line above says why; nothing that was there was changed"));
    }
    output.note(format_args!(
        "restored; put the key file at {directory}.key and start: lb-control-plane --data-dir \
         {directory}"
    ));
    Ok(Exit::Ok)
}
