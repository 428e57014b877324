//! Objects of one kind by name, shared between the configurations that have them in common.
//!
//! A version differs from the one before in a handful of objects among ten thousand. So a map is
//! copied only when it is written to, an object that did not change is the same one in memory, and
//! whoever compares two configurations looks at addresses first. It reads like the `BTreeMap` that
//! it is; it hides nothing.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, btree_map},
    fmt,
    iter::{Flatten, Peekable},
    ops::{Deref, DerefMut},
    option,
    sync::Arc,
};

/// Objects of one kind by name. Shared, so that a new configuration reuses what did not change.
pub struct Objects<N, T>(Arc<BTreeMap<N, Arc<T>>>);

impl<N, T> Objects<N, T> {
    /// No object.
    pub fn new() -> Self {
        Self(Arc::new(BTreeMap::new()))
    }

    /// Whether both are one map in memory, and so equal.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// What leads from `before` to these: each name whose object is not the one in memory that it
    /// was, with both. Objects may be equal all the same.
    pub fn changes<'o>(&'o self, before: &'o Self) -> Changes<'o, N, T>
    where
        N: Ord,
    {
        // One map is not looked through.
        let looked_through = !self.is_same(before);
        let all = |objects: &'o Self| looked_through.then(|| objects.0.iter());
        Changes {
            before: all(before).into_iter().flatten().peekable(),
            after: all(self).into_iter().flatten().peekable(),
        }
    }
}

impl<N: Ord + Clone, T: PartialEq> Objects<N, T> {
    /// Takes over from `before` each object that is equal to its own, and the map itself if all of
    /// them are.
    pub fn share(&mut self, before: &Self) {
        let mut differ = false;
        let mut equal = Vec::new();
        for (name, old, new) in self.changes(before) {
            match (old, new) {
                (Some(old), Some(new)) if old == new => equal.push((name.clone(), Arc::clone(old))),
                _ => differ = true,
            }
        }
        if !differ {
            *self = before.clone();
        } else if !equal.is_empty() {
            self.extend(equal);
        }
    }
}

/// The names whose objects differ, in order: the name, what it was and what it is.
#[derive(Debug)]
pub struct Changes<'o, N, T> {
    before: All<'o, N, T>,
    after: All<'o, N, T>,
}

type All<'o, N, T> = Peekable<Flatten<option::IntoIter<btree_map::Iter<'o, N, Arc<T>>>>>;

impl<'o, N: Ord, T> Iterator for Changes<'o, N, T> {
    type Item = (&'o N, Option<&'o Arc<T>>, Option<&'o Arc<T>>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let order = match (self.before.peek(), self.after.peek()) {
                (None, None) => return None,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                // An object of the same name is most often the same object.
                (Some((_, old)), Some((_, new))) if Arc::ptr_eq(old, new) => Ordering::Equal,
                (Some((old, _)), Some((new, _))) => old.cmp(new),
            };
            match order {
                Ordering::Less => {
                    return self.before.next().map(|(name, old)| (name, Some(old), None));
                }
                Ordering::Greater => {
                    return self.after.next().map(|(name, new)| (name, None, Some(new)));
                }
                Ordering::Equal => {
                    let ((_, old), (name, new)) = (self.before.next()?, self.after.next()?);
                    if !Arc::ptr_eq(old, new) {
                        return Some((name, Some(old), Some(new)));
                    }
                }
            }
        }
    }
}

/// As the map that it is.
impl<N: fmt::Debug, T: fmt::Debug> fmt::Debug for Objects<N, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<N, T> Clone for Objects<N, T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<N, T> Default for Objects<N, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: PartialEq, T: PartialEq> PartialEq for Objects<N, T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.0 == other.0
    }
}

impl<N, T> Deref for Objects<N, T> {
    type Target = BTreeMap<N, Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Copies the map if somebody else has it too.
impl<N: Clone, T> DerefMut for Objects<N, T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

impl<N: Ord, T> FromIterator<(N, Arc<T>)> for Objects<N, T> {
    fn from_iter<I: IntoIterator<Item = (N, Arc<T>)>>(objects: I) -> Self {
        Self(Arc::new(objects.into_iter().collect()))
    }
}

impl<'o, N, T> IntoIterator for &'o Objects<N, T> {
    type Item = (&'o N, &'o Arc<T>);
    type IntoIter = btree_map::Iter<'o, N, Arc<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<N: Ord + Clone, T> IntoIterator for Objects<N, T> {
    type Item = (N, Arc<T>);
    type IntoIter = btree_map::IntoIter<N, Arc<T>>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Numbers = Objects<u8, u8>;

    fn numbers() -> impl Strategy<Value = Numbers> {
        let number = (0u8..12, 0u8..3);
        let numbers = proptest::collection::vec(number, 0..12);
        numbers.prop_map(|all| all.into_iter().map(|(name, n)| (name, Arc::new(n))).collect())
    }

    proptest! {
        #[test]
        fn sharing_changes_nothing_but_addresses(before in numbers(), after in numbers()) {
            let mut shared = after.clone();
            shared.share(&before);
            prop_assert_eq!(&shared, &after);
            prop_assert_eq!(shared.is_same(&before), before == after);
            for (name, object) in &shared {
                let kept = before.get(name).filter(|old| *old == object);
                prop_assert!(kept.is_none_or(|old| Arc::ptr_eq(old, object)));
            }
        }

        #[test]
        fn changes_lead_from_one_to_the_other(before in numbers(), mut after in numbers()) {
            after.share(&before);
            let mut made = before.clone();
            for (name, old, new) in after.changes(&before) {
                prop_assert_eq!(old, before.get(name));
                prop_assert_ne!(old, new);
                match new {
                    Some(new) => made.insert(*name, Arc::clone(new)),
                    None => made.remove(name),
                };
            }
            prop_assert_eq!(made, after);
        }
    }

    #[test]
    fn writing_to_a_copy_leaves_the_other_alone() {
        let one: Numbers = [(1, Arc::new(1))].into_iter().collect();
        let mut two = one.clone();
        assert!(one.is_same(&two));
        assert_eq!(two.changes(&one).count(), 0);
        two.insert(2, Arc::new(2));
        assert_eq!((one.len(), two.len()), (1, 2));
    }
}
