//! Asks whoever sits before the terminal, before something is changed that is not easily mended.
//!
//! Scripts are not asked, for there is nobody to answer: they do what they say. A protected
//! context is the exception, where they must say `--yes`.

use std::io::{self, IsTerminal};

use crate::{
    args::Global,
    exit::{Exit, Failure},
};

/// Who may say yes, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Consent {
    /// It was said already.
    yes: bool,
    /// Somebody can be asked.
    can_ask: bool,
    /// The protected context that is about to change.
    protected: Option<String>,
}

/// What must be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question<'a> {
    /// Nothing.
    None,
    /// `y`.
    Yes,
    /// The name of the context.
    Name(&'a str),
    /// It may not be done: nobody can be asked.
    Refused(&'a str),
}

impl Consent {
    /// What flags say, and whether a person sits there.
    pub(crate) fn new(global: &Global, protected: Option<String>) -> Self {
        let can_ask = !global.no_input && io::stdin().is_terminal() && io::stderr().is_terminal();
        Self { yes: global.yes, can_ask, protected }
    }

    fn question(&self, is_destructive: bool) -> Question<'_> {
        match (&self.protected, is_destructive) {
            _ if self.yes => Question::None,
            (Some(name), _) if self.can_ask => Question::Name(name),
            (Some(name), _) => Question::Refused(name),
            (None, true) if self.can_ask => Question::Yes,
            (None, _) => Question::None,
        }
    }

    /// Whether somebody will be asked before a change of this kind.
    pub(crate) fn will_ask(&self, is_destructive: bool) -> bool {
        matches!(self.question(is_destructive), Question::Yes | Question::Name(_))
    }

    /// Asks, if there is something to ask. `say` writes for people.
    pub(super) fn ask(
        &self,
        is_destructive: bool,
        say: impl Fn(&str),
        answers: &mut dyn io::BufRead,
    ) -> Result<(), Failure> {
        let mut answer = || {
            let mut line = String::new();
            match answers.read_line(&mut line) {
                Ok(0) | Err(_) => None,
                Ok(_) => Some(line.trim().to_owned()),
            }
        };
        let nothing = || Failure::new("nothing was changed").fix("it was not confirmed");
        match self.question(is_destructive) {
            Question::None => Ok(()),
            Question::Yes => {
                say("go on? [y/N] ");
                let yes = answer().is_some_and(|answer| {
                    answer.eq_ignore_ascii_case("y") || answer.eq_ignore_ascii_case("yes")
                });
                if yes { Ok(()) } else { Err(nothing()) }
            }
            Question::Name(name) => {
                say(&format!("context {name} is protected; type its name to go on: "));
                if answer().as_deref() == Some(name) { Ok(()) } else { Err(nothing()) }
            }
            Question::Refused(name) => Err(Failure::new(format!(
                "nothing was changed: context {name} is protected, and nobody can be asked"
            ))
            .exit(Exit::Failure)
            .fix("say --yes if this is meant")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(consent: &Consent, is_destructive: bool, typed: &str) -> Result<(), Failure> {
        consent.ask(is_destructive, |_| {}, &mut typed.as_bytes())
    }

    fn consent(yes: bool, can_ask: bool, protected: Option<&str>) -> Consent {
        Consent { yes, can_ask, protected: protected.map(str::to_owned) }
    }

    #[test]
    fn a_person_is_asked_before_what_destroys_and_a_script_is_not() {
        let person = consent(false, true, None);
        assert!(ask(&person, true, "y\n").is_ok() && ask(&person, true, "YES\n").is_ok());
        for no in ["", "\n", "n\n", "prod\n"] {
            assert!(ask(&person, true, no).is_err(), "{no:?}");
        }
        assert!(ask(&person, false, "").is_ok(), "what mends itself is not asked about");
        assert!(ask(&consent(true, true, None), true, "").is_ok());
        assert!(ask(&consent(false, false, None), true, "").is_ok());
    }

    #[test]
    fn a_protected_context_wants_its_name_or_yes() {
        let person = consent(false, true, Some("prod"));
        assert!(ask(&person, false, "prod\n").is_ok());
        for wrong in ["", "y\n", "yes\n", "Prod\n"] {
            assert!(ask(&person, false, wrong).is_err(), "{wrong:?}");
        }
        let script = consent(false, false, Some("prod"));
        assert!(ask(&script, false, "prod\n").unwrap_err().to_string().contains("--yes"));
        assert!(ask(&consent(true, false, Some("prod")), true, "").is_ok());
    }
}
