//! The progress of a boot, counted. A boot that hangs counts no more: that is how it differs from one that takes its time.
//!
//! The requests of disks are not counted here; the kernel does that (see `sys::requests`).

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static STEPS: AtomicUsize = AtomicUsize::new(0);
static BOUNDED: AtomicUsize = AtomicUsize::new(0);

/// Counts a step that was made.
pub fn step() {
    STEPS.fetch_add(1, Relaxed);
}

/// The steps so far. As long as something is [`Bounded`], each look counts as one.
pub fn steps() -> usize {
    if BOUNDED.load(Relaxed) > 0 {
        step();
    }
    STEPS.load(Relaxed)
}

/// Work or a wait that ends by itself, however long it takes: a key derivation whose work was paid for, a question that has its own
/// time. It is progress as long as this value lives.
pub struct Bounded(());

impl Bounded {
    /// Begins it.
    pub fn begin() -> Self {
        BOUNDED.fetch_add(1, Relaxed);
        Self(())
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        BOUNDED.fetch_sub(1, Relaxed);
        step();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_ends_by_itself_is_progress() {
        let before = steps();
        step();
        assert!(steps() > before);
        let derivation = Bounded::begin();
        let before = steps();
        assert!(steps() > before);
        drop(derivation);
        assert!(steps() > before);
    }
}
