//! A disk that fails to read a block of /usr, or of its hash tree: nothing was changed, and it is not the image that is to be written
//! anew. (A changed byte is a case of its own.)

use super::Context;
use super::small::{self, FIRST, PLAIN, Small};
use crate::machine::Exit;
use crate::usr::VERITY_BLOCK;
use anyhow::Result;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, PLAIN)?;
    // The first block of /usr, and the first of the tree, behind its superblock.
    for (name, place) in [("vda1", FIRST), ("vda2", small.hashes()? + VERITY_BLOCK)] {
        let disk = format!(
            "driver=blkdebug,node-name=failing,image.driver=raw,image.file.driver=file,image.file.filename={},\
             inject-error.0.event=none,inject-error.0.sector={},inject-error.0.errno=5",
            small.disk.display(),
            place / 512,
        );
        let machine = small.machine(context)?.qemu(&["-blockdev", &disk]);
        let outcome = context.run(&machine.qemu(&["-device", "virtio-blk-pci,drive=failing"]))?;
        outcome.expect(&Exit::Reboot)?.without("write the image anew")?;
        let says = [&format!("{name}: /usr cannot be read: ") as &str, "unchanged", "check the disk"];
        small::reason(&outcome, "usr", &says)?;
    }
    Ok(())
}
