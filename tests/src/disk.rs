//! A disk that is too small: a file system in memory, of a fixed size, over a directory. Needs
//! root.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::Command,
};

/// The name of the file that fills it.
const FILLER: &str = "filler";

/// A small disk. It goes away when dropped.
#[derive(Debug)]
pub struct Disk(PathBuf);

impl Disk {
    /// Puts one of so many MiB at `directory`, which is made.
    pub fn at(directory: &Path, mebibytes: u32) -> Self {
        fs::create_dir_all(directory).expect("a directory");
        let size = format!("size={mebibytes}m");
        let mut mount = Command::new("mount");
        let output = mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(directory).output();
        let output = output.expect("the program `mount`");
        assert!(
            output.status.success(),
            "this test mounts a small disk, which only root may: run it as root, for one with \
             `sudo -E env PATH=$PATH cargo test -p lb-tests`; in a container, start that with \
             --privileged ({})",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Self(directory.to_owned())
    }

    /// Fills it to the last byte.
    pub fn fill(&self) {
        let mut file = File::create(self.0.join(FILLER)).expect("a file");
        for size in [64 << 10, 4 << 10, 1] {
            let block = vec![0xa5; size];
            while match file.write(&block) {
                Ok(written) => written > 0,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::StorageFull, "{error}");
                    false
                }
            } {}
        }
    }

    /// Makes room again.
    pub fn free(&self) {
        fs::remove_file(self.0.join(FILLER)).expect("what filled it");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, since a process of a failed test may still be at it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
