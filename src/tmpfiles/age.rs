//! The age field (tmpfiles.d(5), "Age"): checked and kept, so that a wrong one is reported and two lines that differ in it
//! conflict. Nothing is cleaned up by age here; that is systemd-tmpfiles-clean's work on the running system.

use std::prelude::v1::*;

/// Timestamps that count for the age, as bits.
pub const ATIME: u8 = 1;
/// See [`ATIME`].
pub const BTIME: u8 = 2;
/// See [`ATIME`].
pub const CTIME: u8 = 4;
/// See [`ATIME`].
pub const MTIME: u8 = 8;

/// The age of the files to be cleaned up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Age {
    /// Microseconds; None when the field is empty.
    pub age: Option<u64>,
    /// `~`: entries directly in the directory stay.
    pub keep_first_level: bool,
    /// The timestamps of files that count.
    pub by_file: u8,
    /// The timestamps of directories that count.
    pub by_directory: u8,
}

impl Default for Age {
    fn default() -> Self {
        Self {
            age: None,
            keep_first_level: false,
            by_file: ATIME | BTIME | CTIME | MTIME,
            by_directory: ATIME | BTIME | MTIME,
        }
    }
}

/// The wrong part of an age field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AgeError<'a> {
    /// The letters before the colon.
    By(&'a str),
    /// The time.
    Time(&'a str),
}

impl Age {
    /// Reads `[~][TIMESTAMPS:]TIME`.
    ///
    /// # Errors
    /// The part that is not understood.
    pub fn parse(field: &str) -> Result<Self, AgeError<'_>> {
        let mut age = Self::default();
        let field = match field.strip_prefix('~') {
            Some(field) => {
                age.keep_first_level = true;
                field
            }
            None => field,
        };
        let time = match field.split_once(':') {
            Some((by, time)) => {
                age.by(by).ok_or(AgeError::By(by))?;
                time
            }
            None => field,
        };
        age.age = Some(time_span(time).ok_or(AgeError::Time(time))?);
        Ok(age)
    }

    fn by(&mut self, letters: &str) -> Option<()> {
        let (mut file, mut directory) = (0, 0);
        for letter in letters.bytes().filter(|byte| !b" \t\n\r".contains(byte)) {
            let bit = match letter.to_ascii_lowercase() {
                b'a' => ATIME,
                b'b' => BTIME,
                b'c' => CTIME,
                b'm' => MTIME,
                _ => return None,
            };
            match letter.is_ascii_lowercase() {
                true => file |= bit,
                false => directory |= bit,
            }
        }
        if file == 0 && directory == 0 {
            return None;
        }
        if file != 0 {
            self.by_file = file;
        }
        if directory != 0 {
            self.by_directory = directory;
        }
        Some(())
    }
}

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Units in the order in which systemd tries them (systemd.time(7)); a month and a year are averages.
const UNITS: [(&str, u64); 30] = [
    ("seconds", SECOND),
    ("second", SECOND),
    ("sec", SECOND),
    ("s", SECOND),
    ("minutes", MINUTE),
    ("minute", MINUTE),
    ("min", MINUTE),
    ("months", 2_629_800 * SECOND),
    ("month", 2_629_800 * SECOND),
    ("M", 2_629_800 * SECOND),
    ("msec", 1000),
    ("ms", 1000),
    ("m", MINUTE),
    ("hours", HOUR),
    ("hour", HOUR),
    ("hr", HOUR),
    ("h", HOUR),
    ("days", DAY),
    ("day", DAY),
    ("d", DAY),
    ("weeks", 7 * DAY),
    ("week", 7 * DAY),
    ("w", 7 * DAY),
    ("years", 31_557_600 * SECOND),
    ("year", 31_557_600 * SECOND),
    ("y", 31_557_600 * SECOND),
    ("usec", 1),
    ("us", 1),
    ("μs", 1),
    ("µs", 1),
];

/// The separators of the parts of a time span.
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// A time span in microseconds, as systemd.time(7) writes them: numbers with units, added up; without a unit they are seconds.
fn time_span(text: &str) -> Option<u64> {
    let mut rest = text.trim_start_matches(SPACE);
    if let Some(rest) = rest.strip_prefix("infinity") {
        return rest.trim_matches(SPACE).is_empty().then_some(u64::MAX);
    }
    let mut total = 0u64;
    let mut parts = 0;
    while !rest.is_empty() {
        let (part, behind) = span_part(rest)?;
        total = total.checked_add(part).filter(|&total| total < u64::MAX)?;
        parts += 1;
        rest = behind.trim_start_matches(SPACE);
    }
    (parts > 0).then_some(total)
}

/// One number with its unit, and the text behind it.
fn span_part(text: &str) -> Option<(u64, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    // strtoll takes a sign, so `+5` is a number.
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let (whole, behind) = unsigned.split_at_checked(digits(unsigned))?;
    let (fraction, behind_number) = match behind.strip_prefix('.') {
        Some(behind) => {
            behind.split_at_checked(digits(behind)).filter(|(fraction, _)| !fraction.is_empty())?
        }
        None => ("", behind),
    };
    let whole: u64 = match whole {
        // `.5` is half a second.
        "" if !fraction.is_empty() && unsigned == text => 0,
        whole => whole.parse().ok().filter(|&number| number <= i64::MAX as u64)?,
    };
    let unit_text = behind_number.trim_start_matches(SPACE);
    let (unit, behind) = UNITS
        .iter()
        .find_map(|(name, unit)| Some((*unit, unit_text.strip_prefix(name)?)))
        .unwrap_or((SECOND, unit_text));
    // `12.34.56` is not valid, `12.34 .56` is.
    if behind.len() == behind_number.len() && !behind.is_empty() {
        return None;
    }
    let mut part = whole.checked_mul(unit)?;
    let mut place = unit / 10;
    for digit in fraction.bytes() {
        part = part.checked_add(u64::from(digit - b'0').checked_mul(place)?)?;
        place /= 10;
    }
    Some((part, behind))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Expected values are those of `systemd-analyze timespan` 257.
    #[test]
    fn time_spans_of_systemd() {
        for (text, span) in [
            ("10d", Some(864_000_000_000)),
            ("1w 2h", Some(612_000_000_000)),
            ("1min30s", Some(90_000_000)),
            ("5", Some(5_000_000)),
            ("0", Some(0)),
            ("1.5h", Some(5_400_000_000)),
            (".5", Some(500_000)),
            ("1M", Some(2_629_800_000_000)),
            ("infinity ", Some(u64::MAX)),
            ("12.34 .56", Some(12_900_000)),
            ("+5", Some(5_000_000)),
            ("", None),
            ("x", None),
            ("-5", None),
            ("3.", None),
            ("3.sec", None),
            ("12.34.56", None),
            ("5 days ago", None),
            ("99999999999y", None),
        ] {
            assert_eq!(time_span(text), span, "{text:?}");
        }
    }

    #[test]
    fn which_timestamps() {
        let age = Age::parse("~mA:1s").unwrap();
        let expected =
            Age { age: Some(1_000_000), keep_first_level: true, by_file: MTIME, by_directory: ATIME };
        assert_eq!(age, expected);
        let age = Age::parse("BM:0").unwrap();
        assert_eq!((age.by_file, age.by_directory), (15, BTIME | MTIME));
        assert_eq!(Age::parse("x:1s"), Err(AgeError::By("x")));
        assert_eq!(Age::parse(":1s"), Err(AgeError::By("")));
        assert_eq!(Age::parse("a:y"), Err(AgeError::Time("y")));
    }

    proptest! {
        #[test]
        fn any_field_parses_or_not(field: String, plausible in "[~]?[abcmABCM]{0,3}:?[0-9. +]{0,22}[a-zµ]{0,8}") {
            let _ = Age::parse(&field);
            let _ = Age::parse(&plausible);
        }
    }
}
