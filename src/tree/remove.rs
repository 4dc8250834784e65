//! Removes an entry: a file, or a directory with everything in it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, AtFlags, Dir, StatxAttributes, StatxFlags},
    io::Errno,
};

use super::open;
use crate::sort;

/// The deepest nesting that is descended into; every level holds a descriptor.
const MAX_DEPTH: usize = 256;

/// Removes a file, or a directory with everything in it; no mount point, and so no directory above one.
///
/// # Errors
/// The first entry that cannot be removed; the entries before it are gone. A missing name is not an error.
pub fn tree(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    let mut open: Vec<(Vec<u8>, OwnedFd, Vec<Vec<u8>>)> = Vec::new();
    let mut next = Some(name.to_vec());
    loop {
        let here = open.last().map_or(directory, |(_, fd, _)| fd.as_fd());
        match next.take() {
            Some(name) => match fs::unlinkat(here, name.as_slice(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) if open.len() < MAX_DEPTH && !is_mount_point(here, &name) => {
                    let child = open::directory(here, name.as_slice())?;
                    let entries = names(&child)?;
                    open.push((name, child, entries));
                }
                Err(errno) => return Err(errno),
            },
            None => {
                let Some((name, child, _)) = open.pop() else { return Ok(()) };
                drop(child);
                let here = open.last().map_or(directory, |(_, fd, _)| fd.as_fd());
                fs::unlinkat(here, name.as_slice(), AtFlags::REMOVEDIR)?;
            }
        }
        next = open.last_mut().and_then(|(_, _, entries)| entries.pop());
        if next.is_none() && open.is_empty() {
            return Ok(());
        }
    }
}

/// Removes a file that may be missing.
///
/// # Errors
/// Those of `unlinkat`, but for `NOENT`.
pub fn file(directory: BorrowedFd<'_>, name: &[u8]) -> Result<(), Errno> {
    match fs::unlinkat(directory, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => removed,
    }
}

/// Tells if something is mounted on a name; the empty name is the directory itself. A name that cannot be read counts
/// as false.
pub fn is_mount_point(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::EMPTY_PATH;
    fs::statx(directory, name, flags, StatxFlags::TYPE)
        .is_ok_and(|statx| statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Lists the names in a directory, which may be open with `O_PATH`, in their order.
///
/// # Errors
/// Those of `openat` and of `getdents`.
pub fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let directory = open::directory(directory, ".")?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&directory)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    sort::slice(&mut names);
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn a_tree_goes_and_what_its_links_lead_to_stays() {
        let top = std::env::temp_dir().join(format!("hermetic-remove-{}", std::process::id()));
        std::fs::create_dir_all(top.join("tree/below/empty")).unwrap();
        std::fs::create_dir(top.join("other")).unwrap();
        std::fs::write(top.join("other/file"), "stays").unwrap();
        std::fs::write(top.join("tree/below/file"), "goes").unwrap();
        symlink("../other", top.join("tree/link")).unwrap();
        symlink("other", top.join("link")).unwrap();
        let directory = OwnedFd::from(File::open(&top).unwrap());
        for name in ["tree", "link", "missing"] {
            tree(directory.as_fd(), name.as_bytes()).unwrap();
        }
        assert_eq!(names(&directory), Ok(vec![b"other".to_vec()]));
        assert_eq!(std::fs::read_to_string(top.join("other/file")).unwrap(), "stays");
        assert_eq!(file(directory.as_fd(), b"missing"), Ok(()));
        assert!(is_mount_point(File::open("/proc").unwrap().as_fd(), b""));
        std::fs::remove_dir_all(top).unwrap();
    }
}
