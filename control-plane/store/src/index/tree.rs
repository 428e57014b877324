//! The ordered map under the index: sled, or for the tests of crashes a map in memory.

#[cfg(test)]
use std::collections::BTreeMap;
#[cfg(test)]
use std::sync::{Arc, Mutex};
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::StoreError;

const CACHE_SIZE: u64 = 16 * 1024 * 1024;
/// How long a tree that is opened waits for the one before it to let go.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Changes that happen together: a name with its new content, or to be removed.
pub(crate) type Batch = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Is told a name and its content.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// The name and content of a row.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// An ordered map of rows.
#[derive(Debug)]
pub(crate) enum Tree {
    /// On disk.
    Sled(sled::Db),
    /// In memory.
    #[cfg(test)]
    Memory(Rows),
}

/// What a tree in memory holds.
#[cfg(test)]
pub(crate) type Content = BTreeMap<Vec<u8>, Vec<u8>>;

/// A tree in memory, and what it held whenever it was flushed, in the time of a disk.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    pub(crate) now: Arc<Mutex<Content>>,
    pub(crate) flushed: Arc<Mutex<Vec<(usize, Content)>>>,
    pub(crate) disk: crate::filesystem::recording::Recording,
}

impl Tree {
    /// Opens or creates a tree on disk.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        guarded(path, || open_sled(path)).map(Self::Sled)
    }

    /// Closes the tree, even one sled panics over.
    pub(crate) fn close(self) {
        let _ = catch_unwind(AssertUnwindSafe(move || drop(self)));
    }

    /// Returns the content of a row.
    pub(crate) fn get(&self, path: &Path, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self {
            Self::Sled(database) => {
                guarded(path, || database.get(name)).map(|row| row.map(|row| row.to_vec()))
            }
            #[cfg(test)]
            Self::Memory(rows) => Ok(rows.now.lock().unwrap().get(name).cloned()),
        }
    }

    /// Returns the last row from one name to another.
    pub(crate) fn last(
        &self,
        path: &Path,
        from: &[u8],
        to: &[u8],
    ) -> Result<Option<Row>, StoreError> {
        match self {
            Self::Sled(database) => {
                let found = guarded(path, || database.range(from..=to).next_back().transpose())?;
                Ok(found.map(|(name, content)| (name.to_vec(), content.to_vec())))
            }
            #[cfg(test)]
            Self::Memory(rows) => {
                let rows = rows.now.lock().unwrap();
                let found = rows.range(from.to_vec()..=to.to_vec()).next_back();
                Ok(found.map(|(name, content)| (name.clone(), content.clone())))
            }
        }
    }

    /// Shows all rows whose names start alike, in order.
    pub(crate) fn scan(
        &self,
        path: &Path,
        prefix: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Sled(database) => {
                let mut rows = guarded(path, || Ok(database.scan_prefix(prefix)))?;
                while let Some((name, content)) = guarded(path, || rows.next().transpose())? {
                    visit(&name, &content)?;
                }
                Ok(())
            }
            #[cfg(test)]
            Self::Memory(rows) => {
                let rows = rows.now.lock().unwrap();
                let found =
                    rows.range(prefix.to_vec()..).take_while(|(n, _)| n.starts_with(prefix));
                found.into_iter().try_for_each(|(name, content)| visit(name, content))
            }
        }
    }

    /// Applies changes in one step.
    pub(crate) fn apply(&self, path: &Path, changes: Batch) -> Result<(), StoreError> {
        match self {
            Self::Sled(database) => {
                let mut batch = sled::Batch::default();
                for (name, content) in changes {
                    match content {
                        Some(content) => batch.insert(name, content),
                        None => batch.remove(name),
                    }
                }
                guarded(path, || database.apply_batch(batch))
            }
            #[cfg(test)]
            Self::Memory(rows) => {
                let mut rows = rows.now.lock().unwrap();
                for (name, content) in changes {
                    match content {
                        Some(content) => rows.insert(name, content),
                        None => rows.remove(&name),
                    };
                }
                Ok(())
            }
        }
    }

    /// Makes everything so far durable.
    pub(crate) fn flush(&self, path: &Path) -> Result<(), StoreError> {
        match self {
            Self::Sled(database) => guarded(path, || database.flush()).map(drop),
            #[cfg(test)]
            Self::Memory(rows) => {
                let now = rows.now.lock().unwrap().clone();
                rows.flushed.lock().unwrap().push((rows.disk.count(), now));
                Ok(())
            }
        }
    }
}

/// Opens sled, waiting while a tree that was closed just now lets go of its files.
///
/// sled's own threads may outlive the last handle for a moment, and its lock with them. No other
/// process can hold it: the log's lock was taken before.
pub(crate) fn open_sled(path: &Path) -> sled::Result<sled::Db> {
    // Every commit is flushed by its author; a timer would only add writes at odd times.
    let config = sled::Config::new().path(path).cache_capacity(CACHE_SIZE).flush_every_ms(None);
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match config.open() {
            // sled wraps the cause into its text.
            Err(sled::Error::Io(error))
                if error.to_string().contains("acquire lock") && Instant::now() < deadline =>
            {
                thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}

/// Calls sled, turning its errors and its panics into one of ours.
fn guarded<T>(path: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    let source = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(sled::Error::Io(source))) => source,
        Ok(Err(error)) => io::Error::other(error),
        Err(_) => io::Error::other("sled panicked"),
    };
    Err(StoreError::unavailable("use index", path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_opened_when_the_one_before_it_lets_go() {
        let directory = tempfile::tempdir().unwrap();
        let held = open_sled(directory.path()).unwrap();
        let next = thread::spawn({
            let path = directory.path().to_owned();
            move || open_sled(&path).map(|next| next.get("a"))
        });
        thread::sleep(Duration::from_millis(50));
        assert!(!next.is_finished());
        held.insert("a", "1").unwrap();
        drop(held);
        assert_eq!(next.join().unwrap().unwrap().unwrap().unwrap(), "1");
    }
}
