//! The attributes by which a new file system names the place that it was made for (`AddValidateFS=`, as systemd-repart
//! 258 carries it out): [`crate::disk::validatefs`] checks them.

use std::prelude::v1::*;

use super::{Format, NewPartition};
use crate::disk::{
    types::{self, Role},
    validatefs::Constraint,
};
use crate::file_system::FileSystem;

/// The attributes of the top directory of a new partition's file system: its label, its type, and where MountPoint= or else
/// the type says that it is mounted; alternatives stand between NULs. Empty for a file system that keeps no attributes, for
/// copied blocks, and for `AddValidateFS=no`.
pub fn constraints(new: &NewPartition) -> Vec<(Constraint, String)> {
    let definition = &new.definition;
    let format = definition.format.filter(|_| definition.add_validate_fs && definition.copy_blocks.is_none());
    if !format.and_then(Format::file_system).is_some_and(FileSystem::mounts_as_root) {
        return Vec::new();
    }
    let said: Vec<&str> = definition.mount_points.iter().map(|point| point.path.as_str()).collect();
    let places = match types::role(new.type_guid) {
        _ if !said.is_empty() => said.join("\0"),
        Some(Role::Root) => "/".into(),
        _ => types::mount_points(new.type_guid).join("\0"),
    };
    [
        (Constraint::Label, new.label.clone()),
        (Constraint::Type, new.type_guid.to_string()),
        (Constraint::MountPoint, places),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .collect()
}
