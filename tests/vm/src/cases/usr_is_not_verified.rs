//! Without `usrhash=` and without a hash tree, /usr is mounted from its partition, and root is encrypted all the same.

use super::small::{self, ENCRYPTED, Small};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use anyhow::{Result, ensure};

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::of(context, &small::recipe(context, ENCRYPTED)?.unverified())?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &small.usr)?;
    let machine = machine.disk(Disk::new(&small.disk));
    let boots = lasting::boots_twice(context, &machine, &small.disk, 512)?;
    ensure!(boots.root.content.starts_with("crypto_LUKS "), "the root holds {}", boots.root.content);
    for state in [&boots.first, &boots.second] {
        lasting::mounted(state, "/usr", "/dev/vda1 erofs")?;
        lasting::mounted(state, "/", "/dev/mapper/root ext4")?;
        ensure!(lasting::below_mapping(state, "usr").is_none(), "an unverified /usr is mapped");
        ensure!(lasting::below_mapping(state, "root") == Some(vec!["vda2".into()]), "root is elsewhere");
    }
    Ok(())
}
