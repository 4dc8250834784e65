//! The disk that is ours, and the slot of /usr on it (systemd-gpt-auto-generator(8)).

use std::{fs::File, io, rc::Rc};

use crate::{
    boot::{
        disks::{Disk, Survey, Table, disk_of},
        failure::{Failure, OrFail as _},
        machine::devices::{Devices, Look},
    },
    disk::{
        filter::Filter,
        slot::{Choice, Slot, SlotError, has_version, select_usr},
    },
    image, info, notice,
    os_release::OsRelease,
    sys::efi,
    tree::read::{self, Limit},
    verity::RootHash,
};

/// The name of the booted kernel image, in its own words: sd-stub unpacks its section .osrel there.
const KERNEL_IMAGE: &str = "/.extra/os-release";
/// The most that it may have.
const LIMIT: Limit = Limit::mebibytes(1);

/// Waits for the disk that the firmware booted from, or without such knowledge for the one disk that holds a matching
/// /usr, and picks the slot there. When two disks qualify, neither is taken: a cloned disk could hold anything. Every
/// disk that was announced before the choice has been looked at; one that comes later cannot be waited for.
///
/// # Errors
/// The deadline passed, or the choice is not clear.
pub fn choose(
    devices: &mut Devices,
    root_hash: Option<&RootHash>,
    filter: &Filter,
) -> Result<(Disk, Slot), Failure> {
    let loader = match efi::is_available() {
        true => efi::text("LoaderDevicePartUUID", efi::LOADER)
            .or_fail(|| "cannot read the EFI variable LoaderDevicePartUUID".into())?
            .map(|text| text.to_ascii_lowercase()),
        false => None,
    };
    let version = match root_hash {
        Some(_) => None,
        None => image_version().or_fail(|| format!("cannot read {KERNEL_IMAGE}"))?,
    };
    let choice = match (root_hash, &version) {
        (Some(root_hash), _) => Choice::RootHash(root_hash),
        (None, Some(version)) => Choice::Version(version),
        (None, None) => Choice::Newest,
    };
    let wish = Wish { choice, filter };
    let subject = image::subject(root_hash);
    let (disk, slot, how) = devices.wait(&subject, |there| match &loader {
        Some(guid) => on_firmware_disk(there, guid, wish),
        None => on_any_disk(there, wish),
    })?;
    if let Some(version) = version.filter(|version| !has_version(&slot.label, version)) {
        notice!("{}", image::other_version(&disk.device.name, &version, &slot.label));
    }
    info!("{}: {how}, {subject} from partition {}", disk.device.name, slot.data);
    Ok((disk.open()?, slot))
}

/// IMAGE_VERSION of the kernel image, when it came as a UKI and says so.
fn image_version() -> io::Result<Option<String>> {
    match File::open(KERNEL_IMAGE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => Ok(OsRelease::parse(&read::text(file?, LIMIT)?).image_version().map(str::to_owned)),
    }
}

/// The slot that is wanted.
#[derive(Clone, Copy)]
struct Wish<'a> {
    choice: Choice<'a>,
    filter: &'a Filter,
}

impl Wish<'_> {
    fn on(self, disk: &Table) -> Result<Slot, SlotError> {
        select_usr(disk.gpt.partitions(), self.choice, self.filter)
    }
}

/// A disk, its slot, and how the two were found.
type Chosen = (Rc<Table>, Slot, &'static str);

fn on_firmware_disk(there: &Survey, guid: &str, wish: Wish<'_>) -> Result<Look<Chosen>, Failure> {
    // By the kernel's word first: then no other disk is read, and none is waited for.
    let devices = there.devices().iter();
    let has_it: Vec<&str> =
        devices.filter(|device| device.partuuid.as_deref() == Some(guid)).map(disk_of).collect();
    let named =
        |disk: &Rc<Table>| disk.gpt.partitions().iter().any(|partition| partition.guid.to_string() == guid);
    let mut disks = there.tables(&|device| has_it.contains(&device.name.as_str()));
    disks.retain(named);
    if disks.is_empty() {
        disks = there.tables(&|_| true);
        disks.retain(named);
    }
    if disks.len() > 1 {
        return Err(Failure::new(format!(
            "the firmware booted from partition {guid}, and {} have one of that name; remove all but one",
            names(&disks)
        )));
    }
    let Some(disk) = disks.pop() else {
        return Ok(Look::NotYet(format!("no disk has the partition {guid} that the firmware booted from")));
    };
    let error = match wish.on(&disk) {
        Ok(slot) => return Ok(Look::Found((disk, slot, "the firmware's disk"))),
        Err(error) => format!("{}, which the firmware booted from: {error}", disk.device.name),
    };
    match wish.choice {
        // The loader may be on a disk of its own. A root hash names its /usr on any disk.
        Choice::RootHash(_) => Ok(match on_any_disk(there, wish)? {
            Look::Found((disk, slot, _)) => {
                Look::Found((disk, slot, "the only disk with it, though not the firmware's"))
            }
            Look::NotYet(_) => Look::NotYet(error),
        }),
        Choice::Version(_) | Choice::Newest => Err(Failure::new(error)),
    }
}

fn on_any_disk(there: &Survey, wish: Wish<'_>) -> Result<Look<Chosen>, Failure> {
    let (mut found, mut reasons) = (Vec::new(), Vec::new());
    for disk in there.tables(&|_| true) {
        match wish.on(&disk) {
            Ok(slot) => found.push((disk, slot)),
            Err(error) => reasons.push(format!("{}: {error}", disk.device.name)),
        }
    }
    match (found.pop(), found.is_empty()) {
        (Some((disk, slot)), true) => Ok(Look::Found((disk, slot, "the only disk with it"))),
        (Some(last), false) => {
            let disks: Vec<Rc<Table>> = found.into_iter().chain([last]).map(|(disk, _)| disk).collect();
            let names = names(&disks);
            Err(Failure::new(format!(
                "{names} all hold this /usr and the firmware does not say which it booted; remove all but one"
            )))
        }
        (None, _) if reasons.is_empty() => Ok(Look::NotYet(image::NO_TABLE.into())),
        (None, _) => Ok(Look::NotYet(reasons.join(", "))),
    }
}

fn names(disks: &[Rc<Table>]) -> String {
    disks.iter().map(|disk| disk.device.name.as_str()).collect::<Vec<_>>().join(" and ")
}
