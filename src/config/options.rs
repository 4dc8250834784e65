//! The words that are ours alone, in one table: what is parsed, what the README prints and what `hermetic` explains.
//!
//! An option of our own exists only where the world has none. Words that begin with `hermetic.test.` belong to the
//! init of the tests and are nobody's business here.

use core::fmt::Write as _;
use std::prelude::v1::*;

use crate::arrange::Arrange as _;

/// One option: `NAME=VALUE`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hermetic {
    /// The whole name, `hermetic.` included.
    pub name: &'static str,
    /// What may stand behind the `=`.
    pub values: &'static str,
    /// What holds without the word.
    pub default: &'static str,
    /// What it does, in one sentence.
    pub help: &'static str,
}

/// Every option whose name begins with `hermetic.`.
pub const TABLE: [Hermetic; 12] = [
    Hermetic {
        name: "hermetic.init",
        values: "PATH",
        default: "init=, then /usr/lib/systemd/systemd",
        help: "The program of the real root that becomes PID 1.",
    },
    Hermetic {
        name: "hermetic.root-policy",
        values: "strict|existing",
        default: "strict",
        help: "strict: a root that is less protected than /usr's repart.d asks is an attack and refused; existing: it \
               is used (for a fleet whose old roots are plain).",
    },
    Hermetic {
        name: "hermetic.etc",
        values: "track|copy|symlink|none",
        default: "track",
        help: "How /etc comes from the factory. track: whole, and what nobody changed follows a new /usr; copy: what is \
               missing, once for each /usr; symlink: by tmpfiles.d's L and C lines for /etc; none: only sysusers.d.",
    },
    Hermetic {
        name: "hermetic.key-file",
        values: "PATH",
        default: "rd.luks.key=, then /hermetic/root.key",
        help: "The file of the initramfs that unlocks the root, and locks it on the first boot.",
    },
    Hermetic {
        name: "hermetic.device-timeout",
        values: "SECONDS",
        default: "30",
        help: "How long a disk may take to appear before the boot has failed.",
    },
    Hermetic {
        name: "hermetic.on-failure",
        values: "reboot|poweroff|halt|panic",
        default: "rd.emergency=, then systemd.crash_action=, then reboot",
        help: "What happens when the boot has failed.",
    },
    Hermetic {
        name: "hermetic.failure-delay",
        values: "SECONDS",
        default: "panic=, then 30",
        help: "How long the reason stays on the screen before that.",
    },
    Hermetic {
        name: "hermetic.log",
        values: "err|info|debug",
        default: "debug with `debug`, err with `quiet`, else info",
        help: "What goes to the kernel log; err: failures and warnings.",
    },
    Hermetic {
        name: "hermetic.measure",
        values: "auto|yes|no",
        default: "auto",
        help: "Whether the boot's phases and the volume key go into PCR 11 and 15: auto when sd-stub measured the kernel; \
               yes without a TPM is a failure.",
    },
    Hermetic {
        name: "hermetic.tpm2-pcrs",
        values: "NUMBER[+NUMBER...]",
        default: "7",
        help: "The PCRs that a new volume with Encrypt=tpm2 is sealed to, as --tpm2-pcrs= of systemd; nothing for none.",
    },
    Hermetic {
        name: "hermetic.recovery-key",
        values: "show|off",
        default: "off",
        help: "show: new volumes with Encrypt=tpm2 also get a recovery key, which the first boot shows once on the console.",
    },
    Hermetic {
        name: "hermetic.no-tpm",
        values: "fail|recovery|key-file",
        default: "fail",
        help: "What a new volume with Encrypt=tpm2 gets on a machine without a TPM 2.0. fail: it is not made; recovery: a \
               recovery key, which is shown and then asked for; key-file: the key file's lock.",
    },
];

/// How long a disk may take, in seconds. Android gives its disks 10 s, which USB bridges and SCSI arrays miss; systemd
/// gives 90 s, in which a boot loader's other slot could have started three times.
pub const DEVICE_TIMEOUT: u32 = 30;

/// How long the reason of a failure stays on the screen, in seconds: long enough to take a photograph.
pub const FAILURE_DELAY: u32 = 30;

/// Where the builder puts the key file.
pub const KEY_FILE: &str = "/hermetic/root.key";

/// The option with this name, `-` and `_` being the same.
pub fn find(name: &str) -> Option<&'static Hermetic> {
    TABLE.iter().find(|option| option.name.replace('-', "_") == name.replace('-', "_"))
}

/// The names that somebody who wrote `name` may have meant: those at most three letters away, the nearest first; all of
/// them when none is.
pub fn near(name: &str) -> Vec<&'static str> {
    let folded = name.replace('-', "_");
    let mut names: Vec<_> =
        TABLE.iter().map(|option| (distance(&folded, &option.name.replace('-', "_")), option.name)).collect();
    names.arrange();
    if names.first().is_some_and(|(distance, _)| *distance <= 3) {
        names.retain(|(distance, _)| *distance <= 3);
    }
    names.into_iter().map(|(_, name)| name).collect()
}

/// The table as Markdown, for the README.
pub fn markdown() -> String {
    let mut text = String::from("| word | default | what it does |\n|---|---|---|\n");
    for Hermetic { name, values, default, help } in TABLE {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{name}={}` | {default} | {help} |", values.replace('|', "\\|"));
    }
    text
}

/// How many letters must be put in, left out or changed to come from `a` to `b` (Levenshtein). Long words are far from
/// everything, so that nobody can make us count for long.
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 64 {
        return a.len();
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut cells = row.iter_mut();
        if let Some(first) = cells.next() {
            *first = left;
        }
        for (cell, y) in cells.zip(b.chars()) {
            let here = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            diagonal = core::mem::replace(cell, here);
            left = here;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (a, b, expected) in
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("flaw", "lawn", 2), ("a", "a", 0)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_typing_error_finds_its_option() {
        assert_eq!(near("hermetic.on-falure"), ["hermetic.on-failure"]);
        assert_eq!(near("hermetic.logg"), ["hermetic.log"]);
        assert_eq!(near("hermetic.something-else").len(), TABLE.len());
        assert_eq!(find("hermetic.root_policy").map(|option| option.name), Some("hermetic.root-policy"));
        assert_eq!(find("hermetic.roots"), None);
    }

    #[test]
    fn the_table_prints_one_line_an_option() {
        assert_eq!(markdown().lines().count(), 2 + TABLE.len());
        assert!(markdown().contains("| `hermetic.log=err\\|info\\|debug` |"));
    }
}
