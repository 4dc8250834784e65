//! Labels of slots: which one is newer, and which name no slot at all.
//!
//! Source: UAPI.10 version format specification; systemd's `strverscmp_improved()` is the implementation whose order
//! this must match, also where the specification is silent (`systemd-analyze compare-versions` is the test).

use core::cmp::Ordering;

/// Compares two versions, or two labels of the form `NAME_VERSION`.
///
/// Both are read from the left, part by part: `~` is older than anything, even than the end; the end is older than a
/// rest of the other; then `-`, `^`, `.`, letters, digits get newer in this order. Runs of digits compare as numbers of
/// any length. All other characters only separate.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = skip_while(a, |byte| !is_meaningful(byte));
        b = skip_while(b, |byte| !is_meaningful(byte));
        if let Decided(order) = separator(b'~', &mut a, &mut b) {
            return order;
        }
        // Only `~` is older than the end, so this comes after it and before the others.
        match (a.is_empty(), b.is_empty()) {
            (true, true) => return Ordering::Equal,
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        for mark in *b"-^." {
            if let Decided(order) = separator(mark, &mut a, &mut b) {
                return order;
            }
        }
        let order = if starts_with_digit(a) || starts_with_digit(b) {
            let ((number_a, rest_a), (number_b, rest_b)) = (split(a, is_digit), split(b, is_digit));
            (a, b) = (rest_a, rest_b);
            // A side without digits has letters here or has ended: older than any number.
            (!number_a.is_empty())
                .cmp(&!number_b.is_empty())
                .then_with(|| compare_numbers(number_a, number_b))
        } else {
            let ((word_a, rest_a), (word_b, rest_b)) = (split(a, is_letter), split(b, is_letter));
            (a, b) = (rest_a, rest_b);
            // Bytewise, and a prefix is older: exactly the order of slices.
            word_a.cmp(word_b)
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Returns true when a label may name a slot to boot. An empty slot (`_empty`) and every other label that begins with
/// `_` may not, nor may one that systemd-sysupdate is still writing (`PRT#`) or has not released (`PND#`).
///
/// Source: Discoverable Partitions Specification, "Partition Names".
pub fn names_a_slot(label: &str) -> bool {
    !["_", "PRT#", "PND#"].iter().any(|prefix| label.starts_with(prefix))
}

enum Verdict {
    Decided(Ordering),
    Undecided,
}
use Verdict::{Decided, Undecided};

/// The side that has `mark` is older; when both have it, it is consumed.
fn separator(mark: u8, a: &mut &[u8], b: &mut &[u8]) -> Verdict {
    match (a.split_first(), b.split_first()) {
        (Some((first_a, rest_a)), Some((first_b, rest_b))) if *first_a == mark && *first_b == mark => {
            (*a, *b) = (rest_a, rest_b);
            Undecided
        }
        (Some((first, _)), _) if *first == mark => Decided(Ordering::Less),
        (_, Some((first, _))) if *first == mark => Decided(Ordering::Greater),
        _ => Undecided,
    }
}

/// Compares runs of digits by value without computing it: leading zeros off, then the longer one is larger.
fn compare_numbers(a: &[u8], b: &[u8]) -> Ordering {
    let (a, b) = (skip_while(a, |byte| byte == b'0'), skip_while(b, |byte| byte == b'0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit()
}

fn is_letter(byte: u8) -> bool {
    byte.is_ascii_alphabetic()
}

fn is_meaningful(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"~-^.".contains(&byte)
}

fn starts_with_digit(text: &[u8]) -> bool {
    text.first().is_some_and(|byte| is_digit(*byte))
}

fn skip_while(text: &[u8], skip: impl Fn(u8) -> bool) -> &[u8] {
    split(text, skip).1
}

/// Splits off the longest run of bytes that `belongs` accepts.
fn split(text: &[u8], belongs: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !belongs(*byte)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_order_of_the_specification() {
        // UAPI.10, section "Examples", and systemd's manual page systemd-analyze(1).
        for pair in ["122.1 < 123", "123~rc1 < 123", "123 < 123-a", "123-a < 123-a.1", "123-a.1 < 123^post1"]
            .into_iter()
            .chain(["123^post1 < 123.a-1", "123.a-1 < 123.1-1", "123.1-1 < 123a-1", "99 < 123", "1.9 < 1.10"])
        {
            let (a, b) = pair.split_once(" < ").unwrap();
            assert_eq!(compare(a, b), Ordering::Less, "{pair}");
            assert_eq!(compare(b, a), Ordering::Greater, "{pair}");
        }
        for (a, b) in [("007", "7"), ("a_1", "a!1"), ("", "___"), ("1.0", "1.00")] {
            assert_eq!(compare(a, b), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn reserved_labels_name_no_slot() {
        for (label, expected) in [
            ("_empty", false),
            ("_", false),
            ("PRT#os_1", false),
            ("PND#os_1", false),
            ("os_1", true),
            ("", true),
            ("usr-x86-64", true),
        ] {
            assert_eq!(names_a_slot(label), expected, "{label}");
        }
    }

    proptest! {
        #[test]
        fn comparing_is_total_and_antisymmetric(a in "\\PC{0,12}", b in "[0-9a-b~^.\\-_]{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        }
    }
}
