//! The failures before this boot: their number, and the reason of the last one, in an EFI variable of our own
//! (docs/reference/formats.md, "The failure that is kept"). Anybody who may write the firmware's variables may write it: nothing follows
//! from it but a line of the log and the time that a failure waits.

use core::{fmt, time::Duration};
use std::prelude::v1::*;

/// The name of the variable.
pub const VARIABLE: &str = "HermeticFailure";

/// The vendor of it.
pub const VENDOR: &str = "9d8f1c52-6c0b-4f3e-8a57-2b7e60d4a1c3";

/// The most that it holds, in units of UTF-16 without the mark at the end: 1 kB in all.
const MAX_UNITS: usize = 511;

/// The time that the first failures wait: a boot loader's last try among them, behind which another slot starts. Each further one in a
/// row waits twice as long.
const FIRST: (u32, Duration) = (3, Duration::from_secs(30));

/// The longest that one waits.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// Boots that failed, one behind the other, and of which none came up since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Past {
    /// Their number; it counts no further than 999.
    pub count: u32,
    /// The stage and the reason of the last one.
    pub reason: String,
}

impl Past {
    /// The past that a variable of this text tells of. A text that is not ours is a failure all the same, for somebody wrote it.
    pub fn of(text: &str) -> Self {
        let parts = text.split_once(' ').and_then(|(count, reason)| Some((count.parse().ok()?, reason)));
        let (count, reason): (u32, &str) = parts.unwrap_or((1, text));
        Self { count: count.clamp(1, 999), reason: reason.into() }
    }

    /// The past of the next boot, when this one fails in this stage for this reason.
    pub fn after(past: Option<&Self>, stage: &str, reason: &str) -> Self {
        let count = past.map_or(0, |past| past.count).saturating_add(1).min(999);
        Self { count, reason: format!("{stage}: {reason}") }
    }

    /// True when nothing follows from this failure that did not follow from the one before: it is not worth a write to the firmware's memory.
    pub fn adds_nothing_to(&self, before: &Self) -> bool {
        self.reason == before.reason && before.delay() == LONGEST
    }

    /// The text of the variable, of 1 kB at most: what does not fit is cut off at its end.
    pub fn text(&self) -> String {
        let mut text = format!("{} ", self.count);
        let mut units = text.len();
        for character in self.reason.chars() {
            // No terminal and no NUL: the variable ends at the first.
            let character = if character.is_control() { ' ' } else { character };
            units += character.len_utf16();
            if units > MAX_UNITS {
                break;
            }
            text.push(character);
        }
        text
    }

    /// The time that the last of so many failures waits, where nobody says another and no boot loader counts.
    pub fn delay(&self) -> Duration {
        let (first, delay) = FIRST;
        let doubled = 1u32.checked_shl(self.count.saturating_sub(first)).unwrap_or(u32::MAX);
        delay.saturating_mul(doubled).min(LONGEST)
    }
}

impl fmt::Display for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => write!(f, "the boot before this one failed: {}", self.reason),
            count => write!(f, "the {count} boots before this one failed, the last one: {}", self.reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn failures_are_counted_and_slow_down() {
        let first = Past::after(None, "usr", "vda1 is gone");
        assert_eq!(first.text(), "1 usr: vda1 is gone");
        let mut past = Past::of(&first.text());
        assert_eq!(past, first);
        let mut delays = vec![past.delay().as_secs()];
        for _ in 0..9 {
            past = Past::after(Some(&past), "usr", "x");
            delays.push(past.delay().as_secs());
        }
        assert_eq!(delays, [30, 30, 30, 60, 120, 240, 480, 960, 1800, 1800]);
        // From the tenth on it is the same as the ninth, until something else fails.
        assert!(past.adds_nothing_to(&Past { count: 9, ..past.clone() }));
        assert!(!past.adds_nothing_to(&Past { count: 8, ..past.clone() }));
        assert!(!past.adds_nothing_to(&Past { count: 9, reason: "usr: y".into() }));
        assert_eq!(Past { count: 999, reason: String::new() }.delay(), LONGEST);
        assert_eq!(Past::of("gibberish"), Past { count: 1, reason: "gibberish".into() });
        assert_eq!(Past::of("0 none").count, 1);
    }

    proptest! {
        #[test]
        fn any_reason_is_kept_as_far_as_it_fits(count in 1u32..1000, reason: String, long in 0usize..400) {
            let past = Past { count, reason: reason.repeat(long) };
            let text = past.text();
            prop_assert!(text.encode_utf16().count() <= MAX_UNITS);
            prop_assert!(!text.contains(char::is_control));
            let kept = Past::of(&text);
            prop_assert_eq!(kept.count, count);
            let printable = past.reason.replace(char::is_control, " ");
            prop_assert!(printable.starts_with(&kept.reason), "{:?}", kept.reason);
        }
    }
}
