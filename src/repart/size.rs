//! Sizes as systemd writes them: `10M`, `1.5G`, `4096`. Base 1024.

/// Parses a number with an optional fraction and an optional unit (B, K, M, G, T, P, E).
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| c.is_ascii_alphabetic() || c == ' ').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.trim_start() {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    // 18 digits and 60 bits stay within 128 bits.
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 18 {
        return None;
    }
    let factor = 1_u128 << shift;
    let mut bytes = u128::from(whole.parse::<u64>().ok()?).checked_mul(factor)?;
    if !fraction.is_empty() {
        let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        bytes = bytes.checked_add(u128::from(fraction.parse::<u64>().ok()?) * factor / scale)?;
    }
    u64::try_from(bytes).ok()
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
        ] {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in
            ["", "M", "-1", "+1", "1m", "1MB", "1MiB", "16E", "1.5.5", ".5G", "99999999999999999999", "ä"]
        {
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
