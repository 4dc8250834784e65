//! The root that the first boot made is encrypted anew by cryptsetup while it is mounted, with another volume key; the
//! next boot opens it with the same key file and finds the old files.

use super::Context;
use super::lasting;
use super::small::{self, ENCRYPTED, KEY};
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&context.recipe()?.repart(&format!("{ENCRYPTED}SizeMaxBytes=64M\n")))?;
    let disk =
        context.disk("disk.raw", &Image { size: 384 << 20, ..small::image(context.partitions(&usr)?) })?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?.disk(Disk::new(&disk));
    let first = lasting::boots_first(context, &machine)?;
    let before = digests(context, &disk)?;

    let key: String = KEY.iter().map(|byte| format!("%{byte:02x}")).collect();
    let words = format!(
        "hermetic.test.write=/run/key:{key} \
         hermetic.test.run=/usr/bin/env+DM_DISABLE_UDEV=1+cryptsetup+reencrypt+--batch-mode+--key-file+/run/key\
         +--pbkdf+pbkdf2+--pbkdf-force-iterations+1000+/dev/vda3"
    );
    let state = lasting::boots_again(context, &machine.clone().cmdline(&words), &first)?;
    let run = state.pointer("/runs/0").context("nothing was run")?;
    ensure!(run.get("status").and_then(Value::as_i64) == Some(0), "{run}");
    let after = digests(context, &disk)?;
    ensure!(before != after, "the volume key is the one that it was");
    lasting::boots_again(context, &machine, &first)?;
    Ok(())
}

/// The digests of the root's header, in cryptsetup's words.
fn digests(context: &Context<'_>, disk: &Path) -> Result<Value> {
    let root = lasting::root_on(context, disk, 512)?;
    let mut header = vec![0; 16 << 20];
    File::open(disk)?.read_exact_at(&mut header, root.start)?;
    let path = context.file("header.raw");
    fs::write(&path, header)?;
    let mut dump = context.bench.tools.tool("cryptsetup")?;
    let dump = command::output(dump.args(["luksDump", "--dump-json-metadata"]).arg(&path))?;
    let document: Value = serde_json::from_str(&dump)?;
    ensure!(document.pointer("/config/requirements").is_none(), "it is not done: {dump}");
    document.get("digests").cloned().context("the header has no digests")
}
