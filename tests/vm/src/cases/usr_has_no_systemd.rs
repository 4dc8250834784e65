//! /usr is valid and holds no systemd. That is found before the disk is partitioned for it.

use super::Context;
use super::small::{self, ENCRYPTED, Small};
use anyhow::Result;

pub fn run(context: &Context<'_>) -> Result<()> {
    let recipe = small::recipe(context, ENCRYPTED)?.without("lib/systemd/systemd");
    let small = Small::of(context, &recipe)?;
    let machine = small.machine(context)?;
    small::foretold(context, &machine, &small.disk, "usr", &["vda1", "holds no systemd", "install systemd"])?;
    Ok(())
}
