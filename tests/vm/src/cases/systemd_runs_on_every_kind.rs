//! Debian's whole systemd where the root is plain, where nothing vouches for /usr, where /usr is squashfs or ext4, and where
//! the kernel started hermetic-init itself, without an initramfs. Everywhere it is content on the first boot and on the
//! second, finds its devices, and runs the units of a first boot once.

use super::Context;
use super::systemd_comes_up_twice::{DEADLINE, Stands, WANTS, came_up, questions, units_of_the_first_boot};
use crate::definition;
use crate::disk::{Disk, Interface};
use crate::image::{Image, Partition, types};
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine};
use crate::usr::{Recipe, UsrFs};
use anyhow::{Context as _, Result};

/// A partition that holds hermetic-init, its modules and the key.
const START: &str = "3c1d8a52-6f0e-4b7a-9d2c-51e07a4f9b64";

pub fn plain_root(context: &Context<'_>) -> Result<()> {
    let recipe = context.recipe()?.repart(definition::PLAIN).fs(UsrFs::Squashfs);
    let stands = Stands { root: "/dev/vda3 ext4", usr: "/dev/mapper/usr squashfs" };
    with_initramfs(context, &recipe, Initramfs::new("virtio").module("squashfs"), &stands)
}

pub fn unverified_usr(context: &Context<'_>) -> Result<()> {
    let recipe = context.recipe()?.repart(definition::ENCRYPTED).unverified();
    let stands = Stands { root: "/dev/mapper/root ext4", usr: "/dev/vda1 erofs" };
    with_initramfs(context, &recipe, Initramfs::new("virtio"), &stands)
}

pub fn ext4_usr(context: &Context<'_>) -> Result<()> {
    let recipe = context.recipe()?.repart(definition::ENCRYPTED).fs(UsrFs::Ext4);
    let stands = Stands { root: "/dev/mapper/root ext4", usr: "/dev/mapper/usr ext4" };
    with_initramfs(context, &recipe, Initramfs::new("virtio"), &stands)
}

/// `init=/hermetic-init` of a root= partition on NVMe: nothing else on the command line says which program systemd is.
pub fn no_initramfs(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&context.recipe()?.repart(definition::ENCRYPTED))?;
    let root_hash = usr.root_hash().context("the appliance's /usr is verified")?;
    let start = context.file("start.img");
    Initramfs::new("virtio").key(&definition::KEY).partition(context.bench, context.products, &start)?;
    let mut partitions = context.partitions(&usr)?;
    partitions.push(Partition::of(types::LINUX, START, "start", &start)?);
    let disk = context.disk("disk.raw", &Image::new(partitions))?;
    let machine = context
        .machine()
        .deadline(DEADLINE)
        .cmdline(&format!("usrhash={root_hash} root=PARTUUID={START} rootwait init=/hermetic-init {WANTS}"))
        .disk(Disk::new(&disk).interface(Interface::Nvme));
    twice(context, &machine, &Stands { root: "/dev/mapper/root ext4", usr: "/dev/mapper/usr erofs" })
}

fn with_initramfs(
    context: &Context<'_>,
    recipe: &Recipe,
    initramfs: Initramfs,
    stands: &Stands<'_>,
) -> Result<()> {
    let usr = context.usr(recipe)?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    let hash = usr.root_hash().map(|hash| format!("usrhash={hash} ")).unwrap_or_default();
    let machine = context
        .machine()
        .deadline(DEADLINE)
        .initramfs(&context.initramfs(&initramfs.key(&definition::KEY))?)
        .cmdline(&format!("{hash}{WANTS}"))
        .disk(Disk::new(&disk));
    twice(context, &machine, stands)
}

fn twice(context: &Context<'_>, machine: &Machine, stands: &Stands<'_>) -> Result<()> {
    let mut machine_id = None;
    for (name, proof, first) in [
        ("first", "echo from the first boot >/var/lib/hermetic-proof; cat /var/lib/hermetic-proof", true),
        ("second", "cat /var/lib/hermetic-proof", false),
    ] {
        let inside = questions(context, name, proof);
        context.run(&inside.equip(machine.clone())?)?.expect(&Exit::PowerOff)?;
        let answers = inside.read()?;
        came_up(&answers, stands).context(name)?;
        units_of_the_first_boot(&answers, first).context(name)?;
        answers.expect("proof", "from the first boot")?;
        let id = answers.text("machine-id")?.to_owned();
        answers.expect("machine-id", machine_id.get_or_insert(id))?;
    }
    Ok(())
}
