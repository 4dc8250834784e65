//! repart.d asks for more than the disk has free. The reason names the file and both sizes, and nothing is made.

use super::Context;
use super::small::{self, ENCRYPTED, Small};
use anyhow::Result;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, &ENCRYPTED.replace("64M", "1G"))?;
    let machine = small.machine(context)?;
    let says = ["vda", "50-root.conf", "needs 1 GiB", "largest free area", "use a larger disk"];
    small::foretold(context, &machine, &small.disk, "provision", &says)?;
    Ok(())
}
