//! The bytes of a file with its holes.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{self, SeekFrom, Stat},
    io::{Errno, pread, pwrite, retry_on_intr},
};

use super::attributes::Failed;

/// Files are copied in pieces of this size.
const CHUNK: usize = 128 << 10;

/// Copies the bytes of a file, from where there are some, into a new one; the rest are holes again. Returns the count of bytes that were
/// copied.
///
/// # Errors
/// The first step that failed. A source that became shorter meanwhile is `IO`.
pub fn copy(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> Result<u64, Failed> {
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let mut buffer = vec![0; CHUNK.min(usize::try_from(size).unwrap_or(CHUNK))];
    let (mut at, mut copied) = (0, 0);
    while at < size {
        let start = match fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => break,
            // A file system without holes.
            Err(Errno::INVAL) => at,
            Err(errno) => return Err(Failed::source("look for data in")(errno)),
        };
        let end = match fs::seek(from, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            Err(Errno::INVAL) => size,
            Err(errno) => return Err(Failed::source("look for holes in")(errno)),
        };
        at = start;
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let space = buffer.get_mut(..want).unwrap_or_default();
            let read = retry_on_intr(|| pread(from, &mut *space, at)).map_err(Failed::source("read"))?;
            if read == 0 {
                // It became shorter under our hands: no copy of it is one.
                return Err(Failed::source("read all of")(Errno::IO));
            }
            let mut rest = buffer.get(..read).unwrap_or_default();
            while !rest.is_empty() {
                let written = retry_on_intr(|| pwrite(to, rest, at)).map_err(Failed::target("write"))?;
                rest = rest.get(written..).unwrap_or_default();
                at += written as u64;
            }
            copied += read as u64;
        }
    }
    fs::ftruncate(to, size).map_err(Failed::target("set the length of"))?;
    Ok(copied)
}
