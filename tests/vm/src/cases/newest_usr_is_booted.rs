//! A disk with an old and a new version of /usr, as updates leave it, between partitions that systemd-sysupdate has
//! emptied or not finished. `usrhash=` names the old pair; without it the newest label is taken, by the numbers in it, and
//! the others are passed over, though they would come last in every order; and a kernel image that says which version it is
//! of (sd-stub unpacks that) gets the /usr of its version. What sd-stub unpacked is handed over, with the name of the image's profile.

use super::small::{self, PLAIN};
use super::{Context, TEST_INIT, lasting};
use crate::disk::Disk;
use crate::image::{self, Image, Partition, types};
use crate::initramfs::Initramfs;
use anyhow::{Result, ensure};
use std::fs;

pub fn run(context: &Context<'_>) -> Result<()> {
    let old = context.usr(&small::recipe(context, PLAIN)?.file("lib/version", "9", 0o644))?;
    let new = context.usr(&small::recipe(context, PLAIN)?.file("lib/version", "10", 0o644))?;
    let mut partitions = vec![Partition::empty(types::USR, EMPTY, "_empty", 8 << 20)];
    partitions.extend(image::usr_partitions(&new, "appliance_10")?);
    partitions.extend(image::usr_partitions(&old, "appliance_9")?);
    partitions.push(Partition::empty(types::USR, PARTIAL, "PRT#appliance_11", 8 << 20));
    let disk = context.disk("disk.raw", &Image { size: 384 << 20, ..small::image(partitions) })?;

    let by_hash = |usr| -> Result<_> {
        Ok(lasting::machine(context, Initramfs::new("virtio"), usr)?.disk(Disk::new(&disk)))
    };
    let boots = lasting::boots_two_ways(context, [&by_hash(&old)?, &by_hash(&new)?], &disk, 512)?;
    for (state, pair) in [(&boots.first, ["vda4", "vda5"]), (&boots.second, ["vda2", "vda3"])] {
        let below = lasting::below_mapping(state, "usr").unwrap_or_default();
        ensure!(below == pair, "/usr is verified on {below:?} instead of {pair:?}");
    }

    let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
    let by_label = context.machine().initramfs(&initramfs).disk(Disk::new(&disk));
    let words = format!("hermetic.failure-delay=0 hermetic.init={TEST_INIT}");
    let by_label = by_label.cmdline(&words).deadline(small::DEADLINE);
    let third = lasting::boots_again(context, &by_label, &boots.first)?;
    lasting::mounted(&third, "/usr", "/dev/vda2 erofs")?;
    lasting::mounted(&third, "/", "/dev/vda7 ext4")?;

    let os_release = context.file("os-release");
    fs::write(&os_release, "IMAGE_ID=appliance\nIMAGE_VERSION=9\n")?;
    let profile = context.file("profile");
    fs::write(&profile, "ID=reset\nTITLE=Factory reset\n")?;
    let image = Initramfs::new("virtio").file(&os_release, "/.extra/os-release");
    let image = image.file(&profile, "/.extra/profile");
    let by_image = context.machine().initramfs(&context.initramfs(&image)?).disk(Disk::new(&disk));
    let by_image = by_image.cmdline(&words).deadline(small::DEADLINE);
    let fourth = lasting::boots_again(context, &by_image, &boots.first)?;
    lasting::mounted(&fourth, "/usr", "/dev/vda4 erofs")?;
    for (name, source) in [("os-release", &os_release), ("profile", &profile)] {
        let file = lasting::file(&fourth, &format!("/run/systemd/stub/{name}"));
        let text = file.and_then(|file| file.get("text")?.as_str());
        ensure!(text == Some(&fs::read_to_string(source)?), "/run/systemd/stub/{name} is {text:?}");
    }
    Ok(())
}

const EMPTY: &str = "e1f7c3a5-0b2d-4e6f-9a8c-7d5b3f1e2c40";
const PARTIAL: &str = "e1f7c3a5-0b2d-4e6f-9a8c-7d5b3f1e2c41";
