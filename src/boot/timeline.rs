//! How long each stage took: one line at hand-over, and the same under /run/hermetic-init for who wants to parse it.

use std::{fmt, time::Duration};

use crate::sys::clock;

/// The stages passed so far, with the time each took.
pub struct Timeline {
    start: Duration,
    last: Duration,
    stages: Vec<(&'static str, Duration)>,
}

impl Timeline {
    /// Starts the clock.
    pub fn start() -> Self {
        let now = clock::monotonic();
        Self { start: now, last: now, stages: Vec::new() }
    }

    /// Notes that `stage` ended now.
    pub fn passed(&mut self, stage: &'static str) {
        let now = clock::monotonic();
        self.stages.push((stage, now.saturating_sub(self.last)));
        self.last = now;
    }
}

impl fmt::Display for Timeline {
    /// `early 1200 us, devices 80000 us, ... total 160000 us`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (stage, took) in &self.stages {
            write!(f, "{stage} {} us, ", took.as_micros())?;
        }
        write!(f, "total {} us", self.last.saturating_sub(self.start).as_micros())
    }
}
