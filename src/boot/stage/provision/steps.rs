//! A transaction on the machine: the table through the whole disk's node, partitions through their own, and the kernel
//! told of every change by BLKPG alone. Reading the table anew (BLKRRPART) fails as soon as one partition is in use, and
//! /usr is.

use crate::{
    boot::{
        disks::{Disk, apply},
        failure::{Failure, OrFail as _},
    },
    debug,
    disk::transaction::{Step, Transaction},
    luks, notice,
    sys::block::{BlockDevice, Node},
    units::{Bytes, PartitionNumber},
    warning,
};

/// Carries a transaction out. `fill` gets the device of each new partition and leaves it unmounted, unmapped and flushed.
///
/// # Errors
/// Any step that fails. The kernel then forgets the partitions that were to be made; the table on the disk is the one that
/// the last step left.
pub fn carry_out(
    disk: &mut Disk,
    transaction: Transaction,
    fill: &mut dyn FnMut(&BlockDevice, PartitionNumber) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Transaction { steps, after } = transaction;
    let name = &disk.device.name;
    if steps.is_empty() {
        return Ok(());
    }
    let whole =
        Node::open_shared(disk.device.node()).or_fail(|| format!("cannot open {name} for writing"))?;
    if !disk.gpt.backup_is_current() || !disk.gpt.primary_is_current() {
        notice!("{name}: repairing the partition table");
    }
    let mut staged = Staged { whole: &whole, numbers: Vec::new() };
    for step in steps {
        match step {
            Step::Table(writes) => apply(&writes, &whole)?,
            Step::Fill(number) => {
                let Some(new) = after.partition(number) else { continue };
                let (offset, length) = (new.offset(disk.block_size()), new.length(disk.block_size()));
                let device = disk.add(number, offset, length)?;
                staged.numbers.push(number);
                fill(&device, number)?;
            }
            Step::Erase(number) => {
                let Some(partition) = disk.gpt.partition(number) else { continue };
                erase(&disk.partition(partition)?)?;
            }
        }
    }
    staged.numbers.clear();
    drop(staged);
    for old in disk.gpt.partitions() {
        let (number, size) = (old.number, disk.block_size());
        let told = match after.partition(number) {
            None => whole.delete_partition(number),
            Some(new) if new.last != old.last => {
                // The kernel may not know it: it reads no backup table.
                disk.partition(old)?;
                whole.resize_partition(number, new.offset(size), new.length(size))
            }
            Some(_) => Ok(()),
        };
        told.or_fail(|| {
            format!("{name}: the kernel does not follow the change of partition {number}; reboot")
        })?;
    }
    disk.gpt = after;
    Ok(())
}

/// Partitions that only the kernel knows. Those that are still staged in the end are forgotten again.
struct Staged<'a> {
    whole: &'a Node,
    numbers: Vec<PartitionNumber>,
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        for number in &self.numbers {
            if let Err(error) = self.whole.delete_partition(*number) {
                let path = self.whole.path().display();
                warning!("{path}: the kernel keeps the unfinished partition {number}: {error}");
            }
        }
    }
}

/// Makes the content of a partition unrecognisable, and what was encrypted unreadable.
fn erase(device: &BlockDevice) -> Result<(), Failure> {
    let name = &device.name;
    let node = Node::open_exclusive(device.node())
        .or_fail(|| format!("cannot open {name}, which a factory reset is to erase"))?;
    let size = node.size().or_fail(|| format!("cannot measure {name}"))?;
    apply(&luks::erase(node.file(), size), &node)?;
    // Beyond that it is a courtesy to flash, which may then forget the rest.
    if let Err(error) = node.discard(Bytes(0), size) {
        debug!("{name}: nothing discarded: {error}");
    }
    node.flush_cache().or_fail(|| format!("cannot flush {name}"))?;
    notice!("{name}: erased");
    Ok(())
}
