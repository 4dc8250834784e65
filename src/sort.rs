//! Sorting, compiled once. The standard library makes its stable sort anew for every type and every comparison, some
//! 4 kB of code each time; PID 1 sorts short lists in twenty places. Here one sort of places serves all of them.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    prelude::v1::*,
};

/// Sorts by the items' own order. Like the other two it is stable: equal items keep their order.
pub fn slice<T: Ord>(items: &mut [T]) {
    by(items, T::cmp);
}

/// Sorts by a key of every item, which is asked for at every comparison.
pub fn by_key<T, K: Ord>(items: &mut [T], mut key: impl FnMut(&T) -> K) {
    by(items, |a, b| key(a).cmp(&key(b)));
}

/// Sorts by a comparison.
pub fn by<T>(items: &mut [T], mut compare: impl FnMut(&T, &T) -> Ordering) {
    let mut order: Vec<usize> = (0..items.len()).collect();
    places(&mut order, &mut |a, b| {
        items.get(a).zip(items.get(b)).map_or(Ordering::Equal, |(a, b)| compare(a, b))
    });
    follow(&mut order, &mut |a, b| items.swap(a, b));
}

/// A map of these, one insertion each: `collect` sorts first, and has a sort made for that.
pub fn map<K: Ord, V>(items: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(items);
    map
}

/// A set of these, as [`map`].
pub fn set<T: Ord>(items: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(items);
    set
}

/// The one sort: of indices, by the items there.
#[inline(never)]
#[expect(clippy::disallowed_methods, reason = "all others go by this one")]
fn places(order: &mut [usize], compare: &mut dyn FnMut(usize, usize) -> Ordering) {
    order.sort_by(|a, b| compare(*a, *b));
}

/// Swaps the item at each place `n` with the one that `order` wants there, from place `order[n]`, cycle by cycle.
#[inline(never)]
fn follow(order: &mut [usize], swap: &mut dyn FnMut(usize, usize)) {
    for start in 0..order.len() {
        let mut place = start;
        // A place whose item has come wants no other.
        while let Some(from) = order.get_mut(place).map(|wanted| std::mem::replace(wanted, place)) {
            if from == start || from == place {
                break;
            }
            swap(place, from);
            place = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sorts_as_the_standard_library_does(items: Vec<(u8, u32)>) {
            let (mut ours, mut theirs) = (items.clone(), items.clone());
            by_key(&mut ours, |(key, _)| key % 16);
            theirs.sort_by_key(|(key, _)| key % 16);
            prop_assert_eq!(&ours, &theirs);
            slice(&mut ours);
            theirs.sort();
            prop_assert_eq!(ours, theirs);
        }
    }
}
