//! The archive that the kernel unpacks: cpio in the `newc` format.
//!
//! References: Documentation/driver-api/early-userspace/buffer-format.rst and init/initramfs.c of the kernel; cpio(5).

use std::fmt;

use super::tree::{Entry, Kind, Tree};

/// Every header begins with this.
const MAGIC: &str = "070701";
/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";
/// Archives end on such a boundary, as cpio(1) writes them.
const BLOCK: usize = 512;

/// The type bits of st_mode, inode(7).
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHAR_DEVICE: u32 = 0o020_000;

/// A file is too large for the format, whose sizes have 32 bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TooLarge(pub String);

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{} is larger than 4 GiB, the most that a cpio archive holds: leave it out", self.0)
    }
}

/// `tree` as an archive.
///
/// # Errors
/// When a file is larger than the format allows.
pub fn archive(tree: &Tree) -> Result<Vec<u8>, TooLarge> {
    let mut out = Vec::new();
    for (inode, (path, Entry { mode, kind })) in (1..).zip(tree.iter()) {
        let (file_type, links, data, device) = match kind {
            Kind::Directory => (DIRECTORY, 2, &[][..], (0, 0)),
            Kind::File(content) => (FILE, 1, content.as_slice(), (0, 0)),
            Kind::Symlink(target) => (SYMLINK, 1, target.as_bytes(), (0, 0)),
            Kind::CharDevice { major, minor } => (CHAR_DEVICE, 1, &[][..], (*major, *minor)),
        };
        let header = Header { inode, mode: file_type | mode, links, device };
        header.append(&mut out, path, data).ok_or_else(|| TooLarge(path.to_owned()))?;
    }
    let trailer = Header { inode: 0, mode: 0, links: 1, device: (0, 0) };
    trailer.append(&mut out, TRAILER, &[]).ok_or_else(|| TooLarge(TRAILER.to_owned()))?;
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    Ok(out)
}

/// The fields of a header beside name and size; owner, group, time and the device that holds the file are 0.
struct Header {
    inode: u32,
    mode: u32,
    links: u32,
    /// For a device file, its major and minor number.
    device: (u32, u32),
}

impl Header {
    /// Appends header, name and data, each padded to 4 bytes. None when a size does not fit.
    fn append(&self, out: &mut Vec<u8>, name: &str, data: &[u8]) -> Option<()> {
        let size = u32::try_from(data.len()).ok()?;
        let name_size = u32::try_from(name.len().checked_add(1)?).ok()?;
        let (major, minor) = self.device;
        let fields = [
            self.inode, self.mode, 0, 0, self.links, 0, size, 0, 0, major, minor, name_size,
            /* no checksum */ 0,
        ];
        out.extend_from_slice(MAGIC.as_bytes());
        for field in fields {
            out.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(4), 0);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A reader written from the format's description, for the round trip.
    fn read(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        loop {
            assert_eq!(&archive[at..at + 6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&archive[at + 6 + 8 * n..at + 14 + 8 * n]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let name_end = at + 110 + field(11) as usize;
            let name = String::from_utf8(archive[at + 110..name_end - 1].to_vec()).unwrap();
            assert_eq!(archive[name_end - 1], 0);
            let data = name_end.next_multiple_of(4);
            let end = data + field(6) as usize;
            if name == TRAILER {
                assert!(archive[end..].iter().all(|byte| *byte == 0) && archive.len().is_multiple_of(512));
                return entries;
            }
            entries.push((name, field(1), archive[data..end].to_vec()));
            at = end.next_multiple_of(4);
        }
    }

    #[test]
    fn one_file_byte_for_byte() {
        // `printf hello > a; chmod 640 a; touch -d @0 a; echo a | cpio -o -H newc -R 0:0 --renumber-inodes`, with the
        // holding device's numbers 0.
        let mut tree = Tree::default();
        tree.file("/a", 0o640, b"hello".to_vec()).unwrap();
        let expected = "07070100000001000081a000000000000000000000000100000000000000050000000000000000\
                        00000000000000000000000200000000a\0hello\0\0\0\
                        07070100000000000000000000000000000000000000010000000000000000000000000000000000000000\
                        000000000000000b00000000TRAILER!!!\0\0\0\0";
        let archive = archive(&tree).unwrap();
        assert_eq!(archive.len(), 512);
        assert_eq!(String::from_utf8_lossy(&archive[..expected.len()]), expected);
    }

    #[test]
    fn kinds_have_their_type_and_content() {
        let mut tree = Tree::default();
        tree.add("/dev/console", Entry { mode: 0o600, kind: Kind::CharDevice { major: 5, minor: 1 } })
            .unwrap();
        tree.add("/init", Entry { mode: 0o777, kind: Kind::Symlink("hermetic-init".into()) }).unwrap();
        let archive = archive(&tree).unwrap();
        assert_eq!(
            read(&archive),
            [
                ("dev".into(), 0o040755, vec![]),
                ("dev/console".into(), 0o020600, vec![]),
                ("init".into(), 0o120777, b"hermetic-init".to_vec()),
            ]
        );
    }

    proptest! {
        #[test]
        fn any_files_read_back(
            files in prop::collection::btree_map("[a-z]{1,12}", (0u32..0o10000, prop::collection::vec(any::<u8>(), 0..70)), 0..12)
        ) {
            let mut tree = Tree::default();
            for (name, (mode, content)) in &files {
                tree.file(&format!("/{name}"), *mode, content.clone()).unwrap();
            }
            let expected: Vec<_> =
                files.into_iter().map(|(name, (mode, content))| (name, 0o100000 | mode, content)).collect();
            prop_assert_eq!(read(&archive(&tree).unwrap()), expected);
        }
    }
}
