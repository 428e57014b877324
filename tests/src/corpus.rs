//! Raw HTTP/1 messages as data: a format that shows every byte, and what lb has to make of them.
//!
//! A file holds cases. Empty lines and lines that begin with `#` are for readers, except that a
//! case whose verdict is `either` must name the section of the RFC that leaves the choice.
//!
//! ```text
//! [a name in words]
//! | POST /here HTTP/1.1\r\n          bytes of the side the file is about, put together as written
//! ? GET / HTTP/1.1\r\n              bytes of the client, in files about responses
//! ! eof                             something other than bytes, see [`Step`] and [`Delivery`]
//! = accept                          the verdict, see [`Verdict`]
//! > POST /here "body"               a request the origin sees, in this order
//! + name: value                     a field that it has with this value, and once
//! - name                            a field that it does not have
//! < 404                             an answer of lb itself, in this order
//! ~ POST /cut                       a request the origin may see the beginning of, never the end
//! ```
//!
//! In bytes, `\r \n \t \0 \\ \" \{ \xNN` are escapes and `{70*ab}` is `ab` seventy times. The end
//! of a line in the file is no byte, and neither is the space behind the mark.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// One thing a side does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// `eof`, `close`: says that nothing more will come, by closing its side.
    Close,
    /// `reset`: resets the connection.
    Reset,
    /// `await 100`: waits for an interim response.
    AwaitInterim,
    /// `await answer`: the client waits for an answer; the origin waits until the client has one.
    AwaitAnswer,
}

/// How the bytes of the client are cut into pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// As they are.
    #[default]
    Whole,
    /// `bytewise`: byte by byte.
    Bytewise,
    /// `split`: in two pieces, once for every place between two bytes.
    Split,
}

/// What lb must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// `accept`: everything is understood as the items say.
    Accept,
    /// `refuse`: after what the items say, one of the statuses, then the end.
    Refuse,
    /// `cut`: as `refuse`, for what turns out to be wrong when a part of it was sent on.
    Cut,
    /// `either`: the RFC leaves the choice, and both ways are safe.
    Either,
}

/// What is seen of one request, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// The origin sees it, and the client gets the origin's answer to it.
    Request(Wanted),
    /// lb answers it itself.
    Local(u16),
}

/// A message as it must arrive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// The method.
    pub method: String,
    /// The target.
    pub target: String,
    /// The body.
    pub body: Vec<u8>,
    /// Fields that are there once, with this value.
    pub with: Vec<(String, String)>,
    /// Fields that are not there.
    pub without: Vec<String>,
}

/// One case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// The file's name without its ending, and the name of the case.
    pub name: String,
    /// What the client does.
    pub client: Vec<Step>,
    /// What the origin does, in files about responses.
    pub origin: Vec<Step>,
    /// How the client's bytes arrive.
    pub delivery: Delivery,
    /// `skip`: origins that have rules of their own against this.
    pub skip: Vec<String>,
    /// `early`: the origin does its part when it has the head of the request.
    pub is_early: bool,
    /// What lb must do.
    pub verdict: Verdict,
    /// The statuses of a refusal, or of the answer.
    pub statuses: Vec<u16>,
    /// `close` among the statuses: an end without an answer will do.
    pub may_say_nothing: bool,
    /// `closes`: the connection of the client ends after the last answer.
    pub closes: bool,
    /// `may-close`: it may end before any answer but the first.
    pub may_close: bool,
    /// `no-reuse`: the connection to the origin takes no further request.
    pub no_reuse: bool,
    /// What is seen, in order.
    pub items: Vec<Item>,
    /// What may be seen in part: method and target.
    pub partial: Vec<(String, String)>,
    /// The answer the client gets, in files about responses.
    pub answer: Wanted,
}

/// What is not yet as it should be: reasons, and the names of the cases that fail for each.
///
/// A case that is listed and passes is a fault, so that the list stays true until it is empty.
#[derive(Debug, Clone, Copy)]
pub struct Deviations(pub &'static [(&'static str, &'static [&'static str])]);

impl Deviations {
    /// Why a case fails, if it is known to.
    pub fn reason(&self, name: &str) -> Option<&'static str> {
        self.0.iter().find(|(_, names)| names.contains(&name)).map(|(reason, _)| *reason)
    }

    /// What is listed of a theme and is not true.
    pub fn untrue(&self, theme: &str, cases: &[Case], failed: &BTreeSet<String>) -> Vec<String> {
        let names = self.0.iter().flat_map(|(_, names)| names.iter());
        let of_theme = names.filter(|name| name.split(": ").next() == Some(theme));
        let untrue = of_theme.filter_map(|name| {
            if !cases.iter().any(|case| case.name == *name) {
                Some(format!("{name}: it is listed, but there is no such case"))
            } else if failed.contains(*name) {
                None
            } else {
                Some(format!("{name}: it is listed, but it passes; strike it from the list"))
            }
        });
        untrue.collect()
    }
}

/// Whose bytes stand behind `|`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The client's.
    Requests,
    /// The origin's.
    Responses,
}

fn folder(subject: Subject) -> PathBuf {
    let name = match subject {
        Subject::Requests => "requests",
        Subject::Responses => "responses",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name)
}

/// The names of the files about a subject, sorted.
pub fn files(subject: Subject) -> Vec<String> {
    let entries = std::fs::read_dir(folder(subject)).expect("the corpus");
    let names = entries.flatten().filter_map(|entry| entry.path().file_stem().map(OsStr::to_owned));
    let mut names: Vec<_> = names.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Reads `corpus/requests/NAME.txt` or `corpus/responses/NAME.txt`.
pub fn read(subject: Subject, name: &str) -> Vec<Case> {
    let path = folder(subject).join(format!("{name}.txt"));
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("could not read {}: {error}", path.display()));
    let mut cases: Vec<Case> = Vec::new();
    let mut notes = String::new();
    for (index, line) in text.lines().enumerate() {
        let fail = |what: &str| panic!("{}, line {}: {what}: {line}", path.display(), index + 1);
        if line.is_empty() {
            continue;
        }
        if let Some(note) = line.strip_prefix('#') {
            notes += note;
            continue;
        }
        if let Some(title) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            if let Some(last) = cases.last() {
                finish(last, &notes);
            }
            notes.clear();
            let case = Case::new(format!("{name}: {title}"));
            if cases.iter().any(|other| other.name == case.name) {
                fail("the name is taken");
            }
            cases.push(case);
            continue;
        }
        let Some(case) = cases.last_mut() else { fail("no case has begun") };
        let (mark, rest) = line.split_at(1);
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        if let Err(what) = case.line(subject, mark, rest) {
            fail(&what);
        }
    }
    if let Some(last) = cases.last() {
        finish(last, &notes);
    }
    assert!(!cases.is_empty(), "{} has no cases", path.display());
    cases
}

fn finish(case: &Case, notes: &str) {
    let name = &case.name;
    assert!(!case.client.is_empty() || !case.origin.is_empty(), "`{name}` sends nothing");
    if case.verdict == Verdict::Either {
        assert!(notes.contains("RFC 9"), "`{name}` does not say which RFC leaves a choice");
    }
    let refuses = matches!(case.verdict, Verdict::Refuse | Verdict::Either);
    assert!(!refuses || !case.statuses.is_empty(), "`{name}` names no status");
}

impl Case {
    fn new(name: String) -> Self {
        Self {
            name,
            client: Vec::new(),
            origin: Vec::new(),
            delivery: Delivery::Whole,
            skip: Vec::new(),
            is_early: false,
            verdict: Verdict::Accept,
            statuses: Vec::new(),
            may_say_nothing: false,
            closes: false,
            may_close: false,
            no_reuse: false,
            items: Vec::new(),
            partial: Vec::new(),
            answer: Wanted::default(),
        }
    }

    fn line(&mut self, subject: Subject, mark: &str, rest: &str) -> Result<(), String> {
        let own = match subject {
            Subject::Requests => &mut self.client,
            Subject::Responses => &mut self.origin,
        };
        match mark {
            "|" => push(own, &unescape(rest)?),
            "?" => push(&mut self.client, &unescape(rest)?),
            "!" => match rest.split(' ').collect::<Vec<_>>()[..] {
                ["eof" | "close"] => own.push(Step::Close),
                ["client", "eof"] => self.client.push(Step::Close),
                ["client", "await", "answer"] => self.client.push(Step::AwaitAnswer),
                ["reset"] => own.push(Step::Reset),
                ["await", "100"] => own.push(Step::AwaitInterim),
                ["await", "answer"] => own.push(Step::AwaitAnswer),
                ["bytewise"] => self.delivery = Delivery::Bytewise,
                ["split"] => self.delivery = Delivery::Split,
                ["skip", origin] => self.skip.push(origin.to_owned()),
                ["early"] => self.is_early = true,
                _ => return Err("no such step".to_owned()),
            },
            "=" => self.verdict(rest)?,
            ">" => {
                let (line, body) = rest.split_once(" \"").unwrap_or((rest, "\""));
                let (method, target) = line.split_once(' ').ok_or("a method and a target")?;
                let body = body.strip_suffix('"').ok_or("a body ends with a quote")?;
                self.items.push(Item::Request(Wanted {
                    method: String::from_utf8_lossy(&unescape(method)?).into_owned(),
                    target: String::from_utf8_lossy(&unescape(target)?).into_owned(),
                    body: unescape(body)?,
                    ..Wanted::default()
                }));
            }
            "<" => self.items.push(Item::Local(rest.parse().map_err(|_| "a status")?)),
            "~" => {
                let (method, target) = rest.split_once(' ').ok_or("a method and a target")?;
                self.partial.push((method.to_owned(), target.to_owned()));
            }
            "+" => {
                let (name, value) = rest.split_once(": ").ok_or("a name and a value")?;
                let value = String::from_utf8_lossy(&unescape(value)?).into_owned();
                self.wanted()?.with.push((name.to_owned(), value));
            }
            "-" => self.wanted()?.without.push(rest.to_owned()),
            _ => return Err("no such mark".to_owned()),
        }
        Ok(())
    }

    /// The message that a line about fields belongs to.
    fn wanted(&mut self) -> Result<&mut Wanted, String> {
        match self.items.last_mut() {
            _ if !self.origin.is_empty() => Ok(&mut self.answer),
            Some(Item::Request(wanted)) => Ok(wanted),
            _ => Err("no message has been named".to_owned()),
        }
    }

    fn verdict(&mut self, rest: &str) -> Result<(), String> {
        let (words, body) = rest.split_once(" \"").unwrap_or((rest, "\""));
        let (body, more) = body.rsplit_once('"').ok_or("a body ends with a quote")?;
        self.answer.body = unescape(body)?;
        for word in words.split(' ').chain(more.split(' ').filter(|word| !word.is_empty())) {
            match word {
                "accept" => self.verdict = Verdict::Accept,
                "refuse" => self.verdict = Verdict::Refuse,
                "cut" => self.verdict = Verdict::Cut,
                "either" => self.verdict = Verdict::Either,
                "close" => self.may_say_nothing = true,
                "closes" => self.closes = true,
                "may-close" => self.may_close = true,
                "no-reuse" => self.no_reuse = true,
                status => self.statuses.push(status.parse().map_err(|_| "no such verdict")?),
            }
        }
        Ok(())
    }
}

fn push(steps: &mut Vec<Step>, bytes: &[u8]) {
    match steps.last_mut() {
        Some(Step::Send(before)) => before.extend_from_slice(bytes),
        _ => steps.push(Step::Send(bytes.to_vec())),
    }
}

/// Where the brace is that closes one that was opened before `text`.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut is_escaped) = (1, false);
    for (at, letter) in text.char_indices() {
        match letter {
            _ if is_escaped => {}
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        is_escaped = letter == '\\' && !is_escaped;
    }
    None
}

/// The bytes that a text of the format stands for.
fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = &rest[first.len_utf8()..];
        match first {
            '\\' => {
                let (code, length) = match rest.as_bytes().first() {
                    Some(b'r') => (b'\r', 1),
                    Some(b'n') => (b'\n', 1),
                    Some(b't') => (b'\t', 1),
                    Some(b'0') => (0, 1),
                    Some(byte @ (b'\\' | b'"' | b'{')) => (*byte, 1),
                    Some(b'x') => {
                        let digits = rest.get(1..3).ok_or("two digits")?;
                        (u8::from_str_radix(digits, 16).map_err(|error| error.to_string())?, 3)
                    }
                    _ => return Err("no such escape".to_owned()),
                };
                bytes.push(code);
                rest = &rest[length..];
            }
            '{' => {
                let end = closing(rest).ok_or("a repetition has no end")?;
                let (inside, after) = (&rest[..end], &rest[end + 1..]);
                let (count, unit) = inside.split_once('*').ok_or("how often, and what")?;
                let count: usize = count.parse().map_err(|_| "how often")?;
                bytes.extend(unescape(unit)?.repeat(count));
                rest = after;
            }
            other => bytes.extend(other.to_string().bytes()),
        }
    }
    Ok(bytes)
}
