//! Maps by name, compiled once. The standard library makes a tree anew for every type of key and value, some 3 kB of
//! code each time; here one tree of places serves all of them.

use core::fmt;
use std::{
    collections::{BTreeMap, btree_map::Entry},
    prelude::v1::*,
};

/// Values by their names, which are bytes, in the order of these.
#[derive(Clone)]
pub struct Map<V> {
    places: BTreeMap<Vec<u8>, usize>,
    values: Vec<V>,
}

/// A set of names.
pub type Names = Map<()>;

impl<V> Map<V> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { places: BTreeMap::new(), values: Vec::new() }
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Returns true when there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a name.
    pub fn get(&self, name: &[u8]) -> Option<&V> {
        self.values.get(find(&self.places, name)?)
    }

    /// Likewise, to be changed.
    pub fn get_mut(&mut self, name: &[u8]) -> Option<&mut V> {
        self.values.get_mut(find(&self.places, name)?)
    }

    /// Returns true when the name has a value.
    pub fn contains_key(&self, name: &[u8]) -> bool {
        find(&self.places, name).is_some()
    }

    /// Gives a name this value. Returns the one that it had.
    pub fn insert(&mut self, name: impl Into<Vec<u8>>, value: V) -> Option<V> {
        match add(&mut self.places, name.into(), self.values.len()) {
            Some(at) => self.values.get_mut(at).map(|old| core::mem::replace(old, value)),
            None => {
                self.values.push(value);
                None
            }
        }
    }

    /// Gives a name without a value this one.
    pub fn insert_new(&mut self, name: impl Into<Vec<u8>>, value: V) {
        if add(&mut self.places, name.into(), self.values.len()).is_none() {
            self.values.push(value);
        }
    }

    /// The names and their values, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&Vec<u8>, &V)> {
        self.places.iter().filter_map(|(name, at)| Some((name, self.values.get(*at)?)))
    }

    /// The names, in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &Vec<u8>> {
        self.places.keys()
    }

    /// The values alone, in the order of their names.
    pub fn into_values(self) -> Vec<V> {
        let mut values: Vec<Option<V>> = self.values.into_iter().map(Some).collect();
        self.places.values().filter_map(|at| values.get_mut(*at)?.take()).collect()
    }

    /// The values, in the order of their names.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

#[inline(never)]
fn find(places: &BTreeMap<Vec<u8>, usize>, name: &[u8]) -> Option<usize> {
    places.get(name).copied()
}

/// Adds a name with its place. Returns the one that it has already.
#[inline(never)]
fn add(places: &mut BTreeMap<Vec<u8>, usize>, name: Vec<u8>, place: usize) -> Option<usize> {
    match places.entry(name) {
        Entry::Occupied(there) => Some(*there.get()),
        Entry::Vacant(free) => {
            free.insert(place);
            None
        }
    }
}

impl<V> Default for Map<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: PartialEq> PartialEq for Map<V> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<V: Eq> Eq for Map<V> {}

impl<V: fmt::Debug> fmt::Debug for Map<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: Into<Vec<u8>>, V> Extend<(N, V)> for Map<V> {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, items: I) {
        items.into_iter().for_each(|(name, value)| drop(self.insert(name, value)));
    }
}

impl<N: Into<Vec<u8>>, V> FromIterator<(N, V)> for Map<V> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(items: I) -> Self {
        let mut map = Self::new();
        map.extend(items);
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_as_the_standard_librarys(items: Vec<(Vec<u8>, u32)>, other: Vec<u8>) {
            let (mut ours, mut theirs) = (Map::new(), BTreeMap::new());
            for (name, value) in &items {
                prop_assert_eq!(ours.insert(&**name, *value), theirs.insert(name.clone(), *value));
            }
            prop_assert!(ours.iter().eq(theirs.iter()) && ours.keys().eq(theirs.keys()));
            prop_assert!(ours.values().rev().eq(theirs.values().rev()));
            prop_assert_eq!((ours.len(), ours.is_empty()), (theirs.len(), theirs.is_empty()));
            prop_assert_eq!(ours.get(&other), theirs.get(&other));
            for (name, value) in &items {
                prop_assert_eq!(ours.get_mut(name), theirs.get_mut(name));
                ours.insert_new(&**name, *value);
            }
            prop_assert!(items.iter().rev().cloned().collect::<Map<_>>() == items.iter().rev().cloned().collect::<Map<_>>());
            prop_assert!(ours.iter().eq(theirs.iter()));
            prop_assert!(ours.clone().into_values().iter().eq(theirs.values()));
            prop_assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
        }
    }
}
