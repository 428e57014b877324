//! A directory for one test, kept with its logs when the test fails.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// How many lines of each log are shown after a failure.
const TAIL: usize = 40;

/// A directory that goes away with the test, unless the test fails.
#[derive(Debug)]
pub struct Scratch(TempDir);

impl Scratch {
    /// A new, empty directory.
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("lb-e2e-").tempdir().expect("a temporary directory"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).expect("a writable temporary directory");
        path
    }

    fn show_logs(&self) {
        let entries = fs::read_dir(self.path()).into_iter().flatten().flatten();
        let mut logs: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        for log in logs {
            let text = fs::read(&log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<_> = text.lines().collect();
            eprintln!("--- the end of {}", log.display());
            for line in &lines[lines.len().saturating_sub(TAIL)..] {
                eprintln!("{line}");
            }
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            self.show_logs();
        }
    }
}
