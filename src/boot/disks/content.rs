//! The content of a device, by the superblock at its start.

use std::{io, path::Path};

use super::reads::Source;
use crate::{
    boot::failure::{Failure, OrFail as _},
    config::PartitionPolicy,
    disk::probe::{self, Superblock},
    file_system::FileSystem,
    image,
    luks::Header,
    repart::Protection,
    sys::block::Node,
    units::Bytes,
};

/// Reads the superblock of a device; None for unknown content.
///
/// # Errors
/// The device cannot be read.
pub fn superblock(node: &Path) -> io::Result<Option<Superblock>> {
    let node = Node::open(node)?;
    superblock_of(node.file(), node.size()?)
}

/// The superblock of a device of this size; None for unknown content.
///
/// # Errors
/// The device cannot be read.
pub(super) fn superblock_of(device: &Source, size: Bytes) -> io::Result<Option<Superblock>> {
    Ok(probe::probe(&start(device, size)?))
}

/// The protection of a partition's content.
///
/// # Errors
/// The device cannot be read.
pub fn protection(node: &Path) -> io::Result<Protection> {
    let node = Node::open(node)?;
    let is_null = || Header::read(node.file()).is_ok_and(|header| header.names_null_cipher());
    Ok(Protection::of(&start(node.file(), node.size()?)?, &is_null))
}

fn start(device: &Source, size: Bytes) -> io::Result<Vec<u8>> {
    let length = usize::try_from(size.0).unwrap_or(probe::LENGTH).min(probe::LENGTH);
    let mut start = vec![0; length];
    device.read_exact_at(Bytes(0), &mut start)?;
    Ok(start)
}

/// The file system on `node`, which must be one that is `allowed`, and `wanted` if that is given.
///
/// # Errors
/// It cannot be read, holds nothing known, or another file system.
pub fn file_system(
    node: &Path,
    allowed: fn(FileSystem) -> bool,
    policy: PartitionPolicy,
    wanted: Option<&str>,
) -> Result<FileSystem, Failure> {
    let found = superblock(node).or_fail(|| format!("cannot read {}", node.display()))?;
    image::file_system(&node.display().to_string(), found.as_ref(), allowed, policy, wanted)
        .map_err(Failure::new)
}
