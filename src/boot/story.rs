//! The stages as they are passed: the one that is running, for every failure, and the time that each took, for one line
//! at the hand-over and a file below /run/hermetic-init.

use std::{fmt, sync::Mutex, time::Duration};

use crate::{progress, sys::clock};

/// Our version and commit.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("HERMETIC_COMMIT"), ")");

/// The stages that have begun, each with the time at which it did.
static BEGUN: Mutex<Vec<(&'static str, Duration)>> = Mutex::new(Vec::new());

/// Does the work of the stage `name`. Until the next stage begins, every failure belongs to this one: also in code that
/// stages share, and also a panic.
pub fn stage<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    begin(name);
    work()
}

fn begin(name: &'static str) {
    progress::step();
    if let Ok(mut begun) = BEGUN.lock() {
        begun.push((name, clock::monotonic()));
    }
}

/// The stage that is running; None before the first one. Never waits: the boot may have stopped anywhere.
pub fn running() -> Option<&'static str> {
    BEGUN.try_lock().ok()?.last().map(|(name, _)| *name)
}

/// The time that the stages took.
pub struct Timeline {
    stages: Vec<(&'static str, Duration)>,
    total: Duration,
}

impl Timeline {
    /// The timeline up to now, the running stage included.
    pub fn now() -> Self {
        let begun = BEGUN.lock().map(|begun| begun.clone()).unwrap_or_default();
        Self::until(clock::monotonic(), &begun)
    }

    fn until(now: Duration, begun: &[(&'static str, Duration)]) -> Self {
        let ends = begun.iter().skip(1).map(|(_, start)| *start).chain([now]);
        let took =
            |((name, start), end): (&(&'static str, Duration), Duration)| (*name, end.saturating_sub(*start));
        let start = begun.first().map_or(now, |(_, start)| *start);
        Self { stages: begun.iter().zip(ends).map(took).collect(), total: now.saturating_sub(start) }
    }
}

impl fmt::Display for Timeline {
    /// `early 1200 us, devices 80000 us, ... total 160000 us`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (stage, took) in &self.stages {
            write!(f, "{stage} {} us, ", took.as_micros())?;
        }
        write!(f, "total {} us", self.total.as_micros())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because the story of a process is one.
    #[test]
    fn a_stage_has_the_clock_and_the_blame_until_the_next_begins() {
        assert_eq!(running(), None);
        assert_eq!(stage("devices", running), Some("devices"));
        // A failure or a panic after its end and before the next stage still belongs to it.
        assert_eq!(running(), Some("devices"));
        assert_eq!(stage("usr", running), Some("usr"));
        let names: Vec<_> = Timeline::now().stages.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["devices", "usr"]);
    }

    #[test]
    fn a_timeline_adds_up() {
        let micros = Duration::from_micros;
        let begun = [("early", micros(10)), ("devices", micros(22)), ("usr", micros(100))];
        let text = Timeline::until(micros(101), &begun).to_string();
        assert_eq!(text, "early 12 us, devices 78 us, usr 1 us, total 91 us");
    }
}
