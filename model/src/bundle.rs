//! A configuration on its way: documents and the files they name.
//!
//! Whoever reads a document from a disk reads the files it names as well and ships both, so the
//! control plane and the proxies open no file of an operator's.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, Read as _},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{diagnostic::Place, document::Document, layers};

/// The largest file a document may name, in bytes.
pub const MAX_FILE: usize = 1 << 20;

/// Documents in the order of their names, and the files they name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Bundle {
    /// The documents.
    pub documents: Vec<Source>,
    /// The files, by the document that names them and the path as written there.
    #[serde(default)]
    pub files: Vec<NamedFile>,
    /// The values of the variables that documents name, `${NAME}`, where they are set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Content>,
    /// Values set from outside the documents, weakest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// Files that could not be read. They do not travel: a bundle with one is not valid.
    #[serde(skip)]
    pub unread: Vec<UnreadFile>,
}

/// One document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its name, as findings show it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// The first byte that is not UTF-8, in a document that was read from bytes.
    #[serde(skip)]
    pub not_utf8_at: Option<usize>,
}

/// A value that stands in no document: from the environment, or from a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// The keys that lead to it, such as `waf`, `mode`; a number stands for a place in a list.
    pub path: Vec<String>,
    /// What stands there: a scalar as it is, or a list or map in brackets, as in YAML and JSON.
    pub value: Content,
    /// Where it was set, as findings show it: `environment variable LB_WAF__MODE`.
    pub origin: String,
}

/// A file that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadFile {
    document: String,
    path: String,
    pub(crate) reason: String,
    pub(crate) help: &'static str,
}

/// A file that a document names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String, format = Byte))]
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

impl Source {
    /// A document.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), not_utf8_at: None }
    }

    /// A document from bytes. Where they are not UTF-8, parsing it says so.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::new(name, text),
            Err(error) => {
                let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let not_utf8_at = Some(error.utf8_error().valid_up_to());
                Self { not_utf8_at, ..Self::new(name, text) }
            }
        }
    }
}

impl UnreadFile {
    fn new(reference: FileReference, error: &io::Error) -> Self {
        let help = match error.kind() {
            io::ErrorKind::FileTooLarge => {
                "no certificate or key is that large; name the right file"
            }
            io::ErrorKind::PermissionDenied => {
                "let this user read it, or write the PEM text inline"
            }
            _ => "put the file there, or correct the path, which is relative to the document",
        };
        let FileReference { document, path, .. } = reference;
        Self { document, path, reason: reason(error), help }
    }
}

/// What the system says of a file, without its number.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

/// Reads all of it, unless that is more than `most` bytes.
///
/// # Errors
///
/// What reading says, or that there is more.
pub fn read_at_most(from: &mut dyn io::Read, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::Read::take(from, most as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        let what = format!("it is larger than {} MiB", most >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

impl Bundle {
    /// A bundle of one document that names no file.
    pub fn of_text(name: &str, text: &str) -> Self {
        Self { documents: vec![Source::new(name, text)], ..Self::default() }
    }

    /// The name of a source by its number: documents first, then settings.
    pub fn source_name(&self, source: u32) -> &str {
        let index = source as usize;
        if let Some(document) = self.documents.get(index) {
            return &document.name;
        }
        let setting = self.settings.get(index.wrapping_sub(self.documents.len()));
        setting.map_or("", |setting| setting.origin.as_str())
    }

    /// The document to which paths in a source are relative: the source itself, or the first
    /// document for what was set from outside.
    pub fn base_of(&self, source: u32) -> &str {
        let document = self.documents.get(source as usize).or_else(|| self.documents.first());
        document.map_or("", |document| document.name.as_str())
    }

    /// The files by document and path.
    pub(crate) fn index(&self) -> BTreeMap<(&str, &str), &[u8]> {
        self.files
            .iter()
            .map(|file| ((file.document.as_str(), file.path.as_str()), file.content.0.as_slice()))
            .collect()
    }

    /// Adds the values of the variables that the documents name. What `lookup` does not have
    /// becomes a finding when the bundle is parsed, unless the document has a default for it.
    pub fn gather_variables(&mut self, mut lookup: impl FnMut(&str) -> Option<String>) {
        for name in layers::variables(self) {
            if let Some(value) = lookup(&name) {
                self.variables.insert(name, Content(value.into_bytes()));
            }
        }
    }

    /// Adds the files that the documents name. `read` fetches one; its path is relative to the
    /// document that names it. What cannot be had is remembered, and becomes a finding with its
    /// reason when the bundle is parsed.
    pub fn gather(&mut self, mut read: impl FnMut(&FileReference) -> io::Result<Vec<u8>>) {
        let (document, _) = Document::read(self);
        for reference in document.file_references(self) {
            let FileReference { document, path, .. } = &reference;
            let known = self.files.iter().any(|f| f.document == *document && f.path == *path)
                || self.unread.iter().any(|f| f.document == *document && f.path == *path);
            if known || path.is_empty() {
                continue;
            }
            match read(&reference) {
                Ok(content) => {
                    let FileReference { document, path, .. } = reference;
                    self.files.push(NamedFile { document, path, content: Content(content) });
                }
                Err(error) => self.unread.push(UnreadFile::new(reference, &error)),
            }
        }
    }

    /// Why a file that a document names is not in the bundle, if somebody tried to read it.
    pub(crate) fn unread(&self, document: &str, path: &str) -> Option<&UnreadFile> {
        self.unread.iter().find(|file| file.document == document && file.path == path)
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
        // Bundles without them keep the hash they had before there were any.
        for (name, value) in &self.variables {
            add(b"variable");
            add(name.as_bytes());
            add(&value.0);
        }
        for setting in &self.settings {
            add(b"setting");
            setting.path.iter().for_each(|key| add(key.as_bytes()));
            add(setting.origin.as_bytes());
            add(&setting.value.0);
        }
        hasher.finalize().into()
    }
}
