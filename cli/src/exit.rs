//! How a command ends: the exit codes, and failures that say what, why and the fix.

use std::{fmt, process::ExitCode};

/// The exit codes. Scripts rely on them: a code never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All is well.
    Ok,
    /// Something failed.
    Failure,
    /// There are changes, and the caller asked to be told so.
    Changes,
    /// The configuration is invalid.
    Invalid,
    /// Nobody answered, or not in time.
    Unreachable,
    /// The control plane does not know or does not trust us.
    NotAuthorised,
    /// What was asked for does not exist.
    NotFound,
    /// Somebody else was faster, or holds what was to be changed.
    Conflict,
    /// The command line is wrong.
    Usage,
    /// Ctrl-C.
    Interrupted,
}

impl Exit {
    /// The number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Failure => 1,
            Self::Changes => 2,
            Self::Invalid => 3,
            Self::Unreachable => 4,
            Self::NotAuthorised => 5,
            Self::NotFound => 6,
            Self::Conflict => 7,
            Self::Usage => 64,
            Self::Interrupted => 130,
        }
    }

    /// What a status of the API means. 2 means "there are changes", so clap's 2 is 64.
    pub(crate) const fn of_status(status: u16) -> Self {
        match status {
            401 | 403 => Self::NotAuthorised,
            404 => Self::NotFound,
            409 | 412 => Self::Conflict,
            422 => Self::Invalid,
            408 | 503 | 504 => Self::Unreachable,
            _ => Self::Failure,
        }
    }

    /// What clap's own code means: 0 for help and the version, else a usage error.
    pub(crate) const fn of_clap(code: i32) -> Self {
        if code == 0 { Self::Ok } else { Self::Usage }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// How to exit.
    pub(crate) exit: Exit,
    /// What was tried and why it failed.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) fix: Option<String>,
    /// What led to it, the nearest cause first.
    pub(crate) causes: Vec<String>,
}

impl Failure {
    /// A plain failure.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { exit: Exit::Failure, what: what.into(), fix: None, causes: Vec::new() }
    }

    /// With another exit code.
    pub(crate) fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// With what to do about it.
    pub(crate) fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

impl Failure {
    /// With what led to it.
    pub(crate) fn causes(self, causes: Vec<String>) -> Self {
        Self { causes, ..self }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match &self.fix {
            Some(fix) => write!(f, "; {fix}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_documented_ones() {
        let all = [
            (Exit::Ok, 0),
            (Exit::Failure, 1),
            (Exit::Changes, 2),
            (Exit::Invalid, 3),
            (Exit::Unreachable, 4),
            (Exit::NotAuthorised, 5),
            (Exit::NotFound, 6),
            (Exit::Conflict, 7),
            (Exit::Usage, 64),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in all {
            assert_eq!(exit.code(), code);
        }
    }

    #[test]
    fn a_status_decides_the_code() {
        for (status, exit) in [
            (400, Exit::Failure),
            (401, Exit::NotAuthorised),
            (403, Exit::NotAuthorised),
            (404, Exit::NotFound),
            (409, Exit::Conflict),
            (412, Exit::Conflict),
            (413, Exit::Failure),
            (422, Exit::Invalid),
            (428, Exit::Failure),
            (500, Exit::Failure),
            (503, Exit::Unreachable),
            (507, Exit::Failure),
        ] {
            assert_eq!(Exit::of_status(status), exit, "{status}");
        }
    }

    #[test]
    fn wrong_use_never_reads_as_changes() {
        assert_eq!(Exit::of_clap(2), Exit::Usage);
        assert_eq!(Exit::of_clap(0), Exit::Ok);
    }

    #[test]
    fn a_failure_says_what_and_the_fix_in_one_line() {
        let failure = Failure::new("could not x: y").fix("do z");
        assert_eq!(failure.to_string(), "could not x: y; do z");
    }
}
