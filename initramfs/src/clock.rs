//! The clock of a run: the machine's, or the fixed time of a reproducible build (`SOURCE_DATE_EPOCH`,
//! <https://reproducible-builds.org/specs/source-date-epoch/>). It is read once, and its time is passed on.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    time::SystemTime,
};

const VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// The time of what a run makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clock {
    /// Seconds since 1970.
    seconds: u64,
    is_fixed: bool,
}

/// A value of `SOURCE_DATE_EPOCH` that is no time.
#[derive(PartialEq, Eq, Debug)]
pub struct InvalidEpoch(OsString);

impl fmt::Display for InvalidEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{VARIABLE} is {:?}, not a number of seconds since 1970; correct it or leave it out",
            self.0
        )
    }
}

impl Clock {
    /// The clock that the environment asks for.
    ///
    /// # Errors
    /// `SOURCE_DATE_EPOCH` is not a decimal number: who sets it wants the same bytes twice, and would not get them.
    pub fn read() -> Result<Self, InvalidEpoch> {
        match env::var_os(VARIABLE) {
            Some(value) => Self::fixed(&value),
            None => Ok(Self::of_machine()),
        }
    }

    /// The machine's.
    pub fn of_machine() -> Self {
        // A clock before 1970 says nothing better than 1970.
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self { seconds: since.map_or(0, |since| since.as_secs()), is_fixed: false }
    }

    fn fixed(value: &OsStr) -> Result<Self, InvalidEpoch> {
        let digits = value.to_str().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let seconds = digits.and_then(|digits| digits.parse().ok());
        let seconds = seconds.ok_or_else(|| InvalidEpoch(value.to_owned()))?;
        Ok(Self { seconds, is_fixed: true })
    }

    /// The time, in seconds since 1970.
    pub fn now(self) -> u64 {
        self.seconds
    }

    /// The fixed time; None on the machine's clock.
    pub fn epoch(self) -> Option<u64> {
        self.is_fixed.then_some(self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_decimal_digits() {
        for (value, expected) in
            [("0", Some(0)), ("1700000000", Some(1_700_000_000)), ("18446744073709551615", Some(u64::MAX))]
        {
            assert_eq!(Clock::fixed(value.as_ref()).unwrap().epoch(), expected);
        }
        for value in ["", " 1", "1 ", "+1", "-1", "1.0", "0x1", "18446744073709551616"] {
            assert_eq!(Clock::fixed(value.as_ref()), Err(InvalidEpoch(value.into())));
        }
        assert_eq!(Clock::of_machine().epoch(), None);
    }
}
