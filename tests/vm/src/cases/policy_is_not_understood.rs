//! /usr's repart.d has a word that is not possible, not known or not readable. It is refused, with file and line,
//! before the first write: to ignore a word of policy would be to make another disk than the requested one. So is a
//! file system that this initramfs cannot mount. When systemd-repart is masked, it is not read, and there is no root.

use super::Context;
use super::small::{self, PLAIN, Small};
use crate::image::Image;
use anyhow::{Context as _, Result};

pub fn run(context: &Context<'_>) -> Result<()> {
    for (definition, says) in [
        (PLAIN.replace("=off", "=maybe"), "50-root.conf:5: Encrypt=maybe is not supported"),
        (PLAIN.replace("ext4", "xfs"), "50-root.conf:4: Format=xfs is not supported"),
        (PLAIN.replace("=ext4", "=vfat"), "50-root.conf:4: Format=vfat for the root partition"),
        (PLAIN.replace("=root\nLabel", "=lair\nLabel"), "50-root.conf:2: Type=lair is not supported"),
        // Understood, and useless: discovery would not find such a root.
        (format!("{PLAIN}NoAuto=yes\n"), "there would still be no root"),
        (PLAIN.replace("Label=root", "Label=_root"), "there would still be no root"),
        ("[Partition]\nType=swap\nSizeMinBytes=16M\n".to_owned(), "there would still be no root"),
        ("\u{7f}ELF\nnot a definition".to_owned(), "50-root.conf:1: "),
    ] {
        let small = Small::new(context, &definition)?;
        let machine = small.machine(context)?;
        small::foretold(context, &machine, &small.disk, "provision", &[says])
            .with_context(|| format!("repart.d: {definition:?}"))?;
    }
    masked(context)?;
    without_module(context)
}

/// The unit may be named without its suffix.
fn masked(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, PLAIN)?;
    let machine = small.machine(context)?.cmdline("rd.systemd.mask=systemd-repart");
    let outcome = small::foretold(context, &machine, &small.disk, "root", &["no root partition"])?;
    outcome.line("is masked: the partition table stays as it is").map(drop)
}

/// The `virtio` preset has no btrfs, and Debian's kernel has it as a module.
fn without_module(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&small::recipe(context, &PLAIN.replace("ext4", "btrfs"))?)?;
    let image = Image { size: 448 << 20, ..Image::new(context.partitions(&usr)?) };
    let small = Small { disk: context.disk("disk.raw", &image)?, usr };
    let says = [
        "50-root.conf:4: Format=btrfs, but neither the kernel nor the initramfs has btrfs",
        "--add-module btrfs",
    ];
    small::refuses(context, &small.machine(context)?, &small.disk, "provision", &says).map(drop)
}
