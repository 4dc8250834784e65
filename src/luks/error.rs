//! The errors of a LUKS2 volume, in words that a person can act on.

use std::prelude::v1::*;

use core::fmt;

use crate::units::Bytes;

/// The words for a header of LUKS version 1, and the way to one that is opened.
pub const LUKS1: &str =
    "a LUKS1 header, and only LUKS2 is opened (`cryptsetup convert --type luks2` converts it)";

/// The reason why a volume was not read, unlocked or made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LuksError {
    /// The device could not be read.
    Read {
        /// The offset in bytes from the start of the device.
        offset: Bytes,
        /// The error of the device.
        reason: String,
    },
    /// Neither copy of a LUKS2 header is there.
    NotLuks,
    /// The header is one of LUKS version 1.
    Luks1,
    /// The header is of a version that is neither 1 nor 2.
    Version(u16),
    /// Both copies of the header are damaged: why the primary, why the secondary.
    Damaged {
        /// The fault of the copy at the start of the device.
        primary: &'static str,
        /// The fault of the copy behind it.
        secondary: &'static str,
    },
    /// Something else was put over the primary copy, and only the secondary one is left behind it: perhaps the volume was given
    /// up.
    Overwritten {
        /// The content of the device now, as blkid calls it.
        by: String,
    },
    /// The header's text breaks the format.
    Invalid {
        /// The member, as `keyslots/0/area/offset`.
        path: String,
        /// The fault of the value.
        problem: &'static str,
    },
    /// The header asks for something that exists but is not done here.
    Unsupported {
        /// The member.
        path: String,
        /// Its value, escaped and cut.
        value: String,
    },
    /// A segment or keyslot names the null cipher: the data would lie unencrypted under the name of encryption.
    NullCipher {
        /// The member.
        path: String,
    },
    /// The header demands a feature of its reader that is not known here (`config/requirements/mandatory`).
    Requirement(String),
    /// No keyslot leads to the encrypted segment.
    NoKeyslot,
    /// Every keyslot was tried and none opens with this key.
    WrongKey {
        /// The keyslots, in the order of the attempts.
        tried: Vec<u32>,
    },
    /// No keyslot that could be tried opens with this key, and some could not be tried.
    NotAllTried {
        /// The keyslots that were tried, in the order of the attempts.
        tried: Vec<u32>,
        /// The others.
        skipped: Vec<Skipped>,
    },
    /// The device does not match the size in the header.
    DeviceSize {
        /// The size of the device.
        device: Bytes,
        /// The condition that is not met.
        problem: &'static str,
    },
    /// The key of a new keyslot could not be derived.
    KeyDerivation(String),
    /// A volume cannot be made with these parameters.
    Parameter(&'static str),
    /// The header cannot be changed in this way.
    Change(&'static str),
}

/// The number of skipped keyslots that a line names; the rest is counted.
const NAMED: usize = 2;

/// A keyslot that could not be tried, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Skipped {
    /// The keyslot's number.
    pub keyslot: u32,
    /// The reason why it could not be tried.
    pub reason: String,
}

impl fmt::Display for LuksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { offset, reason } => write!(f, "reading at byte {} failed: {reason}", offset.0),
            Self::NotLuks => f.write_str("there is no LUKS2 header"),
            Self::Luks1 => write!(f, "this is {LUKS1}"),
            Self::Version(version) => write!(f, "LUKS header of version {version}, expected 2"),
            Self::Damaged { primary, secondary } => {
                write!(
                    f,
                    "both LUKS2 headers are damaged (primary: {primary}; secondary: {secondary}); restore them with \
                     `cryptsetup luksHeaderRestore`"
                )
            }
            Self::Overwritten { by } => write!(
                f,
                "the device begins with {by}, and behind it is the secondary header of a LUKS2 volume; if that is what the \
                 device should hold, `cryptsetup repair` restores it"
            ),
            Self::Invalid { path, problem } => write!(f, "LUKS2 header: {path}: {problem}"),
            Self::Unsupported { path, value } => write!(f, "LUKS2 header: {path} is {value}, not supported"),
            Self::NullCipher { path } => write!(
                f,
                "LUKS2 header: {path} names the null cipher, so the data would not be encrypted; refused"
            ),
            Self::Requirement(name) => write!(
                f,
                "LUKS2 header requires {name}, which is not supported; if a re-encryption was interrupted, finish it \
                 with `cryptsetup reencrypt --resume-only`"
            ),
            Self::NoKeyslot => f.write_str("no keyslot leads to the encrypted segment"),
            Self::WrongKey { tried } => {
                f.write_str("no keyslot opens with this key (tried ")?;
                list(f, tried)?;
                f.write_str(")")
            }
            Self::NotAllTried { tried, skipped } => {
                if !tried.is_empty() {
                    f.write_str("no keyslot that was tried opens with this key (tried ")?;
                    list(f, tried)?;
                    f.write_str("); ")?;
                }
                for (index, skip) in skipped.iter().take(NAMED).enumerate() {
                    let comma = if index == 0 { "" } else { "; " };
                    write!(f, "{comma}keyslot {} could not be tried: {}", skip.keyslot, skip.reason)?;
                }
                match skipped.len().saturating_sub(NAMED) {
                    0 => Ok(()),
                    more => write!(f, "; nor could {more} more"),
                }
            }
            Self::DeviceSize { device, problem } => {
                write!(f, "the device of {} bytes ({device}) {problem}", device.0)
            }
            Self::KeyDerivation(reason) => write!(f, "the key of the keyslot was not derived: {reason}"),
            Self::Parameter(problem) => write!(f, "a LUKS2 volume cannot be made: {problem}"),
            Self::Change(problem) => write!(f, "the LUKS2 header cannot be changed: {problem}"),
        }
    }
}

impl core::error::Error for LuksError {}

/// Prints `1, 2, 3`.
fn list(f: &mut fmt::Formatter<'_>, numbers: &[u32]) -> fmt::Result {
    for (index, number) in numbers.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(f, "{comma}{number}")?;
    }
    Ok(())
}

/// A text from the disk as it may stand in a log line: quoted, escaped, at most 40 characters of it.
pub(super) fn quote(text: &str) -> String {
    let start: String = text.chars().take(40).collect();
    let rest = if start.len() < text.len() { "..." } else { "" };
    format!("{start:?}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_tried_and_what_was_not() {
        let skipped = vec![
            Skipped { keyslot: 2, reason: "it needs 1 GiB".into() },
            Skipped { keyslot: 3, reason: "hash \"whirlpool\" is not supported".into() },
        ];
        for (error, text) in [
            (LuksError::WrongKey { tried: vec![1, 0] }, "no keyslot opens with this key (tried 1, 0)"),
            (
                LuksError::NotAllTried { tried: vec![0], skipped: skipped.clone() },
                "no keyslot that was tried opens with this key (tried 0); keyslot 2 could not be tried: it needs \
                 1 GiB; keyslot 3 could not be tried: hash \"whirlpool\" is not supported",
            ),
            (
                LuksError::NotAllTried { tried: vec![], skipped: skipped[..1].to_vec() },
                "keyslot 2 could not be tried: it needs 1 GiB",
            ),
            (
                LuksError::NotAllTried { tried: vec![], skipped: vec![skipped[0].clone(); 32] },
                "keyslot 2 could not be tried: it needs 1 GiB; keyslot 2 could not be tried: it needs 1 GiB; nor could \
                 30 more",
            ),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn text_from_the_disk_cannot_forge_a_log_line() {
        assert_eq!(quote("aes\n<0>panic"), r#""aes\n<0>panic""#);
        assert_eq!(quote(&"x".repeat(99)), format!("\"{}\"...", "x".repeat(40)));
    }
}
