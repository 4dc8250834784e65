//! The item that one line asks for: a user, a group, a member, a range of ids.

use std::prelude::v1::*;

use super::range::IdRanges;

/// A user that is to exist.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct User {
    /// Its name.
    pub name: String,
    /// The id it would like.
    pub uid: Option<u32>,
    /// The group id it insists on; a group of that id must exist or be made by another line.
    pub gid: Option<u32>,
    /// The group it insists on, by name.
    pub group: Option<String>,
    /// The file whose owner it would like to be.
    pub owner_of: Option<String>,
    /// The GECOS field.
    pub description: Option<String>,
    /// The home directory.
    pub home: Option<String>,
    /// The login shell.
    pub shell: Option<String>,
    /// `u!`: the account is expired, so that no way of logging in works.
    pub locked: bool,
}

/// A group that is to exist.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// The id it would like.
    pub gid: Option<u32>,
    /// The file whose group it would like to be.
    pub owner_of: Option<String>,
}

/// The thing that one line asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Item {
    User(User),
    Group(Group),
    /// User, group.
    Member(String, String),
    Range(IdRanges),
}
