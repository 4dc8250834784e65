//! The vocabulary of file systems, one row each: the only place that says what a file system is called, by what it is
//! recognised, who makes it, and where it may be mounted. Every other room asks the row.
//!
//! Containers (LUKS, dm-verity, LVM) are no file systems: [`crate::disk::probe`] tells them apart.

use core::fmt;
use std::prelude::v1::*;

use crate::units::Bytes;

/// The way in which an empty file system is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MadeBy {
    /// A plan of writes: [`crate::mkfs`].
    Writes,
    /// A program of /usr, by its name.
    Program(&'static str),
    /// Nothing that a machine has: only who builds an image makes it.
    Nothing,
}

/// The call of the kernel by which a file system grows while it is mounted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Growth {
    /// `EXT4_IOC_RESIZE_FS`.
    Ext4,
    /// `BTRFS_IOC_RESIZE`.
    Btrfs,
}

/// Declares the file systems: a variant, and its row.
macro_rules! file_systems {
    ($($(#[doc = $doc:literal])+ $kind:ident { $($field:ident: $value:expr,)+ })+) => {
        /// A file system.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum FileSystem { $($(#[doc = $doc])+ $kind,)+ }

        impl FileSystem {
            /// All, in the order in which messages list them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            const fn row(self) -> &'static Row {
                match self { $(Self::$kind => &Row { $($field: $value,)+ ..Row::PLAIN },)+ }
            }
        }
    };
}

struct Row {
    /// The name for mount(2), in `Format=` of repart.d(5), and in blkid's `TYPE=`.
    name: &'static str,
    /// Any of these bytes at its offset is the magic of the format.
    magic: &'static [(usize, &'static [u8])],
    made_by: MadeBy,
    /// `Format=` of repart.d(5) knows the name.
    is_defined: bool,
    mounts_as_usr: bool,
    mounts_as_root: bool,
    holds_files: bool,
    is_read_only: bool,
    has_subvolumes: bool,
    /// The least size of which systemd-repart makes one; a grain where it knows none.
    least: u64,
    grows_by: Option<Growth>,
    /// The mount options while a new one is filled.
    options_while_filled: &'static str,
    /// The mount options on a device that cannot or must not be written.
    options_unwritten: &'static str,
}

impl Row {
    const PLAIN: Self = Self {
        name: "",
        magic: &[],
        made_by: MadeBy::Nothing,
        is_defined: true,
        mounts_as_usr: false,
        mounts_as_root: false,
        holds_files: true,
        is_read_only: false,
        has_subvolumes: false,
        least: 1,
        grows_by: None,
        options_while_filled: "",
        options_unwritten: "",
    };
}

// Magics: fs/erofs/erofs_fs.h, fs/squashfs/squashfs_fs.h, fs/ext4/ext4.h, include/uapi/linux/btrfs_tree.h,
// fs/xfs/libxfs/xfs_format.h and include/linux/swap.h of the kernel; Microsoft's FAT specification.
file_systems! {
    /// EROFS.
    Erofs {
        name: "erofs",
        magic: &[(1024, &[0xe2, 0xe1, 0xf5, 0xe0])],
        mounts_as_usr: true,
        is_read_only: true,
    }
    /// SquashFS 4.
    Squashfs {
        name: "squashfs",
        magic: &[(0, b"hsqs")],
        mounts_as_usr: true,
        is_read_only: true,
    }
    /// ext4.
    Ext4 {
        name: "ext4",
        magic: EXT,
        made_by: MadeBy::Writes,
        mounts_as_usr: true,
        mounts_as_root: true,
        least: 32 * Bytes::MIB,
        grows_by: Some(Growth::Ext4),
        // The kernel's lazy initialisation would write behind our back while the partition is not committed yet.
        options_while_filled: "noinit_itable",
        options_unwritten: "noload",
    }
    /// btrfs.
    Btrfs {
        name: "btrfs",
        magic: &[((64 << 10) + 64, b"_BHRfS_M")],
        made_by: MadeBy::Writes,
        mounts_as_usr: true,
        mounts_as_root: true,
        has_subvolumes: true,
        least: 256 * Bytes::MIB,
        grows_by: Some(Growth::Btrfs),
        // Paths of definitions begin at the top, whichever subvolume is mounted later.
        options_while_filled: "subvolid=5",
        options_unwritten: "rescue=nologreplay",
    }
    /// XFS.
    Xfs {
        name: "xfs",
        magic: &[(0, b"XFSB")],
        made_by: MadeBy::Program("mkfs.xfs"),
        mounts_as_root: true,
        least: 300 * Bytes::MIB,
        options_unwritten: "norecovery",
    }
    /// F2FS.
    F2fs {
        name: "f2fs",
    }
    /// FAT12, FAT16 or FAT32; one with 32 bits is made.
    Vfat {
        name: "vfat",
        // FAT32 has it further back, because its parameter block is longer.
        magic: &[(82, b"FAT32   "), (54, b"FAT16   "), (54, b"FAT12   ")],
        made_by: MadeBy::Writes,
    }
    /// Swap space.
    Swap {
        name: "swap",
        // The magic ends the first page, whose size is that of the machine that made it.
        magic: &[
            ((4 << 10) - 10, b"SWAPSPACE2"),
            ((16 << 10) - 10, b"SWAPSPACE2"),
            ((64 << 10) - 10, b"SWAPSPACE2"),
        ],
        made_by: MadeBy::Writes,
        holds_files: false,
    }
    /// ext2: an ext4 without a journal and without anything newer.
    Ext2 {
        name: "ext2",
        magic: EXT,
        is_defined: false,
    }
    /// ext3: an ext4 with a journal and nothing newer.
    Ext3 {
        name: "ext3",
        magic: EXT,
        is_defined: false,
    }
}

const EXT: &[(usize, &[u8])] = &[(1024 + 56, &[0x53, 0xef])];

impl FileSystem {
    /// Its name for mount(2), in `Format=` of repart.d(5), and in blkid's `TYPE=`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.name() == name)
    }

    /// The one that `Format=` of repart.d(5) calls so.
    pub fn defined(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|one| one.row().is_defined && one.name() == name)
    }

    /// Those that are made by writes, in the order of [`FileSystem::ALL`].
    pub fn written() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|one| one.made_by() == MadeBy::Writes)
    }

    /// The offset of its magic in the beginning of a device; None when it is missing.
    pub fn magic(self, start: &[u8]) -> Option<usize> {
        let has =
            |(at, magic): &&(usize, &[u8])| start.get(*at..).is_some_and(|rest| rest.starts_with(magic));
        self.row().magic.iter().find(has).map(|(at, _)| *at)
    }

    /// The way in which an empty one is made.
    pub fn made_by(self) -> MadeBy {
        self.row().made_by
    }

    /// True when /usr is mounted from it.
    pub fn mounts_as_usr(self) -> bool {
        self.row().mounts_as_usr
    }

    /// True when a root is mounted from it: it has owners, modes and attributes, and can be written to.
    pub fn mounts_as_root(self) -> bool {
        self.row().mounts_as_root
    }

    /// True when it can be mounted and hold files.
    pub fn holds_files(self) -> bool {
        self.row().holds_files
    }

    /// True when it can never be written to, so that space beyond its content is lost.
    pub fn is_read_only(self) -> bool {
        self.row().is_read_only
    }

    /// True when it has subvolumes.
    pub fn has_subvolumes(self) -> bool {
        self.row().has_subvolumes
    }

    /// The least size of which systemd-repart makes one; one byte where it knows none.
    pub fn least(self) -> Bytes {
        Bytes(self.row().least)
    }

    /// The call by which it grows while it is mounted; None when it does not.
    pub fn grows_by(self) -> Option<Growth> {
        self.row().grows_by
    }

    /// The mount options while a new one is filled.
    pub fn options_while_filled(self) -> &'static str {
        self.row().options_while_filled
    }

    /// The mount options on a device that cannot or must not be written: a journal is not replayed.
    pub fn options_unwritten(self) -> &'static str {
        self.row().options_unwritten
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(of: fn(FileSystem) -> bool) -> Vec<&'static str> {
        FileSystem::ALL.iter().copied().filter(|system| of(*system)).map(FileSystem::name).collect()
    }

    #[test]
    fn every_row_says_what_the_rooms_above_go_by() {
        assert_eq!(names(FileSystem::mounts_as_usr), ["erofs", "squashfs", "ext4", "btrfs"]);
        assert_eq!(names(FileSystem::mounts_as_root), ["ext4", "btrfs", "xfs"]);
        assert_eq!(names(FileSystem::is_read_only), ["erofs", "squashfs"]);
        assert_eq!(names(FileSystem::has_subvolumes), ["btrfs"]);
        assert_eq!(names(|system| !system.holds_files()), ["swap"]);
        assert_eq!(names(|system| system.grows_by().is_some()), ["ext4", "btrfs"]);
        assert_eq!(
            FileSystem::written().map(FileSystem::name).collect::<Vec<_>>(),
            ["ext4", "btrfs", "vfat", "swap"]
        );
    }

    #[test]
    fn a_name_means_one_row() {
        for system in FileSystem::ALL {
            assert_eq!(FileSystem::named(system.name()), Some(*system));
        }
        assert_eq!((FileSystem::named("ntfs"), FileSystem::named("")), (None, None));
        assert_eq!((FileSystem::defined("xfs"), FileSystem::defined("ext2")), (Some(FileSystem::Xfs), None));
    }
}
