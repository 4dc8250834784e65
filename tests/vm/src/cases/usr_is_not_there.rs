//! The disk holds no /usr, or no partition table, or there is no disk. The boot does not wait longer than the deadline,
//! the reason names what was found instead, and nothing is written.

use super::{Context, small};
use crate::image::{Partition, UNVERIFIED_USR, types};
use crate::machine::Exit;
use anyhow::Result;
use std::fs::File;

pub fn run(context: &Context<'_>) -> Result<()> {
    let machine = small::machine(context, None)?;

    let foreign = Partition::empty(types::LINUX, UNVERIFIED_USR, "foreign", 1 << 20);
    let disk = context.disk("foreign.raw", &small::image(vec![foreign]))?;
    small::foretold(context, &machine, &disk, "usr", &["no /usr partition within 3 s", "vda", "vda1"])?;

    let blank = context.file("blank.raw");
    File::create(&blank)?.set_len(64 << 20)?;
    small::foretold(
        context,
        &machine,
        &blank,
        "usr",
        &["no /usr partition within 3 s", "no disk with a GPT", "vda"],
    )?;

    let outcome = context.run(&machine)?;
    small::reason(outcome.expect(&Exit::Reboot)?, "usr", &["within 3 s", "no disk at all"])
}
