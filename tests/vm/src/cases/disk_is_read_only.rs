//! A disk that takes no writes. A first boot says so before it makes anything. A later one comes up read-only, as with cryptsetup and
//! mount(8): the mapping and the mount are, and what it would have written is a line of the log each: the disk is larger than its table,
//! /etc should be filled by another strategy, the primary table is destroyed. A file system with a journal to be replayed is not mounted,
//! as with mount(8); `rootflags=noload` is the operator's word for it.

use super::small::{self, ENCRYPTED, PLAIN, Small};
use super::{Context, TEST_INIT, lasting};
use crate::command;
use crate::disk::Disk;
use crate::image;
use crate::initramfs::Initramfs;
use crate::machine::Exit;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::OpenOptions;

/// Sectors 1 to 33: the header and its 128 entries.
const TABLE: u64 = 512;
const LENGTH: usize = 33 * 512;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &small.usr)?;
    let read_only = machine.clone().disk(Disk::new(&small.disk).read_only());
    let outcome = context.run(&read_only)?;
    outcome.expect(&Exit::Reboot)?.without("making partition")?;
    let says = ["vda: the disk is read-only", "a root to make", "make it writable", "root="];
    small::reason(&outcome, "provision", &says)?;

    let first = lasting::boots_first(context, &machine.disk(Disk::new(&small.disk)))?;
    let file = OpenOptions::new().write(true).open(&small.disk)?;
    file.set_len(file.metadata()?.len() + (64 << 20))?;
    let outcome = context.run(&read_only.cmdline("hermetic.etc=copy"))?;
    outcome.line("vda3: the disk is read-only: root is mounted read-only")?;
    outcome.line("repart.d is not applied, the disk stays as it is: it is read-only")?;
    outcome.line("root is read-only: /etc follows ")?;
    // The clock of the host is right.
    outcome.without("the clock stood")?;
    let state = lasting::same_machine(&outcome, &first)?;
    lasting::mounted(&state, "/", "/dev/mapper/root ext4")?;
    ensure!(lasting::is_read_only(&state, "/")?, "root is mounted for writing");
    let mut devices = state.get("block").and_then(Value::as_object).context("no block devices")?.values();
    let is_root = |device: &&Value| device.pointer("/dm/name").and_then(Value::as_str) == Some("root");
    let mapping = devices.find(is_root).context("no mapping named root")?;
    ensure!(mapping.get("ro").and_then(Value::as_u64) == Some(1), "the mapping takes writes: {mapping}");
    Ok(())
}

pub fn damaged(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, PLAIN)?;
    let words = small.words();
    let machine = small::machine(context, None)?.cmdline(&format!("hermetic.init={TEST_INIT} {words}"));
    context.run(&machine.clone().disk(Disk::new(&small.disk)))?.expect(&Exit::PowerOff)?;
    let root = lasting::root_on(context, &small.disk, 512)?;

    let read_only = machine.disk(Disk::new(&small.disk).read_only());
    image::overwrite(&small.disk, TABLE, &vec![0xa5; LENGTH])?;
    let outcome = context.run(&read_only)?;
    outcome.line("vda: the partition table cannot be repaired: cannot open vda for writing: ")?;
    comes_up(&outcome.expect(&Exit::PowerOff)?.state()?)?;

    let mut debugfs = context.bench.tools.tool("debugfs")?;
    let place = format!("{}?offset={}", small.disk.display(), root.start);
    command::run(debugfs.args(["-w", "-R", "feature needs_recovery"]).arg(place))?;
    let outcome = context.run(&read_only)?;
    let says = [
        "cannot mount /dev/vda3 as ext4: ",
        "the disk is read-only",
        "journal has to be replayed",
        "rootflags=noload",
    ];
    small::reason(outcome.expect(&Exit::Reboot)?, "root", &says)?;
    let outcome = context.run(&read_only.cmdline("rootflags=noload"))?;
    comes_up(&outcome.expect(&Exit::PowerOff)?.state()?)
}

fn comes_up(state: &Value) -> Result<()> {
    lasting::mounted(state, "/", "/dev/vda3 ext4")?;
    ensure!(lasting::is_read_only(state, "/")?, "root is mounted for writing");
    Ok(())
}
