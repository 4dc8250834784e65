//! Series: the same boot again and again from fresh disks, because a race that loses one boot in forty is not met by
//! the one boot of a test.

use crate::bench::Bench;
use crate::cargo::Products;
use crate::cases::Context;
use crate::progress::seconds;
use crate::report::Verdict;
use anyhow::{Error, Result, bail};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The number of boots after which a line is printed.
const WORD_EVERY: u32 = 10;

/// A boot that is repeated.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// The repeated boot, as the report prints it.
    pub name: &'static str,
    /// The default number of repetitions.
    pub times: u32,
    /// One boot, from a separate disk: the machine's time at which it had come up.
    pub boot: fn(&Context<'_>) -> Result<Duration>,
}

/// The results of a series so far.
#[derive(Debug, Default)]
struct Tally {
    times: Vec<Duration>,
    failures: Vec<String>,
}

impl Series {
    /// Boots `times` times, `jobs` machines at the same time. A failure does not end the series.
    ///
    /// # Errors
    /// A boot failed; the error counts them and repeats the first.
    pub fn run(&self, bench: &Bench, products: &Products, times: u32, jobs: usize) -> Result<Verdict> {
        let (next, tally) = (AtomicU32::new(0), Mutex::new(Tally::default()));
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed) + 1;
                        if number > times {
                            break;
                        }
                        self.count(&tally, number, times, self.once(bench, products, number));
                    }
                });
            }
        });
        let tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        tally.verdict(times)
    }

    /// One boot; its consoles stay when it failed.
    fn once(&self, bench: &Bench, products: &Products, number: u32) -> Result<Duration> {
        let context = Context::new(bench, products, &format!("{} {number}", self.name))?;
        let time = (self.boot)(&context).map_err(|error| context.explain(error))?;
        context.forget_consoles()?;
        Ok(time)
    }

    fn count(&self, tally: &Mutex<Tally>, number: u32, times: u32, result: Result<Duration, Error>) {
        let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match result {
            Ok(time) => tally.times.push(time),
            Err(error) => {
                eprintln!("    {}: boot {number} failed: {error:#}", self.name);
                tally.failures.push(format!("boot {number}: {error:#}"));
            }
        }
        let done = tally.times.len() + tally.failures.len();
        if u32::try_from(done).is_ok_and(|done| done.is_multiple_of(WORD_EVERY)) {
            eprintln!("    {}: {done} of {times}, {} failed", self.name, tally.failures.len());
        }
    }
}

impl Tally {
    fn verdict(mut self, times: u32) -> Result<Verdict> {
        if let Some(first) = self.failures.first() {
            bail!("{} of {times} boots failed; {first}", self.failures.len());
        }
        self.times.sort_unstable();
        let at = |index: usize| seconds(self.times.get(index).copied().unwrap_or_default());
        let last = self.times.len().saturating_sub(1);
        Ok(Verdict::Passed(format!(
            "{} boots, 0 failed; up after {} at the fastest, {} in the median, {} at the slowest",
            self.times.len(),
            at(0),
            at(last / 2),
            at(last),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_counts_and_sorts() {
        let times = [3, 1, 2].map(Duration::from_secs).to_vec();
        let verdict = Tally { times, failures: Vec::new() }.verdict(3).unwrap();
        let text =
            "3 boots, 0 failed; up after 1.0 s at the fastest, 2.0 s in the median, 3.0 s at the slowest";
        assert_eq!(verdict, Verdict::Passed(text.to_owned()));
    }

    #[test]
    fn one_failure_is_a_failure() {
        let tally = Tally { times: vec![Duration::ZERO; 9], failures: vec!["boot 4: lost".into()] };
        assert_eq!(tally.verdict(10).unwrap_err().to_string(), "1 of 10 boots failed; boot 4: lost");
    }
}
