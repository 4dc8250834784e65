//! A file that takes the place of another one whole or not at all: it is made beside it under a hidden name, and put there by one rename.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::{fs, io::Errno};

use super::{
    attributes::{Attributes, Failed},
    inode::Inode,
    open, remove,
};

/// The longest part of a name that its hidden form keeps, in bytes: a name may be as long as names can be.
const KEPT: usize = 240;

/// The name under which something is made that is to take the place of this one. A crash may leave it behind; the next replacement of
/// the same name removes it.
pub fn hidden(name: &[u8]) -> Vec<u8> {
    let mut hidden = [b".#", name].concat();
    hidden.truncate(KEPT);
    hidden.extend_from_slice(b".hermetic");
    hidden
}

/// As [`new`], under a hidden name, in place of a file that a crash left there.
///
/// # Errors
/// The first step that failed; the file may then be there.
pub fn beside(
    directory: BorrowedFd<'_>,
    hidden: &[u8],
    content: &[u8],
    attributes: &Attributes<'_>,
) -> Result<OwnedFd, Failed> {
    remove::file(directory, hidden).map_err(Failed::target("replace"))?;
    new(directory, hidden, content, attributes)
}

/// Makes a file under a name that is free. It has no permissions until its content is written.
///
/// # Errors
/// The first step that failed; the file may then be there.
pub fn new(
    directory: BorrowedFd<'_>,
    name: &[u8],
    content: &[u8],
    attributes: &Attributes<'_>,
) -> Result<OwnedFd, Failed> {
    let file = open::new(directory, name, 0).map_err(Failed::target("create"))?;
    write_all(file.as_fd(), content).map_err(Failed::target("write"))?;
    attributes.give(Inode::open(&file))?;
    Ok(file)
}

/// Puts the file of a hidden name in its place.
///
/// # Errors
/// Those of `renameat`.
pub fn place(directory: BorrowedFd<'_>, hidden: &[u8], name: &[u8]) -> Result<(), Errno> {
    fs::renameat(directory, hidden, directory, name)
}

/// Writes all of `bytes`.
///
/// # Errors
/// Those of `write`.
pub fn write_all(file: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match rustix::io::retry_on_intr(|| rustix::io::write(file, rest))? {
            0 => return Err(Errno::NOSPC),
            written => rest = rest.get(written..).unwrap_or_default(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn what_a_crash_left_is_replaced_and_the_old_file_stays_until_the_rename() {
        let top = std::env::temp_dir().join(format!("hermetic-replace-{}", std::process::id()));
        std::fs::create_dir_all(&top).unwrap();
        let directory = File::open(&top).unwrap();
        std::fs::write(top.join("file"), "old").unwrap();
        std::fs::write(top.join(".#file.hermetic"), "half of it, and more than the new one").unwrap();
        let hidden = hidden(b"file");
        let attributes = Attributes { mode: Some(0o640), ..Attributes::default() };
        beside(directory.as_fd(), &hidden, b"new", &attributes).unwrap();
        assert_eq!(std::fs::read_to_string(top.join("file")).unwrap(), "old");
        place(directory.as_fd(), &hidden, b"file").unwrap();
        assert_eq!(std::fs::read_to_string(top.join("file")).unwrap(), "new");
        assert_eq!(std::fs::metadata(top.join("file")).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(&top).unwrap().count(), 1);
        std::fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn hidden_names_are_names() {
        assert_eq!(hidden(b"passwd"), b".#passwd.hermetic");
        assert!(hidden(&[b'x'; 255]).len() <= 255);
    }
}
