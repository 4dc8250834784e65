//! A disk with two versions of /usr, booted into Debian's whole systemd: version 1, on which somebody edits, removes
//! and adds files and users, then version 2, then version 1 again. /etc is right each time: files that were not touched
//! are those of the version, changes by people stay. systemd comes up without a failure each time, and after each
//! change of /usr runs the units that wait for an update.

use super::Context;
use super::volatile::came_up;
use crate::definition;
use crate::disk::Disk;
use crate::image::{self, Image};
use crate::initramfs::Initramfs;
use crate::inside::{Answers, Inside};
use crate::machine::{Exit, Machine};
use crate::usr::{Recipe, Usr};
use anyhow::{Context as _, Result, bail};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(600);

/// The directory of this test's files in the factory.
const FACTORY: &str = "share/factory/etc/hermetic-test";

/// The changes that a person makes to the first version's /etc.
const EDITS: &str = "cd /etc/hermetic-test && echo me >changed && rm removed && echo mine >mine && chmod 600 mode && \
                     echo me >conflict && echo mine:x:1000:1000::/:/bin/sh >>/etc/passwd && \
                     sed -i 's,^root:\\([^:]*\\):0:0:root,root:\\1:0:0:me,' /etc/passwd";

/// The files afterwards, one line each.
const LIST: &str = "cd /etc/hermetic-test && for f in $(find . -type f | sort); do echo $f $(stat -c %a $f) $(cat $f); done; \
                    cut -d: -f1,3,5 /etc/passwd | grep -E '^(root|mine|fresh):'";

pub fn run(context: &Context<'_>) -> Result<()> {
    let (one, two) = (version_1(context)?, version_2(context)?);
    let mut partitions = image::usr_partitions(&one, "appliance_1")?;
    partitions.extend(image::usr_partitions(&two, "appliance_2")?);
    let disk = context.disk("disk.raw", &Image::new(partitions))?;
    let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
    let machine = |usr: &Usr| -> Result<Machine> {
        let hash = usr.root_hash().context("the appliance's /usr is verified")?;
        let machine = context.machine().deadline(DEADLINE).initramfs(&initramfs);
        Ok(machine.cmdline(&format!("usrhash={hash}")).disk(Disk::new(&disk)))
    };
    let first = boot(context, &machine(&one)?, "first", EDITS).context("version 1")?;
    let edited = "./changed 644 me\n./conflict 644 me\n./dropped 644 one\n./kind 644 one\n./mine 644 mine\n\
                  ./mode 600 one\n./pristine 644 one\nroot:0:me\nmine:1000:";
    first.expect("list", edited).context("version 1, edited")?;
    let manifest = first.text("manifest")?;
    if !manifest.starts_with("hermetic-init /etc manifest 1\nusr roothash:") {
        bail!("the manifest begins with {manifest}");
    }

    let second = boot(context, &machine(&two)?, "second", "true").context("version 2")?;
    second
        .expect(
            "list",
            "./changed 644 me\n./conflict 644 me\n./conflict.hermetic-new/inner 644 two\n./kind/inner 644 two\n\
             ./mine 644 mine\n./mode 600 one\n./new 644 two\n./pristine 644 two\nroot:0:me\nmine:1000:\nfresh:2001:",
        )
        .context("version 2")?;
    for line in [
        "/etc/hermetic-test/changed: changed here and in /usr, stays",
        "/etc/hermetic-test/conflict: conflict, stays; that of /usr is /etc/hermetic-test/conflict.hermetic-new",
        "/etc/hermetic-test/removed: removed here, stays removed",
    ] {
        second.contains("told", line)?.contains("messages", line)?;
    }

    let third = boot(context, &machine(&one)?, "third", "true").context("version 1 again")?;
    third.expect("list", &format!("{edited}\nfresh:2001:")).context("version 1 again")?;
    for (answers, updated) in [(&first, "yes"), (&second, "yes"), (&third, "yes")] {
        answers.expect("update-done", updated)?;
    }
    third.expect("machine-id", first.text("machine-id")?)?;
    Ok(())
}

fn factory(recipe: Recipe, files: &[&str], text: &str) -> Recipe {
    files.iter().fold(recipe, |recipe, file| recipe.file(&format!("{FACTORY}/{file}"), text, 0o644))
}

fn version_1(context: &Context<'_>) -> Result<Usr> {
    let recipe = Recipe::new().repart(definition::PLAIN);
    let files = ["changed", "conflict", "dropped", "kind", "mode", "pristine", "removed"];
    context.usr(&factory(recipe, &files, "one\n"))
}

fn version_2(context: &Context<'_>) -> Result<Usr> {
    let recipe = Recipe::new().repart(definition::PLAIN);
    let files = ["changed", "conflict/inner", "kind/inner", "mode", "new", "pristine", "removed"];
    let mut passwd = std::fs::read(context.bench.appliance.usr().join("share/factory/etc/passwd"))?;
    passwd.extend_from_slice(b"fresh:x:2001:2001::/:/usr/sbin/nologin\n");
    context.usr(&factory(recipe, &files, "two\n").file("share/factory/etc/passwd", passwd, 0o644))
}

/// Boots into systemd, which answers and switches off.
fn boot(context: &Context<'_>, machine: &Machine, name: &str, edits: &str) -> Result<Answers> {
    let inside = super::volatile::questions(Inside::new(&context.file(name)))
        .ask("edits", edits)
        .ask("list", LIST)
        .ask("told", "cat /run/hermetic-init/etc || true")
        .ask("manifest", "head -n 3 /var/lib/hermetic-init/etc.manifest")
        .ask("update-done", "systemctl show --property=ConditionResult --value systemd-update-done.service")
        .ask("messages", "journalctl --boot --identifier=hermetic-init --output=cat");
    let outcome = context.run(&inside.equip(machine.clone())?)?;
    outcome.expect(&Exit::PowerOff)?;
    let answers = inside.read()?;
    came_up(&answers)?;
    answers.text("edits")?;
    Ok(answers)
}
