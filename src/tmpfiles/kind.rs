//! The types of lines (tmpfiles.d(5), "Type").

/// The types of lines. Each variant is one letter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Kind {
    /// `A`: POSIX ACLs of a tree.
    Acls = b'A',
    /// `C`: a copy of a file or a tree.
    Copy = b'C',
    /// `D`: a directory whose contents are removed with `--remove`.
    EmptiedDirectory = b'D',
    /// `F`, of old, for `f+`: a file that is made or written anew.
    TruncatedFile = b'F',
    /// `H`: file attributes of a tree.
    Attributes = b'H',
    /// `L`: a symbolic link.
    Symlink = b'L',
    /// `Q`: a subvolume with its own quota group.
    SubvolumeNewQuota = b'Q',
    /// `R`: removes trees.
    RemoveTrees = b'R',
    /// `T`: extended attributes of a tree.
    Xattrs = b'T',
    /// `X`: spares a directory, not its content, from clean-up.
    SpareDirectory = b'X',
    /// `Z`: mode, owner and label of a tree.
    AdjustTree = b'Z',
    /// `a`: POSIX ACLs.
    Acl = b'a',
    /// `b`: a block device.
    BlockDevice = b'b',
    /// `c`: a character device.
    CharacterDevice = b'c',
    /// `d`: a directory.
    Directory = b'd',
    /// `e`: mode and owner of directories that exist.
    ExistingDirectory = b'e',
    /// `f`: a file.
    File = b'f',
    /// `h`: file attributes.
    Attribute = b'h',
    /// `m`, of old, for `z`.
    AdjustMode = b'm',
    /// `p`: a FIFO.
    Fifo = b'p',
    /// `q`: a subvolume within its parent's quota group.
    SubvolumeInheritQuota = b'q',
    /// `r`: removes files and empty directories.
    Remove = b'r',
    /// `t`: extended attributes.
    Xattr = b't',
    /// `v`: a subvolume.
    Subvolume = b'v',
    /// `w`: writes to an existing file.
    Write = b'w',
    /// `x`: spares a path from clean-up.
    Spare = b'x',
    /// `z`: mode, owner and label.
    Adjust = b'z',
}

impl Kind {
    /// Every type, by its letter.
    pub const ALL: [Self; 27] = [
        Self::Acls,
        Self::Copy,
        Self::EmptiedDirectory,
        Self::TruncatedFile,
        Self::Attributes,
        Self::Symlink,
        Self::SubvolumeNewQuota,
        Self::RemoveTrees,
        Self::Xattrs,
        Self::SpareDirectory,
        Self::AdjustTree,
        Self::Acl,
        Self::BlockDevice,
        Self::CharacterDevice,
        Self::Directory,
        Self::ExistingDirectory,
        Self::File,
        Self::Attribute,
        Self::AdjustMode,
        Self::Fifo,
        Self::SubvolumeInheritQuota,
        Self::Remove,
        Self::Xattr,
        Self::Subvolume,
        Self::Write,
        Self::Spare,
        Self::Adjust,
    ];

    /// The type of this letter.
    pub fn from_letter(letter: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.letter() == letter)
    }

    /// Its letter.
    pub fn letter(self) -> u8 {
        self as u8
    }

    /// Returns true when the path is a pattern (glob(7)); the others take it as it is.
    pub fn is_glob(self) -> bool {
        matches!(
            self,
            Self::Write
                | Self::ExistingDirectory
                | Self::Xattr
                | Self::Xattrs
                | Self::Acl
                | Self::Acls
                | Self::Attribute
                | Self::Attributes
                | Self::Spare
                | Self::SpareDirectory
                | Self::Remove
                | Self::RemoveTrees
                | Self::Adjust
                | Self::AdjustTree
                | Self::AdjustMode
        )
    }

    /// Returns true when the line decides the kind of the entry at the path: two such lines for one path exclude each
    /// other.
    pub fn takes_ownership(self) -> bool {
        self.is_purgeable()
            || matches!(self, Self::Spare | Self::SpareDirectory | Self::Remove | Self::RemoveTrees)
    }

    /// Returns true when the line may carry `$`: it makes something that `--purge` could remove.
    pub fn is_purgeable(self) -> bool {
        self.is_directory()
            || matches!(
                self,
                Self::File
                    | Self::TruncatedFile
                    | Self::Fifo
                    | Self::Symlink
                    | Self::CharacterDevice
                    | Self::BlockDevice
                    | Self::Copy
                    | Self::Write
                    | Self::ExistingDirectory
            )
    }

    /// Returns true when the line makes a directory or a subvolume.
    pub fn is_directory(self) -> bool {
        self == Self::Directory || self == Self::EmptiedDirectory || self.is_subvolume()
    }

    /// Returns true when the line makes a subvolume.
    pub fn is_subvolume(self) -> bool {
        matches!(self, Self::Subvolume | Self::SubvolumeInheritQuota | Self::SubvolumeNewQuota)
    }

    /// Returns true when the line makes a device node.
    pub fn is_device(self) -> bool {
        matches!(self, Self::CharacterDevice | Self::BlockDevice)
    }

    /// Returns true when the argument of the line has no meaning.
    pub fn ignores_argument(self) -> bool {
        self.is_directory()
            || matches!(
                self,
                Self::ExistingDirectory
                    | Self::Fifo
                    | Self::Spare
                    | Self::SpareDirectory
                    | Self::Remove
                    | Self::RemoveTrees
                    | Self::AdjustMode
                    | Self::Adjust
                    | Self::AdjustTree
            )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_sorted_and_distinct() {
        assert!(Kind::ALL.is_sorted_by(|one, other| one.letter() < other.letter()));
        for kind in Kind::ALL {
            assert_eq!(Kind::from_letter(kind.letter()), Some(kind));
        }
        assert_eq!(Kind::from_letter(b'Y'), None);
    }
}
