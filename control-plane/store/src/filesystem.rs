//! The few file-system calls the commit log and its checkpoints are made of.
//!
//! They are a trait so that a test can fail one of them, or record their order and replay what a
//! power loss may leave of it. The index does not go through it, since it can be rebuilt, nor does
//! the lock, which means nothing after a crash.

#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
pub(crate) mod recording;

use std::{
    fmt::Debug,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::Path,
};

/// Opens, names and forgets files.
///
/// Nothing but [`sync_dir`](Self::sync_dir) makes a created, renamed or removed name durable.
pub trait FileSystem: Debug + Send + Sync + 'static {
    /// Creates a directory, for this user alone, and those above it; one that exists is fine.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Lists the names in a directory, in any order, leaving out those that are not UTF-8.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Opens an existing file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Opens an existing file for reading and appending.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Creates a file, for this user alone, for reading and appending; one that exists is emptied.
    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>>;

    /// Gives a file another name, replacing what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, directory: &Path) -> io::Result<()>;
}

/// An open file.
pub trait LogFile: Debug + Send + Sync {
    /// Returns how many bytes the file has.
    fn size(&self) -> io::Result<u64>;

    /// Fills the buffer with the bytes at an offset.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes bytes at the end of the file; when it fails, some of them may have been written.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to a size.
    fn truncate(&mut self, size: u64) -> io::Result<()>;

    /// Makes the bytes and the size of the file durable.
    ///
    /// When it fails, what is durable is unknown, and a second call may succeed without having
    /// written what the first could not.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl FileSystem for Disk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(File::open(path)?))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(OpenOptions::new().read(true).append(true).open(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
        file.set_len(0)?;
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        File::open(directory)?.sync_all()
    }
}

impl LogFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        File::sync_data(self)
    }
}
