//! A plan of writes to a disk: a list of writes, zeroes and barriers that a test can look at, cut short and replay.
//! Content first, pointer last, barrier between.

use core::ops::Deref;
use std::{prelude::v1::*, sync::Arc};

use crate::units::Bytes;

/// One step of a plan of writes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// These bytes go here.
    Data {
        /// The offset in bytes from the start of the device.
        offset: Bytes,
        /// The bytes.
        data: Data,
    },
    /// This range reads as zeroes afterwards.
    Zero {
        /// The offset in bytes from the start of the device.
        offset: Bytes,
        /// The number of bytes.
        length: Bytes,
    },
    /// Everything before this is on stable storage before anything after it is written.
    Barrier,
}

/// Bytes to be written. Clones share them, so that a plan that writes the same in twenty places holds it once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Data(Arc<Vec<u8>>);

impl Data {
    /// Goes on with `more`.
    pub fn append(&mut self, more: &[u8]) {
        Arc::make_mut(&mut self.0).extend_from_slice(more);
    }
}

impl From<Vec<u8>> for Data {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(bytes))
    }
}

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Data {
    type Item = &'a u8;
    type IntoIter = core::slice::Iter<'a, u8>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// A plan of writes, in the order in which they happen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Writes(pub Vec<Write>);

impl Writes {
    /// An empty plan.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `data` at `offset`.
    pub fn data(&mut self, offset: Bytes, data: impl Into<Data>) {
        self.0.push(Write::Data { offset, data: data.into() });
    }

    /// Adds a range of `length` zeroes at `offset`.
    pub fn zero(&mut self, offset: Bytes, length: Bytes) {
        if length.0 > 0 {
            self.0.push(Write::Zero { offset, length });
        }
    }

    /// Adds a barrier.
    pub fn barrier(&mut self) {
        self.0.push(Write::Barrier);
    }

    /// Appends another plan.
    pub fn then(&mut self, other: Writes) {
        self.0.extend(other.0);
    }

    /// The number of bytes that the plan transfers, zeroes included.
    pub fn volume(&self) -> Bytes {
        Bytes(self.0.iter().fold(0, |sum, write| {
            sum.saturating_add(match write {
                Write::Data { data, .. } => data.len() as u64,
                Write::Zero { length, .. } => length.0,
                Write::Barrier => 0,
            })
        }))
    }
}

/// Something that can be read at an offset: a disk, a partition, an image in memory.
pub trait ReadAt {
    /// The error of a failed read.
    type Error;

    /// Fills `buffer` from `offset`. Reading past the end is an error.
    ///
    /// # Errors
    /// The error of the medium; the buffer's content is then undefined.
    fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> Result<(), Self::Error>;
}

/// An image in memory ended before the read did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShortImage;

impl core::fmt::Display for ShortImage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("read past the end")
    }
}

impl ReadAt for [u8] {
    type Error = ShortImage;

    fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> Result<(), ShortImage> {
        let start = usize::try_from(offset.0).map_err(|_| ShortImage)?;
        let end = start.checked_add(buffer.len()).ok_or(ShortImage)?;
        buffer.copy_from_slice(self.get(start..end).ok_or(ShortImage)?);
        Ok(())
    }
}

#[cfg(feature = "std")]
mod file {
    use std::{fs::File, io, os::unix::fs::FileExt};

    use rustix::{
        fs::{FallocateFlags, fallocate},
        io::Errno,
    };

    use super::{Bytes, ReadAt, Write, Writes};

    impl ReadAt for File {
        type Error = io::Error;

        fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> io::Result<()> {
            FileExt::read_exact_at(self, buffer, offset.0)
        }
    }

    /// Zeroes that the kernel cannot make itself are written from a buffer of this size, and so are fewer than this:
    /// they cost less together with their neighbours than as a request of their own.
    const ZEROES: usize = 1 << 20;
    const FEW: u64 = 64 << 10;

    impl Writes {
        /// Carries out the plan on a file or a block device. A barrier is `fdatasync`, which on a block device also
        /// flushes the drive's cache. Long zeroes become holes where the medium has them, else the kernel writes them.
        ///
        /// # Errors
        /// The first write or flush that failed; the steps before it have been written.
        pub fn apply(&self, file: &File) -> io::Result<()> {
            let mut zeroes = Vec::new();
            for write in &self.0 {
                match write {
                    Write::Data { offset, data } => file.write_all_at(data, offset.0)?,
                    Write::Zero { offset, length } if length.0 >= FEW && discard(file, *offset, *length)? => {
                    }
                    Write::Zero { offset, length } => {
                        zeroes.resize(length.0.min(ZEROES as u64) as usize, 0);
                        let (mut at, mut left) = (offset.0, length.0);
                        while left > 0 {
                            let chunk = left.min(ZEROES as u64);
                            file.write_all_at(zeroes.get(..chunk as usize).unwrap_or_default(), at)?;
                            at += chunk;
                            left -= chunk;
                        }
                    }
                    Write::Barrier => file.sync_data()?,
                }
            }
            Ok(())
        }
    }

    /// Makes the kernel zero a range: a hole, on a device its own command for it; else zeroed extents, on a device
    /// zeroes that the kernel writes. Both read as zeroes at once. Returns false when it can do neither here.
    fn discard(file: &File, offset: Bytes, length: Bytes) -> io::Result<bool> {
        let metadata = file.metadata()?;
        let end = offset.0.checked_add(length.0).ok_or(io::ErrorKind::InvalidInput)?;
        if metadata.is_file() && metadata.len() < end {
            file.set_len(end)?;
        }
        for mode in [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE] {
            match fallocate(file, mode | FallocateFlags::KEEP_SIZE, offset.0, length.0) {
                Ok(()) => return Ok(true),
                // Not there, or not for ranges that divide a sector.
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_on_a_file_reads_back_as_planned() {
        let path = std::env::temp_dir().join(format!("hermetic-writes-{}", std::process::id()));
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut plan = Writes::new();
        plan.data(Bytes(0), vec![0xff; 3 << 20]);
        plan.barrier();
        plan.zero(Bytes(1), Bytes((2 << 20) + 5));
        plan.zero(Bytes((2 << 20) + 100), Bytes(50));
        plan.zero(Bytes(3 << 20), Bytes(1 << 20));
        plan.apply(&file).unwrap();
        let mut read = vec![1; 4 << 20];
        ReadAt::read_exact_at(&file, Bytes(0), &mut read).unwrap();
        let mut expected = vec![0xff; 4 << 20];
        expected[1..(2 << 20) + 6].fill(0);
        expected[(2 << 20) + 100..(2 << 20) + 150].fill(0);
        expected[3 << 20..].fill(0);
        assert!(read == expected);
        assert_eq!(plan.volume(), Bytes((3 << 20) + (2 << 20) + 5 + 50 + (1 << 20)));
    }

    #[test]
    fn reads_past_an_image_in_memory_are_refused() {
        let image: &[u8] = &[1, 2, 3];
        assert_eq!(image.read_exact_at(Bytes(2), &mut [0; 2]), Err(ShortImage));
        assert_eq!(image.read_exact_at(Bytes(u64::MAX), &mut [0; 2]), Err(ShortImage));
    }
}
