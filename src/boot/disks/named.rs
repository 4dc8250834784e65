//! Devices that the command line names (systemd-fstab-generator(8), `root=`, `mount.usr=`).

use std::{fs, path::PathBuf};

use super::{
    content::superblock,
    disk::{disk_of, entry},
};
use crate::{
    boot::failure::Failure, config::DeviceSpec, debug, disk::probe::Superblock, sys::block::BlockDevice,
    warning,
};

/// The device that a specification names, among those present. When a name is not unique, the boot disk's partitions
/// come first, and the name is logged as ambiguous.
///
/// # Errors
/// Two devices answer to the name and neither is on `preferred`.
pub fn resolve(
    spec: &DeviceSpec,
    devices: &[BlockDevice],
    preferred: Option<&str>,
) -> Result<Option<BlockDevice>, Failure> {
    let mut found: Vec<&BlockDevice> =
        devices.iter().filter(|device| answers(device, spec, devices)).collect();
    if found.len() > 1
        && let Some(preferred) = preferred
    {
        let on_preferred = |device: &&BlockDevice| disk_of(device) == preferred;
        if found.iter().any(on_preferred) {
            warning!("{spec} is not unique: {}; taking the one on {preferred}", names(&found));
            found.retain(on_preferred);
        }
    }
    match *found.as_slice() {
        [] => Ok(None),
        [device] => Ok(Some(device.clone())),
        _ => Err(Failure::new(format!(
            "{spec} is ambiguous: {}; remove one of the disks or name the device otherwise",
            names(&found)
        ))),
    }
}

fn names(devices: &[&BlockDevice]) -> String {
    devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn answers(device: &BlockDevice, spec: &DeviceSpec, devices: &[BlockDevice]) -> bool {
    match spec {
        DeviceSpec::Name(name) => device.name.replace('!', "/") == *name,
        DeviceSpec::Number(number) => device.number == *number,
        DeviceSpec::Uuid(uuid) => probed(device).is_some_and(|found| found.uuid == *uuid),
        DeviceSpec::Label(label) => probed(device).is_some_and(|found| found.label == *label),
        DeviceSpec::PartUuid(uuid) => entry(device, devices)
            .map(|entry| entry.guid.to_string() == *uuid)
            .unwrap_or_else(|| kernel_partuuid(device).is_some_and(|known| known == *uuid)),
        DeviceSpec::PartLabel(label) => entry(device, devices).is_some_and(|entry| entry.label == *label),
    }
}

/// The superblock of a device; None for unknown content, and for a device that cannot be read.
fn probed(device: &BlockDevice) -> Option<Superblock> {
    superblock(&device.node()).unwrap_or_else(|error| {
        debug!("cannot read {}: {error}; it answers to no name", device.name);
        None
    })
}

/// The kernel's name for a partition of a table that is not a GPT (`PARTUUID` of an MBR: disk signature and number).
fn kernel_partuuid(device: &BlockDevice) -> Option<String> {
    let uevent =
        fs::read_to_string(PathBuf::from("/sys/class/block").join(&device.name).join("uevent")).ok()?;
    uevent.lines().find_map(|line| line.strip_prefix("PARTUUID=")).map(str::to_ascii_lowercase)
}
