//! `Encrypt=off`: the root is ext4 in the partition itself, without a mapping, on a verified /usr. No key file is needed. The command line
//! names the root by the label that the first boot gives it: the table of before has none of that name.

use super::small::{self, PLAIN, Small};
use super::{Context, TEST_INIT, lasting};
use crate::disk::Disk;
use anyhow::{Result, ensure};

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, PLAIN)?;
    let machine = small::machine(context, None)?.cmdline(&small.words());
    let machine = machine
        .cmdline(&format!("hermetic.init={TEST_INIT} root=PARTLABEL=root"))
        .disk(Disk::new(&small.disk));
    let boots = lasting::boots_twice(context, &machine, &small.disk, 512)?;
    ensure!(boots.root.content.starts_with("ext4 "), "the root holds {}", boots.root.content);
    for state in [&boots.first, &boots.second] {
        lasting::mounted(state, "/", "/dev/vda3 ext4")?;
        lasting::mounted(state, "/usr", "/dev/mapper/usr erofs")?;
        ensure!(lasting::below_mapping(state, "root").is_none(), "a plain root is mapped");
    }
    Ok(())
}
