//! The blocks in use, as runs: a file system of terabytes has a few thousand of them.

use std::{collections::BTreeMap, prelude::v1::*};

use super::geometry::Geometry;

/// The blocks in use, and how many of them each group has.
pub(super) struct Space {
    first: u64,
    blocks: u64,
    per_group: u64,
    /// From the start of each run to its end, which is free. Runs neither touch nor overlap.
    runs: BTreeMap<u64, u64>,
    used: Vec<u64>,
}

impl Space {
    /// All is free.
    pub fn new(geometry: &Geometry) -> Self {
        Self {
            first: geometry.first,
            blocks: geometry.blocks,
            per_group: geometry.per_group,
            runs: BTreeMap::new(),
            used: vec![0; geometry.groups as usize],
        }
    }

    /// Takes `length` blocks from `start` on, which are free.
    pub fn take(&mut self, start: u64, length: u64) {
        let (mut from, mut to) = (start, start + length);
        if let Some((&before, &end)) = self.runs.range(..=start).next_back()
            && end == start
        {
            from = before;
        }
        if let Some(end) = self.runs.remove(&to) {
            to = end;
        }
        self.runs.insert(from, to);

        let (mut at, end) = (start, start + length);
        while at < end {
            let group = at.saturating_sub(self.first) / self.per_group;
            let next = end.min(self.first + (group + 1) * self.per_group);
            if let Some(used) = self.used.get_mut(group as usize) {
                *used += next - at;
            }
            at = next;
        }
    }

    /// Takes one block, the first free one from `goal` on, or else the first of all.
    pub fn take_one(&mut self, goal: u64) -> Option<u64> {
        let (start, _) = self.run(goal, 1)?;
        self.take(start, 1);
        Some(start)
    }

    /// The first free run from `goal` on, or else the first of all: start and length, at most `limit` blocks.
    pub fn run(&self, goal: u64, limit: u64) -> Option<(u64, u64)> {
        let mut start = self.free_from(goal.max(self.first));
        if start >= self.blocks {
            start = self.free_from(self.first);
        }
        (start < self.blocks).then(|| (start, limit.min(self.used_from(start) - start)))
    }

    /// The first place from `start` on, before `end`, that has `length` free blocks in a row.
    pub fn fit(&self, start: u64, end: u64, length: u64) -> Option<u64> {
        let mut at = start.max(self.first);
        loop {
            at = self.free_from(at);
            if at >= end || at + length > self.blocks {
                return None;
            }
            let used = self.used_from(at);
            if used - at >= length {
                return Some(at);
            }
            at = used;
        }
    }

    /// The blocks in use in a group.
    pub fn used_in(&self, group: u64) -> u64 {
        self.used.get(group as usize).copied().unwrap_or(0)
    }

    /// The blocks in use altogether.
    pub fn used(&self) -> u64 {
        self.used.iter().sum()
    }

    /// The runs in use between two blocks, cut to these.
    pub fn runs_within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let reaching_in = self.runs.range(..start).next_back().filter(|&(_, &to)| to > start);
        let inside = self.runs.range(start..end);
        reaching_in.into_iter().chain(inside).map(move |(&from, &to)| (from.max(start), to.min(end)))
    }

    /// The first free block from `at` on, which may be the end of the file system.
    fn free_from(&self, at: u64) -> u64 {
        match self.runs.range(..=at).next_back() {
            Some((_, &end)) if end > at => end,
            _ => at,
        }
    }

    /// The first block in use from `at` on, or the end of the file system.
    fn used_from(&self, at: u64) -> u64 {
        self.runs.range(at..).next().map_or(self.blocks, |(&start, _)| start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{mkfs::ext4::BlockSize, units::Bytes};

    proptest! {
        /// Against a plain list of flags: after any allocations, the runs equal the flags.
        #[test]
        fn runs_agree_with_a_plain_map(goals in prop::collection::vec((0u64..2048, 1u64..40), 1..60)) {
            let geometry = Geometry::new(Bytes(8 << 20), BlockSize::B4096).unwrap();
            let mut space = Space::new(&geometry);
            let mut flags = vec![false; 2048];
            for (goal, length) in goals {
                let fits = |at: usize| flags.get(at..at + length as usize).is_some_and(|all| !all.contains(&true));
                let expected = (goal as usize..2048).find(|&at| fits(at)).map(|at| at as u64);
                let found = space.fit(goal, 2048, length);
                prop_assert_eq!(found, expected);
                if let Some(start) = found {
                    space.take(start, length);
                    flags[start as usize..(start + length) as usize].fill(true);
                }
                let free = flags[goal as usize..].iter().chain(&flags[..goal as usize]).position(|used| !used);
                let expected = free.map(|at| ((goal as usize + at) % 2048) as u64);
                prop_assert_eq!(space.run(goal, 1).map(|(start, _)| start), expected);
            }
            prop_assert_eq!(space.used(), flags.iter().filter(|&&used| used).count() as u64);
            let listed: u64 = space.runs_within(100, 1500).map(|(from, to)| to - from).sum();
            prop_assert_eq!(listed, flags[100..1500].iter().filter(|&&used| used).count() as u64);
        }
    }
}
