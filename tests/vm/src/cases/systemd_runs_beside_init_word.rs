//! `init=/hermetic-init` together with an initramfs and the whole of Debian: the word is still on the command line when
//! systemd reads it, and systemd comes up.

use super::small::{DEADLINE, ENCRYPTED, KEY};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::errand;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::machine::Exit;
use anyhow::Result;

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&context.recipe()?.repart(ENCRYPTED))?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    let initramfs = context.initramfs(&Initramfs::new("virtio").key(KEY))?;
    let questions =
        "echo PID 1 is $(cat /proc/1/comm)\necho the system is $(systemctl is-system-running --wait)";
    let machine = lasting::bare(context, &usr)
        .initramfs(&initramfs)
        .cmdline(&format!("init=/hermetic-init {}", errand::words(questions)))
        .disk(Disk::new(&disk))
        .memory(1024)
        .deadline(2 * DEADLINE);
    let outcome = context.run(&machine)?;
    outcome.expect(&Exit::PowerOff)?.line("PID 1 is systemd")?;
    outcome.line("the system is running")?;
    lasting::root_on(context, &disk, 512).map(drop)
}
