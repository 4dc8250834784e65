//! Grows a root that is smaller than its device, when policy says so and systemd will not do it.
//!
//! A partition that became larger is mapped whole by dm-crypt, because it is opened after that; only the file system is
//! left, which the kernel grows while it is mounted. systemd does the same after the hand-over, when the partition has
//! the attribute for it and /usr has systemd-growfs: then it is left to systemd.

use std::{fs::File, io, path::Path};

use crate::{
    boot::{policy::Expectation, stage::usr::Usr},
    disk::{probe, types},
    file_system::{FileSystem, Growth},
    notice,
    sys::{
        block::{BlockDevice, Kind, Node},
        btrfs, ext4,
    },
    units::Bytes,
    warning,
    writes::ReadAt as _,
};

/// The program that grows file systems after the hand-over, below /usr.
const GROWFS: &str = "usr/lib/systemd/systemd-growfs";

/// The most that is not worth a new block group: its own tables would fill it.
const LEAST: Bytes = Bytes(16 * Bytes::MIB);

/// Grows the file system of this kind that is mounted at `path` from `node`, which lies on `device`. A root that stays as
/// it is boots as well, so a failure is a warning.
pub(super) fn root(
    system: FileSystem,
    expectation: &Expectation,
    usr: &Usr,
    device: &BlockDevice,
    node: &Path,
    path: &Path,
) {
    if !expectation.grows() || (usr.tree().join(GROWFS).exists() && is_marked(usr, device)) {
        return;
    }
    let grown = match system.grows_by() {
        Some(Growth::Ext4) => ext4(node, path),
        Some(Growth::Btrfs) => btrfs(node, path),
        None => return,
    };
    match grown {
        Ok(None) => {}
        Ok(Some((before, after))) => notice!("root was {before} and has grown to {after}"),
        Err(error) => warning!("root stays smaller than its partition: {error}"),
    }
}

/// Returns true when the partition tells systemd to grow its file system.
fn is_marked(usr: &Usr, device: &BlockDevice) -> bool {
    let Kind::Partition { disk, number, .. } = &device.kind else { return false };
    usr.disk().filter(|known| known.device.name == *disk).is_some_and(|known| {
        known.gpt.partitions().iter().any(|partition| {
            partition.number == *number && partition.attributes & types::GROW_FILE_SYSTEM != 0
        })
    })
}

/// Grows an ext4 to the end of the device, if there is anything to gain; returns its size before and after.
fn ext4(node: &Path, path: &Path) -> io::Result<Option<(Bytes, Bytes)>> {
    let device = Node::open(node)?;
    let there = device.size()?;
    let mut start = [0; probe::EXT4_LENGTH];
    device.file().read_exact_at(Bytes(0), &mut start)?;
    let Some(size) = probe::ext4_size(&start) else { return Ok(None) };
    let before = Bytes(size.blocks.saturating_mul(size.block.into()));
    if there.0 < before.0.saturating_add(LEAST.0) {
        return Ok(None);
    }
    let blocks = there.0 / u64::from(size.block);
    ext4::resize(&File::open(path)?, blocks)?;
    Ok(Some((before, Bytes(blocks * u64::from(size.block)))))
}

/// The same for a btrfs.
fn btrfs(node: &Path, path: &Path) -> io::Result<Option<(Bytes, Bytes)>> {
    let size = || -> io::Result<Bytes> {
        let statistics = rustix::fs::statfs(path)?;
        let block = u64::try_from(statistics.f_bsize).unwrap_or_default();
        Ok(Bytes(statistics.f_blocks.saturating_mul(block)))
    };
    let (there, before) = (Node::open(node)?.size()?, size()?);
    if there.0 < before.0.saturating_add(LEAST.0) {
        return Ok(None);
    }
    btrfs::grow(&File::open(path)?)?;
    Ok(Some((before, size()?)))
}
