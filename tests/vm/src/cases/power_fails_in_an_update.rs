//! The power fails while /etc follows a new /usr: the writes of the update's boot are recorded, and the disk is put back to
//! what it was after some of them, spread over all of them. The next boot, of the new version or of the old one, has the
//! /etc of that version in every file, with what somebody changed and removed, and e2fsck finds no fault with the root.

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

const FACTORY: &str = "share/factory/etc/hermetic-test";

/// What somebody did to the first version's /etc.
const EDITS: &str = "hermetic.test.write=/etc/hermetic-test/changed:me hermetic.test.remove=/etc/hermetic-test/removed \
                     hermetic.test.write=/etc/hermetic-test/mine:mine";

/// Ten cuts.
pub fn run(context: &Context<'_>) -> Result<()> {
    cuts(context, 10)
}

/// Fifty cuts.
pub fn run_long(context: &Context<'_>) -> Result<()> {
    cuts(context, 50)
}

fn cuts(context: &Context<'_>, count: usize) -> Result<()> {
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
    let boot = |usr: &Usr, words: &str| -> Result<Vec<String>> {
        let outcome = context.run(&machine(usr)?.cmdline(words).disk(Disk::new(&disk)))?;
        let state = outcome.expect(&Exit::PowerOff)?.state()?;
        ensure!(lasting::file(&state, "/var/lib/hermetic-init/etc.journal").is_none(), "the journal is left");
        power_fails::etc(&state)
    };
    boot(&one, EDITS)?;
    let old = boot(&one, "")?;
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
    let mut unfinished = 0;
    for cut in 0..count {
        let after = (cut + 1) * writes / (count + 1);
        let what = || format!("after {after} of {writes} writes");
        for (usr, expected) in [(&two, &new), (&one, &old)].into_iter().skip(cut % 2).take(1) {
            image::copy(&before, &disk)?;
            // Every other time the drive's cache goes as well.
            let lost = if cut % 4 < 2 { 0 } else { cut as u64 + 1 };
            recording.replay(&disk, &Cut { count: after, torn: 0, lost })?;
            let now = boot(usr, "").with_context(what)?;
            if let Some(line) = now.iter().find(|line| !expected.contains(line)) {
                bail!("{}: /etc has {line}", what());
            }
            if let Some(line) = expected.iter().find(|line| !now.contains(line)) {
                bail!("{}: /etc lacks {line}", what());
            }
            check(context, &disk).with_context(what)?;
            unfinished += 1;
        }
    }
    context.say(format!("{unfinished} power failures over {writes} writes"));
    Ok(())
}

fn version(context: &Context<'_>, files: &[&str], text: &str) -> Result<Usr> {
    let recipe: Recipe = small::recipe(context, PLAIN)?;
    let recipe = files
        .iter()
        .fold(recipe, |recipe, file| recipe.file(&format!("{FACTORY}/{file}"), format!("{text}\n"), 0o644));
    context.usr(&recipe)
}

/// What e2fsck says about the root.
fn check(context: &Context<'_>, disk: &Path) -> Result<()> {
    let root = lasting::root_on(context, disk, 512)?;
    let image = context.file("root.img");
    let mut source = File::open(disk)?;
    source.seek(SeekFrom::Start(root.start))?;
    std::io::copy(&mut source.take(root.length), &mut File::create(&image)?)?;
    command::run(context.bench.tools.tool("e2fsck")?.arg("-fn").arg(&image))
        .context("e2fsck finds fault with root")
}
