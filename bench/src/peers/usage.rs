//! What a process and all it started take of the machine.

use std::{collections::HashMap, fs};

use anyhow::{Context, Result, ensure};
use rustix::process::Pid;

/// A process and its descendants.
#[derive(Debug)]
pub(crate) struct Tree(Vec<i32>);

impl Tree {
    /// The tree as it is now.
    pub(crate) fn of(root: Pid) -> Result<Self> {
        let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // A process may end while we look.
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            if let Some(parent) = parent(&stat) {
                children.entry(parent).or_default().push(pid);
            }
        }
        let mut found = vec![root.as_raw_nonzero().get()];
        let mut next = 0;
        while let Some(pid) = found.get(next) {
            found.extend(children.remove(pid).unwrap_or_default());
            next += 1;
        }
        Ok(Self(found))
    }

    /// Processor time so far, in nanoseconds as the scheduler counts them.
    pub(crate) fn processor(&self) -> Result<u64> {
        let mut sum = 0;
        for pid in &self.0 {
            for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
                // A thread may end while we look.
                let schedstat = fs::read_to_string(task.path().join("schedstat"));
                sum += schedstat.ok().and_then(|text| on_processor(&text)).unwrap_or(0);
            }
        }
        ensure!(sum > 0, "the kernel does not count processor time in /proc/PID/task/*/schedstat");
        Ok(sum)
    }

    /// Memory in bytes, each shared page divided among those who share it.
    pub(crate) fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for pid in &self.0 {
            let path = format!("/proc/{pid}/smaps_rollup");
            let text =
                fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
            sum += proportional(&text).with_context(|| format!("no Pss in {path}"))?;
        }
        Ok(1024 * sum)
    }
}

/// The parent in a line of /proc/PID/stat. The name before it may hold anything.
fn parent(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The first number of a schedstat.
fn on_processor(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The kilobytes behind `Pss:`.
fn proportional(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(parent("12 (a ) b) S 34 12 12 0"), Some(34));
        assert_eq!(on_processor("123456 78 9\n"), Some(123_456));
        let rollup = "55d0-7ffd ---p 00000000 00:00 0 [rollup]\nRss: 9 kB\nPss:    7654 kB\n";
        assert_eq!(proportional(rollup), Some(7_654));
    }

    #[test]
    fn this_process_has_taken_time_and_memory() {
        let own = Tree::of(rustix::process::getpid()).unwrap();
        assert!(own.processor().unwrap() > 0);
        assert!(own.memory().unwrap() > 100 << 10);
    }
}
