//! The generic preset on an NVMe disk, whose driver Debian's kernel has built in, and on SCSI and SATA disks, whose drivers
//! are modules that are loaded for the hardware that is found. The first boot is on one and the second on the other: nothing
//! in the root depends on the name of its disk. With two processors the drivers are loaded side by side. On SATA the modules have
//! lost their signatures, which a kernel that does not enforce them remarks.

use super::small::{ENCRYPTED, Small};
use super::{Context, lasting};
use crate::disk::{Disk, Interface};
use crate::initramfs::Initramfs;
use anyhow::{Result, ensure};

/// The kernel's words for a module without a signature, which it takes unless it enforces them.
const UNSIGNED: &str = "module verification failed: signature and/or required key missing";

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let generic = lasting::machine(context, Initramfs::new("generic"), &small.usr)?;
    let generic = generic.processors(2);
    let on = |interface| generic.clone().disk(Disk::new(&small.disk).interface(interface));
    let (nvme, scsi) = (on(Interface::Nvme), on(Interface::Scsi));
    let boots = lasting::boots_two_ways(context, [&nvme, &scsi], &small.disk, 512)?;
    let again = context.run(&nvme)?;
    again.without(UNSIGNED)?;
    let again = lasting::same_machine(&again, &boots.first)?;
    let stripped = Initramfs::new("generic").without_signatures();
    let stripped = lasting::machine(context, stripped, &small.usr)?.processors(2);
    let sata = context.run(&stripped.disk(Disk::new(&small.disk).interface(Interface::Sata)))?;
    sata.line(UNSIGNED)?;
    let sata = lasting::same_machine(&sata, &boots.first)?;
    for (state, root) in
        [(&boots.first, "nvme0n1p3"), (&boots.second, "sda3"), (&again, "nvme0n1p3"), (&sata, "sda3")]
    {
        lasting::mounted(state, "/", "/dev/mapper/root ext4")?;
        let below = lasting::below_mapping(state, "root").unwrap_or_default();
        ensure!(below == [root], "root is on {below:?}, not on {root}");
    }
    // The other way round: a first boot on SCSI, as VMware has it.
    let small = Small::new(context, ENCRYPTED)?;
    let scsi = generic.disk(Disk::new(&small.disk).interface(Interface::Pvscsi));
    lasting::boots_first(context, &scsi)?;
    lasting::root_on(context, &small.disk, 512)?;
    Ok(())
}
