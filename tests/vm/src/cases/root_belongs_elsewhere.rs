//! A file system that says it is /home (systemd-validatefs(8)) lies on the partition of the root, because somebody has
//! changed the partition table. It is refused; one that says it is this root is not.

use super::Context;
use super::lasting;
use super::small::{self, PLAIN, Small};
use crate::command;
use crate::disk::Disk;
use crate::machine::Exit;
use anyhow::{Context as _, Result};

/// The type of a root on x86-64 (UAPI.2 Discoverable Partitions Specification).
const ROOT: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, PLAIN)?;
    small.boot(context, "")?;
    let root = lasting::root_on(context, &small.disk, 512)?;
    let says = |name: &str, value: &str| {
        let mut debugfs = context.bench.tools.tool("debugfs")?;
        debugfs.args(["-w", "-R", &format!("ea_set <2> user.validatefs.{name} {value}")]);
        let place = format!("{}?offset={}", small.disk.display(), root.start);
        command::run(debugfs.arg(place)).with_context(|| format!("cannot set {name}"))
    };
    says("gpt_type_uuid", ROOT)?;
    says("gpt_label", "root")?;
    says("mount_point", "/home")?;
    let machine = small.machine(context)?.disk(Disk::new(&small.disk));
    let outcome = context.run(&machine)?;
    outcome.expect(&Exit::Reboot)?;
    let reason =
        ["vda3: its file system belongs elsewhere", r#"user.validatefs.mount_point is "/home", this is "/""#];
    small::reason(&outcome, "root", &reason)?;
    outcome.without("HERMETIC-STATE-BEGIN")?;
    says("mount_point", "/")?;
    small.boot(context, "").context("with attributes that are right")?;
    Ok(())
}
