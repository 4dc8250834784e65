//! `usrhash=` of another image: no partition is called by its halves. With the GUIDs renamed to fit it, as a stranger with
//! the disk could, the content does not match either.

use super::Context;
use super::small::{self, ENCRYPTED, Small};
use crate::command;
use anyhow::{Context as _, Result};

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let other = "00112233445566778899aabbccddeeff0123456789abcdef0011223344556677";
    let machine = small::machine(context, Some(small::KEY))?.cmdline(&format!("usrhash={other}"));
    let lacks = ["within 3 s", "no partition with PARTUUID 00112233-4455-6677-8899-aabbccddeeff", "usrhash="];
    small::foretold(context, &machine, &small.disk, "usr", &lacks)?;

    for (number, guid) in
        [("1", "00112233-4455-6677-8899-aabbccddeeff"), ("2", "01234567-89ab-cdef-0011-223344556677")]
    {
        let mut sfdisk = context.bench.tools.tool("sfdisk")?;
        sfdisk.args(["--quiet", "--no-reread", "--no-tell-kernel", "--part-uuid"]).arg(&small.disk);
        command::run(sfdisk.args([number, guid])).context("cannot rename a partition")?;
    }
    small::foretold(context, &machine, &small.disk, "usr", &["vda1 does not match root hash", other])?;
    Ok(())
}
