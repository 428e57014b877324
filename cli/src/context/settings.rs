//! What holds in the end: flags, then variables, then the context, then defaults.
//!
//! The authority and the token of a context belong to its server. They are not used for another
//! one that a flag or variable names, unless `--context` stands beside it.

use std::{fmt, path::PathBuf};

use lb_model::value::Secret;
use reqwest::Url;

use super::Contexts;
use crate::{
    args::{Environment, Format, Global},
    exit::{Exit, Failure},
};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// A context, by its name.
    Context(String),
    /// The file of contexts itself.
    File,
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Context(name) => write!(f, "context {name}"),
            Self::File => f.write_str("current context"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    pub(crate) origin: Origin,
}

impl<T> Sourced<T> {
    const fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

/// A token or where it is.
#[derive(Debug, Clone)]
pub(crate) enum Token {
    /// In a file.
    File(PathBuf),
    /// Here.
    Text(Secret<String>),
}

/// What holds for this run.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The context in use.
    pub(crate) context: Option<Sourced<String>>,
    /// The control plane.
    pub(crate) server: Sourced<Url>,
    /// Whom to trust over TLS.
    pub(crate) ca: Option<Sourced<PathBuf>>,
    /// Who we are.
    pub(crate) token: Option<Sourced<Token>>,
    /// How data is written.
    pub(crate) output: Sourced<Format>,
    /// The protected context that has this server, however it was named.
    pub(crate) protected: Option<String>,
}

/// Where a control plane of this machine listens.
const DEFAULT_SERVER: &str = "http://127.0.0.1:9700";

impl Settings {
    /// What holds without a file of contexts.
    pub(crate) fn without_contexts(
        global: &Global,
        environment: &Environment,
    ) -> Result<Self, Failure> {
        let mut global = global.clone();
        global.context = None;
        Self::resolve(&global, environment, &Contexts::default())
    }

    /// Decides what holds.
    ///
    /// # Errors
    ///
    /// A context is named that is not there.
    pub(crate) fn resolve(
        global: &Global,
        environment: &Environment,
        contexts: &Contexts,
    ) -> Result<Self, Failure> {
        let given = |id: &str, flag, variable| {
            if global.is_variable(id) { Origin::Variable(variable) } else { Origin::Flag(flag) }
        };
        let context = match (&global.context, contexts.current()) {
            (Some(name), _) => {
                let origin = given("context", "--context", "LBCTL_CONTEXT");
                Some(Sourced::new(name.clone(), origin))
            }
            (None, Some(name)) => Some(Sourced::new(name.to_owned(), Origin::File)),
            (None, None) => None,
        };
        let named_here =
            context.as_ref().is_some_and(|context| matches!(context.origin, Origin::Flag(_)));
        let found = match &context {
            Some(context) => Some((context.value.clone(), contexts.find(&context.value)?)),
            None => None,
        };
        let server = match (&global.server, &found) {
            (Some(url), _) => {
                Sourced::new(url.clone(), given("server", "--server", "LBCTL_SERVER"))
            }
            (None, Some((name, context))) => {
                Sourced::new(context.server.clone(), Origin::Context(name.clone()))
            }
            (None, None) => {
                let url = Url::parse(DEFAULT_SERVER).map_err(|error| {
                    Failure::new(format!("{DEFAULT_SERVER}: {error}")).exit(Exit::Usage)
                })?;
                Sourced::new(url, Origin::Default)
            }
        };
        // Secrets of one server are not shown to another by accident.
        let own = found
            .as_ref()
            .filter(|(_, context)| named_here || context.server == server.value)
            .map(|(name, context)| (Origin::Context(name.clone()), context));
        let ca = match (&global.ca, &own) {
            (Some(path), _) => Some(Sourced::new(path.clone(), given("ca", "--ca", "LBCTL_CA"))),
            (None, Some((origin, context))) => {
                context.ca.clone().map(|path| Sourced::new(path, origin.clone()))
            }
            (None, None) => None,
        };
        let token = match (&global.token_file, &environment.token, &own) {
            (Some(path), ..) => {
                let origin = given("token_file", "--token-file", "LBCTL_TOKEN_FILE");
                Some(Sourced::new(Token::File(path.clone()), origin))
            }
            (None, Some(text), _) => {
                Some(Sourced::new(Token::Text(text.clone()), Origin::Variable("LBCTL_TOKEN")))
            }
            (None, None, Some((origin, context))) => context
                .token_file
                .clone()
                .map(|path| Sourced::new(Token::File(path), origin.clone())),
            (None, None, None) => None,
        };
        let output = match (&global.output, &found) {
            (Some(format), _) => Sourced::new(format.clone(), Origin::Flag("--output")),
            (None, Some((name, context))) if context.output.is_some() => {
                let format = context.output.clone().unwrap_or(Format::Table);
                Sourced::new(format, Origin::Context(name.clone()))
            }
            (None, _) => Sourced::new(Format::Table, Origin::Default),
        };
        let holds = |(name, context): (&String, &super::Context)| {
            let is_named = named_here && found.as_ref().is_some_and(|(found, _)| found == name);
            (context.protected && (is_named || context.server == server.value))
                .then(|| name.clone())
        };
        let protected = contexts.all().iter().find_map(holds);
        Ok(Self { context, server, ca, token, output, protected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;

    const FILE: &str = "current: prod\ncontexts:\n  prod: { server: https://prod:9700, ca: p.pem, \
                        token_file: p.token, output: wide, protected: true }\n  \
                        lab: { server: http://lab:9700 }\n";

    fn settings(flags: &[&str], token: Option<&str>) -> Result<Settings, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        std::fs::write(&file, FILE).unwrap();
        let environment = Environment {
            contexts: Some(file),
            token: token.map(|token| Secret::new(token.to_owned())),
            ..Environment::default()
        };
        let line = [&["lbctl", "status"], flags].concat();
        let global = Arguments::read(line).unwrap().global;
        let contexts = Contexts::read(&environment).unwrap();
        Settings::resolve(&global, &environment, &contexts)
    }

    #[test]
    fn a_flag_counts_before_the_context_and_that_before_the_default() {
        let context = settings(&[], None).unwrap();
        assert_eq!(context.server.value.as_str(), "https://prod:9700/");
        assert_eq!(context.server.origin, Origin::Context("prod".into()));
        assert_eq!(context.output.value, Format::Wide);
        assert!(context.ca.is_some() && context.token.is_some());
        let named = settings(&["--context", "lab", "-o", "json"], None).unwrap();
        assert_eq!(named.server.value.as_str(), "http://lab:9700/");
        assert_eq!(named.output.origin, Origin::Flag("--output"));
        assert!(named.ca.is_none() && named.token.is_none() && named.protected.is_none());
        let variable = settings(&[], Some("lbo1")).unwrap().token.unwrap();
        assert_eq!(variable.origin, Origin::Variable("LBCTL_TOKEN"));
        assert_eq!(settings(&["--context", "none"], None).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn the_token_of_a_context_is_not_shown_to_another_server() {
        let other = settings(&["--server", "https://other"], None).unwrap();
        assert!(other.token.is_none() && other.ca.is_none() && other.protected.is_none());
        let both = settings(&["--server", "https://127.0.0.1:1", "--context", "prod"], None);
        let both = both.unwrap();
        assert!(both.token.is_some() && both.protected.as_deref() == Some("prod"));
    }

    #[test]
    fn protection_goes_with_the_server_however_it_is_named() {
        let same = settings(&["--server", "https://prod:9700", "--context", "lab"], None).unwrap();
        assert_eq!(same.protected.as_deref(), Some("prod"));
    }
}
