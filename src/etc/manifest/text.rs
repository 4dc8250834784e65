//! The lines of a manifest or a journal.
//!
//! The first boot writes hundreds of them: bytes are put one behind the other, without a formatter.

use core::ops::Deref;
use std::prelude::v1::*;

use super::{
    super::entry::{Digest, Entry, Kind},
    END,
};
use crate::sort;

/// Room for some hundred entries of a tree, in bytes, and of the user databases.
const USUAL: (usize, usize) = (28 << 10, 12 << 10);

/// A manifest or a journal as its file holds it, checksum and all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text(Vec<u8>);

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Lines under way. They may come in any order, as directories have it, and are sorted by path in the end: the same tree makes the
/// same text.
pub struct Lines {
    /// Each line with its path at the front.
    tree: Vec<u8>,
    count: usize,
    users: Vec<u8>,
}

impl Lines {
    /// Nothing yet.
    pub(in crate::etc) fn new() -> Self {
        Self { tree: Vec::with_capacity(USUAL.0), count: 0, users: Vec::with_capacity(USUAL.1) }
    }

    /// One entry of a tree; its path comes in two pieces that belong together.
    pub(in crate::etc) fn entry(&mut self, [above, name]: [&[u8]; 2], entry: &Entry) {
        self.count += 1;
        let line = &mut self.tree;
        escape(line, above);
        escape(line, name);
        let kind = match &entry.kind {
            Kind::Directory => b'd',
            Kind::File(_) => b'f',
            Kind::Link(_) => b'l',
            Kind::Fifo => b'p',
            Kind::Socket => b's',
            Kind::Character(_) => b'c',
            Kind::Block(_) => b'b',
        };
        line.extend_from_slice(&[b' ', kind, b' ']);
        for (value, radix) in [(entry.mode, 8), (entry.uid, 10), (entry.gid, 10)] {
            number(line, value.into(), radix);
            line.push(b' ');
        }
        match &entry.kind {
            Kind::Directory | Kind::Fifo | Kind::Socket => line.push(b'-'),
            Kind::File(digest) => line.extend_from_slice(&digest.digits()),
            Kind::Link(target) => escape(line, target),
            Kind::Character(device) | Kind::Block(device) => number(line, *device, 10),
        }
        line.push(b' ');
        match &entry.xattrs {
            Some(digest) => line.extend_from_slice(&digest.digits()),
            None => line.push(b'-'),
        }
        line.push(b'\n');
    }

    /// Nothing is at this path.
    pub(super) fn absence(&mut self, path: &[u8]) {
        self.count += 1;
        escape(&mut self.tree, path);
        self.tree.extend_from_slice(b" -\n");
    }

    /// The entry of a user database with this key.
    pub(in crate::etc) fn user(&mut self, key: &[u8], digest: &Digest) {
        let line = &mut self.users;
        let colon = key.iter().position(|&byte| byte == b':').unwrap_or(key.len());
        let (file, name) = key.split_at(colon);
        let name = name.get(1..).unwrap_or_default();
        for word in [b"u ", file, b" ", &digest.digits(), b" "] {
            line.extend_from_slice(word);
        }
        escape(line, name);
        line.push(b'\n');
    }

    /// The whole text, behind the first lines.
    pub(super) fn finish(self, first: &[&[u8]]) -> Text {
        let mut lines = Vec::with_capacity(self.count);
        lines.extend(self.tree.split_inclusive(|&byte| byte == b'\n'));
        sort::slice(&mut lines);
        let length =
            first.iter().map(|piece| piece.len()).sum::<usize>() + self.tree.len() + self.users.len();
        let mut text = Vec::with_capacity(length + END.len() + 65);
        first.iter().for_each(|piece| text.extend_from_slice(piece));
        for line in lines {
            let path = line.iter().position(|&byte| byte == b' ').unwrap_or_default();
            let (path, rest) = line.split_at(path);
            for piece in [rest.trim_ascii(), b" ", path, b"\n"] {
                text.extend_from_slice(piece);
            }
        }
        text.extend_from_slice(&self.users);
        let sum = Digest::of(&text).digits();
        for piece in [END, &sum, b"\n"] {
            text.extend_from_slice(piece);
        }
        Text(text)
    }
}

/// Adds a number.
fn number(line: &mut Vec<u8>, value: u64, radix: u64) {
    if value >= radix {
        number(line, value / radix, radix);
    }
    line.push(digit(value % radix));
}

/// Adds bytes as a field of a line.
pub(super) fn escape(line: &mut Vec<u8>, bytes: &[u8]) {
    let is_plain = |byte: &u8| matches!(byte, b'!'..=b'~') && *byte != b'\\';
    if bytes.iter().all(is_plain) {
        return line.extend_from_slice(bytes);
    }
    for byte in bytes {
        match is_plain(byte) {
            true => line.push(*byte),
            false => {
                line.extend_from_slice(b"\\x");
                line.extend([byte >> 4, byte & 15].map(|nibble| digit(nibble.into())));
            }
        }
    }
}

/// The digit of a value below 16.
fn digit(value: u64) -> u8 {
    b"0123456789abcdef".get(value as usize).copied().unwrap_or(b'?')
}
