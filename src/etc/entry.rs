//! The description of one file of a tree: kind, mode, owner, and a digest in place of its content.

use core::fmt;
use std::prelude::v1::*;

use sha2::{Digest as _, Sha256};

use crate::map::Map;

/// A tree: entries by their path below /etc. A directory stands before its entries.
pub type Snapshot = Map<Entry>;

/// The longest path that Linux knows, in bytes (`PATH_MAX`).
const LONGEST_PATH: usize = 4095;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of content that was not read. No content has it.
    pub const UNREAD: Self = Self([0; 32]);

    /// The digest of this content.
    pub fn of(content: &[u8]) -> Self {
        Self(Sha256::digest(content).into())
    }

    /// Parses 64 lower-case hexadecimal digits, as `sha256sum` prints them.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut digest = [0; 32];
        if text.len() != 64 {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(text.chunks_exact(2)) {
            let mut value = 0;
            for digit in pair {
                let digit = match digit {
                    b'0'..=b'9' => digit - b'0',
                    b'a'..=b'f' => digit - b'a' + 10,
                    _ => return None,
                };
                value = value << 4 | digit;
            }
            *byte = value;
        }
        Some(Self(digest))
    }

    /// As `sha256sum` prints it, in ASCII. A manifest has hundreds of them.
    pub fn digits(&self) -> [u8; 64] {
        let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
        let mut digits = [0; 64];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        digits
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.digits()).unwrap_or_default())
    }
}

/// A digest under way: a large file is read in pieces.
#[derive(Clone, Default)]
pub struct Digester(Sha256);

impl Digester {
    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// The kind of a file, and its content.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A directory; its entries are separate.
    Directory,
    /// A regular file with content of this digest.
    File(Digest),
    /// A symbolic link to there.
    Link(Vec<u8>),
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A character device of this number, as `st_rdev` has it.
    Character(u64),
    /// A block device of this number, as `st_rdev` has it.
    Block(u64),
}

/// A file.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The kind.
    pub kind: Kind,
    /// Permission bits with set-user-id, set-group-id and sticky; 0o777 for a link, whose mode says nothing.
    pub mode: u32,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The digest of its extended attributes but for labels of security modules; None without attributes, and for
    /// links.
    pub xattrs: Option<Digest>,
}

impl Entry {
    /// Returns true for a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }
}

/// Returns true for a path below a directory: not empty, not absolute, without `.`, `..` and NUL.
pub fn is_path(path: &[u8]) -> bool {
    path.len() <= LONGEST_PATH
        && !path.contains(&0)
        && path.split(|&byte| byte == b'/').all(|name| !matches!(name, b"" | b"." | b".."))
}

/// The directory of a path; None at the top.
pub fn parent(path: &[u8]) -> Option<&[u8]> {
    let slash = path.iter().rposition(|&byte| byte == b'/')?;
    path.get(..slash)
}

/// The last name of a path.
pub fn name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

/// The path and the directories above it, the nearest first.
pub fn ancestry(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::successors(Some(path), |path| parent(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_sha256sum() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert_eq!(Digest::parse(empty.as_bytes()), Some(Digest::of(b"")));
        let mut digester = Digester::default();
        digester.update(b"a");
        digester.update(b"b");
        assert_eq!(digester.finish(), Digest::of(b"ab"));
        for wrong in ["", "e3b0", &empty.to_uppercase(), &format!("{empty}0")] {
            assert_eq!(Digest::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn paths_stay_below() {
        for (path, expected) in
            [("a", true), ("a/b.c", true), ("", false), ("/a", false), ("a/", false), ("a//b", false)]
        {
            assert_eq!(is_path(path.as_bytes()), expected, "{path}");
        }
        assert!(!is_path(b"a/../b") && !is_path(b".") && !is_path(b"a\0"));
        assert_eq!((parent(b"a/b/c"), parent(b"a"), name(b"a/b/c")), (Some(&b"a/b"[..]), None, &b"c"[..]));
        assert_eq!(ancestry(b"a/b").collect::<Vec<_>>(), [&b"a/b"[..], b"a"]);
    }
}
