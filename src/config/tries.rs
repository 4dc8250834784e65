//! Boot counting: a boot entry has some tries, and each boot of it takes one until somebody calls it good.
//!
//! Source: the Boot Loader Specification, "Boot counting" (<https://uapi-group.org/specifications/specs/boot_loader_specification>), and
//! systemd's docs/AUTOMATIC_BOOT_ASSESSMENT.md and docs/BOOT_LOADER_INTERFACE.md for the variable of the boot loader's vendor GUID.

use core::fmt;
use std::prelude::v1::*;

/// The variable that holds the path of the entry's file, as the boot loader has renamed it for this boot. Missing when nothing is counted.
pub const VARIABLE: &str = "LoaderBootCountPath";

/// The tries of a boot entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tries {
    /// Those that are left after this boot.
    pub left: u32,
    /// Those that are over or under way, this boot among them; None from a boot loader that does not say.
    pub done: Option<u32>,
}

impl Tries {
    /// The tries that the name of the file of this path counts: `NAME+LEFT.efi` or `NAME+LEFT-DONE.conf`. None when it counts nothing.
    pub fn of_path(path: &str) -> Option<Self> {
        let (_, name) = path.rsplit_once(['\\', '/']).unwrap_or(("", path));
        let (_, counter) = name.rsplit_once('.')?.0.rsplit_once('+')?;
        let number = |digits: &str| match digits.bytes().all(|digit| digit.is_ascii_digit()) {
            true => digits.parse().ok(),
            false => None,
        };
        match counter.split_once('-') {
            Some((left, done)) => Some(Self { left: number(left)?, done: Some(number(done)?) }),
            None => Some(Self { left: number(counter)?, done: None }),
        }
    }
}

impl fmt::Display for Tries {
    /// `attempt 2 of 3`, or `1 try left`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.done, self.left) {
            (Some(done), left) if done > 0 => write!(f, "attempt {done} of {}", left.saturating_add(done)),
            (_, 1) => f.write_str("1 try left"),
            (_, left) => write!(f, "{left} tries left"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The names of the Boot Loader Specification's own examples among them.
    #[test]
    fn names_count_as_the_specification_says() {
        let tries = |left, done| Some(Tries { left, done });
        for (path, expected) in [
            ("\\EFI\\Linux\\appliance_2+2-1.efi", tries(2, Some(1))),
            ("/loader/entries/6a9857a393724b7a981ebb5b8495b9ea-3.8.0-2.fc19.x86_64+3.conf", tries(3, None)),
            ("foo+0-15.conf", tries(0, Some(15))),
            ("a+b+1-2.efi", tries(1, Some(2))),
            ("foo.conf", None),
            ("foo+.conf", None),
            ("foo+3", None),
            ("foo+3-.conf", None),
            ("foo+-3.conf", None),
            ("foo++3.conf", tries(3, None)),
            ("a+3\\foo.conf", None),
            ("foo+4294967296.conf", None),
        ] {
            assert_eq!(Tries::of_path(path), expected, "{path}");
        }
        assert_eq!(Tries { left: 1, done: Some(2) }.to_string(), "attempt 2 of 3");
        assert_eq!(Tries { left: 1, done: None }.to_string(), "1 try left");
        assert_eq!(Tries { left: 3, done: Some(0) }.to_string(), "3 tries left");
    }

    proptest! {
        #[test]
        fn a_counter_is_found_in_any_name(name in "[^.]*", left: u32, done: u32) {
            let found = Tries::of_path(&format!("\\{name}+{left}-{done}.efi"));
            prop_assert_eq!(found, Some(Tries { left, done: Some(done) }));
        }

        #[test]
        fn any_text_is_taken(path: String) {
            if let Some(tries) = Tries::of_path(&path) {
                prop_assert!(!tries.to_string().contains(char::is_control));
            }
        }
    }
}
