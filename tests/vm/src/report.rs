//! The outcome of a proof: one line per check as it ends, the failures again at the end, and the count.

use crate::progress;
use anyhow::{Error, Result};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The end of a check that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds; a number or a fact may be worth a word.
    Passed(String),
    /// It could not be asked.
    Skipped(String),
}

/// A check that holds and has nothing to add.
///
/// # Errors
/// None; the type is that of a check.
pub fn passed() -> Result<Verdict> {
    Ok(Verdict::Passed(String::new()))
}

#[derive(Debug, Default)]
struct Count {
    passed: u32,
    failed: Vec<String>,
    skipped: Vec<String>,
}

/// Collects verdicts; may be shared by checks that run at the same time.
#[derive(Debug)]
pub struct Report {
    count: Mutex<Count>,
    start: Instant,
}

impl Default for Report {
    fn default() -> Self {
        Self { count: Mutex::default(), start: Instant::now() }
    }
}

impl Report {
    /// Makes a check and writes its line down. True: it did not fail.
    pub fn check(&self, name: &str, work: impl FnOnce() -> Result<Verdict>) -> bool {
        eprintln!("==> {name}");
        let start = Instant::now();
        let verdict = work();
        self.add(name, verdict, start.elapsed())
    }

    fn add(&self, name: &str, verdict: Result<Verdict, Error>, time: Duration) -> bool {
        let time = progress::seconds(time);
        // A check that panicked while it held the lock has lost nothing but its own line.
        let mut count = self.count.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match verdict {
            Ok(Verdict::Passed(note)) => {
                let note = if note.is_empty() { note } else { format!(": {note}") };
                println!("passed  {time:>8}  {name}{note}");
                count.passed += 1;
                true
            }
            Ok(Verdict::Skipped(reason)) => {
                println!("SKIPPED {time:>8}  {name}: {reason}");
                count.skipped.push(format!("{name}: {reason}"));
                true
            }
            Err(error) => {
                println!("FAILED  {time:>8}  {name}: {error:#}");
                count.failed.push(name.to_owned());
                false
            }
        }
    }

    /// Prints failed and skipped checks, the time of all, and as the last line the count. Returns true when nothing
    /// failed.
    pub fn close(self) -> bool {
        let time = progress::seconds(self.start.elapsed());
        let count = self.count.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        println!();
        for name in &count.failed {
            println!("failed: {name}");
        }
        for name in &count.skipped {
            println!("skipped: {name}");
        }
        println!("all of it took {time}");
        println!("{} passed, {} failed, {} skipped", count.passed, count.failed.len(), count.skipped.len());
        count.failed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_counted_and_remembered() {
        let report = Report::default();
        assert!(report.check("one", passed));
        assert!(report.check("two", || Ok(Verdict::Skipped("no tool".into()))));
        assert!(!report.check("three", || anyhow::bail!("wrong")));
        let count = report.count.lock().unwrap();
        assert_eq!((count.passed, count.failed.len(), count.skipped.len()), (1, 1, 1));
        drop(count);
        assert!(!report.close());
    }
}
