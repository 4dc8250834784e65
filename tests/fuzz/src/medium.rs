//! A disk in memory: some bytes, and zeroes from there to its end, which may be far away.

use hermetic_init::{
    units::Bytes,
    writes::{ReadAt, ShortImage, Write},
};

/// The disk.
#[derive(Clone)]
pub struct Medium {
    /// What it begins with.
    pub data: Vec<u8>,
    /// How long it is.
    pub size: u64,
}

impl Medium {
    /// Carries one write out.
    ///
    /// # Panics
    /// The write leaves the disk.
    pub fn write(&mut self, write: &Write) {
        let (offset, bytes) = match write {
            Write::Data { offset, data } => (offset.0, data.to_vec()),
            Write::Zero { offset, length } => (offset.0, vec![0; length.0 as usize]),
            Write::Barrier => return,
        };
        let end = offset.checked_add(bytes.len() as u64).expect("a write beyond 64 bits");
        assert!(end <= self.size, "a write up to byte {end} of a disk of {}", self.size);
        let (start, end) = (offset as usize, end as usize);
        if self.data.len() < end {
            self.data.resize(end, 0);
        }
        self.data[start..end].copy_from_slice(&bytes);
    }
}

impl ReadAt for Medium {
    type Error = ShortImage;

    fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> Result<(), ShortImage> {
        let end = offset.0.checked_add(buffer.len() as u64).ok_or(ShortImage)?;
        if end > self.size {
            return Err(ShortImage);
        }
        buffer.fill(0);
        let start = usize::try_from(offset.0).map_err(|_| ShortImage)?;
        let known = self.data.get(start..).unwrap_or_default();
        let known = &known[..known.len().min(buffer.len())];
        buffer[..known.len()].copy_from_slice(known);
        Ok(())
    }
}
