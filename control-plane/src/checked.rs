//! Bundles that were read whole, so that each of them is read once.
//!
//! Whoever checks a bundle reads all of it: what it means, and what was written. It is committed
//! next most often, built into a release, and compared with the one after it. All of these find it
//! here, by the hash of the bytes that the store holds of it.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use lb_model::{Bundle, Config, Diagnostics, Parsed, difference::Written};

/// How many are kept: the current one, and the one that is about to follow it.
const KEPT: usize = 2;

/// A valid bundle that was read.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The hash of its content.
    pub content: [u8; 32],
    /// What it means.
    pub config: Arc<Config>,
    /// What was written.
    pub written: Arc<Written>,
}

impl Checked {
    /// Reads a bundle; gives what deserves a second look beside it. `key` is the lineage's.
    ///
    /// # Errors
    ///
    /// As [`Config::parse`].
    pub fn read(
        bundle: &Bundle,
        now: i64,
        key: &[u8; 32],
    ) -> Result<(Self, Diagnostics), Diagnostics> {
        let (Parsed { config, warnings }, written) = Config::parse_written(bundle, now, key)?;
        let content = bundle.content_hash();
        Ok((Self { content, config: Arc::new(config), written: Arc::new(written) }, warnings))
    }
}

/// The bundles that were read last.
#[derive(Debug, Default)]
pub struct CheckedBundles(Mutex<VecDeque<([u8; 32], Checked)>>);

impl CheckedBundles {
    /// Remembers what `stored` means, the bytes that are about to be stored, or are stored.
    pub fn remember(&self, stored: &[u8], checked: Checked) {
        let hash = blake3::hash(stored).into();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(known, _)| *known != hash);
        all.push_front((hash, checked));
        all.truncate(KEPT);
    }

    /// What stored bytes mean, if they were among the last to be remembered.
    pub fn find(&self, stored: &[u8]) -> Option<Checked> {
        let hash: [u8; 32] = blake3::hash(stored).into();
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(known, _)| *known == hash).map(|(_, checked)| checked.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_last_is_found_by_what_is_stored() {
        let bundle = Bundle::of_text("lb.yaml", "backends: { a: { url: \"http://a\" } }");
        let (checked, _) = Checked::read(&bundle, 0, &[0; 32]).unwrap();
        let all = CheckedBundles::default();
        assert!(all.find(b"1").is_none());
        for stored in [b"1", b"2", b"1", b"3"] {
            all.remember(stored, checked.clone());
        }
        assert!(all.find(b"2").is_none(), "two are kept");
        let found = all.find(b"1").unwrap();
        assert!(Arc::ptr_eq(&found.config, &checked.config) && found.content == checked.content);
    }
}
