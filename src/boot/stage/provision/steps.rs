//! A transaction on the machine: the table through the whole disk's node, partitions through their own, and the kernel
//! told of every change by BLKPG alone. Reading the table anew (BLKRRPART) fails as soon as one partition is in use, and
//! /usr is.

use crate::{
    boot::{
        disks::{Disk, apply},
        failure::{Failure, OrFail as _},
    },
    debug,
    disk::{
        gpt::Gpt,
        transaction::{Medium, Transaction},
    },
    luks, notice,
    sys::block::{BlockDevice, Node},
    units::{Bytes, PartitionNumber},
    warning,
    writes::Writes,
};

/// Carries out a transaction. `fill` gets the device of each new partition and leaves it unmounted, unmapped and
/// flushed.
///
/// # Errors
/// Any step that fails. The kernel then forgets the partitions that were to be made; the table on the disk is the one
/// that the last step left.
pub fn carry_out(
    disk: &mut Disk,
    transaction: Transaction,
    fill: &mut dyn FnMut(&BlockDevice, PartitionNumber) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let name = &disk.device.name;
    if transaction.steps.is_empty() {
        return Ok(());
    }
    let whole =
        Node::open_shared(disk.device.node()).or_fail(|| format!("cannot open {name} for writing"))?;
    if !disk.gpt.backup_is_current() || !disk.gpt.primary_is_current() {
        notice!("{name}: repairing the partition table");
    }
    let after = &transaction.after;
    let mut walk = Walk { disk, whole: &whole, after, fill, staged: Vec::new() };
    transaction.carry_out(&mut walk)?;
    walk.staged.clear();
    drop(walk);
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
    disk.gpt = transaction.after;
    Ok(())
}

/// The walk along the steps. Partitions that only the kernel knows, and that are still staged in the end, are forgotten again.
struct Walk<'a> {
    disk: &'a Disk,
    whole: &'a Node,
    after: &'a Gpt,
    fill: &'a mut dyn FnMut(&BlockDevice, PartitionNumber) -> Result<(), Failure>,
    staged: Vec<PartitionNumber>,
}

impl Medium for Walk<'_> {
    type Error = Failure;

    fn write_table(&mut self, writes: &Writes) -> Result<(), Failure> {
        apply(writes, self.whole)
    }

    /// No boot asks for it: it makes partitions where /usr has one already.
    fn forget(&mut self, _: &Writes) -> Result<(), Failure> {
        Err(Failure::new(format!("{}: a boot makes no partition table", self.disk.device.name)))
    }

    fn fill(&mut self, number: PartitionNumber) -> Result<(), Failure> {
        let Some(new) = self.after.partition(number) else { return Ok(()) };
        let (offset, length) = (new.offset(self.disk.block_size()), new.length(self.disk.block_size()));
        let device = self.disk.add(number, offset, length)?;
        self.staged.push(number);
        (self.fill)(&device, number)
    }

    fn erase(&mut self, number: PartitionNumber) -> Result<(), Failure> {
        let Some(partition) = self.disk.gpt.partition(number) else { return Ok(()) };
        erase(&self.disk.partition(partition)?)
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        for number in &self.staged {
            if let Err(error) = self.whole.delete_partition(*number) {
                let path = self.whole.path().display();
                warning!("{path}: the kernel keeps the unfinished partition {number}: {error}");
            }
        }
    }
}

/// Makes the content of a partition unrecognisable, and encrypted content unreadable.
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
