//! Cuts the text of a rule into tokens.
//!
//! It knows characters, not grammar. A mistake whose meaning is plain (`&` for `&&`, single
//! quotes) is reported and read as what was meant, so that the parser can go on to find more.

use std::ops::Range;

use super::InvalidRule;

/// A token and where it stands.
pub(super) struct Spanned<'t> {
    pub(super) token: Token<'t>,
    pub(super) span: Range<usize>,
}

/// The smallest parts of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token<'t> {
    /// A matcher's name.
    Name(&'t str),
    /// A quoted value, its escapes resolved.
    Text(String),
    Open,
    Close,
    Comma,
    And,
    Or,
    Not,
    /// The end of the text; always the last token.
    End,
}

/// What the lexer made of a text.
pub(super) struct Lexed<'t> {
    pub(super) tokens: Vec<Spanned<'t>>,
    pub(super) faults: Vec<InvalidRule>,
    /// False when a quote is never closed: what follows it cannot be told apart from it.
    pub(super) is_complete: bool,
}

/// Cuts `text` into tokens, the last of them [`Token::End`].
pub(super) fn lex(text: &str) -> Lexed<'_> {
    let mut lexer = Lexer {
        text,
        at: 0,
        lexed: Lexed { tokens: Vec::new(), faults: Vec::new(), is_complete: true },
    };
    lexer.run();
    lexer.lexed
}

impl Token<'_> {
    /// How a message names it.
    pub(super) fn describe(&self) -> &'static str {
        match self {
            Self::Name(_) => "a name",
            Self::Text(_) => "a value",
            Self::Open => "`(`",
            Self::Close => "`)`",
            Self::Comma => "`,`",
            Self::And => "`&&`",
            Self::Or => "`||`",
            Self::Not => "`!`",
            Self::End => "the end of the rule",
        }
    }
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    lexed: Lexed<'t>,
}

impl<'t> Lexer<'t> {
    fn run(&mut self) {
        while let Some(c) = self.peek() {
            let start = self.at;
            match c {
                _ if c.is_whitespace() => self.at += c.len_utf8(),
                '(' => self.take(1, Token::Open),
                ')' => self.take(1, Token::Close),
                ',' => self.take(1, Token::Comma),
                '!' => self.take(1, Token::Not),
                '&' => self.operator('&', "&&", Token::And),
                '|' => self.operator('|', "||", Token::Or),
                '`' => self.raw('`'),
                '\'' => {
                    self.raw('\'');
                    let help = "write it in backticks or double quotes";
                    self.fault(start..self.at, "a value does not stand in single quotes", help);
                }
                '"' => self.quoted(),
                _ if is_name(c) => {
                    let rest = &self.text[start..];
                    let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                    self.take(length, Token::Name(&rest[..length]));
                }
                _ => self.foreign(),
            }
            if !self.lexed.is_complete {
                return;
            }
        }
        self.take(0, Token::End);
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, length: usize, token: Token<'t>) {
        let span = self.at..self.at + length;
        self.at = span.end;
        self.lexed.tokens.push(Spanned { token, span });
    }

    fn fault(&mut self, span: Range<usize>, message: &str, help: &str) {
        let help = Some(help.to_owned()).filter(|help| !help.is_empty());
        self.lexed.faults.push(InvalidRule { span, message: message.to_owned(), help });
    }

    fn operator(&mut self, c: char, whole: &str, token: Token<'t>) {
        if self.text[self.at..].starts_with(whole) {
            return self.take(2, token);
        }
        let message = format!("`{c}` is not an operator");
        self.fault(self.at..self.at + 1, &message, &format!("write `{whole}`"));
        self.take(1, token);
    }

    fn raw(&mut self, quote: char) {
        let start = self.at;
        match self.text[start + 1..].find(quote) {
            Some(length) => {
                let value = self.text[start + 1..start + 1 + length].to_owned();
                self.take(length + 2, Token::Text(value));
            }
            None => self.unclosed(quote),
        }
    }

    fn unclosed(&mut self, quote: char) {
        let help = format!("close it with {quote}");
        self.fault(self.at..self.text.len(), "this value is never closed", &help);
        self.lexed.is_complete = false;
    }

    /// A value in double quotes, with the escapes of a Go string.
    fn quoted(&mut self) {
        let start = self.at;
        let mut value = String::new();
        let mut chars = self.text[start + 1..].char_indices();
        while let Some((i, c)) = chars.next() {
            let here = start + 1 + i;
            match c {
                '"' => return self.take(here + 1 - start, Token::Text(value)),
                '\n' => break,
                '\\' => {
                    let rest = &self.text[here + 1..];
                    if let Some((c, length)) = escape(rest) {
                        value.push(c);
                        // Escapes are ASCII, so bytes are characters here.
                        for _ in 0..length {
                            chars.next();
                        }
                    } else {
                        let next = chars.next().map_or(0, |(_, c)| c.len_utf8());
                        let message = format!("`\\{}` is not an escape", &rest[..next]);
                        let help = "double the backslash, or put the value in backticks, where a \
                                    backslash is itself";
                        self.fault(here..here + 1 + next, &message, help);
                    }
                }
                _ => value.push(c),
            }
        }
        self.unclosed('"');
    }

    /// A run of characters that begin nothing, as one fault.
    fn foreign(&mut self) {
        let rest = &self.text[self.at..];
        let is_known = |c: char| c.is_whitespace() || is_name(c) || "()!,&|`'\"".contains(c);
        let length = rest.find(is_known).unwrap_or(rest.len());
        let message = format!("`{}` has no meaning in a rule", rest[..length].escape_debug());
        let help = if rest.starts_with('=') { "write Header(`name`, `value`)" } else { "" };
        self.fault(self.at..self.at + length, &message, help);
        self.at += length;
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The character that the escape at the start of `rest` (behind its backslash) stands for, and the
/// length of the escape.
fn escape(rest: &str) -> Option<(char, usize)> {
    let hex = |digits: usize| {
        let digits = rest.get(1..=digits)?;
        // from_str_radix takes a sign, an escape does not.
        let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
        Some((char::from_u32(code)?, digits.len() + 1))
    };
    let plain = |c: char| Some((c, 1));
    match rest.as_bytes().first()? {
        b'\\' => plain('\\'),
        b'"' => plain('"'),
        b'n' => plain('\n'),
        b'r' => plain('\r'),
        b't' => plain('\t'),
        b'a' => plain('\x07'),
        b'b' => plain('\x08'),
        b'f' => plain('\x0c'),
        b'v' => plain('\x0b'),
        // Two digits stand for a byte; only those that are a character by themselves are taken.
        b'x' => hex(2).filter(|(c, _)| c.is_ascii()),
        b'u' => hex(4),
        b'U' => hex(8),
        _ => None,
    }
}
