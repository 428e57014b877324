//! System calls of a running process that fail, as on a disk that is broken.
//!
//! strace stops the process at each call that concerns the files and hands back an error in the
//! place of doing it. So the real program meets the real error, from below.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::eventually::eventually;

/// Calls fail as long as this lives.
#[derive(Debug)]
pub struct Faults(Child);

impl Faults {
    /// Has the calls named (with commas between) of process `id` fail with `error`, such as
    /// `EIO`, where they concern one of `files`.
    pub async fn inject(id: u32, calls: &str, error: &str, files: &[PathBuf], log: &Path) -> Self {
        let said = File::create(log).expect("a file for what strace says");
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &id.to_string(), "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:error={error}"), "-o", "/dev/null"]);
        for file in files {
            command.arg("-P").arg(file);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let faults = Self(command.spawn().expect("strace"));
        // It says so once for all threads there are, and follows those to come.
        eventually("strace holds the process", async || {
            let said = fs::read_to_string(log).map_err(|error| error.to_string())?;
            if said.contains(" attached") { Ok(()) } else { Err(said) }
        })
        .await;
        faults
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        // Told to end, strace lets go of the process; killed, it might take it along.
        let id = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::INT);
        let _ = self.0.wait();
    }
}

/// The files in a directory.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_file()).collect()
}
