//! The one loop that argon2 and the loader of modules take from rayon, `(0..lanes).into_par_iter().for_each(...)`, on threads that have ended
//! when the loop has.
//!
//! rayon itself keeps a pool of threads for the life of the process, which an init that hands over must not have. A
//! thread that cannot be started is not an error: those that run take over its lanes.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

/// The part of rayon's `iter` that argon2 imports.
pub mod iter {
    use std::{
        ops::Range,
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    /// A collection whose items can be worked on in parallel.
    pub trait IntoParallelIterator {
        /// The iterator.
        type Iter: ParallelIterator<Item = Self::Item>;
        /// The item that each call of the loop gets.
        type Item;

        /// Begins the loop.
        fn into_par_iter(self) -> Self::Iter;
    }

    /// A loop whose rounds run in any order and at the same time.
    pub trait ParallelIterator: Sized {
        /// The item that each call of the loop gets.
        type Item;

        /// Calls `work` once for every item, and returns when all calls have.
        fn for_each<F: Fn(Self::Item) + Sync + Send>(self, work: F);
    }

    /// A range to be worked on: a separate type, because a range is an iterator already.
    pub struct Items(Range<usize>);

    impl IntoParallelIterator for Range<usize> {
        type Iter = Items;
        type Item = usize;

        fn into_par_iter(self) -> Items {
            Items(self)
        }
    }

    impl ParallelIterator for Items {
        type Item = usize;

        fn for_each<F: Fn(usize) + Sync + Send>(self, work: F) {
            let next = AtomicUsize::new(self.0.start);
            let rounds = || {
                loop {
                    let item = next.fetch_add(1, Ordering::Relaxed);
                    if item >= self.0.end {
                        return;
                    }
                    work(item);
                }
            };
            let processors = thread::available_parallelism().map_or(1, usize::from);
            // This thread is one of them.
            let helpers = processors.min(self.0.len()).saturating_sub(1);
            thread::scope(|scope| {
                for _ in 0..helpers {
                    if thread::Builder::new().spawn_scoped(scope, rounds).is_err() {
                        break;
                    }
                }
                rounds();
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::iter::{IntoParallelIterator as _, ParallelIterator as _};

    #[test]
    fn every_item_comes_once() {
        for range in [0..0, 3..4, 0..1000] {
            let seen = Mutex::new(Vec::new());
            range.clone().into_par_iter().for_each(|item| seen.lock().unwrap().push(item));
            let mut seen = seen.into_inner().unwrap();
            seen.sort_unstable();
            assert_eq!(seen, range.collect::<Vec<_>>());
        }
    }
}
