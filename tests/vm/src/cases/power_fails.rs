//! The power fails during the first boot: every write of it is recorded, and the disk is put back to what it was after the
//! first third of them, after the last one ahead of the table, after each write of the table, in the middle of each. The
//! next boot always comes up with a whole root, the same one in every file, and sfdisk and e2fsck find no fault.

use super::small::{ENCRYPTED, PLAIN, Small};
use super::{Context, TEST_INIT};
use crate::command;
use crate::disk::Disk;
use crate::image;
use crate::machine::Exit;
use crate::recording::{Recording, SECTOR};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Sectors of the table at either end of the disk (UEFI 2.10, section 5.3: 16 KiB of entries, a header, the MBR).
const TABLE: u64 = 34;

pub fn run(context: &Context<'_>) -> Result<()> {
    let plain = series(context, &Small::new(context, PLAIN)?, false)?;
    let encrypted = series(context, &Small::new(context, ENCRYPTED)?, true)?;
    context.say(format!("{} power failures", plain + encrypted));
    Ok(())
}

/// Replays a first boot up to its moments, and boots from each. How many there were.
fn series(context: &Context<'_>, small: &Small, encrypted: bool) -> Result<usize> {
    let (blank, log) = (context.file("blank.raw"), context.file("writes.log"));
    image::copy(&small.disk, &blank)?;
    File::create(&log)?;
    let machine = small.machine(context)?.cmdline(&format!("hermetic.init={TEST_INIT}"));
    let outcome = context.run(&machine.clone().disk(Disk::new(&small.disk).record(&log)))?;
    let whole = root(&outcome.expect(&Exit::PowerOff)?.state()?)?;
    let recording = Recording::open(&log)?;
    let moments = moments(&recording, std::fs::metadata(&blank)?.len() / SECTOR, encrypted)?;
    for (count, torn) in &moments {
        let what = || format!("after {count} of {} writes and {torn} sectors", recording.entries.len());
        image::copy(&blank, &small.disk)?;
        recording.replay(&small.disk, *count, *torn)?;
        let outcome = context.run(&machine.clone().disk(Disk::new(&small.disk))).with_context(what)?;
        let root = root(&outcome.expect(&Exit::PowerOff).with_context(what)?.state()?)?;
        if let Some(difference) = whole.iter().find(|file| !root.contains(file)) {
            bail!("{}: root lacks {difference}", what());
        }
        check(context, &small.disk, encrypted).with_context(what)?;
    }
    Ok(moments.len())
}

/// Counts of whole writes, and of sectors of the one behind them.
fn moments(recording: &Recording, sectors: u64, few: bool) -> Result<Vec<(usize, u64)>> {
    let table: Vec<_> = (recording.entries.iter().enumerate())
        .filter(|(_, entry)| entry.touches(0, TABLE) || entry.touches(sectors - TABLE, sectors))
        .collect();
    let (Some((first, _)), Some((last, _))) = (table.first(), table.last()) else {
        bail!("the table was never written");
    };
    // Content comes first: a table write ahead of it would commit what is not there yet.
    if *first < 4 || table.len() < 2 {
        bail!("the table is written by {} writes, the first of them is number {first}", table.len());
    }
    if few {
        return Ok(vec![(first / 2, 0), (*first, 0), (*last, 0)]);
    }
    let mut moments = vec![(first / 3, 0), (*first, 0)];
    for (index, entry) in &table {
        if entry.sectors > 1 {
            moments.push((*index, entry.sectors / 2));
        }
        moments.push((index + 1, 0));
    }
    Ok(moments)
}

/// What is in /etc, but for the machine id: that one may be another when the boot starts over.
fn root(state: &Value) -> Result<Vec<String>> {
    let etc = state.get("etc").and_then(Value::as_array).context("no /etc in the state")?;
    let fields = ["path", "type", "mode", "uid", "gid", "crc32", "target"];
    let line = |file: &Value| {
        fields.map(|field| file.get(field).map(Value::to_string).unwrap_or_default()).join(" ")
    };
    let mut files: Vec<String> =
        etc.iter().map(line).filter(|line| !line.contains("\"/etc/machine-id\"")).collect();
    if files.len() < 20 || files.len() == etc.len() {
        bail!("/etc has {} entries, a machine id or not; it was never made", etc.len());
    }
    files.sort_unstable();
    Ok(files)
}

/// What sfdisk says about the table, and e2fsck about a root that it can read.
fn check(context: &Context<'_>, disk: &Path, encrypted: bool) -> Result<()> {
    let tools = &context.bench.tools;
    let verdict = command::output(tools.tool("sfdisk")?.arg("--verify").arg(disk))?;
    if !verdict.contains("No errors detected") {
        bail!("sfdisk finds fault with the table:\n{verdict}");
    }
    if encrypted {
        return Ok(());
    }
    let table: Value =
        serde_json::from_str(&command::output(tools.tool("sfdisk")?.arg("--json").arg(disk))?)?;
    let field = |field: &str| {
        let field = table.pointer(&format!("/partitiontable/partitions/2/{field}")).and_then(Value::as_u64);
        field.map(|sectors| sectors * SECTOR).with_context(|| format!("no third partition: {table}"))
    };
    let root = context.file("root.img");
    let mut source = File::open(disk)?;
    source.seek(SeekFrom::Start(field("start")?))?;
    std::io::copy(&mut source.take(field("size")?), &mut File::create(&root)?)?;
    command::run(tools.tool("e2fsck")?.arg("-fn").arg(&root)).context("e2fsck finds fault with root")
}
