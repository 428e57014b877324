//! How much memory a version may need.
//!
//! A version that does not fit must be refused before it is compiled, because afterwards it is
//! too late: the process that ran out of memory serves nothing. The estimate is made from what
//! is known beforehand, on the high side: two versions exist at once while one replaces the
//! other, and every worker has its own view.

use lb_model::{Resource, ResourceKey, ResourceKind, ResourceSet};

/// What an object costs beside its own bytes, once and for each worker.
const fn fixed(kind: ResourceKind) -> (u64, u64) {
    match kind {
        ResourceKind::Certificate => (8 << 10, 0),
        ResourceKind::EntryPoint => (4 << 10, 1 << 10),
        ResourceKind::Backend => (1 << 10, 0),
        // Endpoints, balancer state and counters of each backend it names are in its bytes.
        ResourceKind::Service => (2 << 10, 1 << 10),
        ResourceKind::Route => (2 << 10, 512),
    }
}

/// How much larger an object is in memory than in its wire form.
const GROWTH: u64 = 8;
/// What a compiled regular expression may take, with the caches it fills while it matches.
const REGEX: u64 = 256 << 10;
/// What the word before a regular expression looks like in a rule.
const REGEX_MARK: &[u8] = b"egexp(";

/// About how many bytes a version takes on this many workers. `known` is another one with its
/// estimate: what both have in common is not looked at again.
pub fn estimate(set: &ResourceSet, known: Option<(&ResourceSet, u64)>, workers: usize) -> u64 {
    let of = |key: &ResourceKey, resource: &Resource| one(key, resource, workers as u64);
    let Some((known, estimate)) = known.filter(|(known, _)| known.hash_key() == set.hash_key())
    else {
        return set.iter().map(|(key, resource)| of(key, resource)).sum();
    };
    let delta = set.delta_from_set(known);
    let before = delta.upsert.iter().map(|(key, _)| key).chain(&delta.remove);
    let before: u64 =
        before.filter_map(|key| known.get(key).map(|resource| of(key, resource))).sum();
    let after: u64 = delta.upsert.iter().map(|(key, resource)| of(key, resource)).sum();
    (estimate + after).saturating_sub(before)
}

/// About how many bytes one object takes.
fn one(key: &ResourceKey, resource: &Resource, workers: u64) -> u64 {
    let (once, each) = fixed(key.kind);
    let body = resource.body();
    let regexes = match key.kind {
        ResourceKind::Route => {
            let marks = body.windows(REGEX_MARK.len());
            marks.filter(|part| part.eq_ignore_ascii_case(REGEX_MARK)).count() as u64
        }
        _ => 0,
    };
    let size = (body.len() + key.name.len()) as u64;
    once + each * workers + size * GROWTH + regexes * REGEX
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lb_model::resource::HashKey;

    use super::*;

    fn set(count: usize, body: &str) -> ResourceSet {
        let key = HashKey([0; 32]);
        let resources = (0..count).map(|n| {
            let name = ResourceKey { kind: ResourceKind::Route, name: format!("r{n}").into() };
            let resource = Resource::new(&name, Bytes::from(body.to_owned()), &key);
            (name, resource)
        });
        ResourceSet::new(key, resources.collect())
    }

    #[test]
    fn ten_thousand_plain_routes_fit_into_what_they_need() {
        let estimate = estimate(&set(10_000, "Host(`a.example`) && PathPrefix(`/p`)"), None, 2);
        assert!((10 << 20..100 << 20).contains(&estimate), "{estimate}");
    }

    #[test]
    fn an_estimate_that_goes_on_from_another_is_the_same() {
        let sets = [set(3, "Host(`a`)"), set(9, "HostRegexp(`a`)"), set(5, "Host(`a`)")];
        for (one, two) in sets.iter().flat_map(|one| sets.iter().map(move |two| (one, two))) {
            let known = estimate(one, None, 2);
            assert_eq!(estimate(two, Some((one, known)), 2), estimate(two, None, 2));
        }
    }

    #[test]
    fn regular_expressions_count_for_what_they_may_become() {
        let plain = estimate(&set(100, "Host(`a`)"), None, 1);
        let regex = estimate(&set(100, "HostRegexp(`a`)"), None, 1);
        assert!(regex > plain + 99 * REGEX);
    }
}
