//! An update asks for more than the disk has: root is to be larger than it can become, and there is no room for a new
//! partition. Nothing of repart.d is applied, as systemd-repart would apply nothing, and the machine boots with the
//! root that it had: systemd's initrd does not stop either when systemd-repart fails.

use super::small::{self, PLAIN};
use super::{Context, TEST_INIT, lasting};
use crate::disk::Disk;
use crate::image::{self, Image};
use crate::machine::Machine;
use crate::usr::Usr;
use anyhow::{Context as _, Result, ensure};

pub fn run(context: &Context<'_>) -> Result<()> {
    let before = context.usr(&small::recipe(context, PLAIN)?)?;
    let after = small::recipe(context, &PLAIN.replace("64M", "8G"))?.file(
        "lib/repart.d/60-swap.conf",
        "[Partition]\nType=swap\nFormat=swap\nSizeMinBytes=4G\n",
        0o644,
    );
    let after = context.usr(&after)?;
    let mut partitions = image::usr_partitions(&before, "appliance_1")?;
    partitions.extend(image::usr_partitions(&after, "appliance_2")?);
    let disk = context.disk("disk.raw", &Image { size: 384 << 20, ..small::image(partitions) })?;
    let machine = |usr: &Usr| -> Result<Machine> {
        let hash = usr.root_hash().context("/usr is verified")?;
        let words = format!("usrhash={hash} hermetic.init={TEST_INIT}");
        Ok(small::machine(context, None)?.cmdline(&words).disk(Disk::new(&disk)))
    };
    let first = lasting::boots_first(context, &machine(&before)?)?;
    let root = lasting::root_on(context, &disk, 512)?;
    let outcome = context.run(&machine(&after)?)?;
    lasting::same_machine(&outcome, &first)?;
    let line = &outcome.line("repart.d is not applied")?.text;
    ensure!(line.contains("50-root.conf") && line.contains("needs 8 GiB"), "{line}");
    ensure!(lasting::root_on(context, &disk, 512)? == root, "the root is another one");
    Ok(())
}
