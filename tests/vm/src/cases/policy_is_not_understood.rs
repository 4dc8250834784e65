//! /usr's repart.d says something that nobody can do, knows or can read. It refuses, with file and line, before the first
//! write: to pass over a word of policy would be to make another disk than was asked for.

use super::Context;
use super::small::{self, PLAIN, Small};
use anyhow::{Context as _, Result};

pub fn run(context: &Context<'_>) -> Result<()> {
    for (definition, says) in [
        (PLAIN.replace("=off", "=maybe"), "50-root.conf:5: Encrypt=maybe is not supported"),
        (PLAIN.replace("ext4", "xfs"), "50-root.conf:4: Format=xfs is not supported"),
        (PLAIN.replace("=ext4", "=vfat"), "50-root.conf:4: Format=vfat for the root partition"),
        (PLAIN.replace("=root\nLabel", "=lair\nLabel"), "50-root.conf:2: Type=lair is not supported"),
        // Understood, and made in vain: nobody would find such a root.
        (format!("{PLAIN}NoAuto=yes\n"), "there would still be no root"),
        (PLAIN.replace("Label=root", "Label=_root"), "there would still be no root"),
        ("[Partition]\nType=swap\nSizeMinBytes=16M\n".to_owned(), "there would still be no root"),
        ("\u{7f}ELF\nnot a definition".to_owned(), "50-root.conf:1: "),
    ] {
        let small = Small::new(context, &definition)?;
        let machine = small.machine(context)?;
        small::refuses(context, &machine, &small.disk, "provision", &[says])
            .with_context(|| format!("repart.d: {definition:?}"))?;
    }
    Ok(())
}
