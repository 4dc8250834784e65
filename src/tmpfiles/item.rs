//! One line, checked: what shall be at a path.

use std::prelude::v1::*;

use super::{acl::Acls, age::Age, attribute::Attributes, kind::Kind};

/// A user or a group that something shall belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Its id.
    pub id: u32,
    /// `:`: only new entries get it, not existing ones.
    pub only_new: bool,
}

/// The access mode that something shall have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessMode {
    /// Permission bits, with set-user-id, set-group-id and sticky.
    pub bits: u32,
    /// `:`: only new entries get it, not existing ones.
    pub only_new: bool,
    /// `~`: bits are left out that no class of the existing file has.
    pub masked: bool,
}

impl AccessMode {
    /// The bits for a file of the mode `old`, type included (systemd's `process_mask_perms`).
    pub fn for_existing(self, old: u32) -> u32 {
        if !self.masked {
            return self.bits;
        }
        let mut bits = self.bits;
        for class in [0o111, 0o222, 0o444] {
            if old & class == 0 {
                bits &= !class;
            }
        }
        let is_directory = old & 0o170_000 == 0o040_000;
        if is_directory { bits } else { bits & !0o7000 }
    }
}

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The kind.
    pub kind: Kind,
    /// The path: absolute, simplified, or a pattern of that kind.
    pub path: Vec<u8>,
    /// The text to write, the target of a link, or the source of a copy.
    pub argument: Option<Vec<u8>>,
    /// Extended attributes: names and values.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Access control lists.
    pub acls: Acls,
    /// File attributes.
    pub attributes: Option<Attributes>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// The user.
    pub user: Option<Owner>,
    /// The group.
    pub group: Option<Owner>,
    /// The mode, if the line has one.
    pub mode: Option<AccessMode>,
    /// The mode of a new entry: that of the line, or the type's.
    pub creation_mode: u32,
    /// When it is old.
    pub age: Age,
    /// `+`
    pub append_or_force: bool,
    /// `-`
    pub allow_failure: bool,
    /// `=`
    pub try_replace: bool,
    /// `$`
    pub purge: bool,
    /// `?`
    pub ignore_if_target_missing: bool,
}

impl Item {
    /// Returns true when this and another line for the same path can both be carried out: at most one decides the kind
    /// of the entry, or both say the same.
    pub fn is_compatible(&self, other: &Self) -> bool {
        if !self.kind.takes_ownership() || !other.kind.takes_ownership() {
            return true;
        }
        let argument = |item: &Self| item.argument.clone().unwrap_or_default();
        argument(self) == argument(other)
            && (self.user, self.group, self.mode, self.creation_mode)
                == (other.user, other.group, other.mode, other.creation_mode)
            && (self.age, self.device) == (other.age, other.device)
    }

    /// Returns true when this line and an earlier one for the same path may both stand: compatible ones, and several
    /// `w+`.
    pub fn may_follow(&self, earlier: &Self) -> bool {
        let appends = |item: &Self| item.kind == Kind::Write && item.append_or_force;
        self.is_compatible(earlier) || (appends(self) && appends(earlier))
    }

    /// The order in which lines for one path are carried out: first the one that decides the kind of the entry, then by
    /// letter.
    pub fn rank(&self) -> (bool, u8) {
        (!self.kind.takes_ownership(), self.kind.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_mode_gives_nobody_what_nobody_had() {
        let mode = AccessMode { bits: 0o6775, only_new: false, masked: true };
        for (old, new) in [
            (0o100_644, 0o664),
            (0o100_444, 0o444),
            (0o100_755, 0o775),
            (0o040_750, 0o6775),
            (0o040_000, 0o6000),
        ] {
            assert_eq!(mode.for_existing(old), new, "{old:o}");
        }
    }
}
