//! The fields that both sides remember (RFC 7541, 2.3.2 and 4).
//!
//! All lines lie in one run of bytes, oldest first. What was evicted stays in front of it until
//! that is as much as the rest, so that moving is rare and memory bounded.

use std::collections::VecDeque;

/// What a field costs besides its text (RFC 7541, 4.1).
const OVERHEAD: usize = 32;

/// Below this size nothing is moved.
const SMALL: usize = 256;

/// A table. With each line goes a `T`.
#[derive(Debug)]
pub(super) struct Table<T> {
    bytes: Vec<u8>,
    entries: VecDeque<Entry<T>>,
    /// How many were evicted since the beginning.
    evicted: u64,
    size: usize,
    limit: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry<T> {
    start: u32,
    end: u32,
    size: u32,
    with: T,
}

/// The size of a field in a table or a list (RFC 7541, 4.1).
pub(super) const fn size(name: usize, value: usize) -> usize {
    name + value + OVERHEAD
}

impl<T: Copy> Table<T> {
    pub(super) const fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), entries: VecDeque::new(), evicted: 0, size: 0, limit }
    }

    /// The most that its fields may be together.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Changes that.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.evict(limit);
    }

    /// The number of the next field to be inserted, counted from the beginning.
    pub(super) fn next(&self) -> u64 {
        self.evicted + self.entries.len() as u64
    }

    /// A field by its age; the newest is 0.
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], T)> {
        let place = self.entries.len().checked_sub(age + 1)?;
        let entry = self.entries.get(place)?;
        Some((&self.bytes[entry.start as usize..entry.end as usize], entry.with))
    }

    /// The age of the field with this number, if it is there still.
    pub(super) fn age(&self, number: u64) -> Option<usize> {
        let is_there = number >= self.evicted && number < self.next();
        is_there.then(|| (self.next() - 1 - number) as usize)
    }

    /// The number of the newest field with this line.
    pub(super) fn find(&self, line: &[u8]) -> Option<u64> {
        let is_it = |entry: &Entry<T>| {
            (entry.end - entry.start) as usize == line.len()
                && &self.bytes[entry.start as usize..entry.end as usize] == line
        };
        let place = self.entries.iter().rposition(is_it)?;
        Some(self.evicted + place as u64)
    }

    /// Adds a field of `size`; one that is larger than the table empties it (RFC 7541, 4.4).
    pub(super) fn insert(&mut self, line: &[u8], size: usize, with: T) {
        self.evict(self.limit.saturating_sub(size));
        if size > self.limit {
            return;
        }
        let waste = self.entries.front().map_or(self.bytes.len(), |first| first.start as usize);
        if waste > SMALL && waste * 2 > self.bytes.len() {
            self.bytes.drain(..waste);
            for entry in &mut self.entries {
                entry.start -= waste as u32;
                entry.end -= waste as u32;
            }
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(line);
        let end = self.bytes.len() as u32;
        self.entries.push_back(Entry { start: start as u32, end, size: size as u32, with });
        self.size += size;
    }

    fn evict(&mut self, limit: usize) {
        while self.size > limit
            && let Some(oldest) = self.entries.pop_front()
        {
            self.size -= oldest.size as usize;
            self.evicted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let mut table = Table::new(100);
        table.insert(b"a", size(1, 0), 1);
        table.insert(b"bb", size(2, 0), 2);
        table.insert(b"ccc", size(3, 0), 3);
        assert_eq!(table.entries.len(), 2);
        assert_eq!(table.get(0), Some((&b"ccc"[..], 3)));
        assert_eq!(table.get(1), Some((&b"bb"[..], 2)));
        assert_eq!(table.get(2), None);
        assert_eq!(
            (table.age(0), table.age(1), table.age(2), table.age(3)),
            (None, Some(1), Some(0), None)
        );
        assert_eq!((table.find(b"bb"), table.find(b"a")), (Some(1), None));
        table.insert(b"d", 101, 4);
        assert_eq!(table.entries.len(), 0);
    }

    proptest! {
        #[test]
        fn it_is_as_a_list_that_is_cut(sizes in prop::collection::vec(1_usize..400, 0..80)) {
            let mut table = Table::new(1000);
            let mut list: Vec<Vec<u8>> = Vec::new();
            for (index, length) in sizes.into_iter().enumerate() {
                let line = vec![index as u8; length];
                table.insert(&line, size(length, 0), index);
                list.insert(0, line);
                while list.iter().map(|line| size(line.len(), 0)).sum::<usize>() > 1000 {
                    list.pop();
                }
                prop_assert_eq!(table.entries.len(), list.len());
                for (age, line) in list.iter().enumerate() {
                    prop_assert_eq!(table.get(age).map(|(line, _)| line), Some(&line[..]));
                }
                prop_assert!(table.bytes.len() <= 2 * 1000 + SMALL);
            }
        }
    }
}
