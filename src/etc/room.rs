//! The room that a plan needs on the root, compared with the room that is free, before the first change.

use std::os::fd::BorrowedFd;

use rustix::fs::{self, AtFlags};

use super::{
    EtcError,
    entry::Kind,
    manifest::Text,
    plan::{Plan, Step},
};

/// Blocks for directories and for what a file system keeps beside them.
const SPARE: u64 = 8;

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
    match needed > there.f_bfree || lacks_inodes {
        true => Err(EtcError::Full {
            needed: needed.saturating_mul(block),
            free: there.f_bfree.saturating_mul(block),
        }),
        false => Ok(()),
    }
}
