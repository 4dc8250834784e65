//! A file system that the first boot makes names its place (`AddValidateFS=`, systemd-validatefs(8)). A stranger
//! changes the partition table, so that /home is taken for the root and the root for /home: it is refused. With the
//! table as it was, the same file systems boot.

use super::Context;
use super::lasting;
use super::small::{self, PLAIN, Small};
use crate::command;
use crate::disk::Disk;
use crate::machine::Exit;
use anyhow::{Context as _, Result, ensure};

/// Types on x86-64 (UAPI.2 Discoverable Partitions Specification).
const ROOT: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
const HOME: &str = "933ac7e1-2eb4-4f13-b844-0e14e2aef915";

/// A /home into which nothing is put.
const EMPTY_HOME: &str = "[Partition]\nType=home\nFormat=ext4\nSizeMinBytes=40M\nSizeMaxBytes=40M\n";

pub fn run(context: &Context<'_>) -> Result<()> {
    let recipe = small::recipe(context, PLAIN)?;
    let recipe = recipe.file("lib/repart.d/60-home.conf", EMPTY_HOME.as_bytes().to_vec(), 0o644);
    let small = Small::of(context, &recipe)?;
    small.boot(context, "")?;
    let root = lasting::root_on(context, &small.disk, 512)?;
    // The definition of root grows; /home lies behind it.
    for (start, facts) in [
        (root.start, [("gpt_label", "root"), ("gpt_type_uuid", ROOT), ("mount_point", "/")]),
        (
            root.start + root.length,
            [("gpt_label", "home"), ("gpt_type_uuid", HOME), ("mount_point", "/home")],
        ),
    ] {
        for (name, value) in facts {
            let mut debugfs = context.bench.tools.tool("debugfs")?;
            debugfs.args(["-R", &format!("ea_get -V <2> user.validatefs.{name}")]);
            let place = format!("{}?offset={start}", small.disk.display());
            // As systemd-repart 258 writes it: without a NUL at the end.
            let said = command::output(debugfs.arg(place))?;
            ensure!(said.trim_end_matches('\n') == value, "{name} of the file system at {start} is {said:?}");
        }
    }
    let types = |third: &str, fourth: &str| {
        for (number, kind) in [("3", third), ("4", fourth)] {
            let mut sfdisk = context.bench.tools.tool("sfdisk")?;
            sfdisk.arg("--part-type").arg(&small.disk).args([number, kind]);
            command::run(&mut sfdisk).with_context(|| format!("cannot make partition {number} {kind}"))?;
        }
        Ok::<_, anyhow::Error>(())
    };
    types(HOME, ROOT)?;
    let machine = small.machine(context)?.disk(Disk::new(&small.disk));
    let outcome = context.run(&machine)?;
    outcome.expect(&Exit::Reboot)?;
    let reason =
        ["vda4: its file system belongs elsewhere", r#"user.validatefs.mount_point is "/home", this is "/""#];
    small::reason(&outcome, "root", &reason)?;
    outcome.without("HERMETIC-STATE-BEGIN")?;
    types(ROOT, HOME)?;
    small.boot(context, "").context("with the table as it was")?;
    Ok(())
}
