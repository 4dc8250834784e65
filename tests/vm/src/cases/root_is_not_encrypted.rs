//! /usr's repart.d says that root is encrypted, and the disk offers a plain one, with files of a stranger in it. `strict`
//! refuses it; `existing` is for a fleet whose old roots are plain and takes it.

use super::Context;
use super::small::{self, ENCRYPTED};
use super::{TEST_INIT, small::Small};
use crate::command;
use crate::disk::Disk;
use crate::image::{Partition, types};
use crate::machine::Exit;
use anyhow::{Context as _, Result};
use std::fs::{self, File};

const UUID: &str = "6a3b2c1d-0e4f-4a5b-8c6d-7e8f9a0b1c2d";

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&small::recipe(context, ENCRYPTED)?)?;
    let (tree, root) = (context.file("tree"), context.file("root.img"));
    fs::create_dir_all(tree.join("etc"))?;
    fs::write(tree.join("etc/passwd"), "root::0:0:stranger:/root:/bin/sh\n")?;
    File::create(&root)?.set_len(64 << 20)?;
    command::run(context.bench.tools.tool("mkfs.ext4")?.args(["-q", "-F", "-d"]).arg(&tree).arg(&root))?;
    let mut partitions = context.partitions(&usr)?;
    partitions.push(Partition::of(types::ROOT, UUID, "root", &root)?);
    let small = Small { disk: context.disk("disk.raw", &small::image(partitions))?, usr };

    let machine = small.machine(context)?.cmdline(&format!("hermetic.init={TEST_INIT}"));
    let says = ["vda3", "not encrypted", "hermetic.root-policy=existing"];
    // Not only before it is mounted: before anything of its disk is changed.
    small::foretold(context, &machine, &small.disk, "provision", &says)?;
    let strict = machine.clone().cmdline("hermetic.root-policy=strict");
    small::foretold(context, &strict, &small.disk, "provision", &says)?;

    let existing = machine.cmdline("hermetic.root-policy=existing").disk(Disk::new(&small.disk));
    let state = context.run(&existing)?.expect(&Exit::PowerOff)?.state()?;
    let etc = state.get("etc").and_then(|etc| etc.as_array()).context("no /etc in the state")?;
    etc.iter()
        .filter_map(|file| file.get("text")?.as_str())
        .find(|text| text.contains("stranger"))
        .context("existing did not take the root that was there")?;
    Ok(())
}
