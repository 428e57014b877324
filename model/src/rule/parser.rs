//! Builds the tree of a rule from its tokens, by recursive descent.
//!
//! It goes on after a fault, reading what was most likely meant, so that one run reports all
//! faults; a rule with any fault gives no tree. The recursion is bounded by [`MAX_DEPTH`].

use std::ops::Range;

use super::ast::{Expr, Matcher, quote};
use super::lexer::{Spanned, Token, lex};
use super::value::{
    HeaderName, HostPattern, InvalidValue, MethodName, RegexPattern, UrlPath, client_ip,
    header_value, host_regex,
};
use super::{InvalidRule, MAX_DEPTH, MAX_LENGTH, MAX_TERMS};

/// More faults than this help nobody.
const MAX_FAULTS: usize = 16;

/// Every matcher: its name, how it is written, and how many values it takes.
const KINDS: [(Kind, &str, &str, &[usize]); 11] = [
    (Kind::Host, "Host", "Host(`example.com`)", &[1]),
    (Kind::HostRegexp, "HostRegexp", "HostRegexp(`^.+\\.example\\.com$`)", &[1]),
    (Kind::Path, "Path", "Path(`/cart`)", &[1]),
    (Kind::PathPrefix, "PathPrefix", "PathPrefix(`/cart`)", &[1]),
    (Kind::PathRegexp, "PathRegexp", "PathRegexp(`\\.css$`)", &[1]),
    (Kind::Method, "Method", "Method(`GET`)", &[1]),
    (Kind::Header, "Header", "Header(`name`, `value`)", &[2]),
    (Kind::HeaderRegexp, "HeaderRegexp", "HeaderRegexp(`name`, `expression`)", &[2]),
    (Kind::Query, "Query", "Query(`name`) or Query(`name`, `value`)", &[1, 2]),
    (Kind::QueryRegexp, "QueryRegexp", "QueryRegexp(`name`, `expression`)", &[1, 2]),
    (Kind::ClientIp, "ClientIP", "ClientIP(`192.0.2.0/24`)", &[1]),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Host,
    HostRegexp,
    Path,
    PathPrefix,
    PathRegexp,
    Method,
    Header,
    HeaderRegexp,
    Query,
    QueryRegexp,
    ClientIp,
}

/// A value and where it stands.
type Argument = (Range<usize>, String);

/// Parses `text`, or gives its faults in order.
pub(super) fn parse(text: &str) -> Result<Expr, Vec<InvalidRule>> {
    if text.len() > MAX_LENGTH {
        let message = format!("the rule is {} bytes long, the most is {MAX_LENGTH}", text.len());
        let help = Some("split it into several routes".to_owned());
        return Err(vec![InvalidRule { span: 0..text.len(), message, help }]);
    }
    let mut lexed = lex(text);
    if !lexed.is_complete {
        lexed.faults.truncate(MAX_FAULTS);
        return Err(lexed.faults);
    }
    let mut parser =
        Parser { tokens: &lexed.tokens, at: 0, terms: 0, faults: lexed.faults, is_stopped: false };
    let expr = parser.rule();
    let mut faults = parser.faults;
    match expr {
        Some(expr) if faults.is_empty() => Ok(expr),
        _ => {
            faults.sort_by_key(|fault| (fault.span.start, fault.span.end));
            faults.truncate(MAX_FAULTS);
            debug_assert!(!faults.is_empty(), "no tree without a fault");
            Err(faults)
        }
    }
}

struct Parser<'t> {
    tokens: &'t [Spanned<'t>],
    at: usize,
    terms: usize,
    faults: Vec<InvalidRule>,
    /// Set where going on is no use; nothing more is read or reported.
    is_stopped: bool,
}

impl<'t> Parser<'t> {
    fn rule(&mut self) -> Option<Expr> {
        if *self.peek() == Token::End {
            self.fault(
                0..self.span().end,
                "the rule is empty",
                "write PathPrefix(`/`) to take all",
            );
            return None;
        }
        let mut expr = self.or(0);
        // Only `)` and `,` end an expression before the end of the rule.
        while *self.peek() != Token::End {
            let message = format!("{} closes or separates nothing", self.peek().describe());
            self.fault(self.span(), &message, "take it out");
            self.advance();
            if matches!(self.peek(), Token::And | Token::Or) {
                self.advance();
            }
            if *self.peek() != Token::End {
                self.or(0);
            }
            expr = None;
        }
        expr
    }

    fn or(&mut self, depth: usize) -> Option<Expr> {
        let mut parts = vec![self.and(depth)];
        while self.eat(&Token::Or) {
            parts.push(self.and(depth));
        }
        combine(parts, Expr::Or)
    }

    fn and(&mut self, depth: usize) -> Option<Expr> {
        let mut parts = vec![self.not(depth)];
        loop {
            match self.peek() {
                Token::And => self.advance(),
                Token::Name(word) if self.is_word(&["and", "or"]) => {
                    let operator = if word.eq_ignore_ascii_case("or") { "||" } else { "&&" };
                    let message = format!("`{word}` is not an operator");
                    self.fault(self.span(), &message, &format!("write `{operator}`"));
                    self.advance();
                }
                Token::Name(_) | Token::Text(_) | Token::Open | Token::Not => {
                    let message = "no operator between this and what stands before it";
                    self.fault(self.span(), message, "join them by `&&` or `||`");
                }
                Token::Or | Token::Close | Token::Comma | Token::End => break,
            }
            parts.push(self.not(depth));
        }
        combine(parts, Expr::And)
    }

    fn not(&mut self, depth: usize) -> Option<Expr> {
        let mut nots = 0;
        loop {
            if self.is_word(&["not"]) {
                self.fault(self.span(), "`not` is not an operator", "write `!`");
                self.advance();
            } else if self.eat(&Token::Not) {
                nots += 1;
            } else {
                break;
            }
        }
        let mut expr = self.operand(depth + nots)?;
        for _ in 0..nots {
            expr = Expr::Not(Box::new(expr));
        }
        Some(expr)
    }

    fn operand(&mut self, depth: usize) -> Option<Expr> {
        let span = self.span();
        if depth > MAX_DEPTH {
            let message = format!("the rule nests deeper than {MAX_DEPTH} levels");
            self.fault(span, &message, "take parentheses or `!` out, or split the route");
            self.stop();
            return None;
        }
        match self.peek() {
            Token::Open => {
                self.advance();
                let inner = self.or(depth + 1);
                while self.eat(&Token::Comma) {
                    let comma = self.tokens[self.at - 1].span.clone();
                    self.fault(comma, "`,` separates values, not matchers", "write `||` or `&&`");
                    self.or(depth + 1);
                }
                if !self.eat(&Token::Close) {
                    self.fault(span, "this parenthesis is never closed", "add `)`");
                }
                inner
            }
            Token::Name(name) => {
                self.advance();
                self.call(name, span)
            }
            Token::Text(value) => {
                let help = format!("write such as Host({})", quote(value));
                self.fault(span, "this value stands in no matcher", &help);
                self.advance();
                None
            }
            found @ (Token::Comma | Token::And | Token::Or | Token::Close | Token::End) => {
                let message = format!("expected a matcher, found {}", found.describe());
                self.fault(span, &message, "write one, such as Host(`example.com`)");
                None
            }
            // `not` has eaten these.
            Token::Not => None,
        }
    }

    /// What follows a matcher's name.
    fn call(&mut self, name: &str, name_span: Range<usize>) -> Option<Expr> {
        let kind = KINDS.iter().find(|kind| kind.1.eq_ignore_ascii_case(name));
        self.terms += 1;
        if self.terms > MAX_TERMS {
            let message = format!("the rule has more than {MAX_TERMS} matchers");
            self.fault(name_span, &message, "split it into several routes");
            self.stop();
            return None;
        }
        let Some(&(kind, name, usage, counts)) = kind else {
            let message = format!("there is no matcher `{name}`");
            self.fault(name_span, &message, &suggest(name));
            if self.eat(&Token::Open) {
                self.skip_to_close();
            }
            return None;
        };
        if !self.eat(&Token::Open) {
            let message = format!("`{name}` needs its value in parentheses");
            self.fault(name_span, &message, &format!("write {usage}"));
            if matches!(self.peek(), Token::Text(_)) {
                self.advance();
            }
            return None;
        }
        let arguments = self.arguments(name, usage, name_span.clone())?;
        let span = name_span.start..self.tokens[self.at - 1].span.end;
        if !counts.contains(&arguments.len()) {
            self.miscounted(name, usage, counts, span, &arguments);
            return None;
        }
        self.matcher(kind, &arguments).map(Expr::Match)
    }

    /// The values up to and with the closing parenthesis. A comma may follow the last, as in Go.
    fn arguments(
        &mut self,
        name: &str,
        usage: &str,
        name_span: Range<usize>,
    ) -> Option<Vec<Argument>> {
        let mut arguments = Vec::new();
        loop {
            match self.peek() {
                Token::Text(value) => {
                    arguments.push((self.span(), value.clone()));
                    self.advance();
                    if self.eat(&Token::Comma) || *self.peek() == Token::Close {
                        continue;
                    }
                }
                Token::Close => {
                    self.advance();
                    return Some(arguments);
                }
                _ => {}
            }
            if *self.peek() == Token::End {
                let message = format!("the parenthesis of `{name}` is never closed");
                self.fault(name_span, &message, "add `)`");
                return None;
            }
            let message = format!("expected a quoted value, found {}", self.peek().describe());
            let help = match self.peek() {
                Token::Text(_) => "put a comma between two values".to_owned(),
                Token::Name(word) => format!("put it in backticks, as `{word}`"),
                _ => format!("write {usage}"),
            };
            self.fault(self.span(), &message, &help);
            self.skip_to_close();
            return None;
        }
    }

    fn miscounted(
        &mut self,
        name: &str,
        usage: &str,
        counts: &[usize],
        span: Range<usize>,
        arguments: &[Argument],
    ) {
        let takes = match counts {
            [1] => "one value",
            [2] => "two values",
            _ => "one or two values",
        };
        let message = format!("`{name}` takes {takes}, this has {}", arguments.len());
        // Traefik v2 took several here and meant any of them.
        let help = if counts == [1] && !arguments.is_empty() {
            let each = arguments.iter().map(|(_, value)| format!("{name}({})", quote(value)));
            format!("write {}", each.collect::<Vec<_>>().join(" || "))
        } else {
            format!("write {usage}")
        };
        self.fault(span, &message, &help);
    }

    /// Types the values of a matcher, whose number is right.
    fn matcher(&mut self, kind: Kind, arguments: &[Argument]) -> Option<Matcher> {
        let first = arguments.first()?;
        let second = arguments.get(1);
        Some(match kind {
            Kind::Host => Matcher::Host(self.value(first, HostPattern::parse)?),
            Kind::HostRegexp => Matcher::HostRegexp(self.value(first, host_regex)?),
            Kind::Path => Matcher::Path(self.value(first, UrlPath::parse)?),
            Kind::PathPrefix => Matcher::PathPrefix(self.value(first, UrlPath::parse)?),
            Kind::PathRegexp => Matcher::PathRegexp(self.value(first, RegexPattern::parse)?),
            Kind::Method => Matcher::Method(self.value(first, MethodName::parse)?),
            Kind::ClientIp => Matcher::ClientIp(self.value(first, client_ip)?),
            Kind::Header => {
                let name = self.value(first, HeaderName::parse);
                let value = self.value(second?, header_value);
                Matcher::Header { name: name?, value: value? }
            }
            Kind::HeaderRegexp => {
                let name = self.value(first, HeaderName::parse);
                let pattern = self.value(second?, RegexPattern::parse);
                Matcher::HeaderRegexp { name: name?, pattern: pattern? }
            }
            Kind::Query => {
                let name = first.1.as_str().into();
                Matcher::Query { name, value: second.map(|(_, value)| value.as_str().into()) }
            }
            Kind::QueryRegexp => {
                let name = first.1.as_str().into();
                match second {
                    Some(second) => {
                        let pattern = self.value(second, RegexPattern::parse)?;
                        Matcher::QueryRegexp { name, pattern }
                    }
                    // As in Traefik: without an expression it is `Query`.
                    None => Matcher::Query { name, value: None },
                }
            }
        })
    }

    fn value<V>(
        &mut self,
        (span, text): &Argument,
        parse: impl FnOnce(&str) -> Result<V, InvalidValue>,
    ) -> Option<V> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(invalid) => {
                let help = invalid.help().unwrap_or_default();
                self.fault(span.clone(), &invalid.to_string(), &help);
                None
            }
        }
    }

    /// Passes the parenthesis that closes the one just opened.
    fn skip_to_close(&mut self) {
        let mut open = 1_usize;
        while open > 0 && *self.peek() != Token::End {
            match self.peek() {
                Token::Open => open += 1,
                Token::Close => open -= 1,
                _ => {}
            }
            self.advance();
        }
    }

    fn peek(&self) -> &'t Token<'t> {
        &self.tokens[self.at].token
    }

    fn span(&self) -> Range<usize> {
        self.tokens[self.at].span.clone()
    }

    /// Takes `token` if it is next. Never takes the end, so that there is always a next one.
    fn eat(&mut self, token: &Token<'_>) -> bool {
        let is_next = self.peek() == token && *token != Token::End;
        if is_next {
            self.advance();
        }
        is_next
    }

    /// Goes to the next token, never past the end: a fault may have stopped the parser there.
    fn advance(&mut self) {
        self.at = (self.at + 1).min(self.tokens.len() - 1);
    }

    /// Whether one of `words` stands where no matcher of that name is called.
    fn is_word(&self, words: &[&str]) -> bool {
        let Token::Name(name) = self.peek() else {
            return false;
        };
        words.iter().any(|word| word.eq_ignore_ascii_case(name))
    }

    fn stop(&mut self) {
        self.at = self.tokens.len() - 1;
        self.is_stopped = true;
    }

    fn fault(&mut self, span: Range<usize>, message: &str, help: &str) {
        if self.is_stopped {
            return;
        }
        let help = Some(help.to_owned()).filter(|help| !help.is_empty());
        self.faults.push(InvalidRule { span, message: message.to_owned(), help });
        if self.faults.len() >= MAX_FAULTS {
            self.stop();
        }
    }
}

/// One part is itself; with a faulty part there is no whole.
fn combine(parts: Vec<Option<Expr>>, operator: fn(Vec<Expr>) -> Expr) -> Option<Expr> {
    let mut parts: Vec<Expr> = parts.into_iter().collect::<Option<_>>()?;
    if parts.len() == 1 { parts.pop() } else { Some(operator(parts)) }
}

/// What may have been meant by an unknown matcher.
fn suggest(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "hostheader" => return "write Host(`…`)".to_owned(),
        "hostsni" | "hostsniregexp" | "alpn" => {
            return "that is for TCP; an HTTP route takes Host(`…`)".to_owned();
        }
        _ => {}
    }
    let distance = |known: &str| strsim::damerau_levenshtein(&lower, &known.to_ascii_lowercase());
    let nearest = KINDS.iter().map(|kind| (distance(kind.1), kind.1)).min();
    match nearest {
        Some((distance, known)) if distance <= 1 + known.len() / 4 => {
            format!("did you mean `{known}`?")
        }
        _ => {
            let known: Vec<&str> = KINDS.iter().map(|kind| kind.1).collect();
            format!("the matchers are {}", known.join(", "))
        }
    }
}
