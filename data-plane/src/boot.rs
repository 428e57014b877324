//! Backs out of a version that kills the process.
//!
//! A version can be valid and still bring the proxy down: a bug that only its content reaches, or
//! memory that runs out. The next start would load the same version and die again. So every
//! activation is noted on disk before it happens, and struck out when the proxy has survived on
//! it, or ended on purpose. Three notes in a row that were not struck out mean poison: the next
//! start passes that version over, serves the one before, and says so to the control plane, which
//! does not send the same content again unless an operator asks for it.
//!
//! [`Notes`] decides, with the time passed in; [`Boot`] keeps it in `boot.json`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use lb_model::{Version, resource::Digest};
use serde::{Deserialize, Serialize};

use crate::sync::session::Running;

/// How many crashes make a version poison.
const CRASHES: usize = 3;
/// How long a proxy must live on a version to have survived it, in seconds.
pub const SURVIVED: u64 = 60;

/// Names a version by what it says, so that its content under another number is known as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// The lineage.
    pub lineage: String,
    /// The number under which it ran.
    pub version: Version,
    /// The root, in hexadecimal digits.
    pub root: String,
}

impl Content {
    fn of(running: &Running) -> Self {
        Self {
            lineage: running.lineage.to_string(),
            version: running.version,
            root: running.resources.root().to_hex(),
        }
    }

    /// The root.
    pub fn digest(&self) -> Option<Digest> {
        let bytes = (0..32).map(|n| {
            let pair = self.root.get(2 * n..2 * n + 2)?;
            u8::from_str_radix(pair, 16).ok()
        });
        let bytes: Option<Vec<u8>> = bytes.collect();
        Digest::from_slice(&bytes?)
    }
}

/// What was activated and not survived, and what is poison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// What was activated last.
    #[serde(default)]
    content: Option<Content>,
    /// When it was activated without being survived, in seconds since 1970.
    #[serde(default)]
    activations: Vec<u64>,
    /// What is not activated again by itself.
    #[serde(default)]
    poisoned: Option<Content>,
}

impl Notes {
    /// What a start finds: `newest` is what it would serve. Tells whether that is poison.
    fn start(&mut self, newest: &Content) -> bool {
        let same =
            |known: &Option<Content>| known.as_ref().is_some_and(|known| known.root == newest.root);
        if same(&self.poisoned) {
            return true;
        }
        if same(&self.content) && self.activations.len() >= CRASHES {
            self.poisoned = self.content.take();
            self.activations.clear();
            return true;
        }
        false
    }

    /// A version is about to be activated. Asked for again, it is no longer poison.
    fn activate(&mut self, content: Content, now: u64) {
        if self.poisoned.as_ref().is_some_and(|poisoned| poisoned.root == content.root) {
            self.poisoned = None;
        }
        if self.content.as_ref().is_none_or(|known| known.root != content.root) {
            self.activations.clear();
        }
        // Only deaths soon after an activation count: those long ago were no part of a series.
        let recent = |at: &u64| now.saturating_sub(*at) <= SURVIVED * CRASHES as u64;
        self.activations.retain(recent);
        self.activations.push(now);
        self.content = Some(content);
    }

    /// The proxy lives on it, or ends on purpose.
    fn survive(&mut self) {
        self.activations.clear();
    }
}

/// The notes of one proxy, on its disk.
#[derive(Debug)]
pub struct Boot {
    path: PathBuf,
    notes: Notes,
}

impl Boot {
    /// Reads the notes of a proxy. Notes that cannot be read are as good as none.
    pub fn open(directory: &Path) -> Self {
        let path = directory.join("boot.json");
        let notes = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "notes of earlier starts not read");
                Notes::default()
            }),
            Err(_) => Notes::default(),
        };
        Self { path, notes }
    }

    /// Whether a version must not be served at a start, because it killed the starts before.
    pub fn is_poison(&mut self, newest: &Running) -> bool {
        let before = self.notes.clone();
        let poison = self.notes.start(&Content::of(newest));
        if self.notes != before {
            self.write();
        }
        poison
    }

    /// Notes that a version is about to be activated.
    pub fn activate(&mut self, next: &Running, now: u64) {
        self.notes.activate(Content::of(next), now);
        self.write();
    }

    /// Strikes out what was noted: the proxy has survived, or ends on purpose.
    pub fn survive(&mut self) {
        if !self.notes.activations.is_empty() {
            self.notes.survive();
            self.write();
        }
    }

    /// What is not activated by itself.
    pub const fn poisoned(&self) -> Option<&Content> {
        self.notes.poisoned.as_ref()
    }

    /// A crash of the process leaves what was written in the kernel, so this need not wait for
    /// the disk; and a proxy must serve even where it cannot write.
    fn write(&self) {
        let write = || -> io::Result<()> {
            let temporary = self.path.with_extension("writing");
            fs::write(&temporary, serde_json::to_vec(&self.notes)?)?;
            fs::rename(&temporary, &self.path)
        };
        if let Err(error) = write() {
            let path = self.path.display();
            tracing::warn!(%path, %error, "start not noted; a version that kills it is not seen");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(version: u64) -> Content {
        let root = format!("{version:064x}");
        Content { lineage: "L".into(), version: Version(version), root }
    }

    /// A start that serves a version and dies.
    fn crash(notes: &mut Notes, version: u64, now: u64) -> bool {
        if notes.start(&content(version)) {
            return false;
        }
        notes.activate(content(version), now);
        true
    }

    #[test]
    fn the_third_crash_is_the_last() {
        let mut notes = Notes::default();
        for now in [0, 10, 20] {
            assert!(crash(&mut notes, 7, now));
        }
        assert!(!crash(&mut notes, 7, 30), "not tried a fourth time");
        assert!(crash(&mut notes, 6, 30), "the one before is");
        assert!(!crash(&mut notes, 7, 1_000_000), "and poison stays poison");
        assert_eq!(notes.poisoned, Some(content(7)));
    }

    #[test]
    fn survival_and_other_versions_begin_the_count_anew() {
        let mut notes = Notes::default();
        crash(&mut notes, 7, 0);
        crash(&mut notes, 7, 10);
        notes.survive();
        assert!(crash(&mut notes, 7, 100) && crash(&mut notes, 7, 110));
        assert!(crash(&mut notes, 8, 120));
        assert!(crash(&mut notes, 7, 130), "the series was broken");
    }

    #[test]
    fn crashes_far_apart_are_no_series() {
        let mut notes = Notes::default();
        for now in [0, 1_000, 2_000, 3_000, 4_000] {
            assert!(crash(&mut notes, 7, now));
        }
    }

    #[test]
    fn an_operator_may_ask_for_poison_again() {
        let mut notes = Notes::default();
        for now in [0, 1, 2] {
            crash(&mut notes, 7, now);
        }
        assert!(notes.start(&content(7)));
        notes.activate(content(7), 10);
        assert_eq!(notes.poisoned, None);
        assert!(!notes.start(&content(7)));
    }

    #[test]
    fn notes_outlive_the_process_and_damage_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let mut boot = Boot::open(directory.path());
        boot.notes.activate(content(3), 5);
        boot.write();
        assert_eq!(Boot::open(directory.path()).notes, boot.notes);
        fs::write(directory.path().join("boot.json"), "{").unwrap();
        assert_eq!(Boot::open(directory.path()).notes, Notes::default());
    }

    #[test]
    fn a_root_survives_its_hexadecimal_form() {
        let digest = Digest([0xab; 32]);
        let content = Content { root: digest.to_hex(), ..content(1) };
        assert_eq!(content.digest(), Some(digest));
        assert_eq!(Content { root: "zz".into(), ..content }.digest(), None);
    }
}
