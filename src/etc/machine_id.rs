//! The machine id: what /etc/machine-id says, and the id that is kept beside it.
//!
//! A new root gets `uninitialized` in /etc/machine-id, so that systemd sees a first boot, runs its presets and the units
//! that ask for it, and commits the id only when all that is done (machine-id(5), "First Boot Semantics"). Until then
//! the id must come from us, and it must be the same at every attempt: it is the seed of partition ids and names
//! per-machine files. So the chosen id is kept in [`KEPT`] on the root, is offered in /run/machine-id as long as
//! /etc/machine-id says `uninitialized`, and means nothing any more once systemd has committed it.

use core::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;

use super::{EtcError, atomic, store};
use crate::{
    durable::Durable,
    tree::{
        Tree, open,
        read::{self, Limit, ReadError},
        watch::Watch,
    },
};

/// The file on the root that keeps the chosen id, as seen from the root. One line, 32 hexadecimal digits, mode 0444.
pub const KEPT: &str = "var/lib/hermetic-init/machine-id";
/// The content of /etc/machine-id before the first boot is over (machine-id(5)).
const UNINITIALIZED: &[u8] = b"uninitialized\n";
/// The mode of both files.
const MODE: u32 = 0o444;
/// No valid file of this kind is longer.
const MAX_LENGTH: Limit = Limit::bytes(64);

/// A machine id: 128 bits, not all zero, printed as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MachineId([u8; 16]);

impl MachineId {
    /// From random bytes, made a version 4 UUID as systemd does (`id128_make_v4_uuid`).
    pub fn from_random(mut bytes: [u8; 16]) -> Self {
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
        *version = (*version & 0x0f) | 0x40;
        *variant = (*variant & 0x3f) | 0x80;
        Self(bytes)
    }

    /// From bytes that are an id already; None for all zeros, which is not an id.
    pub fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        (bytes != [0; 16]).then_some(Self(bytes))
    }

    /// Parses 32 hexadecimal digits of either case, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut digits = text.bytes();
        let mut bytes = [0; 16];
        for byte in &mut bytes {
            let (high, low) = (hex(digits.next()?)?, hex(digits.next()?)?);
            *byte = high << 4 | low;
        }
        digits.next().is_none().then_some(())?;
        Self::from_bytes(bytes)
    }

    /// Parses the UUID of /sys/class/dmi/id/product_uuid: digits with or without dashes, a newline behind. None for all
    /// zeros and all ones, which firmware without an id returns.
    pub fn from_dmi(text: &str) -> Option<Self> {
        let digits: String = text.trim_end().chars().filter(|&digit| digit != '-').take(33).collect();
        Self::parse(&digits).filter(|id| id.0 != [0xff; 16])
    }

    /// The 16 bytes, in the order in which they are printed.
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// As a file holds it: the digits and a newline.
    pub fn line(&self) -> String {
        format!("{self}\n")
    }
}

impl fmt::Display for MachineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// The states of /etc/machine-id (machine-id(5)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// No such file: systemd sees a first boot.
    Missing,
    /// `uninitialized`: systemd sees a first boot.
    Uninitialized,
    /// Empty: no first boot, the id is set up at boot and committed when it can be.
    Empty,
    /// The machine has this id.
    Valid(MachineId),
    /// Something else; systemd takes it for none and sets up an id.
    Malformed,
    /// A link that leads nowhere: somebody else looks after the id, later. systemd sees a first boot.
    Dangling,
}

impl State {
    /// Returns true when systemd will ask for an id, which may then be offered.
    pub fn first_boot(self) -> bool {
        matches!(self, Self::Missing | Self::Uninitialized | Self::Dangling)
    }

    fn parse(content: &[u8]) -> Self {
        match content {
            b"" => Self::Empty,
            b"uninitialized" | UNINITIALIZED => Self::Uninitialized,
            _ => core::str::from_utf8(content.strip_suffix(b"\n").unwrap_or(content))
                .ok()
                .and_then(MachineId::parse)
                .map_or(Self::Malformed, Self::Valid),
        }
    }
}

/// Reads the state of /etc/machine-id below `root`. A link is followed inside the root, as systemd does after the
/// hand-over (systemd: src/shared/machine-id-setup.c).
///
/// # Errors
/// /etc that is not a directory, and a file that cannot be read.
pub fn state(root: BorrowedFd<'_>) -> Result<State, EtcError> {
    let etc = match open::directory(root, "etc") {
        Err(Errno::NOENT) => return Ok(State::Missing),
        etc => etc.map_err(EtcError::call("open", "/etc"))?,
    };
    let file = match open::file(etc.as_fd(), "machine-id") {
        Err(Errno::NOENT) => return Ok(State::Missing),
        Err(Errno::LOOP) => match Tree::whole(root).open_read("/etc/machine-id") {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(State::Dangling),
            // Neither a file nor a directory: it is not opened.
            Err(Errno::INVAL) => return Ok(State::Malformed),
            file => file,
        },
        file => file,
    };
    match read::start(file.map_err(EtcError::call("open", "/etc/machine-id"))?, MAX_LENGTH) {
        Ok(content) => Ok(State::parse(&content)),
        Err(ReadError::NotAFile) => Ok(State::Malformed),
        Err(error) => Err(EtcError::call("read", "/etc/machine-id")(error.errno())),
    }
}

/// Writes `uninitialized` into /etc/machine-id when the file is missing, and returns the state from then on. An
/// existing file stays.
///
/// # Errors
/// As [`state`], and the error of the file system.
pub fn initialize(root: BorrowedFd<'_>, durable: Durable, watch: &dyn Watch) -> Result<State, EtcError> {
    let found = state(root)?;
    if found == State::Missing {
        let etc = open::directory(root, "etc").map_err(EtcError::call("open", "/etc"))?;
        // A power cut must not leave an empty file: systemd would see no first boot.
        atomic::write(etc.as_fd(), "/etc/machine-id", UNINITIALIZED, MODE, durable, watch)?;
        return Ok(State::Uninitialized);
    }
    Ok(found)
}

/// The id that an earlier boot kept on this root, if it is one.
///
/// # Errors
/// The error of the file system; a file without an id counts as missing.
pub fn kept(root: BorrowedFd<'_>) -> Result<Option<MachineId>, EtcError> {
    let Some(directory) = store::find(root)? else { return Ok(None) };
    match read::named(directory.as_fd(), "machine-id", MAX_LENGTH) {
        Ok(content) => Ok(match State::parse(&content) {
            State::Valid(id) => Some(id),
            _ => None,
        }),
        Err(ReadError::Call(errno)) if !matches!(errno, Errno::NOENT | Errno::LOOP) => {
            Err(EtcError::call("read", "/var/lib/hermetic-init/machine-id")(errno))
        }
        Err(_) => Ok(None),
    }
}

/// Keeps the chosen id on the root, in place of one that was kept before.
///
/// # Errors
/// The error of the file system, and a component of the path that is not a directory.
pub fn keep(
    root: BorrowedFd<'_>,
    id: MachineId,
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(), EtcError> {
    let directory = store::make(root)?;
    atomic::write(
        directory.as_fd(),
        "/var/lib/hermetic-init/machine-id",
        id.line().as_bytes(),
        MODE,
        durable,
        watch,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn the_states_of_the_file() {
        let id = MachineId::parse(ID).unwrap();
        for (content, state) in [
            ("", State::Empty),
            ("uninitialized\n", State::Uninitialized),
            ("uninitialized", State::Uninitialized),
            ("0123456789abcdef0123456789abcdef\n", State::Valid(id)),
            ("0123456789ABCDEF0123456789ABCDEF\n", State::Valid(id)),
            ("0123456789abcdef0123456789abcdef\n\n", State::Malformed),
            ("00000000000000000000000000000000\n", State::Malformed),
            ("01234567-89ab-cdef-0123-456789abcdef\n", State::Malformed),
            ("0123456789abcdef", State::Malformed),
        ] {
            assert_eq!(State::parse(content.as_bytes()), state, "{content:?}");
        }
        assert_eq!(id.to_string(), ID);
    }

    #[test]
    fn random_bytes_become_a_version_4_uuid() {
        assert_eq!(MachineId::from_random([0xff; 16]).to_string(), "ffffffffffff4fffbfffffffffffffff");
        assert_eq!(MachineId::from_random([0; 16]).to_string(), "00000000000040008000000000000000");
    }

    #[test]
    fn firmware_without_an_id_has_none() {
        assert_eq!(MachineId::from_dmi("01234567-89AB-CDEF-0123-456789ABCDEF\n"), MachineId::parse(ID));
        assert_eq!(MachineId::from_dmi("ffffffff-ffff-ffff-ffff-ffffffffffff\n"), None);
        assert_eq!(MachineId::from_dmi("00000000-0000-0000-0000-000000000000\n"), None);
        assert_eq!(MachineId::from_dmi("Not Settable\n"), None);
    }
}
