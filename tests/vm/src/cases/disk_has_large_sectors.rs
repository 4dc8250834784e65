//! A disk with sectors of 4096 bytes: the table counts in them, LUKS and ext4 lie on them. An encrypted and a plain root.

use super::small::{self, ENCRYPTED, PLAIN};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

const SECTOR: u32 = 4096;

pub fn run(context: &Context<'_>) -> Result<()> {
    for (repart, content) in [(ENCRYPTED, "crypto_LUKS "), (PLAIN, "ext4 ")] {
        let usr = context.usr(&small::recipe(context, repart)?)?;
        let image = Image { sector: SECTOR, ..small::image(context.partitions(&usr)?) };
        let disk = context.disk("disk.raw", &image)?;
        let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?;
        let machine = machine.disk(Disk::new(&disk).sector(SECTOR));
        let boots = lasting::boots_twice(context, &machine, &disk, SECTOR)?;
        ensure!(boots.root.content.starts_with(content), "the root holds {}", boots.root.content);
        let sector = boots.first.pointer("/block/vda/logical_block_size").and_then(Value::as_u64);
        ensure!(sector.context("no vda")? == u64::from(SECTOR), "the disk has sectors of {sector:?} bytes");
    }
    Ok(())
}
