//! `CopyBlocks=`: the bytes of a device or an image file, as they are.

use std::{
    fs::File,
    io::{self, Seek as _, SeekFrom},
    os::{
        fd::BorrowedFd,
        unix::fs::{FileExt as _, FileTypeExt as _},
    },
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use crate::{
    repart::{Definition, RepartError},
    units::Bytes,
};

/// Bytes that are read and written at a time.
const CHUNK: u64 = 1 << 20;

/// Opens what a definition calls `path`, at `place` below `root`, and measures it. Links are resolved as if `root` were the root directory.
///
/// # Errors
/// It is missing, or neither a file nor a block device.
pub fn open(
    definition: &Definition,
    path: &str,
    place: &str,
    root: BorrowedFd<'_>,
) -> Result<(File, Bytes), RepartError> {
    let refuse =
        |what: String, advice| definition.refuse("CopyBlocks", format!("CopyBlocks={path} {what}"), advice);
    let failed = |what: &str, error: io::Error| {
        refuse(format!("cannot be {what}: {error}"), "name a file or a device that is there")
    };
    // A fifo would wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = openat2(root, place, flags, Mode::empty(), ResolveFlags::IN_ROOT)
        .map_err(|errno| failed("opened", errno.into()))?;
    let file = File::from(file);
    let kind = file.metadata().map_err(|error| failed("looked at", error))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(refuse("is neither a file nor a block device".into(), "name one, or say auto"));
    }
    let length = size(&file).map_err(|error| failed("measured", error))?;
    Ok((file, length))
}

/// The length of a source: what a plan sets aside for it.
///
/// # Errors
/// It cannot be measured.
pub fn size(mut source: &File) -> io::Result<Bytes> {
    source.seek(SeekFrom::End(0)).map(Bytes)
}

/// Copies `length` bytes from the start of `source` to the start of `target`. Nothing is left out, not even zeroes: the
/// old content is a stranger's. Nothing is flushed.
///
/// # Errors
/// The error of the first read or write that failed; a source that is shorter.
pub fn copy(source: &File, target: &File, length: Bytes) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK.min(length.0) as usize];
    let mut at = 0;
    while at < length.0 {
        let want = (length.0 - at).min(CHUNK) as usize;
        let piece = buffer.get_mut(..want).unwrap_or_default();
        source.read_exact_at(piece, at)?;
        target.write_all_at(piece, at)?;
        at += want as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str, content: &[u8]) -> File {
        let path = std::env::temp_dir().join(format!("hermetic-blocks-{}-{name}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    #[test]
    fn every_byte_is_copied_and_none_more() {
        let content: Vec<u8> = (0..(2u32 << 20) + 12345).map(|n| (n % 253) as u8).collect();
        let (source, target) =
            (scratch("source", &content), scratch("target", &vec![0xff; content.len() + 7]));
        assert_eq!(size(&source).unwrap(), Bytes(content.len() as u64));
        copy(&source, &target, Bytes(content.len() as u64)).unwrap();
        let mut found = vec![0; content.len() + 7];
        target.read_exact_at(&mut found, 0).unwrap();
        assert!(found[..content.len()] == content);
        assert_eq!(found[content.len()..], [0xff; 7]);
    }

    #[test]
    fn a_source_that_ends_early_is_an_error() {
        let (source, target) = (scratch("short", b"short"), scratch("long", b"long"));
        let error = copy(&source, &target, Bytes(6)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
