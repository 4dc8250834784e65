//! The disk that is worked on: a file, or a block device.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use hermetic_init::{
    disk::{gpt::Geometry, label::Label},
    sys::block::Node,
    units::Bytes,
    writes,
};
use rustix::{
    fs::{FallocateFlags, FlockOperation, IFlags, OFlags, fallocate, flock, ioctl_getflags, ioctl_setflags},
    io::Errno,
};

use super::{
    Failure,
    args::{Choices, Empty},
};

/// The time that a lock of another process is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// An open disk, locked against udev and other tools.
pub struct Disk {
    pub file: File,
    /// As it was named, for messages and for the names of partitions.
    pub path: PathBuf,
    /// A block device, and not a file.
    pub is_device: bool,
    /// The file was made by us and goes again unless it is kept.
    made: bool,
    /// In bytes.
    pub size: u64,
    /// Bytes in a logical block.
    pub block_size: u32,
}

impl Disk {
    /// Opens the disk `path`, or makes the file, and locks it.
    pub fn open(path: &Path, choices: &Choices) -> Result<Self, Failure> {
        let mut disk = Self::unlocked(path, choices)?;
        let lock = if choices.dry_run {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        // udev's probe holds its lock for a moment after each change of a device.
        let patience = Instant::now() + PATIENCE;
        while let Err(errno) = flock(&disk.file, lock) {
            if errno != Errno::WOULDBLOCK || Instant::now() >= patience {
                return Err(Failure::new(format!("Failed to lock '{}': {errno}", path.display())));
            }
            thread::sleep(PATIENCE / 100);
        }
        disk.measure(choices)?;
        Ok(disk)
    }

    /// Opens a disk to copy from. It may be the target disk itself, which is locked.
    pub fn source(path: &Path) -> Result<Self, Failure> {
        let choices = Choices::reading(path);
        let mut disk = Self::unlocked(path, &choices)?;
        disk.measure(&choices)?;
        Ok(disk)
    }

    fn unlocked(path: &Path, choices: &Choices) -> Result<Self, Failure> {
        let made = choices.empty == Empty::Create;
        let failure = |what: &str, error: std::io::Error| {
            Failure::new(format!("Failed to {what} '{}': {error}", path.display()))
        };
        let (path, file) = if made {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create_new(true).custom_flags(OFlags::NOFOLLOW.bits() as i32);
            (path.to_owned(), options.open(path).map_err(|error| failure("create", error))?)
        } else {
            let path = whole(path).map_err(|error| failure("open", error))?;
            // A fifo would wait for a writer.
            let mut options = OpenOptions::new();
            options.read(true).write(!choices.dry_run).custom_flags(OFlags::NONBLOCK.bits() as i32);
            let file = options.open(&path).map_err(|error| failure("open", error))?;
            (path, file)
        };
        if let Some(cow) = choices.cow.filter(|_| made) {
            share(&file, cow).map_err(|error| failure("set the flags of", error.into()))?;
        }
        // From here on a file that was made here is removed when something fails.
        let mut disk = Self { file, path, is_device: false, made, size: 0, block_size: 512 };
        let metadata = disk.file.metadata().map_err(|error| failure("open", error))?;
        disk.is_device = metadata.file_type().is_block_device();
        if !disk.is_device && !metadata.is_file() {
            return Err(Failure::new(format!(
                "{} is neither a file nor a block device.",
                disk.path.display()
            )));
        }
        Ok(disk)
    }

    fn measure(&mut self, choices: &Choices) -> Result<(), Failure> {
        let path = self.path.display().to_string();
        let failed = |error: io::Error| Failure::new(format!("Failed to measure '{path}': {error}"));
        self.size = (&self.file).seek(SeekFrom::End(0)).map_err(failed)?;
        self.block_size = match choices.sector_size {
            Some(size) => size,
            None if self.is_device => {
                Node::open(&self.path).and_then(|node| node.block_size()).map_err(failed)?
            }
            None if choices.empty.starts_over() => 512,
            None => self.probed_block_size()?,
        };
        Ok(())
    }

    /// The block size that the table of a file was written for: where its header is.
    fn probed_block_size(&self) -> Result<u32, Failure> {
        let mut found = [512, 1024, 2048, 4096].into_iter().filter(|size: &u32| {
            let mut header = [0; 92];
            self.file.read_exact_at(&mut header, u64::from(*size)).is_ok()
                && header.starts_with(b"EFI PART\0\0\x01\0")
                && header.get(24..32) == Some(&1_u64.to_le_bytes()[..])
        });
        match (found.next(), found.next()) {
            (Some(_), Some(_)) => Err(Failure::new(format!(
                "Failed to probe sector size of '{}': partition tables for more than one.",
                self.path.display()
            ))),
            (size, _) => Ok(size.unwrap_or(512)),
        }
    }

    /// Plans for a disk of this size.
    ///
    /// # Errors
    /// The image does not fit; a block device has the size that it has.
    pub fn grow_to(&mut self, size: u64) -> Result<(), Failure> {
        if size < self.size {
            let (wanted, there) = (Bytes(size), Bytes(self.size));
            return Err(Failure::new(format!(
                "the image has {there}: it does not fit on a disk of {wanted}"
            )));
        }
        self.grow(size)
    }

    /// Plans for a file that is at least so large; [`Disk::resize`] makes it so.
    pub fn grow(&mut self, size: u64) -> Result<(), Failure> {
        if size > self.size && self.is_device {
            return Err(Failure::new(format!("Cannot resize block device '{}'.", self.path.display())));
        }
        self.size = self.size.max(size);
        Ok(())
    }

    /// Makes the file as large as it was planned for; whether it was smaller. Holes cost nothing; without `discard` space is
    /// taken for all of it.
    pub fn resize(&self, discard: bool) -> std::io::Result<bool> {
        let old = self.file.metadata()?.len();
        if self.is_device || old >= self.size {
            return Ok(false);
        }
        let allocated =
            !discard && fallocate(&self.file, FallocateFlags::empty(), old, self.size - old).is_ok();
        if !allocated {
            self.file.set_len(self.size)?;
        }
        Ok(true)
    }

    /// Reads as the disk will be: the part of the planned size beyond the file is zeroes.
    fn read_planned(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let there = if self.is_device { self.size } else { self.file.metadata()?.len() };
        let part = usize::try_from(there.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
        let end = offset.checked_add(buffer.len() as u64);
        let (Some(part), true) = (buffer.split_at_mut_checked(part), end.is_some_and(|end| end <= self.size))
        else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        part.1.fill(0);
        self.file.read_exact_at(part.0, offset)
    }

    /// The label of a disk without a table, as large as it is now.
    pub fn label(&self) -> Result<Option<Label>, Failure> {
        let size = if self.is_device { Ok(self.size) } else { self.file.metadata().map(|file| file.len()) };
        size.and_then(|size| Label::look(&self.file, Bytes(size)))
            .map_err(|error| Failure::new(format!("Failed to read '{}': {error}", self.path.display())))
    }

    /// Its size in blocks.
    pub fn geometry(&self) -> Geometry {
        Geometry { block_size: self.block_size, blocks: self.size / u64::from(self.block_size) }
    }

    /// The file stays.
    pub fn keep(&mut self) {
        self.made = false;
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.made {
            // The message of the failure names the file as well.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The disk that `path` means: itself, the disk of a partition, or the disk below a directory.
fn whole(path: &Path) -> std::io::Result<PathBuf> {
    let path = fs::canonicalize(path)?;
    let metadata = fs::metadata(&path)?;
    let number = if metadata.file_type().is_block_device() {
        metadata.rdev()
    } else if metadata.is_dir() {
        metadata.dev()
    } else {
        return Ok(path);
    };
    match disk_of(number)? {
        Some(name) => Ok(Path::new("/dev").join(name)),
        None => Err(std::io::Error::from_raw_os_error(rustix::io::Errno::NODEV.raw_os_error())),
    }
}

/// Makes a new file share blocks with others, or not. A file system that knows no such flag shares as it does.
fn share(file: &File, cow: bool) -> Result<(), Errno> {
    let flags = match ioctl_getflags(file) {
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => return Ok(()),
        flags => flags?,
    };
    let wanted = if cow { flags.difference(IFlags::NOCOW) } else { flags.union(IFlags::NOCOW) };
    match ioctl_setflags(file, wanted) {
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => Ok(()),
        result => result,
    }
}

/// The kernel's name of the disk that a block device is on, through device mappings; None for a device that is not on a
/// disk.
pub fn disk_of(number: u64) -> std::io::Result<Option<String>> {
    let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
    if major == 0 {
        return Ok(None);
    }
    let mut device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}"))?;
    // Mappings upon mappings end somewhere.
    for _ in 0..16 {
        let slaves = fs::read_dir(device.join("slaves")).into_iter().flatten();
        let Some(slave) = slaves.flatten().map(|entry| entry.path()).min() else { break };
        device = fs::canonicalize(slave)?;
    }
    if device.join("partition").exists() {
        device.pop();
    }
    Ok(device.file_name().and_then(|name| name.to_str()).map(str::to_owned))
}

impl writes::ReadAt for Disk {
    type Error = io::Error;

    fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> io::Result<()> {
        self.read_planned(offset.0, buffer)
    }
}
