//! Sizes as systemd writes them: `10M`, `1.5G`, `4096`. Base 1024.

/// Letters, and the powers of two that they stand for.
type Units = &'static [(&'static str, u32)];

/// The suffixes of a number, largest first: a sum such as `1G 512M` has them in this order.
const UNITS: Units = &[("E", 60), ("P", 50), ("T", 40), ("G", 30), ("M", 20), ("K", 10), ("B", 0), ("", 0)];

/// Parses a size in bytes: a number with an optional fraction and an optional unit (B, K, M, G, T, P, E, base 1024), or a
/// sum of such, larger units first.
pub fn parse(text: &str) -> Option<u64> {
    let mut rest = text.trim_end();
    let mut units = UNITS;
    let mut sum = 0_u64;
    loop {
        let (bytes, behind, smaller) = term(rest.trim_start(), units)?;
        sum = sum.checked_add(bytes)?;
        (rest, units) = (behind, smaller);
        if rest.is_empty() {
            return Some(sum);
        }
    }
}

/// The first term, the text behind it, and the units that may follow.
fn term(text: &str, units: Units) -> Option<(u64, &str, Units)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = rest.strip_prefix('.').map_or(("", rest), digits);
    let rest = rest.trim_start();
    let at = units.iter().position(|(unit, _)| rest.starts_with(unit))?;
    let (unit, shift) = *units.get(at)?;
    // 18 digits and 60 bits stay within 128 bits.
    if fraction.len() > 18 {
        return None;
    }
    let factor = 1_u128 << shift;
    let mut bytes = u128::from(whole.parse::<u64>().ok()?).checked_mul(factor)?;
    if !fraction.is_empty() {
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        bytes = bytes.checked_add(u128::from(fraction.parse::<u64>().ok()?) * factor / scale)?;
    }
    Some((u64::try_from(bytes).ok()?, rest.get(unit.len()..)?, units.get(at + 1..)?))
}

/// The digits at the beginning, and the rest.
fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// The largest multiple of `grain` that is not above.
pub(super) fn round_down(bytes: u64, grain: u64) -> u64 {
    bytes / grain * grain
}

/// The smallest multiple of `grain` that is not below; the largest number when there is none.
pub(super) fn round_up(bytes: u64, grain: u64) -> u64 {
    bytes.checked_next_multiple_of(grain).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_those_of_systemd() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1K", 1024),
            ("10M", 10 << 20),
            ("10 M", 10 << 20),
            ("1.5G", 3 << 29),
            ("2T", 2 << 40),
            ("15E", 15 << 60),
            ("7B", 7),
            ("1G 512M", 3 << 29),
            ("1M1K1", (1 << 20) + 1025),
            ("10.M", 10 << 20),
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "M",
            "-1",
            "+1",
            "1m",
            "1MB",
            "1MiB",
            "16E",
            "1.5.5",
            ".5G",
            "1M1G",
            "1 1",
            "99999999999999999999",
            "ä",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_is_total(text in "[0-9.KMGTPEB a\\PC]{0,30}") {
            let _total = parse(&text);
        }

        #[test]
        fn plain_numbers_are_themselves(bytes in any::<u64>()) {
            prop_assert_eq!(parse(&bytes.to_string()), Some(bytes));
        }
    }
}
