//! Small files read whole, within a limit that has a name.
//!
//! The size by stat(2) is only a hint: files of /proc have 0, and a file can grow while it is read. The limit alone
//! bounds the read.

use core::fmt;
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    fs::{self, FileType, Stat},
    io::Errno,
    path::Arg,
};

use super::open;

/// Room that is made for a file whose size is not known, in bytes.
const PIECE: usize = 4 << 10;

/// The most bytes that a file may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit(usize);

impl Limit {
    /// This many bytes.
    pub const fn bytes(count: usize) -> Self {
        Self(count)
    }

    /// This many times 1,048,576 bytes.
    pub const fn mebibytes(count: usize) -> Self {
        Self(count.saturating_mul(1 << 20))
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bytes if bytes > 0 && bytes.trailing_zeros() >= 20 => write!(f, "{} MiB", bytes >> 20),
            bytes => write!(f, "{bytes} bytes"),
        }
    }
}

/// The reason why a file was not read whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadError {
    /// A system call failed.
    Call(Errno),
    /// It is a directory, a FIFO, a device: nothing is read from it.
    NotAFile,
    /// It is larger than the limit.
    TooLarge(Limit),
    /// It is read as text, and is not UTF-8.
    NotText,
}

impl ReadError {
    /// The error number, for engines whose messages say no more: `INVAL` for what is not a regular file, `FBIG` for one that is too
    /// large, `ILSEQ` for one that is not text.
    pub fn errno(self) -> Errno {
        match self {
            Self::Call(errno) => errno,
            Self::NotAFile => Errno::INVAL,
            Self::NotText => Errno::ILSEQ,
            Self::TooLarge(_) => Errno::FBIG,
        }
    }
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        Self::Call(errno)
    }
}

impl From<ReadError> for io::Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Call(errno) => errno.into(),
            error => io::Error::other(error.to_string()),
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(errno) => errno.fmt(f),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::NotText => f.write_str("not UTF-8"),
            Self::TooLarge(limit) => write!(f, "larger than {limit}"),
        }
    }
}

impl core::error::Error for ReadError {}

/// Reads an open file whole.
///
/// # Errors
/// Anything but a regular file, and a file beyond the limit.
pub fn whole(file: impl AsFd, limit: Limit) -> Result<Vec<u8>, ReadError> {
    let file = file.as_fd();
    known(file, &fs::fstat(file)?, limit)
}

/// Reads an open file whole, whose attributes the caller has.
///
/// # Errors
/// As [`whole`].
pub fn known(file: impl AsFd, stat: &Stat, limit: Limit) -> Result<Vec<u8>, ReadError> {
    require_file(stat)?;
    if size(stat) > limit.0 {
        return Err(ReadError::TooLarge(limit));
    }
    let content = up_to(file.as_fd(), size(stat), limit.0.saturating_add(1))?;
    match content.len() > limit.0 {
        true => Err(ReadError::TooLarge(limit)),
        false => Ok(content),
    }
}

/// As [`whole`], for a file of text.
///
/// # Errors
/// As [`whole`], and a file that is not UTF-8.
pub fn text(file: impl AsFd, limit: Limit) -> Result<String, ReadError> {
    String::from_utf8(whole(file, limit)?).map_err(|_| ReadError::NotText)
}

/// Reads the start of an open file: all of it, or as many bytes as the limit says.
///
/// # Errors
/// Anything but a regular file.
pub fn start(file: impl AsFd, limit: Limit) -> Result<Vec<u8>, ReadError> {
    let file = file.as_fd();
    let stat = fs::fstat(file)?;
    require_file(&stat)?;
    Ok(up_to(file, size(&stat), limit.0)?)
}

/// Reads a file of a directory whole, by a name that is not a link.
///
/// # Errors
/// As [`whole`], and those of [`open::file`]: `NOENT` when it is missing, `LOOP` for a link.
pub fn named(at: impl AsFd, name: impl Arg, limit: Limit) -> Result<Vec<u8>, ReadError> {
    whole(open::file(at, name)?, limit)
}

fn require_file(stat: &Stat) -> Result<(), ReadError> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        _ => Err(ReadError::NotAFile),
    }
}

fn size(stat: &Stat) -> usize {
    usize::try_from(stat.st_size).unwrap_or(usize::MAX)
}

/// Reads at most `most` bytes.
fn up_to(file: BorrowedFd<'_>, size: usize, most: usize) -> Result<Vec<u8>, Errno> {
    // With room for one byte more than there should be, the call that reads all of it says as well that there is no more.
    let room = if size == 0 { PIECE } else { size.saturating_add(1) };
    let mut content = vec![0; room.min(most)];
    let mut filled = 0;
    loop {
        if filled == content.len() {
            content.resize(filled.saturating_add(PIECE).min(most), 0);
        }
        let Some(rest) = content.get_mut(filled..).filter(|rest| !rest.is_empty()) else { break };
        filled += match rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *rest))? {
            0 => break,
            length => length,
        };
        if filled == size && filled < content.len() {
            break;
        }
    }
    content.truncate(filled);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write as _, os::fd::OwnedFd, path::PathBuf};

    use super::*;

    fn scratch(name: &str) -> (PathBuf, OwnedFd) {
        let path = std::env::temp_dir().join(format!("hermetic-read-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        let directory = File::open(&path).unwrap().into();
        (path, directory)
    }

    #[test]
    fn the_limit_is_the_last_length_that_is_read() {
        let (path, directory) = scratch("limit");
        for (length, limit) in [(0, 0), (0, 5), (5, 5), (4, 5), (9000, 9000)] {
            std::fs::write(path.join("file"), vec![7; length]).unwrap();
            let limit = Limit::bytes(limit);
            assert_eq!(named(&directory, "file", limit), Ok(vec![7; length]), "{length} of {limit}");
        }
        for (length, limit) in [(1, 0), (6, 5), (9000, 8999)] {
            std::fs::write(path.join("file"), vec![7; length]).unwrap();
            let limit = Limit::bytes(limit);
            assert_eq!(named(&directory, "file", limit), Err(ReadError::TooLarge(limit)), "{length}");
            let first = start(open::file(&directory, "file").unwrap(), limit).unwrap();
            assert_eq!(first.len(), limit.0);
        }
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn what_is_not_a_file_is_not_read_and_not_waited_for() {
        let (path, directory) = scratch("kinds");
        fs::mknodat(&directory, "fifo", FileType::Fifo, fs::Mode::RWXU, 0).unwrap();
        std::fs::create_dir(path.join("directory")).unwrap();
        std::os::unix::fs::symlink("fifo", path.join("link")).unwrap();
        let limit = Limit::mebibytes(1);
        for (name, error) in [
            ("fifo", ReadError::NotAFile),
            ("directory", ReadError::NotAFile),
            ("link", ReadError::Call(Errno::LOOP)),
            ("missing", ReadError::Call(Errno::NOENT)),
        ] {
            assert_eq!(named(&directory, name, limit), Err(error), "{name}");
        }
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn files_that_do_not_tell_their_size_are_read_whole_or_refused() {
        let status = whole(File::open("/proc/self/status").unwrap(), Limit::mebibytes(1)).unwrap();
        assert!(status.starts_with(b"Name:") && status.ends_with(b"\n"));
        let limit = Limit::bytes(100);
        let status = File::open("/proc/self/status").unwrap();
        assert!(text(&status, Limit::mebibytes(1)).unwrap().starts_with("Name:"));
        let status = File::open("/proc/self/status").unwrap();
        assert_eq!(whole(&status, limit), Err(ReadError::TooLarge(limit)));
    }

    #[test]
    fn a_file_that_grew_is_read_to_its_end() {
        let (path, directory) = scratch("grown");
        std::fs::write(path.join("file"), "before").unwrap();
        let file = open::file(&directory, "file").unwrap();
        let stat = fs::fstat(&file).unwrap();
        File::options().append(true).open(path.join("file")).unwrap().write_all(&[b'+'; 5000]).unwrap();
        let content = known(&file, &stat, Limit::mebibytes(1)).unwrap();
        assert_eq!((content.len(), &content[..7]), (5006, &b"before+"[..]));
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn limits_say_how_large() {
        assert_eq!(ReadError::TooLarge(Limit::mebibytes(4)).to_string(), "larger than 4 MiB");
        assert_eq!(Limit::bytes(1000).to_string(), "1000 bytes");
        assert_eq!(std::io::Error::from(ReadError::NotText).to_string(), "not UTF-8");
    }
}
