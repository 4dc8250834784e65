//! A factory reset that would leave a machine without a way on is refused before it erases anything, with the disk byte
//! for byte as it was: when a partition that is given up could not be made anew, and when /usr is booted from it.

use super::Context;
use super::factory_reset::RESETTABLE;
use super::small::{self, Small};
use crate::image::{Partition, types};
use anyhow::{Context as _, Result};

/// The root, which is never opened: the reset is decided before.
const ROOT: &str = "0b5e7a11-1d2c-4b3a-8f4e-5d6c7b8a9f04";

pub fn run(context: &Context<'_>) -> Result<()> {
    let own = |kind: &str| format!("[Partition]\nType={kind}\nFactoryReset=yes\n");
    let key = Some(small::KEY);
    for (definition, key, says) in [
        (RESETTABLE.replace("ext4", "xfs"), key, "50-root.conf:4: Format=xfs is not supported"),
        (RESETTABLE.replace("64M", "64G"), key, "50-root.conf: the partition needs 64 GiB"),
        (RESETTABLE.to_owned(), None, "key file /hermetic/root.key is missing"),
        (own("usr"), key, "50-root.conf:3: partition 2 is a part of the /usr that is booted"),
        (own("usr-verity"), key, "50-root.conf:3: partition 3 is a part of the /usr that is booted"),
    ] {
        let usr = context.usr(&small::recipe(context, &definition)?)?;
        let content = context.file("root");
        std::fs::write(&content, vec![7; 1 << 20])?;
        let mut partitions = vec![Partition::of(types::ROOT, ROOT, "root", &content)?];
        partitions.extend(context.partitions(&usr)?);
        let disk = context.disk("disk.raw", &small::image(partitions))?;
        let words = Small { usr, disk: disk.clone() }.words();
        let machine = small::machine(context, key)?.cmdline(&words).cmdline("systemd.factory_reset");
        let says = ["vda: no factory reset, and nothing was erased: ", says];
        small::refuses(context, &machine, &disk, "provision", &says)
            .with_context(|| format!("repart.d: {definition:?}"))?;
    }
    Ok(())
}
