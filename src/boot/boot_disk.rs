//! Which disk is ours (contract §2.1), and which slot of /usr on it.

use super::{
    devices::{Devices, Look},
    disks::Disk,
    failure::{Failure, OrFail},
};
use crate::{
    disk::slot::{Slot, select_usr},
    info,
    sys::{block::BlockDevice, efi},
    verity::RootHash,
};

const STAGE: &str = "usr";

/// Waits for the disk that the firmware booted from, or without such knowledge for the one disk that holds a matching
/// /usr, and picks the slot there. Where two disks qualify none is taken: a cloned disk could hold anything.
///
/// # Errors
/// The deadline passed, or the choice is not clear.
pub fn choose(devices: &mut Devices, root_hash: Option<&RootHash>) -> Result<(Disk, Slot), Failure> {
    let loader = match efi::is_available() {
        true => efi::text("LoaderDevicePartUUID", efi::LOADER)
            .or_fail(STAGE, || "cannot read the EFI variable LoaderDevicePartUUID".into())?
            .map(|text| text.to_lowercase()),
        false => None,
    };
    let subject = match root_hash {
        Some(root_hash) => format!("/usr with root hash {root_hash}"),
        None => "/usr partition".to_owned(),
    };
    let (disk, slot) = devices.wait(STAGE, &subject, |there| match &loader {
        Some(guid) => on_firmware_disk(there, guid, root_hash),
        None => on_any_disk(there, root_hash),
    })?;
    let how = if loader.is_some() { "the firmware's disk" } else { "the only disk with it" };
    info!("{}: {how}, {} from partition {}", disk.device.name, subject, slot.data);
    Ok((disk, slot))
}

fn on_firmware_disk(
    there: &[BlockDevice],
    guid: &str,
    root_hash: Option<&RootHash>,
) -> Result<Look<(Disk, Slot)>, Failure> {
    let mut disks = Disk::all(there);
    disks.retain(|disk| disk.gpt.partitions().iter().any(|partition| partition.guid.to_string() == guid));
    if disks.len() > 1 {
        return Err(Failure::new(
            STAGE,
            format!(
                "the firmware booted from partition {guid}, and {} have one of that name; remove all but one",
                names(&disks)
            ),
        ));
    }
    let Some(disk) = disks.pop() else {
        return Ok(Look::NotYet(format!("no disk has the partition {guid} that the firmware booted from")));
    };
    match select_usr(disk.gpt.partitions(), root_hash) {
        Ok(slot) => Ok(Look::Found((disk, slot))),
        Err(error) => {
            Err(Failure::new(STAGE, format!("{}, which the firmware booted from: {error}", disk.device.name)))
        }
    }
}

fn on_any_disk(there: &[BlockDevice], root_hash: Option<&RootHash>) -> Result<Look<(Disk, Slot)>, Failure> {
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    for disk in Disk::all(there) {
        match select_usr(disk.gpt.partitions(), root_hash) {
            Ok(slot) => found.push((disk, slot)),
            Err(error) => reasons.push(format!("{}: {error}", disk.device.name)),
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(Look::Found(only)),
        (Some(last), false) => {
            let disks: Vec<Disk> = found.into_iter().chain([last]).map(|(disk, _)| disk).collect();
            let names = names(&disks);
            Err(Failure::new(
                STAGE,
                format!(
                    "{names} all hold this /usr and the firmware does not say which it booted; remove all but one"
                ),
            ))
        }
        (None, _) if reasons.is_empty() => Ok(Look::NotYet("no disk with a GPT".into())),
        (None, _) => Ok(Look::NotYet(reasons.join(", "))),
    }
}

fn names(disks: &[Disk]) -> String {
    disks.iter().map(|disk| disk.device.name.as_str()).collect::<Vec<_>>().join(" and ")
}
