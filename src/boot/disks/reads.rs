//! Reads of a device as a value: made where a read may wait for ever, and looked at where nothing may wait. The same code looks at
//! both, so the second look asks for what the first one read.

use std::{cell::RefCell, io, path::Path};

use rustix::io::Errno;

use crate::{disk::gpt::Geometry, sys::block::Node, units::Bytes, writes::ReadAt};

/// Bytes at a place, whatever they come from.
pub type Source = dyn ReadAt<Error = io::Error>;

/// The reads of a device, in their order, and its size.
pub struct Reads {
    size: Bytes,
    block_size: u32,
    done: Vec<Read>,
}

/// A read and its result.
struct Read {
    offset: u64,
    length: u32,
    /// The bytes, or the number of the error.
    result: Result<Vec<u8>, i32>,
}

/// A device whose reads are kept.
pub struct Recorder {
    node: Node,
    reads: RefCell<Reads>,
}

impl Recorder {
    /// Opens a device.
    ///
    /// # Errors
    /// It cannot be opened or measured; the text names the step.
    pub fn open(path: &Path) -> Result<Self, String> {
        let fail = |step: &str, error: io::Error| format!("cannot {step} {}: {error}", path.display());
        let node = Node::open(path).map_err(|error| fail("open", error))?;
        let block_size = node.block_size().map_err(|error| fail("learn the block size of", error))?;
        let size = node.size().map_err(|error| fail("measure", error))?;
        Ok(Self { node, reads: RefCell::new(Reads { size, block_size, done: Vec::new() }) })
    }

    /// The size of the device.
    pub fn size(&self) -> Bytes {
        self.reads.borrow().size
    }

    /// The geometry of the device.
    pub fn geometry(&self) -> Geometry {
        self.reads.borrow().geometry()
    }

    /// The device, and what was read from it.
    pub fn stop(self) -> (Node, Reads) {
        (self.node, self.reads.into_inner())
    }
}

impl ReadAt for Recorder {
    type Error = io::Error;

    fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> io::Result<()> {
        let result = ReadAt::read_exact_at(self.node.file(), offset, buffer);
        let kept = match &result {
            Ok(()) => Ok(buffer.to_vec()),
            Err(error) => Err(error.raw_os_error().unwrap_or(Errno::IO.raw_os_error())),
        };
        let length = u32::try_from(buffer.len()).map_err(|_| Errno::INVAL)?;
        self.reads.borrow_mut().done.push(Read { offset: offset.0, length, result: kept });
        result
    }
}

impl Reads {
    /// The size of the device.
    pub fn size(&self) -> Bytes {
        self.size
    }

    /// The geometry of the device.
    pub fn geometry(&self) -> Geometry {
        let blocks = self.size.0.checked_div(u64::from(self.block_size)).unwrap_or(0);
        Geometry { block_size: self.block_size, blocks }
    }

    /// The bytes by which one process tells them another.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = [&self.size.0.to_le_bytes()[..], &self.block_size.to_le_bytes()].concat();
        for Read { offset, length, result } in &self.done {
            bytes.extend(offset.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            match result {
                Ok(content) => {
                    bytes.extend(0_i32.to_le_bytes());
                    bytes.extend(content);
                }
                Err(errno) => bytes.extend(errno.to_le_bytes()),
            }
        }
        bytes
    }

    /// The reads of these bytes; None when they are cut short.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let size = Bytes(u64::from_le_bytes(take(&mut bytes)?));
        let block_size = u32::from_le_bytes(take(&mut bytes)?);
        let mut done = Vec::new();
        while !bytes.is_empty() {
            let offset = u64::from_le_bytes(take(&mut bytes)?);
            let length = u32::from_le_bytes(take(&mut bytes)?);
            let result = match i32::from_le_bytes(take(&mut bytes)?) {
                0 => {
                    let (content, rest) = bytes.split_at_checked(usize::try_from(length).ok()?)?;
                    bytes = rest;
                    Ok(content.to_vec())
                }
                errno => Err(errno),
            };
            done.push(Read { offset, length, result });
        }
        Some(Self { size, block_size, done })
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

impl ReadAt for Reads {
    type Error = io::Error;

    /// # Errors
    /// The device's own; nothing was read there.
    fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> io::Result<()> {
        let is = |read: &&Read| read.offset == offset.0 && read.length as usize == buffer.len();
        match self.done.iter().find(is).map(|read| &read.result) {
            Some(Ok(content)) if content.len() == buffer.len() => {
                buffer.copy_from_slice(content);
                Ok(())
            }
            Some(Err(errno)) => Err(io::Error::from_raw_os_error(*errno)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_are_told_as_they_were_made() {
        let done = vec![
            Read { offset: 512, length: 4, result: Ok(b"EFI ".to_vec()) },
            Read { offset: u64::MAX, length: 512, result: Err(Errno::IO.raw_os_error()) },
            Read { offset: 0, length: 0, result: Ok(Vec::new()) },
        ];
        let reads = Reads { size: Bytes(1 << 20), block_size: 4096, done };
        let told = Reads::decode(&reads.encode()).unwrap();
        assert_eq!(
            (told.size(), told.geometry()),
            (Bytes(1 << 20), Geometry { block_size: 4096, blocks: 256 })
        );
        let mut buffer = [0; 4];
        told.read_exact_at(Bytes(512), &mut buffer).unwrap();
        assert_eq!(&buffer, b"EFI ");
        let read = |offset, length| told.read_exact_at(Bytes(offset), &mut vec![0; length]);
        assert_eq!(read(u64::MAX, 512).unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
        // What was not read is not made up.
        assert_eq!(read(512, 3).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read(516, 4).unwrap_err().kind(), io::ErrorKind::NotFound);
        let bytes = reads.encode();
        for length in [0, 11, 13, bytes.len() - 1] {
            assert!(Reads::decode(&bytes[..length]).is_none(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn decoding_is_total(bytes: Vec<u8>) {
            if let Some(reads) = Reads::decode(&bytes) {
                prop_assert_eq!(reads.encode(), bytes);
            }
        }
    }
}
