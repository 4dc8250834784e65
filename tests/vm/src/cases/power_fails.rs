//! The power fails during a first boot and during a factory reset: every write is recorded, and the disk is put back to
//! what it was around each write of the table, in the middle of it, and at points spread over the rest, also without an
//! arbitrary half of what the drive had not flushed. The next boot always comes up with a whole root, sfdisk and e2fsck
//! find no fault, and the machine id is the same from then on.

use super::factory_reset::RESETTABLE;
use super::small::{ENCRYPTED, PLAIN, Small};
use super::{Context, TEST_INIT, lasting};
use crate::command;
use crate::disk::Disk;
use crate::image;
use crate::machine::{Exit, Machine, Outcome};
use crate::recording::{Cut, Recording, SECTOR};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Sectors of the table at either end of the disk (UEFI 2.10, section 5.3: 16 KiB of entries, a header, the MBR).
const TABLE: u64 = 34;

/// Where the root keeps the machine id until systemd has committed it.
const KEPT: &str = "/var/lib/hermetic-init/machine-id";

/// Ten failures.
pub fn few(context: &Context<'_>) -> Result<()> {
    series(context, [4, 3, 3])
}

/// Two hundred.
pub fn many(context: &Context<'_>) -> Result<()> {
    series(context, [70, 65, 65])
}

/// So many failures during the first boot with a plain root, with an encrypted one, and during a factory reset.
fn series(context: &Context<'_>, counts: [usize; 3]) -> Result<()> {
    let mut tally = Tally::default();
    let [plain, encrypted, reset] = counts;
    for (definition, count, encrypted) in [(PLAIN, plain, false), (ENCRYPTED, encrypted, true)] {
        let bench = Bench::new(context, definition, encrypted)?;
        let whole = bench.record("")?;
        let id = lasting::machine_id(&whole.expect(&Exit::PowerOff)?.state()?)?.to_owned();
        bench.cut_and_boot(count, &id, &etc(&whole.state()?)?, &mut tally)?;
    }
    // What stays of a root is told from a new one by its machine id, here too.
    let bench = Bench::new(context, RESETTABLE, true)?;
    let whole = context.run(&bench.machine.clone().disk(Disk::new(&bench.disk)))?;
    let state = whole.expect(&Exit::PowerOff)?.state()?;
    bench.record("systemd.factory_reset")?.expect(&Exit::Reboot)?.line("has reset this system.")?;
    bench.cut_and_boot(reset, lasting::machine_id(&state)?, &etc(&state)?, &mut tally)?;
    let Tally { cuts, same, anew } = tally;
    context.say(format!(
        "{cuts} power failures, {} converged: {same} times the root was there, {anew} times it was made anew",
        same + anew
    ));
    ensure!(same > 0 && anew > 0, "every power failure had the same outcome");
    Ok(())
}

#[derive(Default)]
struct Tally {
    cuts: usize,
    same: usize,
    anew: usize,
}

/// A machine whose disk is put back again and again.
struct Bench<'a> {
    context: &'a Context<'a>,
    machine: Machine,
    disk: PathBuf,
    encrypted: bool,
}

impl<'a> Bench<'a> {
    fn new(context: &'a Context<'a>, definition: &str, encrypted: bool) -> Result<Self> {
        let small = Small::new(context, definition)?;
        let machine = small.machine(context)?.cmdline(&format!("hermetic.init={TEST_INIT}"));
        Ok(Self { context, machine, disk: small.disk, encrypted })
    }

    fn blank(&self) -> PathBuf {
        self.context.file("blank.raw")
    }

    fn log(&self) -> PathBuf {
        self.context.file("writes.log")
    }

    /// Boots with these words and records every write; [`Bench::blank`] is the disk before.
    fn record(&self, words: &str) -> Result<Outcome> {
        image::copy(&self.disk, &self.blank())?;
        File::create(self.log())?;
        let machine = self.machine.clone().cmdline(words);
        self.context.run(&machine.disk(Disk::new(&self.disk).record(&self.log())))
    }

    /// Cuts the power so many times and boots from what it left: a root with what is in `whole`, of this machine or, made
    /// anew, of another one.
    fn cut_and_boot(&self, count: usize, id: &str, whole: &[String], tally: &mut Tally) -> Result<()> {
        let recording = Recording::open(&self.log())?;
        let cuts = cuts(&recording, std::fs::metadata(self.blank())?.len() / SECTOR, count)?;
        for (index, cut) in cuts.iter().enumerate() {
            let what = || format!("power failure {cut}, of {}", recording.entries.len());
            image::copy(&self.blank(), &self.disk)?;
            recording.replay(&self.disk, cut)?;
            tally.cuts += 1;
            let found = self.boot(whole).with_context(what)?;
            self.check(&found).with_context(what)?;
            // A plain root tells what it keeps without being booted; of the others the last one is booted again.
            if self.encrypted && (index + 1 == cuts.len() || count > 10) {
                let again = self.boot(whole).with_context(what)?;
                ensure!(again == found, "{}: the machine id was {found} and is {again}", what());
            }
            *(if found == id { &mut tally.same } else { &mut tally.anew }) += 1;
        }
        Ok(())
    }

    /// Boots, and returns the machine id.
    fn boot(&self, whole: &[String]) -> Result<String> {
        let outcome = self.context.run(&self.machine.clone().disk(Disk::new(&self.disk)))?;
        let state = outcome.expect(&Exit::PowerOff)?.state()?;
        let found = etc(&state)?;
        if let Some(difference) = whole.iter().find(|file| !found.contains(file)) {
            bail!("root lacks {difference}");
        }
        Ok(lasting::machine_id(&state)?.to_owned())
    }

    /// What sfdisk says about the table, and e2fsck and debugfs about a root that they can read.
    fn check(&self, id: &str) -> Result<()> {
        let (tools, disk) = (&self.context.bench.tools, &self.disk);
        let root = lasting::root_on(self.context, disk, 512)?;
        if self.encrypted {
            return Ok(());
        }
        let image = self.context.file("root.img");
        part(disk, &image, root.start, root.length)?;
        command::run(tools.tool("e2fsck")?.arg("-fn").arg(&image)).context("e2fsck finds fault with root")?;
        let kept = command::output(tools.tool("debugfs")?.args(["-R", &format!("cat {KEPT}")]).arg(&image))?;
        ensure!(kept.lines().any(|line| line == id), "root keeps another machine id than {id}: {kept}");
        Ok(())
    }
}

fn part(disk: &Path, to: &Path, start: u64, length: u64) -> Result<()> {
    let mut source = File::open(disk)?;
    source.seek(SeekFrom::Start(start))?;
    std::io::copy(&mut source.take(length), &mut File::create(to)?)?;
    Ok(())
}

/// Where the power fails: half of the failures are around the writes of the table, the others spread over the rest.
fn cuts(recording: &Recording, sectors: u64, count: usize) -> Result<Vec<Cut>> {
    let entries = &recording.entries;
    let table: Vec<usize> = (entries.iter().enumerate())
        .filter(|(_, entry)| entry.touches(0, TABLE) || entry.touches(sectors - TABLE, sectors))
        .map(|(index, _)| index)
        .collect();
    ensure!(table.len() >= 2, "the table is written by {} writes", table.len());
    let mut around = Vec::new();
    // The last writes of the table are the commit, or what frees the entries.
    for index in table.iter().rev() {
        let torn = entries.get(*index).map_or(0, |entry| entry.sectors / 2);
        let lost = *index as u64 + 1;
        around.extend([
            Cut { count: index + 1, torn: 0, lost: 0 },
            Cut { count: *index, torn, lost: 0 },
            Cut { count: index + 1, torn: 0, lost },
            Cut { count: *index, torn, lost },
        ]);
    }
    let near = spread(&around, count.div_ceil(2).min(around.len()));
    let rest = count - near.len();
    let far = (0..rest).map(|number| {
        let index = entries.len() * (2 * number + 1) / (2 * rest);
        let lost = if number % 2 == 0 { number as u64 + 1 } else { 0 };
        Cut { count: index, torn: 0, lost }
    });
    Ok(near.into_iter().chain(far).collect())
}

/// So many of them, from the first on at even distances.
fn spread(all: &[Cut], count: usize) -> Vec<Cut> {
    (0..count).filter_map(|number| all.get(all.len() * number / count)).copied().collect()
}

/// What is in /etc, but for the machine id: that one may be another when the boot starts over.
///
/// # Errors
/// It is not that of a populated root.
pub fn etc(state: &Value) -> Result<Vec<String>> {
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
