//! `init=/hermetic-init` together with an initramfs and the whole of Debian: the word is still on the command line when
//! systemd reads it, and systemd comes up.

use super::small::{DEADLINE, ENCRYPTED, KEY};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::inside::Inside;
use crate::machine::Exit;
use anyhow::Result;

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&context.recipe()?.repart(ENCRYPTED))?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    let initramfs = context.initramfs(&Initramfs::new("virtio").key(KEY))?;
    let inside = Inside::new(&context.file("inside")).ask("pid1", "cat /proc/1/comm");
    let machine = lasting::bare(context, &usr)
        .initramfs(&initramfs)
        .cmdline("init=/hermetic-init")
        .disk(Disk::new(&disk))
        .memory(1024)
        .deadline(2 * DEADLINE);
    context.run(&inside.equip(machine)?)?.expect(&Exit::PowerOff)?;
    inside.read()?.expect("state", "running")?.expect("pid1", "systemd")?;
    lasting::root_on(context, &disk, 512).map(drop)
}
