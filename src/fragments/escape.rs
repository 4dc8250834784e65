//! C-style escapes, as systemd reads them (`cunescape_one` of its src/basic/escape.c): those of C without `\?`, and `\s` for a
//! space. No escape gives a NUL byte.

use std::prelude::v1::*;

/// The byte or the character that an escape stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Value {
    Byte(u8),
    /// A code point; may be a surrogate, which systemd encodes like any other.
    Point(u32),
}

/// Reads the escape behind a backslash, and appends its value. Returns its number of bytes without the backslash; None
/// when it is not an escape.
pub fn one(behind: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let (value, length) = match behind.first()? {
        b'a' => (Value::Byte(7), 1),
        b'b' => (Value::Byte(8), 1),
        b'f' => (Value::Byte(12), 1),
        b'n' => (Value::Byte(b'\n'), 1),
        b'r' => (Value::Byte(b'\r'), 1),
        b't' => (Value::Byte(b'\t'), 1),
        b'v' => (Value::Byte(11), 1),
        byte @ (b'\\' | b'"' | b'\'') => (Value::Byte(*byte), 1),
        b's' => (Value::Byte(b' '), 1),
        b'x' => (Value::Byte(u8::try_from(number(behind.get(1..3)?, 16)?).ok()?), 3),
        b'u' => (Value::Point(number(behind.get(1..5)?, 16)?), 5),
        b'U' => {
            (Value::Point(number(behind.get(1..9)?, 16).filter(|&point| char::from_u32(point).is_some())?), 9)
        }
        b'0'..=b'7' => (Value::Byte(u8::try_from(number(behind.get(..3)?, 8)?).ok()?), 3),
        _ => return None,
    };
    match value {
        Value::Byte(0) | Value::Point(0) => return None,
        Value::Byte(byte) => out.push(byte),
        Value::Point(point) => encode(point, out),
    }
    Some(length)
}

/// Replaces all escapes of a text. None when it has a backslash that begins none.
pub fn all(text: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte {
            b'\\' => rest = behind.get(one(behind, &mut plain)?..)?,
            byte => plain.push(*byte),
        }
    }
    Some(plain)
}

/// Digits of a base, all of them.
fn number(digits: &[u8], base: u32) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, &digit| {
        value.checked_mul(base)?.checked_add(char::from(digit).to_digit(base)?)
    })
}

/// UTF-8, also of a code point that is not a character.
fn encode(point: u32, out: &mut Vec<u8>) {
    let part = |shift: u32| 0x80 | ((point >> shift) & 0x3f) as u8;
    match point {
        0..0x80 => out.push(point as u8),
        0x80..0x800 => out.extend([0xc0 | (point >> 6) as u8, part(0)]),
        0x800..0x1_0000 => out.extend([0xe0 | (point >> 12) as u8, part(6), part(0)]),
        _ => out.extend([0xf0 | ((point >> 18) & 7) as u8, part(12), part(6), part(0)]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_of_systemd() {
        for (text, plain) in [
            (&br"a\n\x20\040\s\u00e4\U0001F600"[..], Some("a\n   ä😀".as_bytes())),
            (br#"\\\"\'"#, Some(br#"\"'"#)),
            (br"\xff\377", Some(b"\xff\xff")),
            (br"\ud800", Some(b"\xed\xa0\x80")),
            (br"\x00", None),
            (br"\000", None),
            (br"\400", None),
            (br"\U00110000", None),
            (br"\x2", None),
            (br"\q", None),
            (br"\", None),
        ] {
            assert_eq!(all(text).as_deref(), plain, "{}", String::from_utf8_lossy(text));
        }
    }

    proptest! {
        #[test]
        fn every_character_comes_back(text: String) {
            let escaped: String = text.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
            let plain = all(escaped.as_bytes());
            prop_assert!(text.contains('\0') || plain.as_deref() == Some(text.as_bytes()));
        }
    }
}
