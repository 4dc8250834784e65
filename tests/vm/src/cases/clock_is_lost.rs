//! A machine whose clock begins in 1970, as without a battery. Time begins with /usr's: the new root's ext4 and its files have no
//! earlier one, nor has the day on which the password of a new user was changed last, which in 1970 means that it has to be changed now.

use super::small::{self, PLAIN, Small};
use super::{Context, TEST_INIT, lasting};
use crate::command;
use crate::disk::Disk;
use crate::machine::Exit;
use crate::usr::EPOCH;
use anyhow::{Context as _, Result, ensure};
use std::path::Path;
use std::process::Command;

/// Seconds of a day.
const DAY: u64 = 86400;

/// The longest that the machine may run.
const HOUR: u64 = 3600;

pub fn run(context: &Context<'_>) -> Result<()> {
    let made: u64 = EPOCH.parse()?;
    let user = "u made - \"Made by the first boot\"\n";
    let recipe = small::recipe(context, PLAIN)?.file("lib/sysusers.d/made.conf", user, 0o644);
    let small = Small::of(context, &recipe)?;
    let machine = small.machine(context)?.disk(Disk::new(&small.disk)).qemu(&["-rtc", "base=1970-01-03"]);
    let outcome = context.run(&machine.cmdline(&format!("hermetic.init={TEST_INIT}")))?;
    outcome.expect(&Exit::PowerOff)?;
    // It begins with the third day, and the machine has run for less than an hour.
    let hours = (made - 2 * DAY).div_ceil(HOUR);
    outcome.line(&format!("the clock stood {hours} hours before this /usr was made, and begins there"))?;

    let root = lasting::root_on(context, &small.disk, 512)?;
    let place = format!("{}?offset={}", small.disk.display(), root.start);
    let debugfs = |request: &str| -> Result<String> {
        let mut debugfs = context.bench.tools.tool("debugfs")?;
        debugfs.env("TZ", "UTC").args(["-R", request]).arg(&place);
        command::output(&mut debugfs)
    };
    let since = made..made + HOUR;
    let created = debugfs("show_super_stats -h")?;
    let created = created.lines().find_map(|line| line.strip_prefix("Filesystem created:"));
    let created = seconds(created.context("no time of creation")?)?;
    ensure!(since.contains(&created), "the file system was made at {created}");
    for path in ["/etc/shadow", "/etc/machine-id", "/etc"] {
        // ctime: 0x6955a5f0:... -- Thu Jan  1 ...
        let stat = debugfs(&format!("stat {path}"))?;
        let time = stat.lines().find_map(|line| line.trim().strip_prefix("ctime: 0x")?.split(':').next());
        let time = u64::from_str_radix(time.with_context(|| format!("no time of {path}: {stat}"))?, 16)?;
        ensure!(since.contains(&time), "{path} is of {time}");
    }
    let shadow = debugfs("cat /etc/shadow")?;
    let day = shadow.lines().find_map(|line| line.strip_prefix("made:")?.split(':').nth(1));
    let day = day.with_context(|| format!("nobody was made: {shadow}"))?;
    ensure!(day.parse() == Ok(made / DAY), "the password of a new user is of day {day}");
    Ok(())
}

/// The seconds since 1970 of a time as e2fsprogs prints it.
fn seconds(time: &str) -> Result<u64> {
    let mut date = Command::new(Path::new("/usr/bin/date"));
    Ok(command::output(date.args(["-u", "-d", time.trim(), "+%s"]))?.trim().parse()?)
}
