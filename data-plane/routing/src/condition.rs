//! What a rule asks of host and path at the least.
//!
//! [`alternatives`] gives a set of conditions of which at least one holds whenever the rule does:
//! necessary, not sufficient. The index files a route under each and evaluates the rule itself
//! afterwards, so a condition may always be made weaker, never stronger.

use lb_model::rule::{Expr, HostPattern, Matcher};

/// A rule with more alternatives than this is filed under a weaker condition.
const MAX_ALTERNATIVES: usize = 64;

/// Prefixes are told apart by this many segments at most, which bounds the look-ups per request;
/// those that agree so far are asked one after another.
pub(crate) const MAX_SEGMENTS: usize = 12;

/// A condition that a request must meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Condition<'r> {
    pub(crate) host: Option<&'r HostPattern>,
    pub(crate) path: PathCondition<'r>,
}

/// The part of a condition about the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathCondition<'r> {
    Any,
    /// The path is this one, or goes on after it with a slash. Has no trailing slash of its own
    /// from the rule and is not empty.
    Below(&'r str),
    Exactly(&'r str),
}

/// The conditions of `expr`; never empty.
pub(crate) fn alternatives(expr: &Expr) -> Vec<Condition<'_>> {
    let found = of(expr, false);
    if found.contains(&ANYTHING) { vec![ANYTHING] } else { found }
}

const ANYTHING: Condition<'static> = Condition { host: None, path: PathCondition::Any };

/// The conditions of `expr`, or of its negation: `!(a || b)` is `!a && !b`, and a negated matcher
/// asks nothing that can be looked up.
fn of(expr: &Expr, is_negated: bool) -> Vec<Condition<'_>> {
    match (expr, is_negated) {
        (Expr::Not(inner), _) => of(inner, !is_negated),
        (Expr::And(parts), false) | (Expr::Or(parts), true) => all(parts, is_negated),
        (Expr::Or(parts), false) | (Expr::And(parts), true) => any(parts, is_negated),
        (Expr::Match(matcher), false) => vec![leaf(matcher)],
        (Expr::Match(_), true) => vec![ANYTHING],
    }
}

fn leaf(matcher: &Matcher) -> Condition<'_> {
    match matcher {
        Matcher::Host(host) => Condition { host: Some(host), ..ANYTHING },
        Matcher::Path(path) => {
            Condition { path: PathCondition::Exactly(path.as_str()), ..ANYTHING }
        }
        Matcher::PathPrefix(prefix) => Condition { path: below(prefix.as_str()), ..ANYTHING },
        _ => ANYTHING,
    }
}

/// The weaker prefix that is looked up: without one trailing slash, and cut behind
/// [`MAX_SEGMENTS`] segments.
fn below(prefix: &str) -> PathCondition<'_> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let cut = prefix.match_indices('/').nth(MAX_SEGMENTS).map_or(prefix.len(), |(i, _)| i);
    match &prefix[..cut] {
        "" => PathCondition::Any,
        prefix => PathCondition::Below(prefix),
    }
}

fn any(parts: &[Expr], is_negated: bool) -> Vec<Condition<'_>> {
    let mut found: Vec<Condition<'_>> = Vec::new();
    for condition in parts.iter().flat_map(|part| of(part, is_negated)) {
        if !found.contains(&condition) {
            found.push(condition);
        }
        if condition == ANYTHING || found.len() > MAX_ALTERNATIVES {
            return vec![ANYTHING];
        }
    }
    found
}

fn all(parts: &[Expr], is_negated: bool) -> Vec<Condition<'_>> {
    let mut found = vec![ANYTHING];
    for part in parts {
        let more = of(part, is_negated);
        if found.len() * more.len() > MAX_ALTERNATIVES {
            // Each side alone is necessary; keep the one that says more.
            if weight(&more) > weight(&found) {
                found = more;
            }
            continue;
        }
        let pairs = found.iter().flat_map(|one| more.iter().map(move |two| both(*one, *two)));
        found = pairs.collect();
    }
    found
}

/// How much a set of conditions narrows the search, by its weakest: a host more than any path.
fn weight(conditions: &[Condition<'_>]) -> usize {
    let of_one = |condition: &Condition<'_>| {
        2 * usize::from(condition.host.is_some())
            + usize::from(condition.path != PathCondition::Any)
    };
    conditions.iter().map(of_one).min().unwrap_or(0)
}

/// One condition for both. Where they disagree either would do; the narrower is kept.
fn both<'r>(one: Condition<'r>, two: Condition<'r>) -> Condition<'r> {
    let host = match (one.host, two.host) {
        (Some(one), Some(two)) if one.is_wildcard() => Some(two),
        (one, two) => one.or(two),
    };
    let path = match (one.path, two.path) {
        (PathCondition::Any, path) | (path, PathCondition::Any) => path,
        (exact @ PathCondition::Exactly(_), _) | (_, exact @ PathCondition::Exactly(_)) => exact,
        (PathCondition::Below(one), PathCondition::Below(two)) => {
            PathCondition::Below(if two.len() > one.len() { two } else { one })
        }
    };
    Condition { host, path }
}

#[cfg(test)]
mod tests {
    use lb_model::rule::Rule;

    use super::*;

    /// The conditions of a rule, as `host path`, where `*` is any.
    fn conditions(text: &str) -> Vec<String> {
        let rule = Rule::parse(text).unwrap();
        let show = |condition: &Condition<'_>| {
            let host = condition.host.map_or("*".to_owned(), ToString::to_string);
            match condition.path {
                PathCondition::Any => format!("{host} *"),
                PathCondition::Below(prefix) => format!("{host} {prefix}/*"),
                PathCondition::Exactly(path) => format!("{host} {path}"),
            }
        };
        alternatives(rule.expr()).iter().map(show).collect()
    }

    #[test]
    fn a_conjunction_asks_for_host_and_path() {
        assert_eq!(conditions("Host(`a`) && PathPrefix(`/b/`) && Method(`GET`)"), ["a /b/*"]);
        assert_eq!(conditions("PathPrefix(`/b`) && Path(`/b/c`)"), ["* /b/c"]);
        assert_eq!(conditions("PathPrefix(`/b`) && PathPrefix(`/b/c`)"), ["* /b/c/*"]);
        assert_eq!(conditions("Host(`*.b`) && Host(`a.b`)"), ["a.b *"]);
    }

    #[test]
    fn a_disjunction_is_split_into_alternatives() {
        let text = "(Host(`a`) || Host(`b`)) && (Path(`/x`) || PathPrefix(`/y`))";
        assert_eq!(conditions(text), ["a /x", "a /y/*", "b /x", "b /y/*"]);
    }

    #[test]
    fn an_alternative_that_asks_nothing_makes_the_whole_ask_nothing() {
        assert_eq!(conditions("Host(`a`) || Method(`GET`)"), ["* *"]);
        assert_eq!(conditions("Host(`a`) || PathPrefix(`/`)"), ["* *"]);
    }

    #[test]
    fn a_negated_matcher_asks_nothing_and_negation_is_pushed_inwards() {
        assert_eq!(conditions("!Host(`a`)"), ["* *"]);
        assert_eq!(conditions("!!Host(`a`)"), ["a *"]);
        assert_eq!(conditions("Host(`a`) && !PathPrefix(`/b`)"), ["a *"]);
        assert_eq!(conditions("!(!Host(`a`) || Path(`/b`))"), ["a *"]);
        assert_eq!(conditions("!(!Host(`a`) && !Host(`b`))"), ["a *", "b *"]);
    }

    #[test]
    fn too_many_alternatives_leave_the_side_that_says_more() {
        let or = |matcher: &str, n: usize| {
            let each: Vec<String> = (0..n).map(|i| format!("{matcher}(`/{i}`)")).collect();
            each.join(" || ")
        };
        let hosts = or("Host", 20).replace('/', "");
        assert_eq!(conditions(&format!("({hosts}) && ({})", or("Path", 20))).len(), 20);
        assert_eq!(conditions(&format!("Host(`a`) && ({})", or("Path", 100))), ["a *"]);
        assert_eq!(conditions(&or("Path", 100)), ["* *"]);
    }

    #[test]
    fn a_deep_prefix_is_looked_up_by_its_first_segments() {
        let deep = "/a".repeat(40);
        let cut = "/a".repeat(MAX_SEGMENTS);
        assert_eq!(conditions(&format!("PathPrefix(`{deep}`)")), [format!("* {cut}/*")]);
    }
}
