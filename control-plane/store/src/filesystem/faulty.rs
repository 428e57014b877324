//! A file system that fails where a test wants it to, and notes every call that changes the disk.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use super::{Disk, FileSystem, LogFile};

/// What a device says when it is full.
pub(crate) const ENOSPC: i32 = 28;
/// What a device says when it is broken.
pub(crate) const EIO: i32 = 5;

/// A call that changes the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Append,
    Truncate,
    SyncData,
    Rename,
    Remove,
    SyncDir,
}

/// The disk, with faults.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faulty(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    faults: Vec<Fault>,
}

#[derive(Debug)]
struct Fault {
    call: Call,
    /// How many such calls succeed first.
    after: usize,
    errno: i32,
    /// How many bytes an append writes before it fails.
    written: usize,
}

#[derive(Debug)]
struct FaultyFile(Box<dyn LogFile>, Faulty);

impl Faulty {
    /// Lets one call fail, after some that succeed.
    pub(crate) fn fail(&self, call: Call, after: usize, errno: i32) {
        self.0.lock().unwrap().faults.push(Fault { call, after, errno, written: 0 });
    }

    /// Lets one append fail when it has written some bytes.
    pub(crate) fn fail_append(&self, after: usize, errno: i32, written: usize) {
        let fault = Fault { call: Call::Append, after, errno, written };
        self.0.lock().unwrap().faults.push(fault);
    }

    /// Returns the calls since the last time.
    pub(crate) fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    /// Notes a call; if it is to fail, says how and after how many bytes.
    fn note(&self, call: Call) -> Result<(), (io::Error, usize)> {
        let state = &mut *self.0.lock().unwrap();
        state.calls.push(call);
        for place in 0..state.faults.len() {
            let fault = &mut state.faults[place];
            if fault.call == call && fault.after == 0 {
                let fault = state.faults.remove(place);
                return Err((io::Error::from_raw_os_error(fault.errno), fault.written));
            } else if fault.call == call {
                fault.after -= 1;
            }
        }
        Ok(())
    }

    fn call(&self, call: Call) -> io::Result<()> {
        self.note(call).map_err(|(error, _)| error)
    }

    fn wrap(&self, file: Box<dyn LogFile>) -> Box<dyn LogFile> {
        Box::new(FaultyFile(file, self.clone()))
    }
}

impl FileSystem for Faulty {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        Disk.create_dir_all(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        Disk.list(directory)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Disk.open(path)
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        Ok(self.wrap(Disk.open_append(path)?))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.call(Call::Create)?;
        Ok(self.wrap(Disk.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename)?;
        Disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Call::Remove)?;
        Disk.remove(path)
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.call(Call::SyncDir)?;
        Disk.sync_dir(directory)
    }
}

impl LogFile for FaultyFile {
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.1.note(Call::Append) {
            Ok(()) => self.0.append(bytes),
            Err((error, written)) => {
                self.0.append(&bytes[..written.min(bytes.len())])?;
                Err(error)
            }
        }
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.1.call(Call::Truncate)?;
        self.0.truncate(size)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.1.call(Call::SyncData)?;
        self.0.sync_data()
    }
}
