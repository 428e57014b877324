//! The variables of the environment that matter besides flags.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf};

use lb_model::value::Secret;

/// What matters of the environment besides flags.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    /// `NO_COLOR` is set and not empty.
    pub(crate) no_color: bool,
    /// `CLICOLOR_FORCE` is set, not empty and not 0.
    pub(crate) force_color: bool,
    /// `TERM` is `dumb`.
    pub(crate) dumb_terminal: bool,
    /// Who runs this.
    pub(crate) user: Option<String>,
    /// `LBCTL_TOKEN`: who runs this, to the control plane.
    pub(crate) token: Option<Secret<String>>,
    /// Where contexts are kept: `LBCTL_CONFIG`, or below `XDG_CONFIG_HOME` or `~/.config`.
    pub(crate) contexts: Option<PathBuf>,
    /// Where whoever runs this is at home.
    pub(crate) home: Option<PathBuf>,
    /// Where programs are looked for.
    pub(crate) path: Option<OsString>,
    /// Every variable that is a text: documents may name any.
    pub(crate) variables: BTreeMap<String, String>,
}

impl Environment {
    /// Reads it, once.
    pub(crate) fn read() -> Self {
        let text = |name: &str| {
            std::env::var_os(name).and_then(|v| v.into_string().ok()).filter(|v| !v.is_empty())
        };
        Self {
            no_color: text("NO_COLOR").is_some(),
            force_color: text("CLICOLOR_FORCE").is_some_and(|value| value != "0"),
            dumb_terminal: text("TERM").is_some_and(|value| value == "dumb"),
            user: text("USER").or_else(|| text("LOGNAME")),
            token: text("LBCTL_TOKEN").map(Secret::new),
            contexts: contexts(|name| std::env::var_os(name).filter(|value| !value.is_empty())),
            home: text("HOME").map(PathBuf::from),
            path: std::env::var_os("PATH"),
            variables: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .collect(),
        }
    }

    /// `user@host`, as far as either is known.
    pub(crate) fn author(&self) -> String {
        let system = rustix::system::uname();
        let host = system.nodename().to_string_lossy();
        let user = self.user.clone().unwrap_or_else(|| {
            let id = rustix::process::getuid();
            if id.is_root() { "root".to_owned() } else { format!("uid-{}", id.as_raw()) }
        });
        format!("{user}@{host}")
    }
}

/// Where contexts are kept. A relative `XDG_CONFIG_HOME` is invalid (XDG Base Directory
/// Specification, "Environment variables").
fn contexts(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    if let Some(file) = variable("LBCTL_CONFIG") {
        return Some(file.into());
    }
    let xdg = variable("XDG_CONFIG_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let directory =
        xdg.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config")))?;
    Some(directory.join("lbctl").join("config.yaml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contexts_are_kept_where_variables_say() {
        for (variables, expected) in [
            (&[("LBCTL_CONFIG", "/c.yaml"), ("HOME", "/h")][..], Some("/c.yaml")),
            (&[("XDG_CONFIG_HOME", "/x"), ("HOME", "/h")], Some("/x/lbctl/config.yaml")),
            (&[("XDG_CONFIG_HOME", "x"), ("HOME", "/h")], Some("/h/.config/lbctl/config.yaml")),
            (&[], None),
        ] {
            let find = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            assert_eq!(contexts(find), expected.map(PathBuf::from), "{variables:?}");
        }
    }
}
