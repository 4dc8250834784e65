//! Devices that the command line names (systemd-fstab-generator(8), `root=`, `mount.usr=`).

use std::rc::Rc;

use super::{
    disk::{Table, disk_of},
    survey::Survey,
};
use crate::{
    boot::failure::Failure,
    config::DeviceSpec,
    disk::{partition::Partition, probe::Superblock},
    sys::block::{BlockDevice, Kind},
    warning,
};

/// The device that a specification names, among those present that answer. When a name is not unique, the boot disk's partitions
/// come first, and the name is logged as ambiguous.
///
/// # Errors
/// Two devices answer to the name and neither is on `preferred`.
pub fn resolve(
    spec: &DeviceSpec,
    survey: &Survey,
    preferred: Option<&str>,
) -> Result<Option<BlockDevice>, Failure> {
    let mut found = answering(spec, survey);
    if found.len() > 1
        && let Some(preferred) = preferred
    {
        let on_preferred = |device: &BlockDevice| disk_of(device) == preferred;
        if found.iter().any(on_preferred) {
            warning!("{spec} is not unique: {}; taking the one on {preferred}", names(&found));
            found.retain(on_preferred);
        }
    }
    match found.as_slice() {
        [] => Ok(None),
        [device] => Ok(Some(device.clone())),
        _ => Err(Failure::new(format!(
            "{spec} is ambiguous: {}; remove one of the disks or name the device otherwise",
            names(&found)
        ))),
    }
}

fn names(devices: &[BlockDevice]) -> String {
    devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The devices that answer to a name.
fn answering(spec: &DeviceSpec, survey: &Survey) -> Vec<BlockDevice> {
    let known = |answers: &dyn Fn(&BlockDevice) -> bool| {
        survey.devices().iter().filter(|device| answers(device)).cloned().collect()
    };
    let content = |answers: &dyn Fn(&Superblock) -> bool| {
        let contents = survey.contents().into_iter().filter(|(_, content)| answers(content));
        contents.map(|(device, _)| device).collect()
    };
    match spec {
        DeviceSpec::Name(name) => known(&|device| device.name.replace('!', "/") == *name),
        DeviceSpec::Number(number) => known(&|device| device.number == *number),
        DeviceSpec::Uuid(uuid) => content(&|content| content.uuid == *uuid),
        DeviceSpec::Label(label) => content(&|content| content.label == *label),
        DeviceSpec::PartUuid(uuid) => {
            let tables = survey.tables(&|_| true);
            known(&|device| match entry_of(device, &tables) {
                Some(entry) => entry.guid.to_string() == *uuid,
                None => device.partuuid.as_ref() == Some(uuid),
            })
        }
        DeviceSpec::PartLabel(label) => {
            let tables = survey.tables(&|_| true);
            known(&|device| entry_of(device, &tables).is_some_and(|entry| entry.label == *label))
        }
    }
}

fn entry_of<'t>(device: &BlockDevice, tables: &'t [Rc<Table>]) -> Option<&'t Partition> {
    let Kind::Partition { disk, number, .. } = &device.kind else { return None };
    tables.iter().find(|table| table.device.name == *disk)?.gpt.partition(*number)
}
