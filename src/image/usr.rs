//! /usr: the protection that it must have, and the refusals of one that is missing or was changed.

use core::fmt;
use std::prelude::v1::*;

use crate::{
    config::{Config, Uses, UsrSource},
    units::Bytes,
    verity::{RootHash, Superblock},
};

/// The reason why a disk was not looked at further.
pub const NO_TABLE: &str = "no disk with a GPT";

/// Checks that the command line can give /usr the protection that the image policy demands, before any /usr is looked for.
///
/// # Errors
/// It cannot: the reason.
pub fn permit_usr(config: &Config) -> Result<(), &'static str> {
    let policy = config.image_policy.usr;
    if config.usr.verity.is_some() {
        return match policy.allows(Uses::VERITY) || policy.allows(Uses::SIGNED) {
            true => Ok(()),
            false => Err(
                "systemd.image_policy= does not allow a verified /usr; remove usrhash=, or add usr=verity to it",
            ),
        };
    }
    // A signature brings the root hash along.
    let signed =
        policy.allows(Uses::SIGNED) && config.usr.source == UsrSource::Auto && config.usr.signature.is_some();
    match signed || policy.allows(Uses::UNPROTECTED) {
        true => Ok(()),
        false => Err("systemd.image_policy= demands a verified /usr, but there is no usrhash=; add it"),
    }
}

/// The subject of the search for /usr, in words.
pub fn subject(root_hash: Option<&RootHash>) -> String {
    match root_hash {
        Some(root_hash) => format!("/usr with root hash {root_hash}"),
        None => "/usr partition".to_owned(),
    }
}

/// The line about a disk `name` that has no /usr of the kernel image's version.
pub fn other_version(name: &str, version: &str, label: &str) -> String {
    format!("{name}: no /usr has version {version} of the kernel image; taking the newest, {label}")
}

/// Something that no device had in time.
pub struct Missing<'a> {
    /// The subject of the search.
    pub subject: &'a str,
    /// The time that it had, in seconds.
    pub seconds: u64,
    /// The reason why no device was it.
    pub why_not: &'a str,
    /// The names of the devices that are there.
    pub there: &'a [&'a str],
    /// The names of those that have not answered.
    pub silent: &'a [String],
}

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, seconds, why_not, there, silent } = self;
        let mut names = match there {
            [] => "there is no disk at all; is its driver in the initramfs?".to_owned(),
            names => format!("there are: {}", names.join(" ")),
        };
        if !silent.is_empty() {
            names += &format!("; no answer from {}, check the disk", silent.join(" "));
        }
        write!(f, "no {subject} within {seconds} s: {why_not}; {names}")
    }
}

/// The superblock of the hash tree on the device `hash`, which begins with these bytes; None when they cannot be read. It may
/// belong to the root hash, to /usr on the device `data`, and to the sizes of both.
///
/// # Errors
/// It cannot: the reason.
pub fn superblock(
    root_hash: &RootHash,
    (data, data_size): (&str, Bytes),
    (hash, hash_size): (&str, Bytes),
    bytes: Result<&[u8], String>,
) -> Result<Superblock, String> {
    let superblock = bytes.and_then(|bytes| Superblock::parse(bytes).map_err(|error| error.to_string()));
    let superblock =
        superblock.map_err(|error| format!("{hash}: cannot read the verity superblock: {error}"))?;
    superblock.check(root_hash, data_size, hash_size).map_err(|error| {
        format!("{data}: its hash tree on {hash} is not for it") + ": " + &error.to_string()
    })?;
    Ok(superblock)
}

/// The refusal of a /usr on the device `name` that is not what its root hash says, with the result of the attempt to read it.
pub fn mismatch(name: &str, root_hash: &RootHash, detail: &dyn fmt::Display) -> String {
    format!(
        "{name} does not match root hash {root_hash}: {detail}; /usr, its hash tree or the command line was changed, \
         write the image anew"
    )
}

/// The refusal of a /usr whose device `name` fails while it is read, and where nothing that was read has been changed.
pub fn unreadable(name: &str, error: &dyn fmt::Display) -> String {
    format!(
        "{name}: /usr cannot be read: {error}; what could be read is unchanged, so the medium fails: check the disk and \
         its cable"
    )
}

/// The refusal for this reason of a /usr in which dm-verity has met a changed block.
pub fn changed(reason: &str) -> String {
    format!("{reason}; dm-verity has met a changed block of /usr, write the image anew")
}
