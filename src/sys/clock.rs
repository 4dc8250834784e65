//! Time: the clock of the boot, and the deadlines of its waits.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

fn now(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Time since the machine started, suspend excluded (CLOCK_MONOTONIC).
pub fn monotonic() -> Duration {
    now(ClockId::Monotonic)
}

/// Time since the machine started, suspend included (CLOCK_BOOTTIME).
pub fn boottime() -> Duration {
    now(ClockId::Boottime)
}

/// Seconds since 1970, as far as the machine knows (CLOCK_REALTIME).
pub fn unix_seconds() -> u64 {
    now(ClockId::Realtime).as_secs()
}

/// A point in time after which waiting is over.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Duration);

impl Deadline {
    /// A deadline `duration` from now.
    pub fn after(duration: Duration) -> Self {
        Self(monotonic().saturating_add(duration))
    }

    /// The time that is left; None once it has passed.
    pub fn left(self) -> Option<Duration> {
        self.0.checked_sub(monotonic()).filter(|left| !left.is_zero())
    }
}
