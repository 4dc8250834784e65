//! Disks with their partition tables, and the way from an entry of a table to the kernel's node for it.

use super::{
    apply::apply,
    reads::{Recorder, Source},
};
use crate::{
    boot::failure::{Failure, OrFail as _},
    debug,
    disk::{
        gpt::{Copy, Geometry, Gpt, GptError},
        partition::Partition,
    },
    sys::block::{BlockDevice, Kind, Node},
    units::{Bytes, PartitionNumber},
};

/// A whole disk and the table on it.
pub struct Disk {
    /// The disk.
    pub device: BlockDevice,
    /// Its node, open for reading: for tables alone. Partitions are read through their own nodes; the two page caches do
    /// not see each other.
    pub node: Node,
    /// The table, read once.
    pub gpt: Gpt,
}

/// The table of a disk, without the disk.
pub struct Table {
    /// The disk.
    pub device: BlockDevice,
    /// The table.
    pub gpt: Gpt,
}

impl Table {
    /// The table that these bytes hold. None for a disk without a table.
    ///
    /// # Errors
    /// The disk cannot be read, both copies of its table are damaged, or it is for sectors of another size: an error as text, since it matters only if
    /// this turns out to be the disk.
    pub fn read(device: &BlockDevice, disk: &Source, geometry: Geometry) -> Result<Option<Self>, String> {
        match Gpt::read(disk, geometry) {
            Ok(gpt) => Ok(Some(Self { device: device.clone(), gpt })),
            Err(GptError::None | GptError::Geometry { .. }) => Ok(None),
            // A table that does not fit this disk is said; that a disk holds something else is nobody's concern.
            Err(GptError::Foreign(label)) if !label.is_gpt() => Ok(None),
            Err(error) => {
                Err(format!("cannot use the partition table of {}: {error}", device.node().display()))
            }
        }
    }

    /// The disk with this table. Nothing is read again.
    ///
    /// # Errors
    /// Its node cannot be opened.
    pub fn open(&self) -> Result<Disk, Failure> {
        let node = Node::open(self.device.node()).or_fail(|| format!("cannot open {}", self.device.name))?;
        Ok(Disk { device: self.device.clone(), node, gpt: self.gpt.clone() })
    }
}

impl Disk {
    /// Reads the table of a disk. None for a disk without a table.
    ///
    /// # Errors
    /// The disk cannot be opened or measured; as [`Table::read`].
    pub fn read(device: &BlockDevice) -> Result<Option<Self>, String> {
        let disk = Recorder::open(&device.node())?;
        let table = Table::read(device, &disk, disk.geometry())?;
        let (node, _) = disk.stop();
        Ok(table.map(|Table { device, gpt }| Self { device, node, gpt }))
    }

    /// Reads the table of the disk that a device is, or is a part of. None when it has none.
    ///
    /// # Errors
    /// As [`Disk::read`].
    pub fn below(device: &BlockDevice) -> Result<Option<Self>, String> {
        BlockDevice::named(disk_of(device)).map_or(Ok(None), |disk| Self::read(&disk))
    }

    /// Writes the primary table again when it was damaged and the table comes from its backup. Returns true when it did.
    ///
    /// # Errors
    /// The disk cannot be written, or a partition lies where the table belongs.
    pub fn mend(&self) -> Result<bool, Failure> {
        if self.gpt.source() != Copy::Backup {
            return Ok(false);
        }
        let name = &self.device.name;
        let plan = self.gpt.repair().or_fail(|| name.clone())?;
        let node =
            Node::open_shared(self.device.node()).or_fail(|| format!("cannot open {name} for writing"))?;
        apply(&plan, &node)?;
        Ok(true)
    }

    /// Returns true when nothing can be written to the disk.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn is_read_only(&self) -> Result<bool, Failure> {
        self.node.is_read_only().or_fail(|| format!("cannot learn if {} is read-only", self.device.name))
    }

    /// Bytes of a logical block.
    pub fn block_size(&self) -> u32 {
        self.gpt.geometry().block_size
    }

    /// The kernel's device for an entry of the table. When the kernel does not know the partition (it does not read the
    /// backup table), it is told; when it has another range under that number, the table was changed without its
    /// knowledge.
    ///
    /// # Errors
    /// The kernel has another range for the partition, or it refuses the partition.
    pub fn partition(&self, partition: &Partition) -> Result<BlockDevice, Failure> {
        let (offset, length) = (partition.offset(self.block_size()), partition.length(self.block_size()));
        let device = match BlockDevice::partition(&self.device.name, partition.number) {
            Some(device) => device,
            None => self.add(partition.number, offset, length)?,
        };
        match device.kind {
            Kind::Partition { start, length: known, .. }
                if start.bytes() == Some(offset) && known.bytes() == Some(length) =>
            {
                Ok(device)
            }
            _ => Err(Failure::new(format!(
                "{}: the kernel has another range for it than the partition table; reboot, and check the table",
                device.name
            ))),
        }
    }

    /// Tells the kernel of a partition and returns its device.
    ///
    /// # Errors
    /// The range or the number is taken, or the node does not appear.
    pub fn add(&self, number: PartitionNumber, offset: Bytes, length: Bytes) -> Result<BlockDevice, Failure> {
        let name = &self.device.name;
        debug!("{name}: telling the kernel of partition {number}, {}", range(offset, length));
        self.node
            .add_partition(number, offset, length)
            .or_fail(|| format!("{name}: the kernel refuses partition {number}"))?;
        BlockDevice::partition(name, number)
            .ok_or_else(|| Failure::new(format!("{name}: partition {number} did not appear")))
    }
}

/// The name of the disk that a device is, or is a part of.
pub fn disk_of(device: &BlockDevice) -> &str {
    match &device.kind {
        Kind::Disk => &device.name,
        Kind::Partition { disk, .. } => disk,
    }
}

/// The table's entry for a partition; None when its disk has no GPT.
pub fn entry(device: &BlockDevice) -> Option<Partition> {
    let Kind::Partition { number, .. } = &device.kind else { return None };
    below(device)?.gpt.partition(*number).cloned()
}

/// The disk that a device is a part of, or is; None when it has no GPT, or one that cannot be used.
pub fn below(device: &BlockDevice) -> Option<Disk> {
    Disk::below(device).unwrap_or_else(|error| {
        debug!("{error}; its table names nothing");
        None
    })
}

/// The range of a partition of `length` bytes at `offset` on the disk, for messages.
pub fn range(offset: Bytes, length: Bytes) -> String {
    format!("{length} at {offset}")
}
