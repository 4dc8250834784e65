//! The disk as it is written to: the one way by which `hermetic repart` changes a byte of it, so that a test can look at every
//! write in its order.

use std::{io, os::unix::fs::FileExt as _};

use hermetic_init::{
    sys::block::Node,
    units::Bytes,
    writes::{Write, Writes},
};
use rustix::fs::{FallocateFlags, fallocate};

use super::disk::Disk;

/// A disk that is written to. Offsets and lengths are in bytes, from its start.
pub trait Output {
    /// Writes these bytes.
    fn put(&self, at: u64, data: &[u8]) -> io::Result<()>;

    /// Makes a range read as zeroes.
    fn zero(&self, at: u64, length: u64) -> io::Result<()>;

    /// Gives the space of a range back. True when it reads as zeroes afterwards; on a device nobody knows.
    fn discard(&self, at: u64, length: u64) -> io::Result<bool>;

    /// Waits until everything is on the medium.
    fn barrier(&self) -> io::Result<()>;

    /// Carries out a plan whose offsets begin at `base`.
    fn write(&self, writes: &Writes, base: u64) -> io::Result<()> {
        writes.0.iter().try_for_each(|write| match write {
            Write::Data { offset, data } => self.put(base.saturating_add(offset.0), data),
            Write::Zero { offset, length } => self.zero(base.saturating_add(offset.0), length.0),
            Write::Barrier => self.barrier(),
        })
    }
}

/// A file or a block device.
pub struct Medium<'a> {
    disk: &'a Disk,
    /// Space is given back where nothing is to be kept.
    discards: bool,
}

impl<'a> Medium<'a> {
    /// The disk, with or without `discards`.
    pub fn new(disk: &'a Disk, discards: bool) -> Self {
        Self { disk, discards }
    }
}

impl Output for Medium<'_> {
    fn put(&self, at: u64, data: &[u8]) -> io::Result<()> {
        self.disk.file.write_all_at(data, at)
    }

    /// A hole in a file.
    fn zero(&self, at: u64, length: u64) -> io::Result<()> {
        if length == 0 || (!self.disk.is_device && self.discard(at, length)?) {
            return Ok(());
        }
        let mut zeroes = Writes::new();
        zeroes.zero(Bytes(at), Bytes(length));
        zeroes.apply(&self.disk.file)
    }

    fn discard(&self, at: u64, length: u64) -> io::Result<bool> {
        if !self.discards || length == 0 {
            return Ok(false);
        }
        let result = if self.disk.is_device {
            Node::open_shared(&self.disk.path).and_then(|node| node.discard(Bytes(at), Bytes(length)))
        } else {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.disk.file, flags, at, length).map_err(io::Error::from)
        };
        match result {
            Ok(()) => Ok(!self.disk.is_device),
            // EBUSY: it is mounted somewhere.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::ResourceBusy) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn barrier(&self) -> io::Result<()> {
        self.disk.file.sync_all()
    }
}
