//! A file system in memory that notes every change, to replay what a loss of power may leave.
//!
//! What POSIX promises is little, and the model takes it at its word: the bytes of a file are
//! there once the file was synced, its name once the directory was, and nothing else is sure. What
//! was not synced may be there in part.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use super::{FileSystem, LogFile};

/// The files of a directory tree by their paths.
pub(crate) type Image = BTreeMap<PathBuf, Vec<u8>>;

type Inode = usize;

/// A change to the disk.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Create(PathBuf, Inode),
    Append(Inode, Vec<u8>),
    Truncate(Inode, u64),
    SyncData(Inode),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
}

/// What becomes of the bytes of a file that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsynced {
    None,
    All,
    Half,
    FirstByte,
    AllButLastByte,
    /// Up to the last whole sector.
    Sectors,
    /// The size is there and the bytes are not.
    Zeros,
    /// Later sectors are there, the first is not.
    FirstSectorLost,
}

/// What becomes of names that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    Lost,
    Kept,
    OnlyFirst,
    OnlyLast,
}

impl Unsynced {
    const ALL: [Self; 8] = [
        Self::None,
        Self::All,
        Self::Half,
        Self::FirstByte,
        Self::AllButLastByte,
        Self::Sectors,
        Self::Zeros,
        Self::FirstSectorLost,
    ];
}

impl Names {
    const ALL: [Self; 4] = [Self::Lost, Self::Kept, Self::OnlyFirst, Self::OnlyLast];
}

/// A disk in memory; clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recording(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    inodes: Vec<Vec<u8>>,
    names: BTreeMap<PathBuf, Inode>,
    operations: Vec<Operation>,
}

#[derive(Debug)]
struct RecordedFile(Inode, Recording);

impl Recording {
    /// Starts with files that are durable.
    pub(crate) fn new(image: Image) -> Self {
        let disk = Self::default();
        {
            let state = &mut *disk.0.lock().unwrap();
            for (path, bytes) in image {
                state.names.insert(path, state.inodes.len());
                state.inodes.push(bytes);
            }
        }
        disk
    }

    /// Returns everything that was done so far.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.0.lock().unwrap().operations.clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap().operations.len()
    }

    /// Returns the files as a process sees them.
    pub(crate) fn image(&self) -> Image {
        let state = self.0.lock().unwrap();
        state
            .names
            .iter()
            .map(|(path, inode)| (path.clone(), state.inodes[*inode].clone()))
            .collect()
    }

    fn change<T>(
        &self,
        operation: Operation,
        change: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let state = &mut *self.0.lock().unwrap();
        let result = change(state)?;
        state.operations.push(operation);
        Ok(result)
    }
}

/// What is sure to be on a disk, and what is not, after some operations.
#[derive(Debug)]
pub(crate) struct Power<'a> {
    durable: Vec<Vec<u8>>,
    pending: Vec<Vec<&'a Operation>>,
    known: BTreeMap<PathBuf, Inode>,
    renamed: Vec<&'a Operation>,
}

impl<'a> Power<'a> {
    /// Starts with files that are durable.
    pub(crate) fn on(image: &Image) -> Self {
        let durable: Vec<_> = image.values().cloned().collect();
        let pending = vec![Vec::new(); durable.len()];
        Self { durable, pending, known: image.keys().cloned().zip(0..).collect(), renamed: vec![] }
    }

    /// Does one more operation.
    pub(crate) fn pass(&mut self, operation: &'a Operation) {
        match operation {
            Operation::Create(_, inode) => {
                self.durable.resize(self.durable.len().max(inode + 1), Vec::new());
                self.pending.resize(self.durable.len(), Vec::new());
                self.renamed.push(operation);
            }
            Operation::Append(inode, _) | Operation::Truncate(inode, _) => {
                self.pending[*inode].push(operation);
            }
            Operation::SyncData(inode) => {
                for operation in self.pending[*inode].drain(..) {
                    write(&mut self.durable[*inode], operation);
                }
            }
            Operation::Rename(..) | Operation::Remove(_) => self.renamed.push(operation),
            Operation::SyncDir(directory) => {
                let renamed = std::mem::take(&mut self.renamed);
                let (here, elsewhere) =
                    renamed.into_iter().partition(|operation| parent(operation) == directory);
                self.renamed = elsewhere;
                name(&mut self.known, here);
            }
        }
    }

    /// Returns what a loss of power now may leave, state by state.
    pub(crate) fn fail(&self) -> Vec<(String, Image)> {
        let is_synced = self.pending.iter().all(Vec::is_empty);
        let bytes = if is_synced { &Unsynced::ALL[..1] } else { &Unsynced::ALL[..] };
        let names = if self.renamed.is_empty() { &Names::ALL[..1] } else { &Names::ALL[..] };
        let ways = bytes.iter().flat_map(|bytes| names.iter().map(move |names| (bytes, names)));
        ways.map(|(b, n)| (format!("{b:?} bytes, {n:?} names"), self.leave(*b, *n))).collect()
    }

    fn leave(&self, unsynced: Unsynced, names: Names) -> Image {
        let kept = match names {
            Names::Lost => Vec::new(),
            Names::Kept => self.renamed.clone(),
            Names::OnlyFirst => self.renamed.iter().copied().take(1).collect(),
            Names::OnlyLast => self.renamed.last().copied().into_iter().collect(),
        };
        let mut known = self.known.clone();
        name(&mut known, kept);
        let left = |(path, inode): (PathBuf, Inode)| {
            let mut bytes = self.durable[inode].clone();
            lose(&mut bytes, &self.pending[inode], unsynced);
            (path, bytes)
        };
        known.into_iter().map(left).collect()
    }
}

/// Applies what a crash leaves of the changes to one file.
fn lose(bytes: &mut Vec<u8>, pending: &[&Operation], unsynced: Unsynced) {
    const SECTOR: usize = 512;
    if pending.is_empty() || unsynced == Unsynced::None {
        return;
    }
    let before = bytes.len();
    for operation in pending {
        write(bytes, operation);
    }
    let added = bytes.len().saturating_sub(before);
    match unsynced {
        _ if added == 0 => {}
        Unsynced::None | Unsynced::All => {}
        Unsynced::Half => bytes.truncate(before + added / 2),
        Unsynced::FirstByte => bytes.truncate(before + 1),
        Unsynced::AllButLastByte => bytes.truncate(before + added - 1),
        Unsynced::Sectors => {
            let end = bytes.len() / SECTOR * SECTOR;
            bytes.truncate(end.max(before));
        }
        Unsynced::Zeros => bytes[before..].fill(0),
        Unsynced::FirstSectorLost => {
            let end = ((before / SECTOR + 1) * SECTOR).min(bytes.len());
            bytes[before..end].fill(0);
        }
    }
}

fn write(bytes: &mut Vec<u8>, operation: &Operation) {
    match operation {
        Operation::Append(_, more) => bytes.extend_from_slice(more),
        Operation::Truncate(_, size) => bytes.truncate(*size as usize),
        _ => {}
    }
}

fn name(known: &mut BTreeMap<PathBuf, Inode>, operations: Vec<&Operation>) {
    for operation in operations {
        match operation {
            Operation::Create(path, inode) => {
                known.insert(path.clone(), *inode);
            }
            Operation::Rename(from, to) => {
                // A file whose creation was lost but whose new name was kept cannot be, here: both
                // are of one directory, and the name it is known by is then its first.
                if let Some(inode) = known.remove(from) {
                    known.insert(to.clone(), inode);
                }
            }
            Operation::Remove(path) => {
                known.remove(path);
            }
            _ => {}
        }
    }
}

fn parent(operation: &Operation) -> &Path {
    match operation {
        Operation::Create(path, _) | Operation::Rename(_, path) | Operation::Remove(path) => {
            path.parent().unwrap_or(path)
        }
        _ => Path::new(""),
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl FileSystem for Recording {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock().unwrap();
        let here = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let inode = *self.0.lock().unwrap().names.get(path).ok_or_else(missing)?;
        Ok(Box::new(RecordedFile(inode, self.clone())))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        self.open(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn LogFile>> {
        let known = self.0.lock().unwrap().names.get(path).copied();
        if let Some(inode) = known {
            let mut file = RecordedFile(inode, self.clone());
            file.truncate(0)?;
            return Ok(Box::new(file));
        }
        let inode = self.0.lock().unwrap().inodes.len();
        self.change(Operation::Create(path.to_owned(), inode), |state| {
            state.inodes.push(Vec::new());
            state.names.insert(path.to_owned(), inode);
            Ok(())
        })?;
        Ok(Box::new(RecordedFile(inode, self.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(Operation::Rename(from.to_owned(), to.to_owned()), |state| {
            let inode = state.names.remove(from).ok_or_else(missing)?;
            state.names.insert(to.to_owned(), inode);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(Operation::Remove(path.to_owned()), |state| {
            state.names.remove(path).map(drop).ok_or_else(missing)
        })
    }

    fn sync_dir(&self, directory: &Path) -> io::Result<()> {
        self.change(Operation::SyncDir(directory.to_owned()), |_| Ok(()))
    }
}

impl LogFile for RecordedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.1.0.lock().unwrap().inodes[self.0].len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.1.0.lock().unwrap();
        let from = state.inodes[self.0].get(offset as usize..).unwrap_or_default();
        let found = from.get(..buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.1.change(Operation::Append(self.0, bytes.to_vec()), |state| {
            state.inodes[self.0].extend_from_slice(bytes);
            Ok(())
        })
    }

    fn truncate(&mut self, size: u64) -> io::Result<()> {
        self.1.change(Operation::Truncate(self.0, size), |state| {
            state.inodes[self.0].truncate(size as usize);
            Ok(())
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.1.change(Operation::SyncData(self.0), |_| Ok(()))
    }
}
