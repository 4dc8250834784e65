//! The conditions of every appliance, with any /usr and on any bus: the first boot makes a root, and the second boot
//! has the same one, with the same machine id and the file that was written into it, and the partition table without
//! fault.

use super::small::{DEADLINE, KEY};
use super::{Context, TEST_INIT};
use crate::command;
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine, Outcome};
use crate::usr::Usr;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::path::Path;

/// The file that the first boot writes. Its text is the one whose CRC-32 the catalogue of CRCs names.
const KEPT: &str = "/var/lib/kept";
const KEPT_TEXT: &str = "123456789";
const KEPT_CRC: &str = "cbf43926";

/// The word that makes a first boot write the file that later boots look for.
pub const WRITE: &str = "hermetic.test.write=/var/lib/kept:123456789";

/// A machine without a disk that boots this /usr into the test init, with the key in its initramfs.
///
/// # Errors
/// The initramfs cannot be made.
pub fn machine(context: &Context<'_>, initramfs: Initramfs, usr: &Usr) -> Result<Machine> {
    let initramfs = context.initramfs(&initramfs.key(KEY))?;
    Ok(bare(context, usr).initramfs(&initramfs).cmdline(&format!("hermetic.init={TEST_INIT}")))
}

/// A machine with the words for this /usr and nothing else.
#[must_use]
pub fn bare(context: &Context<'_>, usr: &Usr) -> Machine {
    let hash = usr.root_hash().map(|hash| format!(" usrhash={hash}")).unwrap_or_default();
    context.machine().cmdline(&format!("hermetic.failure-delay=0{hash}")).deadline(DEADLINE)
}

/// The partition named `root`, as sfdisk and blkid see it on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Number of the partition's entry, from 1.
    pub number: usize,
    /// The partition's GUID.
    pub guid: String,
    /// The start in bytes.
    pub start: u64,
    /// Bytes.
    pub length: u64,
    /// Type and UUID of its content, as blkid prints them.
    pub content: String,
}

/// Finds the root on a disk whose table is without fault.
///
/// # Errors
/// sfdisk finds fault, or there is no root.
pub fn root_on(context: &Context<'_>, disk: &Path, sector: u32) -> Result<Root> {
    faultless(context, disk, sector)?;
    find_root(context, disk, sector)
}

/// Fails when sfdisk finds fault with the table.
///
/// # Errors
/// It does.
pub fn faultless(context: &Context<'_>, disk: &Path, sector: u32) -> Result<()> {
    let mut sfdisk = context.bench.tools.tool("sfdisk")?;
    sfdisk.args(["--sector-size", &sector.to_string(), "--verify"]).arg(disk);
    let verdict = command::output(&mut sfdisk)?;
    ensure!(verdict.contains("No errors detected"), "sfdisk finds fault with the table:\n{verdict}");
    Ok(())
}

/// The root, also in a table that only the backup describes.
///
/// # Errors
/// There is no root.
pub fn find_root(context: &Context<'_>, disk: &Path, sector: u32) -> Result<Root> {
    find(context, disk, sector, "root")
}

/// The partition of this name, also in a table that only the backup describes.
///
/// # Errors
/// There is none.
pub fn find(context: &Context<'_>, disk: &Path, sector: u32, name: &str) -> Result<Root> {
    let mut sfdisk = context.bench.tools.tool("sfdisk")?;
    sfdisk.args(["--sector-size", &sector.to_string(), "--json"]).arg(disk);
    let table: Value = serde_json::from_str(&command::output(&mut sfdisk)?)?;
    let partitions = table.pointer("/partitiontable/partitions").and_then(Value::as_array);
    let partitions = partitions.context("sfdisk lists no partitions")?;
    let (index, entry) = partitions
        .iter()
        .enumerate()
        .find(|(_, entry)| entry.get("name").and_then(Value::as_str) == Some(name))
        .with_context(|| format!("no partition is named {name}: {table}"))?;
    let bytes = |field: &str| -> Result<u64> {
        let sectors = entry.get(field).and_then(Value::as_u64).context("sfdisk names no place")?;
        Ok(sectors * u64::from(sector))
    };
    let (start, length) = (bytes("start")?, bytes("size")?);
    let mut blkid = context.bench.tools.tool("blkid")?;
    blkid.args(["-p", "-o", "value", "-s", "TYPE", "-s", "UUID"]);
    blkid.args(["-O", &start.to_string(), "-S", &length.to_string()]).arg(disk);
    let mut content: Vec<String> = command::output(&mut blkid)?.lines().map(str::to_owned).collect();
    content.sort_by_key(String::len);
    let guid = entry.get("uuid").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Root { number: index + 1, guid, start, length, content: content.join(" ") })
}

/// The results of two boots.
#[derive(Debug)]
pub struct Boots {
    /// The test init's facts about the first boot.
    pub first: Value,
    /// Those about the second.
    pub second: Value,
    /// The root that both had.
    pub root: Root,
}

/// Boots a machine, whose disk is `disk` and whose init is the test init, for the first and the second time.
///
/// # Errors
/// It does not come up, or the second boot lacks the results of the first one.
pub fn boots_twice(context: &Context<'_>, machine: &Machine, disk: &Path, sector: u32) -> Result<Boots> {
    boots_two_ways(context, [machine, machine], disk, sector)
}

/// As [`boots_twice`], with another machine around the same disk the second time.
///
/// # Errors
/// As [`boots_twice`].
pub fn boots_two_ways(
    context: &Context<'_>,
    [first, second]: [&Machine; 2],
    disk: &Path,
    sector: u32,
) -> Result<Boots> {
    let first = boots_first(context, first)?;
    let made = root_on(context, disk, sector)?;
    let second = boots_again(context, second, &first)?;
    let root = root_on(context, disk, sector)?;
    ensure!(made == root, "the first boot made {made:?}, and the second left {root:?}");
    Ok(Boots { first, second, root })
}

/// Boots for the first time and writes the file that later boots look for.
///
/// # Errors
/// The machine does not come up, or the file cannot be written.
pub fn boots_first(context: &Context<'_>, machine: &Machine) -> Result<Value> {
    first_state(&context.run(&machine.clone().cmdline(WRITE))?)
}

/// The facts of a first boot with the word [`WRITE`].
///
/// # Errors
/// As [`boots_first`].
pub fn first_state(outcome: &Outcome) -> Result<Value> {
    let state = reached(outcome)?;
    let failed =
        state.pointer("/actions/0/error").with_context(|| format!("no word was carried out for {WRITE}"))?;
    ensure!(failed.is_null(), "the first boot cannot write {KEPT} ({KEPT_TEXT}): {failed}");
    ensure!(file(&state, KEPT).is_none(), "{KEPT} was there before the first boot");
    Ok(state)
}

/// Boots again and looks for the results of the first boot.
///
/// # Errors
/// The machine does not come up, or has another machine id or another root.
pub fn boots_again(context: &Context<'_>, machine: &Machine, first: &Value) -> Result<Value> {
    same_machine(&context.run(machine)?, first)
}

/// The facts of a later boot, which found the results of the first one.
///
/// # Errors
/// As [`boots_again`].
pub fn same_machine(outcome: &Outcome, first: &Value) -> Result<Value> {
    let state = reached(outcome)?;
    let kept = file(&state, KEPT).with_context(|| format!("{KEPT} of the first boot is gone"))?;
    ensure!(kept.get("crc32").and_then(Value::as_str) == Some(KEPT_CRC), "{KEPT} was changed: {kept}");
    let (before, now) = (machine_id(first)?, machine_id(&state)?);
    ensure!(before == now, "the machine id was {before} and is {now}");
    Ok(state)
}

/// The facts of a machine that came to the test init by one start of hermetic-init and was powered off by it.
fn reached(outcome: &Outcome) -> Result<Value> {
    outcome.expect(&Exit::PowerOff)?;
    // The state has the log as well, and a line of it may end in the same words.
    let says =
        |line: &str| !line.contains("@@") && line.contains("hermetic-init") && line.ends_with(" starts");
    let starts = outcome.lines.iter().filter(|line| says(&line.text)).count();
    ensure!(starts == 1, "hermetic-init started {starts} times");
    outcome.state()
}

/// A file of the state, by its path.
#[must_use]
pub fn file<'a>(state: &'a Value, path: &str) -> Option<&'a Value> {
    let trees = ["run", "etc", "var"].into_iter().filter_map(|tree| state.get(tree)?.as_array());
    trees.flatten().find(|file| file.get("path").and_then(Value::as_str) == Some(path))
}

/// The machine id that is offered to systemd.
///
/// # Errors
/// There is no machine id.
pub fn machine_id(state: &Value) -> Result<&str> {
    let id = file(state, "/run/machine-id").and_then(|file| file.get("text")?.as_str()).map(str::trim_end);
    let id = id.context("no machine id is offered in /run/machine-id")?;
    ensure!(id.len() == 32 && id.bytes().all(|digit| digit.is_ascii_hexdigit()), "`{id}` is no machine id");
    Ok(id)
}

/// Fails unless this is mounted there: `SOURCE FSTYPE`.
///
/// # Errors
/// Something else is.
pub fn mounted(state: &Value, at: &str, expected: &str) -> Result<()> {
    let text = |mount: &Value, field: &str| mount.get(field).and_then(Value::as_str).map(str::to_owned);
    let mounts = state.get("mounts").and_then(Value::as_array).context("no mounts in the state")?;
    // The last one covers the others.
    let mount = mounts.iter().rev().find(|mount| text(mount, "mountpoint").as_deref() == Some(at));
    let mount = mount.with_context(|| format!("nothing is mounted at {at}"))?;
    let found = [text(mount, "source"), text(mount, "fstype")].map(Option::unwrap_or_default).join(" ");
    if found != expected {
        bail!("`{found}` is mounted at {at} instead of `{expected}`");
    }
    Ok(())
}

/// Returns true when the mount there is read-only.
///
/// # Errors
/// Nothing is mounted there.
pub fn is_read_only(state: &Value, at: &str) -> Result<bool> {
    let mounts = state.get("mounts").and_then(Value::as_array).context("no mounts in the state")?;
    let there = |mount: &&Value| mount.get("mountpoint").and_then(Value::as_str) == Some(at);
    let mount = mounts.iter().rev().find(there).with_context(|| format!("nothing is mounted at {at}"))?;
    let options = mount.get("super_options").and_then(Value::as_array).context("a mount without options")?;
    Ok(options.iter().any(|option| option == "ro"))
}

/// The kernel names of the devices below the mapping of this name, sorted; None without such a mapping.
#[must_use]
pub fn below_mapping(state: &Value, name: &str) -> Option<Vec<String>> {
    let devices = state.get("block")?.as_object()?;
    let mapping =
        devices.values().find(|device| device.pointer("/dm/name").and_then(Value::as_str) == Some(name))?;
    let slaves = mapping.get("slaves")?.as_array()?;
    Some(slaves.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}
