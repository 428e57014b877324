//! Routes by host and path: which of them can possibly take a request.
//!
//! Routes stand here with their rank, which orders them by priority. Every list is ascending. Keys
//! come from the configuration and requests only look them up, so a fast hash
//! does: nobody can fill a map with collisions. A look-up collects the lists that apply, a handful at most, and
//! [`Candidates`] reads them merged.

use std::sync::Arc;

use arrayvec::ArrayVec;
use foldhash::HashMap;

use crate::condition::{Condition, MAX_SEGMENTS, PathCondition};
use crate::matcher::wildcard_parent;
use crate::table::RouteEntry;

/// Orders routes; the lowest is asked first.
pub(crate) type Rank = u64;

/// A route and its rank.
#[derive(Debug)]
pub(crate) struct Listed<T> {
    pub(crate) rank: Rank,
    pub(crate) route: Arc<RouteEntry<T>>,
}

impl<T> Clone for Listed<T> {
    fn clone(&self) -> Self {
        Self { rank: self.rank, route: Arc::clone(&self.route) }
    }
}

/// The most lists a look-up finds: by exact host, by wildcard and without host; in each the exact
/// path, the prefixes of 1 to [`MAX_SEGMENTS`] segments, and those without path.
const MAX_LISTS: usize = 3 * (MAX_SEGMENTS + 2);

/// Routes by host, then by path. A copy shares the hosts, each until it is written to.
#[derive(Debug)]
pub(crate) struct Index<T> {
    by_host: Hosts<T>,
    /// By the name behind `*.`.
    by_wildcard: Hosts<T>,
    for_any: Arc<PathIndex<T>>,
}

type Hosts<T> = HashMap<Arc<str>, Arc<PathIndex<T>>>;
type Lists<T> = HashMap<Arc<str>, Vec<Listed<T>>>;

/// Routes of one host by path.
#[derive(Debug)]
struct PathIndex<T> {
    by_path: Lists<T>,
    /// By prefix without trailing slash; never the empty one.
    by_prefix: Lists<T>,
    /// Bit n is set when a prefix of n segments is there, so that the others are not looked up.
    segments: u64,
    for_any: Vec<Listed<T>>,
}

/// The routes of several lists in ascending order, each once.
pub(crate) struct Candidates<'t, T>(ArrayVec<&'t [Listed<T>], MAX_LISTS>);

impl<T> Default for Index<T> {
    fn default() -> Self {
        let (by_host, by_wildcard) = (Hosts::default(), Hosts::default());
        Self { by_host, by_wildcard, for_any: Arc::default() }
    }
}

impl<T> Clone for Index<T> {
    fn clone(&self) -> Self {
        Self {
            by_host: self.by_host.clone(),
            by_wildcard: self.by_wildcard.clone(),
            for_any: Arc::clone(&self.for_any),
        }
    }
}

impl<T> Index<T> {
    /// Files a route under `condition`.
    pub(crate) fn insert(&mut self, condition: Condition<'_>, listed: &Listed<T>) {
        let paths = match condition.host {
            Some(host) if host.is_wildcard() => {
                self.by_wildcard.entry(host.name().into()).or_default()
            }
            Some(host) => self.by_host.entry(host.name().into()).or_default(),
            None => &mut self.for_any,
        };
        Arc::make_mut(paths).insert(condition.path, listed);
    }

    /// Takes the route of `rank` from where it was filed under `condition`.
    pub(crate) fn remove(&mut self, condition: Condition<'_>, rank: Rank) {
        let (hosts, name) = match condition.host {
            Some(host) if host.is_wildcard() => (&mut self.by_wildcard, host.name()),
            Some(host) => (&mut self.by_host, host.name()),
            None => return Arc::make_mut(&mut self.for_any).remove(condition.path, rank),
        };
        let Some(paths) = hosts.get_mut(name) else { return };
        let paths = Arc::make_mut(paths);
        paths.remove(condition.path, rank);
        if paths.is_empty() {
            hosts.remove(name);
        }
    }

    /// Adds the routes that a request for `host` (in lower case) and `path` can be for. Filled in
    /// where it stands: it has room for many lists, and moving it would move all of that.
    pub(crate) fn collect<'t>(
        &'t self,
        host: &str,
        path: &str,
        candidates: &mut Candidates<'t, T>,
    ) {
        if let Some(paths) = self.by_host.get(host) {
            paths.collect(path, candidates);
        }
        if let Some(paths) = wildcard_parent(host).and_then(|name| self.by_wildcard.get(name)) {
            paths.collect(path, candidates);
        }
        self.for_any.collect(path, candidates);
    }
}

impl<T> Default for PathIndex<T> {
    fn default() -> Self {
        let (by_path, by_prefix) = (Lists::default(), Lists::default());
        Self { by_path, by_prefix, segments: 0, for_any: Vec::new() }
    }
}

impl<T> Clone for PathIndex<T> {
    fn clone(&self) -> Self {
        Self {
            by_path: self.by_path.clone(),
            by_prefix: self.by_prefix.clone(),
            segments: self.segments,
            for_any: self.for_any.clone(),
        }
    }
}

impl<T> PathIndex<T> {
    fn insert(&mut self, condition: PathCondition<'_>, listed: &Listed<T>) {
        let list = match condition {
            PathCondition::Exactly(path) => self.by_path.entry(path.into()).or_default(),
            PathCondition::Below(prefix) => {
                self.segments |= 1 << segments(prefix);
                self.by_prefix.entry(prefix.into()).or_default()
            }
            PathCondition::Any => &mut self.for_any,
        };
        if let Err(place) = place(list, listed.rank) {
            list.insert(place, listed.clone());
        }
    }

    fn remove(&mut self, condition: PathCondition<'_>, rank: Rank) {
        match condition {
            PathCondition::Exactly(path) => take(&mut self.by_path, path, rank),
            PathCondition::Below(prefix) => {
                take(&mut self.by_prefix, prefix, rank);
                if !self.by_prefix.contains_key(prefix) {
                    let counts = self.by_prefix.keys().map(|prefix| segments(prefix));
                    self.segments = counts.fold(0, |all, count| all | 1 << count);
                }
            }
            PathCondition::Any => {
                if let Ok(place) = place(&self.for_any, rank) {
                    self.for_any.remove(place);
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.by_path.is_empty() && self.by_prefix.is_empty() && self.for_any.is_empty()
    }

    fn collect<'t>(&'t self, path: &str, candidates: &mut Candidates<'t, T>) {
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

/// Where the route of a rank stands in a list, or would stand. Most are put at the end.
fn place<T>(list: &[Listed<T>], rank: Rank) -> Result<usize, usize> {
    match list.last() {
        Some(last) if last.rank >= rank => list.binary_search_by_key(&rank, |listed| listed.rank),
        _ => Err(list.len()),
    }
}

/// Takes a route from a list, and the list away when it was the last.
fn take<T>(lists: &mut Lists<T>, key: &str, rank: Rank) {
    let Some(list) = lists.get_mut(key) else { return };
    if let Ok(place) = place(list, rank) {
        list.remove(place);
    }
    if list.is_empty() {
        lists.remove(key);
    }
}

/// Prefixes begin with a slash and have at most [`MAX_SEGMENTS`] of them.
fn segments(prefix: &str) -> usize {
    prefix.matches('/').count()
}

impl<'t, T> Candidates<'t, T> {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self(ArrayVec::new_const())
    }

    fn push(&mut self, list: &'t [Listed<T>]) {
        if list.is_empty() {
            return;
        }
        let pushed = self.0.try_push(list);
        debug_assert!(pushed.is_ok(), "MAX_LISTS counts every list there can be");
    }
}

impl<'t, T> Iterator for Candidates<'t, T> {
    type Item = &'t RouteEntry<T>;

    fn next(&mut self) -> Option<&'t RouteEntry<T>> {
        let lists = self.0.iter().filter_map(|list| list.first());
        let next = lists.min_by_key(|first| first.rank)?;
        for list in &mut self.0 {
            if let [first, rest @ ..] = *list
                && first.rank == next.rank
            {
                *list = rest;
            }
        }
        Some(&next.route)
    }
}
