//! A disk in memory: some bytes, zeroes from there to its end, which may be far away, and the bytes written there.

use std::collections::BTreeMap;

use hermetic_init::{
    units::Bytes,
    writes::{ReadAt, ShortImage, Write},
};

/// Up to here the written bytes lie in one piece, from here on in pages: a backup table at the end of a large disk does
/// not make all of the disk.
const NEAR: u64 = 1 << 20;
/// Bytes of a page.
const PAGE: u64 = 4096;

/// The disk.
#[derive(Clone)]
pub struct Medium {
    /// The bytes at its start.
    pub data: Vec<u8>,
    /// The length.
    pub size: u64,
    /// The pages from [`NEAR`] on that were written to, by their number.
    far: BTreeMap<u64, Vec<u8>>,
}

impl Medium {
    /// A disk of `size` bytes that begins with `data`.
    pub fn new(data: Vec<u8>, size: u64) -> Self {
        Self { data, size, far: BTreeMap::new() }
    }

    /// Forgets everything behind the first `length` bytes.
    pub fn truncate(&mut self, length: usize) {
        self.data.truncate(length);
        self.far.clear();
    }

    /// Carries one write out.
    ///
    /// # Panics
    /// The write leaves the disk.
    pub fn write(&mut self, write: &Write) {
        let (offset, length) = match write {
            Write::Data { offset, data } => (offset.0, data.len() as u64),
            Write::Zero { offset, length } => (offset.0, length.0),
            Write::Barrier => return,
        };
        let end = offset.checked_add(length).expect("a write beyond 64 bits");
        assert!(end <= self.size, "a write up to byte {end} of a disk of {}", self.size);
        let bytes = |start: u64, end: u64| match write {
            Write::Data { data, .. } => Some(&data[(start - offset) as usize..(end - offset) as usize]),
            _ => None,
        };
        let put = |to: &mut [u8], from: Option<&[u8]>| match from {
            Some(from) => to.copy_from_slice(from),
            None => to.fill(0),
        };
        let near = end.min(NEAR.max(self.data.len() as u64));
        if offset < near {
            if self.data.len() < near as usize {
                self.data.resize(near as usize, 0);
            }
            put(&mut self.data[offset as usize..near as usize], bytes(offset, near));
        }
        let mut at = offset.max(near);
        while at < end {
            let (number, stop) = (at / PAGE, end.min((at / PAGE + 1) * PAGE));
            let page = self.far.entry(number).or_insert_with(|| vec![0; PAGE as usize]);
            put(&mut page[(at % PAGE) as usize..][..(stop - at) as usize], bytes(at, stop));
            at = stop;
        }
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
        for (number, page) in self.far.range(offset.0 / PAGE..end.div_ceil(PAGE)) {
            let (start, stop) = ((number * PAGE).max(offset.0), ((number + 1) * PAGE).min(end));
            let part = &page[(start % PAGE) as usize..][..(stop - start) as usize];
            buffer[(start - offset.0) as usize..(stop - offset.0) as usize].copy_from_slice(part);
        }
        let start = usize::try_from(offset.0).map_err(|_| ShortImage)?;
        let known = self.data.get(start..).unwrap_or_default();
        let known = &known[..known.len().min(buffer.len())];
        buffer[..known.len()].copy_from_slice(known);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_far_write_is_read_back_and_makes_no_disk() {
        let mut disk = Medium::new(b"begin".to_vec(), 1 << 40);
        let data: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
        for offset in [NEAR - 5_000, (1 << 40) - 10_000, 3 * NEAR + 17] {
            disk.write(&Write::Data { offset: Bytes(offset), data: data.clone().into() });
            let mut read = vec![0xaa; 10_002];
            disk.read_exact_at(Bytes(offset - 2), &mut read[..10_002]).unwrap();
            assert_eq!((&read[..2], &read[2..]), (&[0, 0][..], &data[..]));
            disk.write(&Write::Zero { offset: Bytes(offset + 4_000), length: Bytes(3_000) });
            disk.read_exact_at(Bytes(offset), &mut read[..10_000]).unwrap();
            assert!(read[4_000..7_000].iter().all(|byte| *byte == 0));
            assert_eq!((&read[..4_000], &read[7_000..10_000]), (&data[..4_000], &data[7_000..]));
        }
        assert!(disk.data.len() as u64 <= NEAR && disk.far.len() < 12);
        assert!(disk.read_exact_at(Bytes((1 << 40) - 1), &mut [0; 2]).is_err());
    }
}
