//! One file of repart.d, as types: a partition that should exist. Its fields are those of [`super::keys`].
//!
//! Source: repart.d(5) of systemd 262. `SplitName=`, which only an image builder needs, is no field: it is ignored with a
//! warning.

use core::fmt;
use std::{borrow::Cow, prelude::v1::*};

use super::{Definition, RepartError};
use crate::{
    disk::types::{self, Role},
    mkfs::btrfs,
};

/// A definition file as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Source {
    /// Its name, `50-root.conf`: the order of definitions.
    pub name: String,
    /// Its path, for people and for systemd-repart's output.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its drop-ins (`50-root.conf.d/*.conf`) by name: path and text. Read after it, in order; the last assignment counts.
    pub drop_ins: Vec<(String, String)>,
}

impl Definition {
    /// True when it asks for a root of this architecture.
    pub fn is_root(&self) -> bool {
        types::role(self.type_guid) == Some(Role::Root)
    }

    /// True when files, directories or links are to be put into the new file system.
    pub fn populates(&self) -> bool {
        !self.copy_files.is_empty() || !self.make_directories.is_empty() || !self.make_symlinks.is_empty()
    }

    /// The subvolumes as mkfs is to make them. One that is filled afterwards is made writable, and read-only in the
    /// end: [`Definition::read_only_subvolumes`].
    pub fn new_subvolumes(&self, is_filled: bool) -> Vec<btrfs::Subvolume<'_>> {
        self.subvolumes
            .iter()
            .map(|volume| {
                let flags = &volume.flags;
                let flags = btrfs::SubvolumeFlags { read_only: flags.read_only && !is_filled, ..*flags };
                btrfs::Subvolume { path: &volume.path, flags }
            })
            .collect()
    }

    /// The paths of the subvolumes that are read-only in the end.
    pub fn read_only_subvolumes(&self) -> impl Iterator<Item = &str> {
        self.subvolumes.iter().filter(|volume| volume.flags.read_only).map(|volume| volume.path.as_str())
    }

    /// The refusal of what `key` says, with the file and the line where it stands.
    pub fn refuse(
        &self,
        key: &str,
        what: impl Into<String>,
        advice: impl Into<Cow<'static, str>>,
    ) -> RepartError {
        let place = self.places.iter().rev().find(|place| place.key == key);
        RepartError::Refused {
            file: place.map_or_else(|| self.file.clone(), |place| place.file.clone()),
            line: place.map_or(0, |place| place.line),
            what: what.into(),
            advice: advice.into(),
        }
    }
}

/// Something that was read over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warning {
    /// The file.
    pub file: String,
    /// The line, from 1; 0 for the file as a whole.
    pub line: u32,
    /// The text that is read over.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {} is ignored", self.file, self.what),
            line => write!(f, "{}:{line}: {} is ignored", self.file, self.what),
        }
    }
}

/// All definitions of an image, in the order of their names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Definitions {
    /// The definitions.
    pub list: Vec<Definition>,
    /// The things that were read over.
    pub warnings: Vec<Warning>,
}
