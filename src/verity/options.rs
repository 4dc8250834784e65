//! The reaction of dm-verity to a wrong block, and other words of `systemd.verity_usr_options=`.
//!
//! Source: veritytab(5); the kernel's `Documentation/admin-guide/device-mapper/verity.rst`.

use std::prelude::v1::*;

/// The reaction to a block that does not match its hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnCorruption {
    /// The read fails with EIO.
    #[default]
    Fail,
    /// The read succeeds and the kernel logs it. For rescue only.
    Ignore,
    /// The machine restarts. Without boot counting it does so for ever.
    Restart,
    /// The kernel panics: evidence in pstore, then the action of `panic=`.
    Panic,
}

/// The reaction to a block that cannot be read at all: without one, unreadable sectors are a way around
/// [`OnCorruption`]. Linux 6.12 and later.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnError {
    /// The read fails with EIO.
    #[default]
    Fail,
    /// The machine restarts.
    Restart,
    /// The kernel panics.
    Panic,
}

/// The optional arguments of a verity table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// A block does not match.
    pub on_corruption: OnCorruption,
    /// A block cannot be read.
    pub on_error: OnError,
    /// Blocks whose hash is that of zeroes are not read, they are zeroes.
    pub ignore_zero_blocks: bool,
    /// A block is verified only the first time that it is read.
    pub check_at_most_once: bool,
    /// Small hashes are computed in the interrupt's tasklet instead of a work queue.
    pub try_verify_in_tasklet: bool,
}

impl Options {
    /// Parses words separated by commas. Also returns the words without a meaning here, as systemd only warns of them.
    /// `panic-on-corruption` wins over the others, at any place; else the last one counts.
    pub fn parse(text: &str) -> (Self, Vec<&str>) {
        let (mut options, mut unknown) = (Self::default(), Vec::new());
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "ignore-corruption" => options.corruption(OnCorruption::Ignore),
                "restart-on-corruption" => options.corruption(OnCorruption::Restart),
                "panic-on-corruption" => options.corruption(OnCorruption::Panic),
                "restart-on-error" => options.error(OnError::Restart),
                "panic-on-error" => options.error(OnError::Panic),
                "ignore-zero-blocks" => options.ignore_zero_blocks = true,
                "check-at-most-once" => options.check_at_most_once = true,
                "try-verify-in-tasklet" => options.try_verify_in_tasklet = true,
                // These words concern fstab-like tables, not the device.
                "_netdev" | "noauto" | "nofail" | "x-initrd.attach" => {}
                other => unknown.push(other),
            }
        }
        (options, unknown)
    }

    fn corruption(&mut self, on_corruption: OnCorruption) {
        if self.on_corruption != OnCorruption::Panic {
            self.on_corruption = on_corruption;
        }
    }

    fn error(&mut self, on_error: OnError) {
        if self.on_error != OnError::Panic {
            self.on_error = on_error;
        }
    }

    /// The words for the table, in the order in which the kernel prints them.
    pub(super) fn words(&self) -> impl Iterator<Item = &'static str> {
        let corruption = match self.on_corruption {
            OnCorruption::Fail => None,
            OnCorruption::Ignore => Some("ignore_corruption"),
            OnCorruption::Restart => Some("restart_on_corruption"),
            OnCorruption::Panic => Some("panic_on_corruption"),
        };
        let error = match self.on_error {
            OnError::Fail => None,
            OnError::Restart => Some("restart_on_error"),
            OnError::Panic => Some("panic_on_error"),
        };
        [
            corruption,
            error,
            self.ignore_zero_blocks.then_some("ignore_zero_blocks"),
            self.check_at_most_once.then_some("check_at_most_once"),
            self.try_verify_in_tasklet.then_some("try_verify_in_tasklet"),
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_veritytab() {
        let (options, unknown) =
            Options::parse("panic-on-corruption,ignore-corruption, check-at-most-once,,nofail,fec-roots=2");
        assert_eq!(options.on_corruption, OnCorruption::Panic);
        assert!(options.check_at_most_once);
        assert_eq!(unknown, ["fec-roots=2"]);
        assert_eq!(options.words().collect::<Vec<_>>(), ["panic_on_corruption", "check_at_most_once"]);
        let (options, _) = Options::parse("ignore-corruption,restart-on-corruption,restart-on-error");
        assert_eq!(options.words().collect::<Vec<_>>(), ["restart_on_corruption", "restart_on_error"]);
        assert_eq!(Options::parse(""), (Options::default(), vec![]));
    }
}
