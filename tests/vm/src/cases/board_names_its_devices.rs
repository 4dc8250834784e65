//! A board without discoverable partitions: its command line names /usr and root, in every spelling that fstab(5) and
//! systemd know, one in each boot. The root is a file system that mkfs.ext4 made, empty until the first boot.

use super::small;
use super::{Context, lasting};
use crate::command;
use crate::disk::Disk;
use crate::image::{Partition, types};
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};

const USR: &str = "a4e0b0c1-7c3f-4a53-8d0e-2b6f5c9d1e01";
const HASHES: &str = "a4e0b0c1-7c3f-4a53-8d0e-2b6f5c9d1e02";
const ROOT: &str = "a4e0b0c1-7c3f-4a53-8d0e-2b6f5c9d1e03";
const FILE_SYSTEM: &str = "b7d9e2f4-1a2b-4c3d-8e4f-5a6b7c8d9e0f";

pub fn run(context: &Context<'_>) -> Result<()> {
    unverified(context).context("unverified")?;
    verified(context).context("verified")
}

fn unverified(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&small::bare_recipe(context)?.unverified())?;
    let parts = vec![
        Partition::of(types::LINUX, USR, "board usr", &usr.data())?,
        Partition::of(types::LINUX, ROOT, "root", &root(context)?)?,
    ];
    let disk = context.disk("disk.raw", &small::image(parts))?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?.disk(Disk::new(&disk));

    let named = machine.clone().cmdline("mount.usr=/dev/vda1 root=LABEL=board");
    let first = lasting::boots_first(context, &named)?;
    let root = lasting::root_on(context, &disk, 512)?;
    let number = |name: &str| {
        let number = first.pointer(&format!("/block/{name}/device")).and_then(Value::as_str);
        number.with_context(|| format!("no {name}"))
    };
    let (number, usr_number) = (number("vda2")?, number("vda1")?);
    let mut blkid = context.bench.tools.tool("blkid")?;
    let usr_uuid = command::output(blkid.args(["-p", "-o", "value", "-s", "UUID"]).arg(usr.data()))?;
    let usr_uuid = usr_uuid.trim();
    for words in [
        format!("mount.usr=PARTUUID={USR} root=UUID={FILE_SYSTEM}"),
        format!("mount.usr=PARTUUID={} root=PARTUUID={ROOT} ro rw", USR.to_uppercase()),
        "\"mount.usr=PARTLABEL=board usr\" root=PARTLABEL=root rootfstype=ext4 mount.usrfstype=erofs"
            .to_owned(),
        format!("mount.usr=/dev/disk/by-partlabel/board\\x20usr root=/dev/block/{number}"),
        format!("mount.usr=/dev/disk/by-partuuid/{USR} root=/dev/disk/by-uuid/{FILE_SYSTEM}"),
        format!("mount.usr=UUID={} root=/dev/vda2", usr_uuid.to_uppercase()),
        format!("mount.usr=/dev/disk/by-uuid/{usr_uuid} root=/dev/disk/by-partlabel/root"),
        format!("mount.usr=/dev/block/{usr_number} root=/dev/disk/by-partuuid/{ROOT} ro"),
    ] {
        let again = lasting::boots_again(context, &machine.clone().cmdline(&words), &first);
        let state = again.with_context(|| words.clone())?;
        lasting::mounted(&state, "/usr", "/dev/vda1 erofs")?;
        lasting::mounted(&state, "/", "/dev/vda2 ext4")?;
        let read_only = words.ends_with(" ro");
        ensure!(lasting::is_read_only(&state, "/")? == read_only, "{words}: / is read-only or not");
    }
    ensure!(lasting::root_on(context, &disk, 512)? == root, "the root is another one");
    Ok(())
}

/// A parameter of a module: the kernel passes it to built-in code only.
const PARAMETER: &str = "dm-verity.prefetch_cluster=8192";

/// dm-verity between partitions whose GUIDs say nothing about the root hash.
fn verified(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&small::bare_recipe(context)?)?;
    let parts = vec![
        Partition::of(types::LINUX, USR, "board usr", &usr.data())?,
        Partition::of(types::LINUX, HASHES, "hashes", &usr.hashes().context("no hash tree")?)?,
        Partition::of(types::LINUX, ROOT, "root", &root(context)?)?,
    ];
    let disk = context.disk("disk.raw", &small::image(parts))?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?.disk(Disk::new(&disk));
    let words = |usr: &str| machine.clone().cmdline(&format!("{usr} root=/dev/disk/by-label/board"));
    let boots = lasting::boots_two_ways(
        context,
        [
            &words("systemd.verity_usr_data=/dev/vda1 systemd.verity_usr_hash=PARTLABEL=hashes"),
            &words(&format!(
                "mount.usr=PARTUUID={USR} systemd.verity_usr_hash=PARTUUID={HASHES} {PARAMETER}"
            )),
        ],
        &disk,
        512,
    )?;
    let parameter = |state: &Value| state.pointer("/module_parameters/dm_verity.prefetch_cluster").cloned();
    ensure!(parameter(&boots.first).is_some_and(|value| value != "8192"), "the test's premise does not hold");
    ensure!(parameter(&boots.second) == Some("8192".into()), "the module did not get its parameter");
    for state in [&boots.first, &boots.second] {
        lasting::mounted(state, "/usr", "/dev/mapper/usr erofs")?;
        let below = lasting::below_mapping(state, "usr").unwrap_or_default();
        ensure!(below == ["vda1", "vda2"], "/usr is verified on {below:?}");
    }
    Ok(())
}

/// An empty file system labelled `board`.
fn root(context: &Context<'_>) -> Result<PathBuf> {
    let image = context.file("root.img");
    format(context, &image)?;
    Ok(image)
}

fn format(context: &Context<'_>, image: &Path) -> Result<()> {
    File::create(image)?.set_len(64 << 20)?;
    let mut mkfs = context.bench.tools.tool("mkfs.ext4")?;
    command::run(mkfs.args(["-q", "-F", "-L", "board", "-U", FILE_SYSTEM]).arg(image))
}
