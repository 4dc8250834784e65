//! The power fails during a first boot and during a factory reset: every write is recorded, and the disk is put back to
//! its state around each write of the table, in the middle of it, and at points spread over the rest, also without an
//! arbitrary half of the writes that the drive had not flushed. The next boot always comes up with a whole root, sfdisk
//! and e2fsck find no fault, and the machine id is the same from then on.

use super::factory_reset::RESETTABLE;
use super::small::{ENCRYPTED, KEY, PLAIN, Small};
use super::{Context, TEST_INIT, lasting};
use crate::command;
use crate::disk::Disk;
use crate::image;
use crate::machine::{Exit, Machine, Outcome};
use crate::recording::{Cut, Recording, SECTOR};
use crate::volume;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Sectors of the table at either end of the disk (UEFI 2.10, section 5.3: 16 KiB of entries, a header, the MBR).
const TABLE: u64 = 34;

/// The file in which the root keeps the machine id until systemd has committed it.
const KEPT: &str = "/var/lib/hermetic-init/machine-id";

/// The number of failures of an encrypted root after which the machine is booted once more, with a message.
const TEN: usize = 10;

/// Six failures, one machine after the other.
pub fn few(context: &Context<'_>) -> Result<()> {
    series(context, [2, 2, 2], 1)
}

/// Two hundred, or as many as `--times` says, several machines at the same time.
pub fn many(context: &Context<'_>) -> Result<()> {
    let count = context.times.map_or(Ok(200), usize::try_from)?;
    let third = count / 3;
    series(context, [count - 2 * third, third, third], context.jobs)
}

/// So many failures during the first boot with a plain root, with an encrypted one, and during a factory reset.
fn series(context: &Context<'_>, counts: [usize; 3], jobs: usize) -> Result<()> {
    let tally = Mutex::new(Tally { all: counts.iter().sum(), ..Tally::default() });
    let [plain, encrypted, reset] = counts;
    for (definition, count, encrypted) in [(PLAIN, plain, false), (ENCRYPTED, encrypted, true)] {
        let bench = Bench::new(context, definition, encrypted)?;
        let whole = Whole::of(&bench.record("")?)?;
        bench.cut_and_boot(count, &whole, &tally, jobs)?;
    }
    // An old root and a new one are distinguished by the machine id, here too.
    let bench = Bench::new(context, RESETTABLE, true)?;
    let whole = Whole::of(&context.run(&bench.machine.clone().disk(Disk::new(&bench.disk)))?)?;
    bench.record("systemd.factory_reset")?.expect(&Exit::Reboot)?.line("has reset this system.")?;
    bench.cut_and_boot(reset, &whole, &tally, jobs)?;
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    context.say(tally.to_string());
    tally.verdict()
}

/// The results of the failures so far.
#[derive(Debug, Default)]
struct Tally {
    all: usize,
    same: usize,
    anew: usize,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, result: Result<bool>) {
        match result {
            Ok(true) => self.same += 1,
            Ok(false) => self.anew += 1,
            Err(error) => {
                eprintln!("    {error:#}");
                self.failures.push(format!("{error:#}"));
            }
        }
        let done = self.same + self.anew + self.failures.len();
        if self.all > TEN && done.is_multiple_of(TEN) {
            eprintln!("    {done} of {} power failures, {} did not converge", self.all, self.failures.len());
        }
    }

    fn verdict(&self) -> Result<()> {
        if let Some(first) = self.failures.first() {
            bail!("{self}; {first}");
        }
        ensure!(
            self.all < TEN || (self.same > 0 && self.anew > 0),
            "every power failure had the same outcome"
        );
        Ok(())
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { all, same, anew, .. } = self;
        let converged = same + anew;
        write!(
            f,
            "{all} power failures, {converged} converged: {same} times the root was there, {anew} times it was made anew"
        )
    }
}

/// The result of the boot that was not interrupted.
struct Whole {
    id: String,
    etc: Vec<String>,
}

impl Whole {
    fn of(outcome: &Outcome) -> Result<Self> {
        let state = outcome.expect(&Exit::PowerOff)?.state()?;
        Ok(Self { id: lasting::machine_id(&state)?.to_owned(), etc: etc(&state)? })
    }
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

    /// Cuts the power so many times and boots from the result: a root with the content of `whole`, of this machine or,
    /// made anew, of another one. A failure does not end the others.
    fn cut_and_boot(&self, count: usize, whole: &Whole, tally: &Mutex<Tally>, jobs: usize) -> Result<()> {
        let recording = Recording::open(&self.log())?;
        let cuts = cuts(&recording, std::fs::metadata(self.blank())?.len() / SECTOR, count)?;
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for job in 0..jobs {
                let (recording, cuts, next) = (&recording, &cuts, &next);
                scope.spawn(move || {
                    let disk = self.context.file(&format!("cut{job}.raw"));
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(cut) = cuts.get(index) else { break };
                        let twice = index + 1 == cuts.len() || index % TEN == TEN - 1;
                        let found = self.converges(recording, cut, &disk, whole, twice).with_context(|| {
                            format!("power failure {cut}, of {} writes", recording.entries.len())
                        });
                        tally.lock().unwrap_or_else(PoisonError::into_inner).add(found);
                    }
                });
            }
        });
        Ok(())
    }

    /// Leaves the disk as this failure would have, and boots from it. Returns true when the root is the one of `whole`.
    fn converges(
        &self,
        recording: &Recording,
        cut: &Cut,
        disk: &Path,
        whole: &Whole,
        twice: bool,
    ) -> Result<bool> {
        image::copy(&self.blank(), disk)?;
        recording.replay(disk, cut)?;
        let id = self.boot(disk, whole)?;
        self.check(disk, &id)?;
        // The host reads the same as the machine from an encrypted root, but only the machine can open it as the boot
        // does.
        if self.encrypted && twice {
            let again = self.boot(disk, whole)?;
            ensure!(again == id, "the machine id was {id} and is {again}");
        }
        Ok(id == whole.id)
    }

    /// Boots, and returns the machine id.
    fn boot(&self, disk: &Path, whole: &Whole) -> Result<String> {
        let outcome = self.context.run(&self.machine.clone().disk(Disk::new(disk)))?;
        let found = Whole::of(&outcome)?;
        if let Some(difference) = whole.etc.iter().find(|file| !found.etc.contains(file)) {
            bail!("root lacks {difference}");
        }
        Ok(found.id)
    }

    /// Checks that sfdisk finds no fault with the table, e2fsck none with the root, and that the root keeps this
    /// machine id.
    fn check(&self, disk: &Path, id: &str) -> Result<()> {
        let tools = &self.context.bench.tools;
        let root = lasting::root_on(self.context, disk, 512)?;
        let mut image = disk.with_extension("root");
        part(disk, &image, root.start, root.length)?;
        if self.encrypted {
            let plain = disk.with_extension("plain");
            volume::decrypt(tools, &image, KEY, &plain)?;
            image = plain;
        }
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

/// The points of the power failures: half of them are around the writes of the table, the others spread over the rest.
fn cuts(recording: &Recording, sectors: u64, count: usize) -> Result<Vec<Cut>> {
    let entries = &recording.entries;
    let table: Vec<usize> = (entries.iter().enumerate())
        .filter(|(_, entry)| entry.touches(0, TABLE) || entry.touches(sectors - TABLE, sectors))
        .map(|(index, _)| index)
        .collect();
    ensure!(table.len() >= 2, "the table is written by {} writes", table.len());
    let mut around = Vec::new();
    // The last writes of the table are the commit, or free the entries.
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

/// The content of /etc, but for the machine id: that one may be another when the boot starts over.
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
