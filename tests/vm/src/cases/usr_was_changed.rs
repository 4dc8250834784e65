//! One byte is changed: in the first data block, on that block's path through the hash tree, in the verity superblock.
//! Each is found before the file system driver sees anything, and nothing is written. The unchanged disk boots.

use super::Context;
use super::small::{self, ENCRYPTED, Small, flip};
use crate::usr::VERITY_BLOCK;
use anyhow::{Context as _, Result, bail};

/// The superblock of erofs begins here in the first data block; ahead of it nothing of the file system is.
const FILE_SYSTEM: u64 = 1024;

/// Hashes of 32 bytes in one block of the tree.
const FAN_OUT: u64 = VERITY_BLOCK / 32;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let machine = small.machine(context)?;
    let blocks = std::fs::metadata(small.usr.data())?.len() / VERITY_BLOCK;
    if !(FAN_OUT + 1..=FAN_OUT * FAN_OUT).contains(&blocks) {
        bail!("{blocks} data blocks make no tree of two levels; adjust this test");
    }
    let hashes = small.hashes()?;
    // veritysetup writes the levels from the root down, behind the block of the superblock.
    let (root, leaf) = (hashes + VERITY_BLOCK, hashes + 2 * VERITY_BLOCK);
    let mismatch = "vda1 does not match root hash";
    for (what, offset, says) in [
        ("ahead of the file system", small::FIRST, mismatch),
        ("the file system's magic", small::FIRST + FILE_SYSTEM, mismatch),
        ("the end of the first block", small::FIRST + VERITY_BLOCK - 1, mismatch),
        ("the root of the tree", root, mismatch),
        ("the tree's leaf", leaf, mismatch),
        // Fields of struct verity_sb (cryptsetup: lib/verity/verity.c).
        ("the magic", hashes, "no dm-verity superblock"),
        ("the algorithm", hashes + 32, "dm-verity superblock: hash"),
        ("the data block size", hashes + 64, "dm-verity superblock: data block size"),
        ("the salt", hashes + 88, mismatch),
    ] {
        flip(&small.disk, offset)?;
        small::foretold(context, &machine, &small.disk, "usr", &[says])
            .with_context(|| format!("changed: {what}, byte {offset}"))?;
        flip(&small.disk, offset)?;
    }
    context.doctor_is_content(&machine, &small.disk)?;
    small.boot(context, "").context("the disk with every byte put back")?;
    Ok(())
}
