//! Time: the clock of the boot, and the deadlines of its waits.

use std::{io, time::Duration};

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

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

/// Sets CLOCK_REALTIME to a time since 1970 when it is before it. Returns the time by which it went forward; None when it stays.
///
/// # Errors
/// The error of clock_settime(2).
pub fn advance(to: Duration) -> io::Result<Option<Duration>> {
    let Some(by) = to.checked_sub(now(ClockId::Realtime)).filter(|by| !by.is_zero()) else { return Ok(None) };
    let seconds = to.as_secs().try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
    let time = Timespec { tv_sec: seconds, tv_nsec: to.subsec_nanos().into() };
    clock_settime(ClockId::Realtime, time)?;
    Ok(Some(by))
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
