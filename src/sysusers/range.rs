//! The pool that free ids come from: disjoint ranges, walked from the top down.

use std::prelude::v1::*;

use super::names::parse_id;
use crate::sort;

/// Lowest and highest id of the pool when no `r` line names another: systemd's built-in `SYSTEM_ALLOC_UID_MIN` and `SYSTEM_UID_MAX`.
/// (Debian's build does not read login.defs.)
const DEFAULT: (u32, u32) = (1, 999);

/// Ranges of ids, both ends included, sorted and apart from each other.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct IdRanges(Vec<(u32, u32)>);

impl IdRanges {
    /// The pool when no line names one.
    pub fn system() -> Self {
        Self(vec![DEFAULT])
    }

    /// Returns true when nothing was added.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds `ID` or `LOW-HIGH`. Returns whether it was one.
    pub fn add(&mut self, text: &str) -> bool {
        let ends = match text.split_once('-') {
            None => parse_id(text).map(|id| (id, id)),
            Some((low, high)) => parse_id(low).and_then(|low| Ok((low, parse_id(high)?))),
        };
        match ends {
            Ok((low, high)) if low <= high => {
                self.merge(&Self(vec![(low, high)]));
                true
            }
            _ => false,
        }
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
        sort::slice(&mut self.0);
        self.0.dedup_by(|next, last| {
            let touches = next.0 <= last.1.saturating_add(1);
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
    }

    /// Returns true when the pool has this id.
    pub fn contains(&self, id: u32) -> bool {
        self.0.iter().any(|&(low, high)| (low..=high).contains(&id))
    }

    /// The highest id of the pool below `id`.
    pub fn next_below(&self, id: u32) -> Option<u32> {
        let candidate = id.checked_sub(1)?;
        self.0.iter().rev().find(|(low, _)| *low <= candidate).map(|&(_, high)| high.min(candidate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_walked_downwards() {
        let mut pool = IdRanges::default();
        for (text, valid) in
            [("20-22", true), ("10", true), ("21-23", true), ("5-4", false), ("5-", false), ("-5", false)]
        {
            assert_eq!(pool.add(text), valid, "{text}");
        }
        assert_eq!(pool, IdRanges(vec![(10, 10), (20, 23)]));
        let mut at = u32::MAX;
        let mut walked = Vec::new();
        while let Some(next) = pool.next_below(at) {
            walked.push(next);
            at = next;
        }
        assert_eq!(walked, [23, 22, 21, 20, 10]);
        assert!(pool.contains(20) && !pool.contains(19));
    }
}
