//! Block devices: their facts in sysfs, and the ioctls on their nodes.

use std::{
    fs::{self, File, OpenOptions},
    io,
    mem::offset_of,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::{
    fs::OFlags,
    io::Errno,
    ioctl::{Getter, NoArg, Opcode, Setter, ioctl},
};

use super::attribute;
use crate::sort;
use crate::units::{Bytes, DeviceNumber, PartitionNumber, Sector512};

const BLKGETSIZE64: Opcode = linux_raw_sys::ioctl::BLKGETSIZE64 as Opcode;
const BLKROGET: Opcode = linux_raw_sys::ioctl::BLKROGET as Opcode;
const BLKSSZGET: Opcode = linux_raw_sys::ioctl::BLKSSZGET as Opcode;
const BLKFLSBUF: Opcode = linux_raw_sys::ioctl::BLKFLSBUF as Opcode;
const BLKDISCARD: Opcode = linux_raw_sys::ioctl::BLKDISCARD as Opcode;
const BLKPG: Opcode = linux_raw_sys::ioctl::BLKPG as Opcode;
const BLKPG_ADD_PARTITION: i32 = 1;
const BLKPG_DEL_PARTITION: i32 = 2;
const BLKPG_RESIZE_PARTITION: i32 = 3;

/// `struct blkpg_partition` of uapi/linux/blkpg.h.
#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: i32,
    devname: [u8; 64],
    volname: [u8; 64],
}

/// `struct blkpg_ioctl_arg` of uapi/linux/blkpg.h.
#[repr(C)]
struct BlkpgIoctlArg {
    op: i32,
    flags: i32,
    datalen: i32,
    data: *mut BlkpgPartition,
}

// As the C compiler of a 64-bit kernel lays them out.
const _: () = {
    assert!(size_of::<BlkpgPartition>() == 152);
    assert!(offset_of!(BlkpgPartition, start) == 0 && offset_of!(BlkpgPartition, length) == 8);
    assert!(offset_of!(BlkpgPartition, number) == 16 && offset_of!(BlkpgPartition, devname) == 20);
    assert!(offset_of!(BlkpgPartition, volname) == 84);
    assert!(size_of::<BlkpgIoctlArg>() == 24);
    assert!(offset_of!(BlkpgIoctlArg, op) == 0 && offset_of!(BlkpgIoctlArg, flags) == 4);
    assert!(offset_of!(BlkpgIoctlArg, datalen) == 8 && offset_of!(BlkpgIoctlArg, data) == 16);
};

/// The directory with a link for each block device.
const SYSFS: &str = "/sys/class/block";

/// A block device as sysfs shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockDevice {
    /// The kernel's name, also the node's name below /dev (`vda`, `nvme0n1p2`).
    pub name: String,
    /// Its number.
    pub number: DeviceNumber,
    /// The kind.
    pub kind: Kind,
    /// The `PARTUUID` of a partition by the kernel's word, which has read the tables itself: of a GPT the entry's GUID, of an MBR
    /// disk signature and number. None from a kernel that does not say it.
    pub partuuid: Option<String>,
}

/// Whole disk or part of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A disk with hardware (or a hypervisor) behind it.
    Disk,
    /// A partition.
    Partition {
        /// The kernel's name of the disk.
        disk: String,
        /// Its number in the table.
        number: PartitionNumber,
        /// The start.
        start: Sector512,
        /// The length.
        length: Sector512,
    },
}

impl BlockDevice {
    /// All disks and partitions there are now, by name. Devices without hardware behind them (loop, ram, dm) are left
    /// out, and so are those without a medium. Those that are `known`, by name as well, are taken for what they were: looking at each
    /// of many partitions anew is felt.
    ///
    /// # Errors
    /// sysfs cannot be listed.
    pub fn all(known: &[Self]) -> io::Result<Vec<Self>> {
        let mut devices = Vec::new();
        for entry in fs::read_dir(SYSFS)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            let at = known.binary_search_by(|device| device.name.as_str().cmp(name));
            match at.ok().and_then(|at| known.get(at)) {
                Some(device) => devices.push(device.clone()),
                // A device may be gone between the listing and the look: then it is not there.
                None => devices.extend(Self::named(name)),
            }
        }
        sort::by(&mut devices, |a, b| a.name.cmp(&b.name));
        Ok(devices)
    }

    /// The disk or partition of this name; None when there is none, or as it is left out of [`BlockDevice::all`].
    pub fn named(name: &str) -> Option<Self> {
        let sysfs = Path::new(SYSFS).join(name);
        // One file has nearly everything: with many partitions each one more is felt.
        let uevent = fs::read(sysfs.join("uevent")).ok()?;
        // Kernels before 6.4 copy the label of a partition into it byte by byte: that need not be text.
        let uevent = String::from_utf8_lossy(&uevent);
        let fact = |name: &str| uevent.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let number =
            DeviceNumber { major: fact("MAJOR")?.parse().ok()?, minor: fact("MINOR")?.parse().ok()? };
        let length = Sector512(attribute(sysfs.join("size"))?.parse().ok()?);
        let kind = match fact("PARTN") {
            Some(partition) => Kind::Partition {
                disk: fs::read_link(&sysfs).ok()?.parent()?.file_name()?.to_str()?.into(),
                number: PartitionNumber(partition.parse().ok()?),
                start: Sector512(attribute(sysfs.join("start"))?.parse().ok()?),
                length,
            },
            None if length.0 > 0 && sysfs.join("device").exists() => Kind::Disk,
            None => return None,
        };
        let partuuid = fact("PARTUUID").map(str::to_ascii_lowercase);
        Some(Self { name: name.into(), number, kind, partuuid })
    }

    /// The partition of this number on the disk of this name, if the kernel knows one. It names them by both, with a `p` between
    /// two digits (block/partitions/core.c, `add_partition`).
    pub fn partition(disk: &str, number: PartitionNumber) -> Option<Self> {
        let between = if disk.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
        let device = Self::named(&format!("{disk}{between}{number}"))?;
        matches!(&device.kind, Kind::Partition { disk: of, number: n, .. } if of == disk && *n == number)
            .then_some(device)
    }

    /// Its number in the table of its disk; None for a whole disk.
    pub fn partition_number(&self) -> Option<PartitionNumber> {
        match self.kind {
            Kind::Partition { number, .. } => Some(number),
            Kind::Disk => None,
        }
    }

    /// The node below /dev.
    pub fn node(&self) -> PathBuf {
        Path::new("/dev").join(&self.name)
    }
}

/// The number of times that a node was opened for writing, and closed again.
static CHANGES: AtomicU32 = AtomicU32::new(0);

/// The number of changes that this process may have made to block devices so far: when it is another one, what was read before may
/// be old.
pub fn changes() -> u32 {
    CHANGES.load(Ordering::Relaxed)
}

/// An open whole disk or partition.
pub struct Node {
    file: File,
    path: PathBuf,
    writes: bool,
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.writes {
            CHANGES.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Node {
    /// Opens a node for reading.
    ///
    /// # Errors
    /// The error of open(2).
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        Ok(Self { file: OpenOptions::new().read(true).open(&path)?, path, writes: false })
    }

    /// Opens a node for reading and writing, exclusively: fails with EBUSY when it is mounted or mapped.
    ///
    /// # Errors
    /// The error of open(2); EROFS: the device cannot be written to.
    pub fn open_exclusive(path: impl Into<PathBuf>) -> io::Result<Self> {
        Self::open_for_writing(path.into(), OFlags::EXCL)
    }

    /// Opens a node for reading and writing although partitions of it are in use: a disk whose table is to be written.
    ///
    /// # Errors
    /// The error of open(2); EROFS: the device cannot be written to.
    pub fn open_shared(path: impl Into<PathBuf>) -> io::Result<Self> {
        Self::open_for_writing(path.into(), OFlags::empty())
    }

    /// Most drivers let a device that is read-only be opened for writing, and each write to it fails.
    fn open_for_writing(path: PathBuf, flags: OFlags) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags.bits() as i32).open(&path)?;
        let node = Self { file, path, writes: true };
        CHANGES.fetch_add(1, Ordering::Relaxed);
        match node.is_read_only()? {
            true => Err(Errno::ROFS.into()),
            false => Ok(node),
        }
    }

    /// Returns true when the kernel lets nothing be written to the device: the medium, the driver or `blockdev --setro` says so.
    /// A regular file is no device, and can be written to once it is open.
    ///
    /// # Errors
    /// The error of the ioctl.
    pub fn is_read_only(&self) -> io::Result<bool> {
        // SAFETY: BLKROGET writes one int.
        match unsafe { ioctl(&self.file, Getter::<BLKROGET, i32>::new()) } {
            Ok(value) => Ok(value != 0),
            Err(Errno::NOTTY) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Turns read-ahead off: only the requested blocks are read.
    ///
    /// # Errors
    /// The error of posix_fadvise(2).
    pub fn expect_random_reads(&self) -> io::Result<()> {
        Ok(rustix::fs::fadvise(&self.file, 0, None, rustix::fs::Advice::Random)?)
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file, for reads and writes.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The size of the device.
    ///
    /// # Errors
    /// The error of the ioctl.
    pub fn size(&self) -> io::Result<Bytes> {
        // SAFETY: BLKGETSIZE64 writes one u64 (despite the size_t in its number).
        Ok(Bytes(unsafe { ioctl(&self.file, Getter::<BLKGETSIZE64, u64>::new()) }?))
    }

    /// The size of a logical block, in bytes.
    ///
    /// # Errors
    /// The error of the ioctl.
    pub fn block_size(&self) -> io::Result<u32> {
        // SAFETY: BLKSSZGET writes one int.
        let size = unsafe { ioctl(&self.file, Getter::<BLKSSZGET, i32>::new()) }?;
        u32::try_from(size).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Writes dirty pages and drops cached ones, so that the next read comes from the medium.
    ///
    /// # Errors
    /// The error of the ioctl.
    pub fn flush_cache(&self) -> io::Result<()> {
        // SAFETY: BLKFLSBUF takes no argument.
        Ok(unsafe { ioctl(&self.file, NoArg::<BLKFLSBUF>::new()) }?)
    }

    /// Tells the drive that a range is not needed any more. The drive may keep its content all the same.
    ///
    /// # Errors
    /// EOPNOTSUPP: it does not support that; the error of the ioctl.
    pub fn discard(&self, offset: Bytes, length: Bytes) -> io::Result<()> {
        // SAFETY: BLKDISCARD reads two u64.
        Ok(unsafe { ioctl(&self.file, Setter::<BLKDISCARD, [u64; 2]>::new([offset.0, length.0])) }?)
    }

    /// Waits until everything written is on stable storage.
    ///
    /// # Errors
    /// A write that failed since the last call.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Tells the kernel of a partition of this disk, with or without an entry in a table on the disk.
    ///
    /// # Errors
    /// EBUSY: it overlaps one that the kernel knows; EINVAL: beyond the disk or not a multiple of its block.
    pub fn add_partition(&self, number: PartitionNumber, start: Bytes, length: Bytes) -> io::Result<()> {
        self.blkpg(BLKPG_ADD_PARTITION, number, start, length)
    }

    /// Tells the kernel of a partition's new length; it may be in use meanwhile.
    ///
    /// # Errors
    /// EBUSY: it would overlap another one; ENXIO: there is no such partition; EINVAL: another start, or beyond the
    /// disk.
    pub fn resize_partition(&self, number: PartitionNumber, start: Bytes, length: Bytes) -> io::Result<()> {
        self.blkpg(BLKPG_RESIZE_PARTITION, number, start, length)
    }

    /// Makes the kernel forget a partition; the disk's content stays.
    ///
    /// # Errors
    /// EBUSY: it is in use; ENXIO: there is no such partition.
    pub fn delete_partition(&self, number: PartitionNumber) -> io::Result<()> {
        self.blkpg(BLKPG_DEL_PARTITION, number, Bytes(0), Bytes(0))
    }

    fn blkpg(&self, op: i32, number: PartitionNumber, start: Bytes, length: Bytes) -> io::Result<()> {
        let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let mut partition = BlkpgPartition {
            start: start.0.try_into().map_err(invalid)?,
            length: length.0.try_into().map_err(invalid)?,
            number: number.0.try_into().map_err(invalid)?,
            devname: [0; 64],
            volname: [0; 64],
        };
        let argument = BlkpgIoctlArg {
            op,
            flags: 0,
            datalen: size_of::<BlkpgPartition>() as i32,
            data: &raw mut partition,
        };
        // SAFETY: BLKPG reads a blkpg_ioctl_arg and the blkpg_partition it points to; both outlive the call.
        Ok(unsafe { ioctl(&self.file, Setter::<BLKPG, BlkpgIoctlArg>::new(argument)) }?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blkpg_structures_have_the_kernel_s_layout() {
        // 64-bit layout of uapi/linux/blkpg.h: two long long, int, two char[64], padded to eight.
        assert_eq!(size_of::<BlkpgPartition>(), 152);
        assert_eq!(core::mem::offset_of!(BlkpgPartition, devname), 20);
        assert_eq!(size_of::<BlkpgIoctlArg>(), 24);
        assert_eq!(core::mem::offset_of!(BlkpgIoctlArg, data), 16);
    }
}
