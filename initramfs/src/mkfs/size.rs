//! A size on the command line: `4096`, `512K`, `8M`, `2G`, `1T`. Base 1024.

use hermetic_init::units::Bytes;

/// Parses a size. The error is what clap prints behind the argument.
pub fn parse(text: &str) -> Result<Bytes, String> {
    let shift = match text.chars().next_back().map(|unit| unit.to_ascii_uppercase()) {
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        _ => 0,
    };
    let number = if shift > 0 { text.get(..text.len() - 1).unwrap_or_default() } else { text };
    let count: u64 = number.parse().map_err(|_| "write a number, with K, M, G or T behind it".to_owned())?;
    let bytes = count.checked_mul(1 << shift).ok_or("that is more than 16 EiB")?;
    Ok(Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_unit() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("3k", Some(3 << 10)),
            ("8M", Some(8 << 20)),
            ("1T", Some(1 << 40)),
            ("", None),
            ("M", None),
            ("-1", None),
            ("1.5G", None),
            ("8Mä", None),
            ("99999999T", None),
        ] {
            assert_eq!(parse(text).ok(), expected.map(Bytes), "{text}");
        }
    }
}
