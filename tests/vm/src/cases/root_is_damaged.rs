//! A root whose superblock is gone, a volume both of whose headers are damaged, and one whose headers are gone: each is
//! reported, and not a byte of the disk changes. A root that cannot be opened may still be rescued, unless it is
//! formatted. (A wrong key is a case of its own.)

use super::Context;
use super::lasting;
use super::small::{self, ENCRYPTED, PLAIN, Small};
use crate::image;
use anyhow::Result;

pub fn run(context: &Context<'_>) -> Result<()> {
    let plain = Small::new(context, PLAIN)?;
    plain.boot(context, "")?;
    let root = lasting::root_on(context, &plain.disk, 512)?;
    // The superblock of ext4 is 1024 bytes long and 1024 bytes behind the beginning.
    image::overwrite(&plain.disk, root.start + 1024, &[0; 1024])?;
    let says = ["no file system that we know", "it is damaged or was never written"];
    small::foretold(context, &plain.machine(context)?, &plain.disk, "root", &says)?;

    let encrypted = Small::new(context, ENCRYPTED)?;
    encrypted.boot(context, "")?;
    let root = lasting::root_on(context, &encrypted.disk, 512)?;
    // A byte of the JSON text of either copy, which are 16 KiB long; the text begins behind 4096 bytes.
    for copy in [0, 0x4000] {
        small::flip(&encrypted.disk, root.start + copy + 4096 + 10)?;
    }
    let machine = encrypted.machine(context)?;
    let says = ["both LUKS2 headers are damaged", "luksHeaderRestore"];
    small::foretold(context, &machine, &encrypted.disk, "root", &says)?;
    image::overwrite(&encrypted.disk, root.start, &[0; 0x8000])?;
    let says = ["not encrypted, but /usr's repart.d says it is"];
    small::foretold(context, &machine, &encrypted.disk, "provision", &says)?;
    Ok(())
}
