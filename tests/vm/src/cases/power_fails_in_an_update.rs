//! The power fails while /etc follows a new /usr: the writes of the update's boot are recorded, and the disk is put
//! back to its state after some of them, spread over all of them. The next boot, of the new version or of the old one,
//! has the /etc of that version in every file, with the changes and removals of a person, and e2fsck finds no fault
//! with the root.

use super::small::{self, PLAIN};
use super::{Context, TEST_INIT, lasting, power_fails};
use crate::command;
use crate::disk::Disk;
use crate::image::{self, Image};
use crate::machine::{Exit, Machine};
use crate::recording::{Cut, Recording};
use crate::usr::{Recipe, Usr};
use anyhow::{Context as _, Result, bail, ensure};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

const FACTORY: &str = "share/factory/etc/hermetic-test";

/// The changes by a person to the first version's /etc.
const EDITS: &str = "hermetic.test.write=/etc/hermetic-test/changed:me hermetic.test.remove=/etc/hermetic-test/removed \
                     hermetic.test.write=/etc/hermetic-test/mine:mine";

/// Ten cuts.
pub fn run(context: &Context<'_>) -> Result<()> {
    cuts(context, 10, 1)
}

/// Fifty cuts, or as many as `--times` says.
pub fn run_long(context: &Context<'_>) -> Result<()> {
    cuts(context, context.times.map_or(50, |times| times as usize), context.jobs)
}

fn cuts(context: &Context<'_>, count: usize, jobs: usize) -> Result<()> {
    let one = version(context, &["changed", "dropped", "pristine", "removed"], "one")?;
    let two = version(context, &["changed", "pristine", "removed", "new", "directory/new"], "two")?;
    let mut partitions = image::usr_partitions(&one, "appliance_1")?;
    partitions.extend(image::usr_partitions(&two, "appliance_2")?);
    let disk = context.disk("disk.raw", &Image { size: 384 << 20, ..small::image(partitions) })?;
    let machine = |usr: &Usr| -> Result<Machine> {
        let hash = usr.root_hash().context("/usr is verified")?;
        let words = format!("usrhash={hash} hermetic.init={TEST_INIT}");
        Ok(small::machine(context, None)?.cmdline(&words))
    };
    let boot = |usr: &Usr, disk: &Path, words: &str| -> Result<Vec<String>> {
        let outcome = context.run(&machine(usr)?.cmdline(words).disk(Disk::new(disk)))?;
        let state = outcome.expect(&Exit::PowerOff)?.state()?;
        ensure!(lasting::file(&state, "/var/lib/hermetic-init/etc.journal").is_none(), "the journal is left");
        power_fails::etc(&state)
    };
    boot(&one, &disk, EDITS)?;
    let old = boot(&one, &disk, "")?;
    let (before, log) = (context.file("before.raw"), context.file("writes.log"));
    image::copy(&disk, &before)?;
    File::create(&log)?;
    let outcome = context.run(&machine(&two)?.disk(Disk::new(&disk).record(&log)))?;
    let new = power_fails::etc(&outcome.expect(&Exit::PowerOff)?.state()?)?;
    for (tree, version, lacks) in
        [(&old, "old", "/etc/hermetic-test/new"), (&new, "new", "/etc/hermetic-test/dropped")]
    {
        let has = |path: &str| tree.iter().any(|line| line.contains(&format!("\"{path}\"")));
        ensure!(has("/etc/hermetic-test/mine") && has("/etc/hermetic-test/pristine"), "{version}: {tree:?}");
        ensure!(!has(lacks) && !has("/etc/hermetic-test/removed"), "{version}: {tree:?}");
    }
    let recording = Recording::open(&log)?;
    let writes = recording.entries.len();
    ensure!(writes > 10, "the update has {writes} writes");
    let converges = |cut: usize, disk: &Path| -> Result<()> {
        let after = (cut + 1) * writes / (count + 1);
        let (usr, expected) = if cut.is_multiple_of(2) { (&two, &new) } else { (&one, &old) };
        image::copy(&before, disk)?;
        // Every other time the drive's cache goes as well.
        let lost = if cut % 4 < 2 { 0 } else { cut as u64 + 1 };
        recording.replay(disk, &Cut { count: after, torn: 0, lost })?;
        let same = || -> Result<()> {
            let now = boot(usr, disk, "")?;
            if let Some(line) = now.iter().find(|line| !expected.contains(line)) {
                bail!("/etc has {line}");
            }
            if let Some(line) = expected.iter().find(|line| !now.contains(line)) {
                bail!("/etc lacks {line}");
            }
            check(context, disk)
        };
        same().with_context(|| format!("after {after} of {writes} writes"))
    };
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for job in 0..jobs {
            let (next, failures, converges) = (&next, &failures, &converges);
            scope.spawn(move || {
                let disk = context.file(&format!("cut{job}.raw"));
                loop {
                    let cut = next.fetch_add(1, Ordering::Relaxed);
                    if cut >= count {
                        break;
                    }
                    if let Err(error) = converges(cut, &disk) {
                        failures.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{error:#}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(failures.is_empty(), "{} of {count}: {}", failures.len(), failures.join("\n"));
    context.say(format!("{count} power failures over {writes} writes"));
    Ok(())
}

fn version(context: &Context<'_>, files: &[&str], text: &str) -> Result<Usr> {
    let recipe: Recipe = small::recipe(context, PLAIN)?;
    let recipe = files
        .iter()
        .fold(recipe, |recipe, file| recipe.file(&format!("{FACTORY}/{file}"), format!("{text}\n"), 0o644));
    context.usr(&recipe)
}

/// Checks that e2fsck finds no fault with the root.
fn check(context: &Context<'_>, disk: &Path) -> Result<()> {
    let root = lasting::root_on(context, disk, 512)?;
    let image = disk.with_extension("root");
    let mut source = File::open(disk)?;
    source.seek(SeekFrom::Start(root.start))?;
    std::io::copy(&mut source.take(root.length), &mut File::create(&image)?)?;
    command::run(context.bench.tools.tool("e2fsck")?.arg("-fn").arg(&image))
        .context("e2fsck finds fault with root")
}
