//! Routes by host and path: which of them can possibly take a request.
//!
//! Routes are known here by their rank, their place in the order of priority. Every list of ranks
//! is ascending. Keys come from the configuration and requests only look them up, so a fast hash
//! does: nobody can fill a map with collisions. A look-up collects the lists that apply, a handful at most, and
//! [`Candidates`] reads them merged.

use foldhash::HashMap;

use crate::condition::{Condition, MAX_SEGMENTS, PathCondition};
use crate::matcher::wildcard_parent;

/// Place in the order of priority; 0 is asked first.
pub(crate) type Rank = u32;

/// The most lists a look-up finds: by exact host, by wildcard and without host; in each the exact
/// path, the prefixes of 1 to [`MAX_SEGMENTS`] segments, and those without path.
const MAX_LISTS: usize = 3 * (MAX_SEGMENTS + 2);

/// Routes by host, then by path.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_host: HashMap<Box<str>, PathIndex>,
    /// By the name behind `*.`.
    by_wildcard: HashMap<Box<str>, PathIndex>,
    for_any: PathIndex,
}

/// Routes of one host by path.
#[derive(Debug, Default)]
struct PathIndex {
    by_path: HashMap<Box<str>, Vec<Rank>>,
    /// By prefix without trailing slash; never the empty one.
    by_prefix: HashMap<Box<str>, Vec<Rank>>,
    /// Bit n is set when a prefix of n segments is there, so that the others are not looked up.
    segments: u64,
    for_any: Vec<Rank>,
}

/// The ranks of several lists in ascending order, each once.
pub(crate) struct Candidates<'t> {
    lists: [&'t [Rank]; MAX_LISTS],
    count: usize,
}

impl Index {
    /// Files the route of `rank` under `condition`. Ranks come in ascending order.
    pub(crate) fn insert(&mut self, condition: Condition<'_>, rank: Rank) {
        let paths = match condition.host {
            Some(host) if host.is_wildcard() => {
                self.by_wildcard.entry(host.name().into()).or_default()
            }
            Some(host) => self.by_host.entry(host.name().into()).or_default(),
            None => &mut self.for_any,
        };
        let list = match condition.path {
            PathCondition::Exactly(path) => paths.by_path.entry(path.into()).or_default(),
            PathCondition::Below(prefix) => {
                paths.segments |= 1 << segments(prefix);
                paths.by_prefix.entry(prefix.into()).or_default()
            }
            PathCondition::Any => &mut paths.for_any,
        };
        debug_assert!(list.last().is_none_or(|last| *last <= rank), "ranks ascend");
        if list.last() != Some(&rank) {
            list.push(rank);
        }
    }

    /// The routes that a request for `host` (in lower case) and `path` can be for.
    pub(crate) fn candidates<'t>(&'t self, host: &str, path: &str) -> Candidates<'t> {
        let mut candidates = Candidates { lists: [&[]; MAX_LISTS], count: 0 };
        if let Some(paths) = self.by_host.get(host) {
            paths.collect(path, &mut candidates);
        }
        if let Some(paths) = wildcard_parent(host).and_then(|name| self.by_wildcard.get(name)) {
            paths.collect(path, &mut candidates);
        }
        self.for_any.collect(path, &mut candidates);
        candidates
    }
}

impl PathIndex {
    fn collect<'t>(&'t self, path: &str, candidates: &mut Candidates<'t>) {
        if let Some(list) = self.by_path.get(path) {
            candidates.push(list);
        }
        if self.segments != 0 {
            // A prefix ends before a slash of the path, or where the path ends.
            let slashes = path.match_indices('/').map(|(i, _)| i);
            let ends = slashes.chain([path.len()]);
            for (count, end) in ends.enumerate().take(MAX_SEGMENTS + 1) {
                if self.segments >> count & 1 == 1
                    && let Some(list) = self.by_prefix.get(&path[..end])
                {
                    candidates.push(list);
                }
            }
        }
        candidates.push(&self.for_any);
    }
}

/// Prefixes begin with a slash and have at most [`MAX_SEGMENTS`] of them.
fn segments(prefix: &str) -> usize {
    prefix.matches('/').count()
}

impl<'t> Candidates<'t> {
    fn push(&mut self, list: &'t [Rank]) {
        if list.is_empty() {
            return;
        }
        debug_assert!(self.count < MAX_LISTS, "MAX_LISTS counts every list there can be");
        self.lists[self.count] = list;
        self.count += 1;
    }
}

impl Iterator for Candidates<'_> {
    type Item = Rank;

    fn next(&mut self) -> Option<Rank> {
        let lists = &mut self.lists[..self.count];
        let rank = lists.iter().filter_map(|list| list.first()).min().copied()?;
        for list in lists {
            if let [first, rest @ ..] = *list
                && *first == rank
            {
                *list = rest;
            }
        }
        Some(rank)
    }
}
