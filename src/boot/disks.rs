//! Disks with their partition tables, and the way from an entry of a table to the kernel's node for it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::failure::{Failure, OrFail};
use crate::{
    config::DeviceSpec,
    debug,
    disk::{
        gpt::{Geometry, Gpt, GptError},
        partition::Partition,
        probe::{self, Format, Superblock},
    },
    sys::block::{BlockDevice, Kind, Node},
    units::{Bytes, PartitionNumber},
    warning,
    writes::ReadAt,
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

impl Disk {
    /// Reads the table of a disk. None where there is none.
    ///
    /// # Errors
    /// The disk cannot be read, or both copies of its table are damaged: an error as text, since it matters only if this
    /// turns out to be the disk.
    pub fn read(device: &BlockDevice) -> Result<Option<Self>, String> {
        let name = device.node();
        let fail = |what: &str, error: &dyn std::fmt::Display| format!("{}: {what}: {error}", name.display());
        let node = Node::open(&name).map_err(|error| fail("open", &error))?;
        let block_size = node.block_size().map_err(|error| fail("block size", &error))?;
        let size = node.size().map_err(|error| fail("size", &error))?;
        let blocks = size.0.checked_div(u64::from(block_size)).unwrap_or(0);
        match Gpt::read(node.file(), Geometry { block_size, blocks }) {
            Ok(gpt) => Ok(Some(Self { device: device.clone(), node, gpt })),
            Err(GptError::None | GptError::Geometry { .. } | GptError::Mbr) => Ok(None),
            Err(error) => Err(fail("partition table", &error)),
        }
    }

    /// All disks among `devices` that have a table. What cannot be read is said once and passed over.
    pub fn all(devices: &[BlockDevice]) -> Vec<Self> {
        let disks = devices.iter().filter(|device| device.kind == Kind::Disk);
        disks
            .filter_map(|device| {
                Self::read(device).unwrap_or_else(|error| {
                    warning!("{error}; this disk is left out");
                    None
                })
            })
            .collect()
    }

    /// Bytes of a logical block.
    pub fn block_size(&self) -> u32 {
        self.gpt.geometry().block_size
    }

    /// The kernel's device for an entry of the table. Where the kernel has none (it does not read the backup table), it
    /// is told; where it has another range under that number, somebody changed the table behind its back.
    ///
    /// # Errors
    /// The kernel's idea of the partition is another one, or it refuses the partition.
    pub fn partition(&self, partition: &Partition) -> Result<BlockDevice, Failure> {
        let (offset, length) = (partition.offset(self.block_size()), partition.length(self.block_size()));
        let known = self.known(partition.number)?;
        let device = match known {
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
        self.known(number)?.ok_or_else(|| Failure::new(format!("{name}: partition {number} did not appear")))
    }

    /// What the kernel knows as partition `number` of this disk.
    fn known(&self, number: PartitionNumber) -> Result<Option<BlockDevice>, Failure> {
        let devices = BlockDevice::all().or_fail(|| "cannot list /sys/class/block".into())?;
        Ok(devices.into_iter().find(|device| {
            matches!(&device.kind, Kind::Partition { disk, number: n, .. } if *disk == self.device.name && *n == number)
        }))
    }
}

/// The device that a specification names, among those that are there. The boot disk's partitions come first where a
/// name is not unique, and then the name is said to be ambiguous.
///
/// # Errors
/// Two devices answer to the name and neither is on `preferred`.
pub fn resolve(
    spec: &DeviceSpec,
    devices: &[BlockDevice],
    preferred: Option<&str>,
) -> Result<Option<BlockDevice>, Failure> {
    let mut found: Vec<&BlockDevice> =
        devices.iter().filter(|device| answers(device, spec, devices)).collect();
    if found.len() > 1
        && let Some(preferred) = preferred
    {
        let on_preferred = |device: &&BlockDevice| disk_of(device) == preferred;
        if found.iter().any(on_preferred) {
            warning!("{spec} is not unique: {}; taking the one on {preferred}", names(&found));
            found.retain(on_preferred);
        }
    }
    match *found.as_slice() {
        [] => Ok(None),
        [device] => Ok(Some(device.clone())),
        _ => Err(Failure::new(format!(
            "{spec} is ambiguous: {}; remove one of the disks or name the device otherwise",
            names(&found)
        ))),
    }
}

fn names(devices: &[&BlockDevice]) -> String {
    devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The name of the disk that a device is, or is a part of.
pub fn disk_of(device: &BlockDevice) -> &str {
    match &device.kind {
        Kind::Disk => &device.name,
        Kind::Partition { disk, .. } => disk,
    }
}

fn answers(device: &BlockDevice, spec: &DeviceSpec, devices: &[BlockDevice]) -> bool {
    match spec {
        DeviceSpec::Name(name) => device.name.replace('!', "/") == *name,
        DeviceSpec::Number(number) => device.number == *number,
        DeviceSpec::Uuid(uuid) => {
            superblock(&device.node()).ok().flatten().is_some_and(|found| found.uuid == *uuid)
        }
        DeviceSpec::Label(label) => {
            superblock(&device.node()).ok().flatten().is_some_and(|found| found.label == *label)
        }
        DeviceSpec::PartUuid(uuid) => entry(device, devices)
            .map(|entry| entry.guid.to_string() == *uuid)
            .unwrap_or_else(|| kernel_partuuid(device).is_some_and(|known| known == *uuid)),
        DeviceSpec::PartLabel(label) => entry(device, devices).is_some_and(|entry| entry.label == *label),
    }
}

/// Reads what a device says it holds.
///
/// # Errors
/// The device cannot be read.
pub fn superblock(node: &Path) -> io::Result<Option<Superblock>> {
    let node = Node::open(node)?;
    let length = usize::try_from(node.size()?.0).unwrap_or(probe::LENGTH).min(probe::LENGTH);
    let mut start = vec![0; length];
    ReadAt::read_exact_at(node.file(), Bytes(0), &mut start)?;
    Ok(probe::probe(&start))
}

/// The name of the file system on `node`, which must be one of `allowed`, and `wanted` if that is given.
///
/// # Errors
/// It cannot be read, holds nothing known, or another file system.
pub fn file_system(node: &Path, allowed: &[Format], wanted: Option<&str>) -> Result<&'static str, Failure> {
    let found = superblock(node).or_fail(|| format!("cannot read {}", node.display()))?;
    let refuse = |reason: String| Err(Failure::new(format!("{}: {reason}", node.display())));
    let names = allowed.iter().map(Format::to_string).collect::<Vec<_>>().join(", ");
    let Some(found) = found else {
        return refuse(format!(
            "no file system that we know; it is damaged or was never written (wanted: {names})"
        ));
    };
    match found.format.mount_type() {
        Some(name) if allowed.contains(&found.format) => match wanted {
            Some(wanted) if wanted != name => {
                refuse(format!("holds {name}, but the command line says {wanted}; correct the command line"))
            }
            _ => Ok(name),
        },
        _ => refuse(format!("{} cannot be mounted here; use one of {names}", found.format)),
    }
}

/// The table's entry for a partition; None when its disk has no GPT.
pub fn entry(device: &BlockDevice, devices: &[BlockDevice]) -> Option<Partition> {
    let Kind::Partition { disk, number, .. } = &device.kind else { return None };
    let disk = devices.iter().find(|candidate| candidate.name == *disk)?;
    Disk::read(disk).ok()??.gpt.partition(*number).cloned()
}

/// What the kernel calls a partition of a table that is no GPT (`PARTUUID` of an MBR: disk signature and number).
fn kernel_partuuid(device: &BlockDevice) -> Option<String> {
    let uevent =
        fs::read_to_string(PathBuf::from("/sys/class/block").join(&device.name).join("uevent")).ok()?;
    uevent.lines().find_map(|line| line.strip_prefix("PARTUUID=")).map(str::to_lowercase)
}

/// Where a partition of `length` bytes at `offset` is on the disk, for messages.
pub fn range(offset: Bytes, length: Bytes) -> String {
    format!("{length} at {offset}")
}
