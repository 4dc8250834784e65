//! A processor without AES instructions: the module made for them finds no use (`ENODEV`), and the portable one, which
//! the initramfs has as the fallback, makes and opens the root. The same machine with AES instructions is the premise.

use super::small::{ENCRYPTED, Small};
use super::{Context, lasting};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use anyhow::{Result, ensure};
use serde_json::Value;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let machine = lasting::machine(context, Initramfs::new("virtio"), &small.usr)?;
    let machine = machine.disk(Disk::new(&small.disk));
    // Of two processors that QEMU is given it takes the last.
    let poor = machine.clone().qemu(&["-cpu", "max,la57=off,aes=off"]);
    let boots = lasting::boots_two_ways(context, [&poor, &machine], &small.disk, 512)?;
    for (state, accelerated) in [(&boots.first, false), (&boots.second, true)] {
        lasting::mounted(state, "/", "/dev/mapper/root ext4")?;
        let loaded = |name: &str| {
            let modules = state.get("modules").and_then(Value::as_array);
            modules.is_some_and(|modules| modules.iter().any(|module| module == name))
        };
        ensure!(
            loaded("aesni_intel") == accelerated && loaded("xts") != accelerated,
            "with AES instructions: {accelerated}; loaded: {:?}",
            state.get("modules")
        );
    }
    Ok(())
}
