//! The file system on a device, before the kernel is asked to mount it.

use std::prelude::v1::*;

use crate::{config::PartitionPolicy, disk::probe::Superblock, file_system::FileSystem};

/// The file system of a superblock that was found on the device `name`. It must be one that is `allowed`, and `wanted` if that is
/// given.
///
/// # Errors
/// There is nothing known, or another file system: the reason.
pub fn file_system(
    name: &str,
    found: Option<&Superblock>,
    allowed: fn(FileSystem) -> bool,
    policy: PartitionPolicy,
    wanted: Option<&str>,
) -> Result<FileSystem, String> {
    let refuse = |reason: String| Err(format!("{name}: {reason}"));
    let names = FileSystem::ALL.iter().filter(|system| allowed(**system)).map(|system| system.name());
    let names = names.collect::<Vec<_>>().join(", ");
    let Some(found) = found else {
        return refuse(format!(
            "no file system that we know; it is damaged or was never written (wanted: {names})"
        ));
    };
    match found.format.file_system() {
        Some(system) if allowed(system) => match wanted {
            Some(wanted) if wanted != system.name() => refuse(format!(
                "holds {system}, but the command line says {wanted}; correct the command line"
            )),
            _ if !policy.allows_file_system(system.name()) => refuse(format!(
                "holds {system}, which systemd.image_policy= does not allow; correct one of them"
            )),
            _ => Ok(system),
        },
        _ => refuse(format!("{} cannot be mounted here; use one of {names}", found.format)),
    }
}
