//! A second disk with the same /usr, as an installer or a backup leaves it: the partitions have the same GUIDs, and its
//! root is another one. With a boot loader's word (here the test init's, in an earlier boot) the firmware's disk is
//! booted, although the other one comes first. Without it, or when a clone of the disk has the same EFI system
//! partition too, the choice is refused, and also when the command line names a partition that both disks have: the
//! boot is refused, and both disks stay as they are. A loader on a separate stick finds /usr by its root hash.

use super::small::{self, PLAIN};
use super::{Context, lasting};
use crate::command;
use crate::disk::Disk;
use crate::image::{self, Partition, types};
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

const OURS: &str = "c0ffee00-1d2c-4b3a-8f4e-5d6c7b8a9f01";
const OTHER: &str = "c0ffee00-1d2c-4b3a-8f4e-5d6c7b8a9f02";

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&small::recipe(context, PLAIN)?)?;
    let disk = |name: &str, esp: &str| -> Result<PathBuf> {
        let mut partitions = vec![Partition::empty(types::ESP, esp, "esp", 1 << 20)];
        partitions.extend(context.partitions(&usr)?);
        context.disk(name, &small::image(partitions))
    };
    let (ours, other) = (disk("ours.raw", OURS)?, disk("other.raw", OTHER)?);
    let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?;
    let with_firmware = machine.clone().firmware(&context.file("variables.fd"));

    // The disk alone, and the loader's word for the boots to come; in capitals, as some loaders write it.
    // SystemdOptions are words that nobody vouches for: none of the boots to come may follow them.
    let word = small::efi("LoaderDevicePartUUID", small::LOADER, &OURS.to_uppercase());
    let options = small::efi("SystemdOptions", small::SYSTEMD, "root=tmpfs hermetic.nonsense=1");
    let told = with_firmware.clone().disk(Disk::new(&ours)).cmdline(&word).cmdline(&options);
    let first = lasting::boots_first(context, &told)?;
    for action in ["/actions/0/error", "/actions/1/error"] {
        let failed = first.pointer(action).context("a variable's word was not carried out")?;
        anyhow::ensure!(failed.is_null(), "a variable was not written: {failed}");
    }
    let root = lasting::root_on(context, &ours, 512)?;

    // The other disk comes first.
    let untouched = context.file("untouched.raw");
    image::copy(&other, &untouched)?;
    let both = |machine: &crate::machine::Machine| machine.clone().disk(Disk::new(&other));
    let second = lasting::boots_again(context, &both(&with_firmware).disk(Disk::new(&ours)), &first)?;
    lasting::mounted(&second, "/", "/dev/vdb4 ext4")?;
    same(&untouched, &other)?;
    anyhow::ensure!(lasting::root_on(context, &ours, 512)? == root, "the root is another one");

    let impatient = |machine: &crate::machine::Machine| both(machine).cmdline(small::IMPATIENT);
    let says = ["vda and vdb all hold this /usr", "the firmware does not say which", "remove all but one"];
    small::refuses(context, &impatient(&machine), &ours, "usr", &says)?;
    same(&untouched, &other)?;

    // A clone, byte for byte.
    image::copy(&ours, &other)?;
    let says = [OURS, "vda and vdb have one of that name", "remove all but one"];
    small::refuses(context, &impatient(&with_firmware), &ours, "usr", &says)?;
    same(&ours, &other)?;

    // The command line names the partitions, and both disks have them.
    let named =
        "systemd.verity_usr_data=PARTLABEL=appliance_1 systemd.verity_usr_hash=PARTLABEL=appliance_1_verity";
    let says = ["appliance_1 is ambiguous: vda2, vdb2", "remove one of the disks"];
    small::refuses(context, &impatient(&machine.clone().cmdline(named)), &ours, "usr", &says)?;
    same(&ours, &other)?;

    // A stick with nothing but the loader: the root hash names its /usr on the other disk.
    let stick = vec![Partition::empty(types::ESP, OURS, "esp", 1 << 20)];
    let stick = context.disk("stick.raw", &small::image(stick))?;
    let apart = disk("apart.raw", OTHER)?;
    let machine = with_firmware.disk(Disk::new(&stick)).disk(Disk::new(&apart));
    let state = lasting::boots_first(context, &machine)?;
    lasting::mounted(&state, "/", "/dev/vdb4 ext4")
}

fn same(before: &Path, now: &Path) -> Result<()> {
    command::run(Command::new("cmp").arg(before).arg(now)).context("the other disk was changed")
}
