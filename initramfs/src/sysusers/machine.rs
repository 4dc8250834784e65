//! The users and groups that the C library's name services know on this machine.

use hermetic_init::sysusers::allocate;
use nix::unistd::{Gid, Group, Uid, User};

/// The C library's name services: files, LDAP, systemd's dynamic users. A service that cannot be asked is taken to have
/// no entries.
pub(super) struct NameService;

impl allocate::NameService for NameService {
    fn uid_of(&self, name: &str) -> Option<u32> {
        User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn gid_of(&self, name: &str) -> Option<u32> {
        Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
    }

    fn has_uid(&self, uid: u32) -> bool {
        User::from_uid(Uid::from_raw(uid)).is_ok_and(|user| user.is_some())
    }

    fn group_of(&self, gid: u32) -> Option<String> {
        Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
    }
}
