//! A verified /usr of another file system than erofs: squashfs and btrfs, whose modules the virtio preset leaves out and a
//! word of the builder adds, with an encrypted and a plain root; and ext4, which Debian's kernel has built in.

use super::small::{self, ENCRYPTED, PLAIN, Small};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use crate::usr::UsrFs;
use anyhow::{Result, ensure};

pub fn run(context: &Context<'_>) -> Result<()> {
    let virtio = Initramfs::new("virtio");
    for (fs, repart, root, initramfs) in [
        (UsrFs::Squashfs, ENCRYPTED, "/dev/mapper/root ext4", virtio.clone().module("squashfs")),
        (UsrFs::Btrfs, PLAIN, "/dev/vda3 ext4", virtio.clone().module("btrfs")),
        (UsrFs::Ext4, PLAIN, "/dev/vda3 ext4", virtio),
    ] {
        let small = Small::of(context, &small::recipe(context, repart)?.fs(fs))?;
        let machine = lasting::machine(context, initramfs, &small.usr)?.disk(Disk::new(&small.disk));
        let boots = lasting::boots_twice(context, &machine, &small.disk, 512)?;
        for state in [&boots.first, &boots.second] {
            lasting::mounted(state, "/usr", &format!("/dev/mapper/usr {}", fs.name()))?;
            lasting::mounted(state, "/", root)?;
            let below = lasting::below_mapping(state, "usr").unwrap_or_default();
            ensure!(below == ["vda1", "vda2"], "/usr is verified on {below:?}");
        }
    }
    Ok(())
}
