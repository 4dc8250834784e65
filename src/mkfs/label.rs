//! Labels, cut and mangled as systemd-repart does it before it calls a mkfs.

/// As much of a label as fits into `bytes` bytes, whole characters only.
pub(super) fn cut(label: &str, bytes: usize) -> &str {
    (0..=bytes).rev().find_map(|end| label.get(..end)).unwrap_or_default()
}

/// The text in the field of a FAT without a label.
const FAT_NONE: [u8; 11] = *b"NO NAME    ";
/// The characters that FAT does not allow in a label (Microsoft's FAT specification, "Long and short names").
const FAT_FORBIDDEN: &[u8] = b"*?.,;:/\\|+=<>[]\"";

/// A label as FAT writes it: eleven characters of ASCII in capitals, an underscore for any that is not allowed. None
/// for an empty label, and for the text that stands for one.
pub(super) fn fat(label: &str) -> Option<[u8; 11]> {
    let mut mangled = [b' '; 11];
    for (index, (to, from)) in mangled.iter_mut().zip(label.chars()).enumerate() {
        *to = match u8::try_from(from).unwrap_or(u8::MAX).to_ascii_uppercase() {
            // A blank at the start would be lost for programs that trim the label.
            b' ' if index == 0 => b'_',
            allowed if (b' '..0x7f).contains(&allowed) && !FAT_FORBIDDEN.contains(&allowed) => allowed,
            _ => b'_',
        };
    }
    (!label.is_empty() && mangled != FAT_NONE).then_some(mangled)
}

/// The field of a label, also of an empty one.
pub(super) fn fat_field(label: Option<[u8; 11]>) -> [u8; 11] {
    label.unwrap_or(FAT_NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_cut_between_characters() {
        for (long, expected) in [
            ("", ""),
            ("root", "root"),
            ("0123456789abcdef", "0123456789abcdef"),
            ("0123456789abcdefg", "0123456789abcdef"),
            ("0123456789abcdeé", "0123456789abcde"),
            ("0123456789abcdé", "0123456789abcdé"),
        ] {
            assert_eq!(cut(long, 16), expected);
        }
    }

    #[test]
    fn labels_of_fat_are_mangled_as_systemd_does() {
        for (label, expected) in [
            ("", None),
            ("no name", None),
            ("esp", Some(b"ESP        ")),
            ("a:b/c.d", Some(b"A_B_C_D    ")),
            ("größer als elf", Some(b"GR__ER ALS ")),
            ("\u{1}\u{7f}", Some(b"__         ")),
            (" x", Some(b"_X         ")),
        ] {
            assert_eq!(fat(label), expected.copied(), "{label}");
        }
        assert_eq!(&fat_field(None), b"NO NAME    ");
    }
}
