//! Contexts: control planes by name, in a file of whoever uses this program.
//!
//! The file names where a token is and never holds one. It is read whole or not at all, and
//! replaced in one step. What flags and variables say counts before it: see [`settings`].

pub(crate) mod settings;

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use reqwest::Url;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    args::{Environment, Format, server},
    exit::{Exit, Failure},
    source::reason,
};

/// One control plane and how to talk to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Its address.
    #[serde(deserialize_with = "address", serialize_with = "as_typed")]
    pub(crate) server: Url,
    /// A file with whom to trust over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// A file with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token_file: Option<PathBuf>,
    /// How data is written where no flag says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) output: Option<Format>,
    /// Whether its name must be typed before anything is changed there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) protected: bool,
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Context>,
}

/// The contexts of whoever uses this program.
#[derive(Debug, Clone, Default)]
pub(crate) struct Contexts {
    /// Where they are kept; absent where no directory for that is known.
    pub(crate) file: Option<PathBuf>,
    home: Option<PathBuf>,
    content: Content,
}

impl Contexts {
    /// Reads the file. One that does not exist has no contexts.
    ///
    /// # Errors
    ///
    /// The file cannot be read or says something that it cannot say; the failure names the line.
    pub(crate) fn read(environment: &Environment) -> Result<Self, Failure> {
        let Some(file) = environment.contexts.clone() else { return Ok(Self::default()) };
        let home = environment.home.clone();
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { file: Some(file), home, content: Content::default() });
            }
            Err(error) => {
                let what = format!("could not read {}: {}", file.display(), reason(&error));
                return Err(Failure::new(what)
                    .fix("correct its permissions, or name another with LBCTL_CONFIG"));
            }
        };
        let content = parse(&text, &file)?;
        Ok(Self { file: Some(file), home, content })
    }

    /// The context that is used when none is named.
    pub(crate) fn current(&self) -> Option<&str> {
        self.content.current.as_deref()
    }

    /// Every context by name.
    pub(crate) fn all(&self) -> &BTreeMap<String, Context> {
        &self.content.contexts
    }

    /// A context, with its paths as they are found from here.
    pub(crate) fn find(&self, name: &str) -> Result<Context, Failure> {
        let Some(found) = self.content.contexts.get(name) else { return Err(self.unknown(name)) };
        Ok(Context {
            ca: found.ca.as_deref().map(|path| self.path(path)),
            token_file: found.token_file.as_deref().map(|path| self.path(path)),
            ..found.clone()
        })
    }

    /// Makes a context the current one.
    pub(crate) fn make_current(&mut self, name: &str) -> Result<(), Failure> {
        if !self.content.contexts.contains_key(name) {
            return Err(self.unknown(name));
        }
        self.content.current = Some(name.to_owned());
        self.write()
    }

    /// Adds or replaces a context. The first one becomes the current one.
    pub(crate) fn set(&mut self, name: &str, context: Context) -> Result<(), Failure> {
        if self.content.contexts.is_empty() {
            self.content.current = Some(name.to_owned());
        }
        self.content.contexts.insert(name.to_owned(), context);
        self.write()
    }

    /// Forgets a context.
    pub(crate) fn delete(&mut self, name: &str) -> Result<(), Failure> {
        if self.content.contexts.remove(name).is_none() {
            return Err(self.unknown(name));
        }
        self.content.current.take_if(|current| current == name);
        self.write()
    }

    fn unknown(&self, name: &str) -> Failure {
        let place = self.file.as_ref().map(|file| format!(" in {}", file.display()));
        let known: Vec<_> = self.content.contexts.keys().map(String::as_str).collect();
        let known = match known.as_slice() {
            [] => "there is none yet".to_owned(),
            known => format!("there are {}", known.join(", ")),
        };
        Failure::new(format!("no context is called `{name}`{}", place.unwrap_or_default()))
            .exit(Exit::NotFound)
            .fix(format!("{known}; write it with: lbctl context set {name} --server URL"))
    }

    /// A path of the file: from its own directory, or from home behind `~/`.
    fn path(&self, path: &Path) -> PathBuf {
        if let (Ok(rest), Some(home)) = (path.strip_prefix("~"), &self.home) {
            return home.join(rest);
        }
        match self.file.as_deref().and_then(Path::parent) {
            Some(directory) => directory.join(path),
            None => path.to_owned(),
        }
    }

    /// Replaces the file in one step. Only its owner may read it.
    fn write(&self) -> Result<(), Failure> {
        let Some(file) = &self.file else {
            return Err(Failure::new("there is no place to keep contexts")
                .fix("set HOME, XDG_CONFIG_HOME, or LBCTL_CONFIG to a file"));
        };
        let text = serde_saphyr::to_string(&self.content)
            .map_err(|error| Failure::new(format!("could not write contexts down: {error}")))?;
        replace(file, &text).map_err(|error| {
            Failure::new(format!("could not write {}: {}", file.display(), reason(&error)))
                .fix("nothing was changed; correct permissions, or set LBCTL_CONFIG")
        })
    }
}

fn replace(file: &Path, text: &str) -> io::Result<()> {
    // A link stays one: what it leads to is replaced.
    let file = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if let Some(directory) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let temporary = file.with_extension(format!("{}.writing", std::process::id()));
    let written = (|| {
        let mut options = fs::OpenOptions::new();
        let mut out = options.write(true).create_new(true).mode(0o600).open(&temporary)?;
        io::Write::write_all(&mut out, text.as_bytes())?;
        out.sync_all()?;
        fs::rename(&temporary, &file)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn parse(text: &str, file: &Path) -> Result<Content, Failure> {
    let file = file.display();
    if text.trim().is_empty() {
        return Ok(Content::default());
    }
    let content: Content = serde_saphyr::from_str(text).map_err(|error| {
        let place = error.location().map(|at| format!(":{}:{}", at.line(), at.column()));
        let why = error.without_snippet().to_string();
        let why = why.lines().next().unwrap_or_default().to_owned();
        let fix = if why.contains("`token`") {
            "a token does not belong here: put it into a file that only you read, and name that \
             with token_file"
        } else {
            "write `contexts: { NAME: { server: URL } }`; a context may also have ca, \
             token_file, output and protected"
        };
        Failure::new(format!("{file}{}: {why}", place.unwrap_or_default())).fix(fix)
    })?;
    if let Some(name) = &content.current
        && !content.contexts.contains_key(name)
    {
        let line = text.lines().position(|line| line.starts_with("current:")).unwrap_or(0) + 1;
        return Err(Failure::new(format!("{file}:{line}: no context is called `{name}`"))
            .fix("correct `current`, or take that line out"));
    }
    Ok(content)
}

/// Reads an address that may be kept: without a password.
fn address<'de, D: Deserializer<'de>>(from: D) -> Result<Url, D::Error> {
    let text = String::deserialize(from)?;
    kept(&text).map_err(serde::de::Error::custom)
}

/// Reads an address that may be kept in the file.
fn kept(text: &str) -> Result<Url, String> {
    let url = server(text)?;
    may_be_kept(&url).map(|()| url)
}

/// Whether an address may be kept: nobody looks for a secret in it.
pub(crate) fn may_be_kept(url: &Url) -> Result<(), String> {
    if url.username().is_empty() && url.password().is_none() {
        Ok(())
    } else {
        Err("the address holds a name or password; write it without, and use token_file".into())
    }
}

fn as_typed<S: Serializer>(url: &Url, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(url.as_str().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn of(text: &str) -> Result<Content, Failure> {
        parse(text, Path::new("config.yaml"))
    }

    fn context(server: &str) -> Context {
        let server = super::kept(server).unwrap();
        Context { server, ca: None, token_file: None, output: None, protected: false }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_what_to_write() {
        for (text, place, words) in [
            ("contexts:\n  a:\n    server: http://a\n    sever: x\n", ":4:", "token_file, output"),
            ("contexts:\n  a:\n    server: http://a\n    token: lbo1\n", ":4:", "into a file"),
            ("contexts:\n  a:\n    ca: x\n", ":3:", "server"),
            ("contexts:\n  a:\n    server: ftp://a\n", ":3:", "http://HOST:PORT"),
            ("contexts:\n  a:\n    server: http://me:pw@a\n", ":3:", "token_file"),
            ("contexts:\n  a:\n    server: http://a\n    output: xml\n", ":4:", "table"),
            ("contexts: {}\ncurrent: b\n", ":2:", "`b`"),
            ("contexts: [\n", ":", "contexts"),
        ] {
            let failure = of(text).unwrap_err().to_string();
            assert!(failure.starts_with(&format!("config.yaml{place}")), "{text}: {failure}");
            assert!(failure.contains(words), "{text}: {failure}");
        }
        assert!(
            !of("contexts: { a: { server: a, token: lbo1 } }").unwrap_err().what.contains("lbo1")
        );
        assert_eq!(of("").unwrap(), Content::default());
    }

    #[test]
    fn what_is_written_is_read_again_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/config.yaml");
        let environment = Environment { contexts: Some(file.clone()), ..Environment::default() };
        let mut contexts = Contexts::read(&environment).unwrap();
        contexts.set("a", context("lb.example:9700")).unwrap();
        let b = Context { protected: true, ca: Some("b.pem".into()), ..context("https://b") };
        contexts.set("b", b).unwrap();
        assert_eq!(contexts.current(), Some("a"), "the first one is the current one");
        contexts.make_current("b").unwrap();
        let again = Contexts::read(&environment).unwrap();
        assert_eq!(again.content, contexts.content);
        let found = again.find("b").unwrap();
        assert_eq!(found.ca.unwrap(), folder.path().join("new/b.pem"), "from its own directory");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left");
        let failure = contexts.make_current("c").unwrap_err();
        assert!(failure.exit == Exit::NotFound && failure.to_string().contains("there are a, b"));
        contexts.delete("b").unwrap();
        assert_eq!(Contexts::read(&environment).unwrap().current(), None);
    }

    #[test]
    fn a_link_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (link, real) = (folder.path().join("config.yaml"), folder.path().join("real.yaml"));
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let environment = Environment { contexts: Some(link.clone()), ..Environment::default() };
        Contexts::read(&environment).unwrap().set("a", context("a")).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("http://a"));
    }
}
