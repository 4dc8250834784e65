//! Every way in that an initramfs offers: `/init`, `rdinit=/hermetic-init`, and `init=/hermetic-init`, which the kernel
//! keeps for the real root. There it names no program, or, worse, hermetic-init itself: /usr/sbin/init is a copy of
//! hermetic-init on purpose. Each time the test init at systemd's path is found, and nothing runs in a circle.

use super::small::{self, ENCRYPTED, KEY, Small};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;

pub fn run(context: &Context<'_>) -> Result<()> {
    let recipe = small::recipe(context, ENCRYPTED)?
        .file("lib/systemd/systemd", fs::read(&context.products.test_init)?, 0o755)
        .file("sbin/init", fs::read(&context.products.init)?, 0o755);
    let small = Small::of(context, &recipe)?;
    let initramfs = context.initramfs(&Initramfs::new("virtio").key(KEY))?;
    let machine = lasting::bare(context, &small.usr).initramfs(&initramfs).disk(Disk::new(&small.disk));

    let first = lasting::boots_first(context, &machine)?;
    for words in ["rdinit=/hermetic-init", "init=/hermetic-init", "rdinit=/hermetic-init init=/hermetic-init"]
    {
        lasting::boots_again(context, &machine.clone().cmdline(words), &first).context(words)?;
    }
    for words in ["init=/sbin/init", "hermetic.init=/usr/sbin/init"] {
        let circle = lasting::boots_again(context, &machine.clone().cmdline(words), &first).context(words)?;
        let log = circle.get("log").context("no log in the state")?.to_string();
        ensure!(log.contains("started again as"), "hermetic-init was not the real root's init: {log}");
        let modprobe = circle.pointer("/sysctl/modprobe").and_then(Value::as_str);
        ensure!(modprobe == Some("/sbin/modprobe"), "the second start leaves modprobe at {modprobe:?}");
    }
    Ok(())
}
