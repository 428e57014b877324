//! Patterns of paths, such as `/api/v1/admin/*`, and what they match.
//!
//! They guard things, so they must not be passed by writing a path differently. Both sides are
//! compared in one form: percent-decoded once, split at every slash (an encoded one too), dot
//! segments resolved (RFC 3986 section 5.2.4), empty segments left out. So `/admin`, `/admin/`,
//! `//admin`, `/x/../admin` and `/%61dmin` are one path. Letter case counts, a query does not.
//!
//! `*` stands for one segment and `**` for any number, none included. At the end of a pattern
//! `/*` means everything below and the bare path itself: `/x/*` takes `/x`, `/x/` and `/x/y/z`,
//! never `/xy`.

use std::{cmp::Reverse, fmt};

use super::InvalidValue;

/// The longest pattern, in bytes.
const MAX_LEN: usize = 1024;

/// A pattern of paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern {
    text: Box<str>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Part {
    Literal(Vec<u8>),
    One,
    Any,
}

/// How much a pattern says; of several that match, the greatest decides. First its literal
/// bytes, then that it has fewer wildcards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity(usize, Reverse<usize>);

impl PathPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<Self, InvalidValue> {
        let wrong = |why: &str| {
            InvalidValue::new(
                format!("`{text}` is not a pattern of paths: {why}"),
                "write a path such as /api/v1, or /api/v1/* for everything in and below it",
            )
        };
        if text.len() > MAX_LEN {
            return Err(wrong("it is longer than 1024 bytes"));
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(wrong("it does not begin with `/`"));
        };
        if text.contains(['?', '#']) {
            return Err(wrong("a query or a fragment is no part of a path"));
        }
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(wrong("it holds a space or a control character"));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let mut parts = Vec::new();
        let mut segments = rest.split('/').peekable();
        while let Some(segment) = segments.next() {
            let is_last = segments.peek().is_none();
            parts.push(match segment {
                "" if is_last && parts.is_empty() => break,
                "" => return Err(wrong("an empty segment never arrives")),
                "." | ".." => return Err(wrong("dot segments are resolved before matching")),
                "**" => Part::Any,
                "*" if is_last => Part::Any,
                "*" => Part::One,
                _ if segment.contains('*') => {
                    return Err(wrong("`*` stands for a whole segment"));
                }
                _ => match segments_of(segment).as_slice() {
                    [one] => Part::Literal(one.clone()),
                    _ => return Err(wrong("a segment of it holds an encoded `/` or is dots")),
                },
            });
        }
        parts.dedup_by(|a, b| *a == Part::Any && *b == Part::Any);
        Ok(Self { text: text.into(), parts })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it takes a path, as it stands in a request; what follows `?` does not count.
    pub fn matches(&self, path: &str) -> bool {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        self.takes(&segments_of(path))
    }

    /// How much it says.
    pub fn specificity(&self) -> Specificity {
        let literal = |part: &Part| match part {
            Part::Literal(text) => text.len() + 1,
            Part::One | Part::Any => 0,
        };
        let wildcards = self.parts.iter().filter(|part| !matches!(part, Part::Literal(_)));
        Specificity(self.parts.iter().map(literal).sum(), Reverse(wildcards.count()))
    }

    /// Goes along both; after a mismatch, the last `**` takes one segment more. Quadratic at
    /// worst, in lengths that are bounded.
    fn takes(&self, path: &[Vec<u8>]) -> bool {
        let (mut part, mut segment) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while segment < path.len() {
            match self.parts.get(part) {
                Some(Part::Any) => {
                    retry = Some((part, segment));
                    part += 1;
                }
                Some(Part::One) => (part, segment) = (part + 1, segment + 1),
                Some(Part::Literal(text)) if *text == path[segment] => {
                    (part, segment) = (part + 1, segment + 1);
                }
                _ => match retry {
                    Some((any, from)) => {
                        retry = Some((any, from + 1));
                        (part, segment) = (any + 1, from + 1);
                    }
                    None => return false,
                },
            }
        }
        self.parts[part..].iter().all(|part| *part == Part::Any)
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The segments of a path in the form that is compared.
fn segments_of(path: &str) -> Vec<Vec<u8>> {
    let decoded = decode(path.as_bytes());
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for segment in decoded.split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            _ => segments.push(segment.to_vec()),
        }
    }
    segments
}

/// Percent-decodes once (RFC 3986 section 2.1); a `%` without two digits stays itself.
fn decode(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if *byte == b'%'
            && let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2))
        {
            decoded.push((high * 16 + low) as u8);
            at += 3;
        } else {
            decoded.push(*byte);
            at += 1;
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> PathPattern {
        PathPattern::parse(text).unwrap()
    }

    #[test]
    fn a_guarded_path_cannot_be_written_around() {
        let admin = pattern("/api/v1/admin/*");
        for path in [
            "/api/v1/admin",
            "/api/v1/admin/",
            "/api/v1/admin/x",
            "/api/v1/admin/x/y?z=1",
            "/api/v1//admin/x",
            "/api/v1/./admin",
            "/api/v1/x/../admin",
            "/api/v1/%61dmin/x",
            "/api/v1%2fadmin/x",
            "/api/v1/%2e/admin",
            "/api/v1/x%2F%2e%2E/admin?q",
        ] {
            assert!(admin.matches(path), "{path}");
        }
        for path in ["/api/v1/administrator", "/api/v1/adminx/", "/api/v1", "/API/v1/admin", "/"] {
            assert!(!admin.matches(path), "{path}");
        }
    }

    #[test]
    fn stars_stand_for_segments() {
        for (text, path, takes) in [
            ("/users/*/orders", "/users/7/orders", true),
            ("/users/*/orders", "/users/orders", false),
            ("/users/*/orders", "/users/7/8/orders", false),
            ("/a/**/z", "/a/z", true),
            ("/a/**/z", "/a/b/c/z", true),
            ("/a/**/z", "/a/b/c", false),
            ("/a/**/b/**/c", "/a/b/x/b/c", true),
            ("/*", "/", true),
            ("/*", "/x/y", true),
            ("/", "/", true),
            ("/", "/x", false),
            ("/exact", "/exact/", true),
            ("/exact", "/exact/x", false),
        ] {
            assert_eq!(pattern(text).matches(path), takes, "{text} {path}");
        }
    }

    #[test]
    fn what_never_arrives_is_refused() {
        for text in ["", "x", "/a//b", "/a/../b", "/a?b", "/a b", "/a*b", "/%2e", "/a%2fb", "*"] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_pattern_that_says_more_decides() {
        assert!(pattern("/api/v1/*").specificity() > pattern("/api/*").specificity());
        assert!(pattern("/api").specificity() > pattern("/api/*").specificity());
    }

    /// The definition, written for reading instead of running.
    fn takes(parts: &[Part], path: &[Vec<u8>]) -> bool {
        match (parts.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((Part::Any, rest)), _) => {
                takes(rest, path) || path.split_first().is_some_and(|(_, left)| takes(parts, left))
            }
            (Some((Part::One, rest)), Some((_, left))) => takes(rest, left),
            (Some((Part::Literal(text), rest)), Some((first, left))) => {
                text == first && takes(rest, left)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_its_definition(
            text in "(/(a|b|\\*|\\*\\*)){1,6}", path in "(/(a|b|c)){0,7}"
        ) {
            let pattern = pattern(&text);
            let expected = takes(&pattern.parts, &segments_of(&path));
            prop_assert_eq!(pattern.matches(&path), expected);
        }

        #[test]
        fn a_subtree_holds_its_root_and_what_is_below_and_no_neighbour(
            root in "(/[a-z0-9_-]{1,5}){1,4}", below in "(/[a-z]{1,3}){0,3}", more in "[a-z]{1,4}"
        ) {
            let pattern = pattern(&format!("{root}/*"));
            let slash = format!("{root}/");
            let beneath = format!("{root}{below}");
            let neighbour = format!("{root}{more}{below}");
            prop_assert!(pattern.matches(&root));
            prop_assert!(pattern.matches(&slash));
            prop_assert!(pattern.matches(&beneath));
            prop_assert!(!pattern.matches(&neighbour));
        }

        #[test]
        fn spelling_a_byte_in_hex_changes_nothing(
            path in "(/[a-c]{1,2}){1,4}", at in 0usize..12, text in "(/([a-c]{1,2}|\\*)){1,4}"
        ) {
            let at = at % path.len();
            let (before, rest) = path.split_at(at);
            let spelt = format!("{before}%{:02x}{}", rest.as_bytes()[0], &rest[1..]);
            let pattern = pattern(&text);
            prop_assert_eq!(pattern.matches(&path), pattern.matches(&spelt));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".*", path in ".*") {
            let _ = PathPattern::parse(&text);
            let _ = pattern("/a/**/b/*/c").matches(&path);
        }
    }
}
