//! The memory of a machine that has switched itself off, searched for secrets.

use crate::machine::{Machine, Outcome, Running};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The words by which QEMU stays when the machine has switched itself off.
const STAY: [&str; 2] = ["-action", "shutdown=pause"];

/// A machine whose memory outlives it, with this much of it.
#[must_use]
pub fn outliving(machine: &Machine, mebibytes: u32) -> Machine {
    machine.clone().memory(mebibytes).qemu(&STAY)
}

/// The content of a machine's memory.
#[derive(Debug)]
pub struct Memory(Vec<u8>);

impl Memory {
    /// Waits until a machine of [`outliving`] has switched itself off, takes its memory by way of `file`, and ends it.
    ///
    /// # Errors
    /// It does not switch itself off, or its memory cannot be taken.
    pub fn take(
        mut running: Running,
        mebibytes: u32,
        file: &Path,
        deadline: Duration,
    ) -> Result<(Self, Outcome)> {
        running.control().switched_off(deadline)?;
        // On this machine all of it lies below the hole for devices, from the first byte on.
        let size = u64::from(mebibytes) << 20;
        let words = json!({ "val": 0, "size": size, "filename": file.display().to_string() });
        running.control().execute_within("pmemsave", &words, deadline)?;
        running.cut_power()?;
        let outcome = running.finish()?;
        let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        fs::remove_file(file)?;
        Ok((Self(bytes), outcome))
    }

    /// The number of occurrences of each of `needles`. None of them may be empty.
    #[must_use]
    pub fn count(&self, needles: &[&[u8]]) -> Vec<usize> {
        // One pass over all bytes, of which few begin anything that is looked for.
        let mut begins = [false; 256];
        for first in needles.iter().filter_map(|needle| needle.first()) {
            if let Some(place) = begins.get_mut(usize::from(*first)) {
                *place = true;
            }
        }
        let mut counts = vec![0; needles.len()];
        for (at, byte) in self.0.iter().enumerate() {
            if begins.get(usize::from(*byte)).is_some_and(|begins| *begins) {
                let rest = self.0.get(at..).unwrap_or_default();
                for (count, needle) in counts.iter_mut().zip(needles) {
                    *count += usize::from(rest.starts_with(needle));
                }
            }
        }
        counts
    }

    /// Checks that neither half of a secret is anywhere.
    ///
    /// # Errors
    /// One is; with its surroundings.
    pub fn lacks(&self, secret: &[u8]) -> Result<()> {
        let (begin, end) = secret.split_at(secret.len() / 2);
        let found = self.count(&[begin, end]);
        ensure!(
            found == [0, 0],
            "its halves occur {found:?} times:\n{}\n{}",
            self.surroundings(begin).join("\n"),
            self.surroundings(end).join("\n")
        );
        Ok(())
    }

    /// The surroundings of every occurrence, to find out which program left it there.
    #[must_use]
    pub fn surroundings(&self, needle: &[u8]) -> Vec<String> {
        let places = self.0.windows(needle.len()).enumerate().filter(|(_, window)| *window == needle);
        places
            .map(|(at, _)| {
                let around =
                    self.0.get(at.saturating_sub(64)..(at + 96).min(self.0.len())).unwrap_or_default();
                format!("{at:#x}: {}", String::from_utf8_lossy(around).escape_debug())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn occurrences_are_counted() {
        let memory = Memory(b"a secret, a second secret and a secre".to_vec());
        assert_eq!(memory.count(&[b"secret", b"a se", b"x"]), [2, 3, 0]);
        assert_eq!(memory.surroundings(b"second").len(), 1);
        assert!(memory.lacks(b"sexond").is_err(), "half of it is there");
        assert!(memory.lacks(b"public").is_ok());
    }
}
