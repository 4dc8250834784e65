//! The room that a plan needs on the root, compared with the room that is free, before the first change.

use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags, StatVfs};

use super::{
    EtcError,
    entry::Kind,
    manifest::Text,
    plan::{Plan, Step},
};

/// Blocks for directories and for what a file system keeps beside them.
const SPARE: u64 = 8;

/// The blocks that ext4 keeps even from root and counts as free all the same: of all a part, and no more than so many
/// (`ext4_calculate_resv_clusters` of fs/ext4/super.c).
const KEPT_PART: u64 = 50;
const KEPT: u64 = 4096;

/// The blocks that root can still fill. Nobody says how many of those that others cannot have are kept from root too; file systems
/// that keep none let others have all.
fn free(there: &StatVfs) -> u64 {
    let kept = there.f_bfree.saturating_sub(there.f_bavail);
    there.f_bfree.saturating_sub(kept.min(KEPT).min(there.f_blocks / KEPT_PART))
}

/// Checks that the new files of these steps, the journal and the manifest have room beside everything that is there.
///
/// # Errors
/// The root is full.
pub(super) fn check(
    etc: BorrowedFd<'_>,
    factory: BorrowedFd<'_>,
    plan: &Plan,
    journal: &Text,
    steps: &[usize],
) -> Result<(), EtcError> {
    let there = fs::fstatvfs(etc).map_err(EtcError::call("see how full", "/etc"))?;
    let block = there.f_frsize.max(512);
    let blocks = |bytes: u64| bytes.div_ceil(block);
    let kept = [journal.len(), plan.manifest.text().len()];
    let mut needed = SPARE + kept.into_iter().map(|bytes| blocks(bytes as u64)).sum::<u64>();
    let mut inodes = SPARE;
    for step in steps.iter().filter_map(|number| plan.steps.get(*number)) {
        let bytes = match step {
            Step::Remove { .. } | Step::Adjust { .. } => continue,
            Step::Write { content, .. } => content.len() as u64,
            Step::Put { from, entry, .. } => match &entry.kind {
                // A file that cannot be looked at is named when it is copied.
                Kind::File(_) => fs::statat(factory, from.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(0, |stat| u64::try_from(stat.st_size).unwrap_or(0)),
                Kind::Directory => block,
                _ => 0,
            },
        };
        needed = needed.saturating_add(blocks(bytes));
        inodes += 1;
    }
    // A file system without a count of inodes makes them as they are needed.
    let lacks_inodes = there.f_files > 0 && there.f_ffree < inodes;
    let free = free(&there);
    match needed > free || lacks_inodes {
        true => {
            Err(EtcError::Full { needed: needed.saturating_mul(block), free: free.saturating_mul(block) })
        }
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// statfs(2) of Linux 6.18 once root has filled the file system, and what it can still write.
    #[test]
    fn a_full_file_system_is_full() {
        let mut there = fs::statvfs("/").unwrap();
        for (name, blocks, free, available, expected) in [
            ("ext4 of 256 MiB in blocks of 1 KiB", 235_431, 4120, 0, 24),
            ("a tmpfs", 65_536, 0, 0, 0),
            (
                "an ext4 with room, of which root may have more than others",
                1_000_000,
                500_000,
                450_000,
                495_904,
            ),
            ("a small ext4", 10_000, 300, 100, 100),
            ("a btrfs", 1_000_000, 500_000, 500_000, 500_000),
        ] {
            (there.f_blocks, there.f_bfree, there.f_bavail) = (blocks, free, available);
            assert_eq!(super::free(&there), expected, "{name}");
        }
    }
}
