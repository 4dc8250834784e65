//! A claim about two times: one takes so many times as long as the other. A time depends on the host and its load, so a
//! claim fails only well below its number; system calls, bytes and sizes, which are counted, are held exactly, each
//! where it is counted.

use anyhow::{Result, ensure};
use std::fmt;
use std::time::Duration;

/// A claim about a ratio, and the ratio beyond which a check fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Claim {
    /// It is at least the first number; a check fails under the second.
    AtLeast(f64, f64),
    /// It is at most the first number; a check fails above the second.
    AtMost(f64, f64),
}

impl Claim {
    /// True when this ratio is as claimed, or better.
    #[must_use]
    pub fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(claimed, _) => ratio >= claimed,
            Self::AtMost(claimed, _) => ratio <= claimed,
        }
    }

    /// The measured ratio beside the claim, for a verdict.
    ///
    /// # Errors
    /// The ratio is well below the claim, or is no number.
    pub fn check(self, ratio: f64) -> Result<String> {
        let holds = match self {
            Self::AtLeast(_, limit) => ratio >= limit,
            Self::AtMost(_, limit) => ratio <= limit,
        };
        let said = format!("{ratio:.2} times, {self}");
        ensure!(holds, "{said}");
        Ok(said)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(claimed, limit) if claimed == limit => write!(f, "claimed {claimed}"),
            Self::AtMost(claimed, limit) if claimed == limit => write!(f, "claimed at most {claimed}"),
            Self::AtLeast(claimed, limit) => write!(f, "claimed {claimed}, fails under {limit}"),
            Self::AtMost(claimed, limit) => write!(f, "claimed at most {claimed}, fails above {limit}"),
        }
    }
}

/// The first time in terms of the second. Against no time at all it is infinite.
#[must_use]
pub fn ratio(time: Duration, other: Duration) -> f64 {
    time.as_secs_f64() / other.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_fails_only_well_below_what_it_says() {
        let claim = Claim::AtLeast(5.0, 3.5);
        assert_eq!(claim.check(4.86).unwrap(), "4.86 times, claimed 5, fails under 3.5");
        assert_eq!(claim.check(3.4).unwrap_err().to_string(), "3.40 times, claimed 5, fails under 3.5");
        assert!(claim.is_met(5.0) && !claim.is_met(4.9));

        let claim = Claim::AtMost(1.0, 1.4);
        assert_eq!(claim.check(1.1).unwrap(), "1.10 times, claimed at most 1, fails above 1.4");
        assert!(claim.check(1.41).is_err());
        assert!(claim.is_met(1.0) && !claim.is_met(1.1));

        let counted = Claim::AtMost(1.5, 1.5);
        assert_eq!(counted.check(1.6).unwrap_err().to_string(), "1.60 times, claimed at most 1.5");
        assert!(counted.check(1.5).is_ok());
    }

    #[test]
    fn nothing_measured_meets_no_claim() {
        let nothing = ratio(Duration::ZERO, Duration::ZERO);
        assert!(Claim::AtLeast(5.0, 3.5).check(nothing).is_err());
        assert!(Claim::AtMost(1.0, 1.4).check(nothing).is_err());
        assert!(Claim::AtMost(1.0, 1.4).check(ratio(Duration::from_secs(1), Duration::ZERO)).is_err());
    }
}
