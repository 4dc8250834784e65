//! A mistyped option of hermetic-init could have been meant to protect something: it is refused and named. The failure
//! policy beside it holds all the same.

use super::Context;
use super::small::{self, ENCRYPTED, Small};
use crate::disk::Disk;
use crate::machine::Exit;
use anyhow::Result;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let machine = small.machine(context)?;
    let unknown = machine.clone().cmdline("hermetic.root-polcy=strict");
    let says = ["hermetic.root-polcy=strict is no option", "correct it or leave it out"];
    small::foretold(context, &unknown, &small.disk, "early", &says)?;

    let value =
        machine.cmdline("hermetic.root-policy=lax hermetic.on-failure=poweroff").disk(Disk::new(&small.disk));
    let outcome = context.run(&value)?;
    small::reason(
        outcome.expect(&Exit::PowerOff)?,
        "early",
        &["hermetic.root-policy=lax", "strict, existing"],
    )
}
