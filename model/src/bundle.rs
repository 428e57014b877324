//! A configuration on its way: documents and the files they name.
//!
//! Whoever reads a document from a disk reads the files it names as well and ships both, so the
//! control plane and the proxies open no file of an operator's.

use std::{collections::BTreeMap, fmt};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    diagnostic::{Diagnostic, Diagnostics, Place, Severity, code},
    document::Document,
};

/// The largest file a document may name, in bytes.
pub const MAX_FILE: usize = 1 << 20;

/// Documents in the order of their names, and the files they name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The documents.
    pub documents: Vec<Source>,
    /// The files, by the document that names them and the path as written there.
    #[serde(default)]
    pub files: Vec<NamedFile>,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, as findings show it.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// A file that a document names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedFile {
    /// The name of the document.
    pub document: String,
    /// The path as the document writes it.
    pub path: String,
    /// What the file holds.
    pub content: Content,
}

/// Bytes that do not print themselves; base64 in JSON.
#[derive(Clone, PartialEq, Eq)]
pub struct Content(pub Vec<u8>);

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(|_| de::Error::custom("a file is not base64"))
    }
}

/// A file that a document names, and where it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReference {
    /// The name of the document.
    pub document: String,
    /// The path as written.
    pub path: String,
    /// Where the path stands.
    pub place: Place,
}

impl Bundle {
    /// A bundle of one document that names no file.
    pub fn of_text(name: &str, text: &str) -> Self {
        Self {
            documents: vec![Source { name: name.to_owned(), text: text.to_owned() }],
            files: Vec::new(),
        }
    }

    /// The files by document and path.
    pub(crate) fn index(&self) -> BTreeMap<(&str, &str), &[u8]> {
        self.files
            .iter()
            .map(|file| ((file.document.as_str(), file.path.as_str()), file.content.0.as_slice()))
            .collect()
    }

    /// Adds the files that the documents name. `read` fetches one; its path is relative to the
    /// document that names it.
    ///
    /// # Errors
    ///
    /// One finding for each file that cannot be had, where it is named.
    pub fn with_files(
        mut self,
        mut read: impl FnMut(&FileReference) -> std::io::Result<Vec<u8>>,
    ) -> Result<Self, Diagnostics> {
        let (document, _) = Document::read(&self);
        let mut found = Diagnostics::default();
        for reference in document.file_references(&self) {
            let same = |file: &NamedFile| {
                file.document == reference.document && file.path == reference.path
            };
            if self.files.iter().any(same) {
                continue;
            }
            let (message, help) = match read(&reference) {
                Ok(content) if content.len() > MAX_FILE => (
                    format!("`{}` has {} bytes", reference.path, content.len()),
                    format!("a file may have {MAX_FILE}; is this the right one?"),
                ),
                Ok(content) => {
                    let FileReference { document, path, .. } = reference;
                    self.files.push(NamedFile { document, path, content: Content(content) });
                    continue;
                }
                Err(error) => (
                    format!("could not read `{}`: {error}", reference.path),
                    "the path is relative to the document that names it".to_owned(),
                ),
            };
            found.push(Diagnostic {
                code: code::FILE_MISSING.to_owned(),
                severity: Severity::Error,
                place: Some(reference.place),
                path: String::new(),
                message,
                help: Some(help),
            });
        }
        if found.is_empty() { Ok(self) } else { Err(found) }
    }

    /// A hash of everything that has a meaning: names, texts and contents, each with its length.
    pub fn content_hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        for source in &self.documents {
            add(source.name.as_bytes());
            add(source.text.as_bytes());
        }
        let mut files: Vec<_> = self.files.iter().collect();
        files.sort_by_key(|file| (&file.document, &file.path));
        for file in files {
            add(file.document.as_bytes());
            add(file.path.as_bytes());
            add(&file.content.0);
        }
        hasher.finalize().into()
    }
}
