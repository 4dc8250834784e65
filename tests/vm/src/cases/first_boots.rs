//! First boots on fresh disks, encrypted, for the series: each must find its disk, make its root and hand over. The
//! systemd initrd loses about one in 38 of them to its race with udev (systemd issue 31142).

use super::{Context, TEST_INIT};
use crate::definition;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::inside::Inside;
use crate::machine::{Exit, Machine};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::time::Duration;

/// Far beyond any boot that has not failed.
const DEADLINE: Duration = Duration::from_secs(600);

/// Into the test init, which prints its devices and file systems.
pub fn into_test_init(context: &Context<'_>) -> Result<Duration> {
    let machine = machine(context)?.cmdline(&format!("hermetic.init={TEST_INIT}"));
    let outcome = context.run(&machine)?;
    let state = outcome.expect(&Exit::PowerOff)?.state()?;
    let mounts = state.get("mounts").and_then(Value::as_array).context("the state lists no mounts")?;
    for (at, source) in [("/", "/dev/mapper/root"), ("/usr", "/dev/mapper/usr")] {
        let mut there = mounts.iter().filter(|mount| mount.get("mountpoint") == Some(&json!(at)));
        if !there.any(|mount| mount.get("source") == Some(&json!(source))) {
            bail!("{source} is not mounted on {at}: {mounts:?}");
        }
    }
    let uptime = state.get("uptime_usec").and_then(Value::as_u64).context("the state has no uptime")?;
    Ok(Duration::from_micros(uptime))
}

/// Into Debian's systemd, which must come up without a fault.
pub fn into_systemd(context: &Context<'_>) -> Result<Duration> {
    let inside = Inside::new(&context.file("inside"))
        .ask("uptime", "cut -d ' ' -f 1 /proc/uptime")
        .ask("failed", "systemctl list-units --failed --plain --no-legend")
        .ask("first-boot", "systemctl is-active first-boot-complete.target")
        .ask("complaints", "journalctl --boot --priority=warning --output=short-monotonic");
    context.run(&inside.equip(machine(context)?)?)?.expect(&Exit::PowerOff)?;
    let answers = inside.read()?;
    answers
        .expect("state", "running")
        .and_then(|answers| answers.expect("failed", ""))
        .and_then(|answers| answers.expect("first-boot", "active"))
        .with_context(|| format!("its complaints:\n{}", answers.text("complaints").unwrap_or_default()))?;
    let uptime = answers.text("uptime")?.parse::<f64>().context("/proc/uptime is no number")?;
    Ok(Duration::from_secs_f64(uptime))
}

/// A machine with a fresh disk.
fn machine(context: &Context<'_>) -> Result<Machine> {
    let usr = context.usr(&context.recipe()?.repart(definition::ENCRYPTED))?;
    let root_hash = usr.root_hash().context("the appliance's /usr is verified")?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    Ok(context
        .machine()
        .deadline(DEADLINE)
        .initramfs(&context.initramfs(&Initramfs::new("virtio").key(&definition::KEY))?)
        .cmdline(&format!("usrhash={root_hash}"))
        .disk(Disk::new(&disk)))
}
