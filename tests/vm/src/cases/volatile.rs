//! Roots that last for one boot, and the other ways in which /etc is filled, with Debian's whole systemd on the same
//! appliance: each comes up with no failed unit and no job left. `root=tmpfs` and `systemd.volatile=yes` leave the disk
//! as it is and have a populated tmpfs as root, `overlay` has one above the root that it makes, `state` one on /var; the
//! link by which systemd finds the disk all the same is there. `copy` has the whole factory in /etc, `symlink` has the
//! links that a tmpfiles.d file asks for, and credentials that the initramfs brings, `none` has what systemd makes.

use super::Context;
use crate::definition;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::inside::{Answers, Inside};
use crate::machine::Exit;
use crate::usr::Recipe;
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

/// A whole systemd under an emulated processor, beside other machines.
const DEADLINE: Duration = Duration::from_secs(600);

/// Asks what [`came_up`] looks at.
pub fn questions(inside: Inside) -> Inside {
    inside
        .ask("failed", "systemctl list-units --failed --all --output=json")
        .ask("jobs", "systemctl list-jobs")
        .ask("root", "findmnt --noheadings --raw --output FSTYPE /")
        .ask("usr", "findmnt --noheadings --raw --output SOURCE,FSTYPE /usr")
        .ask("var", "stat --file-system --format=%T /var")
        .ask("disk", "lsblk --noheadings --raw --output NAME /dev/vda | wc -l")
        .ask(
            "origin",
            "readlink /run/systemd/volatile-root && readlink --canonicalize /run/systemd/volatile-root",
        )
        .ask("machine-id", "cat /etc/machine-id")
        .ask("ours", "cat /var/lib/hermetic-init/etc.manifest | wc -l")
        .ask("messagebus", "getent passwd messagebus")
        .ask("complaints", "journalctl --boot --priority=warning --output=short-monotonic")
}

/// systemd is content.
///
/// # Errors
/// It is not.
pub fn came_up(answers: &Answers) -> Result<()> {
    let complaints = || format!("its complaints:\n{}", answers.text("complaints").unwrap_or_default());
    answers.expect("state", "running").with_context(complaints)?;
    if answers.json("failed")? != json!([]) {
        bail!("units failed: {}", answers.text("failed")?);
    }
    answers.expect("jobs", "No jobs running.")?.expect("usr", "/dev/mapper/usr erofs")?;
    answers.contains("messagebus", "messagebus:x:")?;
    ensure!(answers.text("machine-id")?.len() == 32, "/etc/machine-id is `{}`", answers.text("machine-id")?);
    Ok(())
}

/// Boots a fresh disk with these words once.
fn boot(
    context: &Context<'_>,
    recipe: Recipe,
    words: &str,
    questions_: &[(&'static str, &str)],
) -> Result<Answers> {
    boot_with(context, Initramfs::new("virtio").module("overlay"), recipe, words, questions_)
}

/// As [`boot`], with this initramfs.
fn boot_with(
    context: &Context<'_>,
    initramfs: Initramfs,
    recipe: Recipe,
    words: &str,
    questions_: &[(&'static str, &str)],
) -> Result<Answers> {
    let usr = context.usr(&recipe.repart(definition::PLAIN))?;
    let hash = usr.root_hash().context("the appliance's /usr is verified")?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    let initramfs = context.initramfs(&initramfs)?;
    let machine = context.machine().deadline(DEADLINE).initramfs(&initramfs);
    let machine = machine.cmdline(&format!("usrhash={hash} {words}")).disk(Disk::new(&disk));
    let mut inside = questions(Inside::new(&context.file("inside")));
    for (name, question) in questions_ {
        inside = inside.ask(name, question);
    }
    let outcome = context.run(&inside.equip(machine)?)?;
    outcome.expect(&Exit::PowerOff)?;
    let answers = inside.read()?;
    came_up(&answers)?;
    Ok(answers)
}

/// The disk with /usr and its hash tree, or with a root as well.
fn partitions(answers: &Answers, root: bool) -> Result<()> {
    // The disk, its partitions, and the mapping of /usr below two of them.
    answers.expect("disk", if root { "6" } else { "5" })?;
    Ok(())
}

/// `root=tmpfs`.
pub fn tmpfs(context: &Context<'_>) -> Result<()> {
    let answers = boot(context, Recipe::new(), "root=tmpfs", &[("pam", "test -s /etc/pam.d/common-auth")])?;
    new_root(&answers)
}

/// `systemd.volatile=yes`.
pub fn yes(context: &Context<'_>) -> Result<()> {
    let answers =
        boot(context, Recipe::new(), "systemd.volatile=yes", &[("pam", "test -s /etc/pam.d/common-auth")])?;
    new_root(&answers)
}

fn new_root(answers: &Answers) -> Result<()> {
    answers.expect("root", "tmpfs")?.expect("var", "tmpfs")?;
    answers.text("pam")?;
    origin(answers, "/dev/vda1")?;
    partitions(answers, false)
}

/// The link has the form that systemd parses, and leads to that device.
fn origin(answers: &Answers, device: &str) -> Result<()> {
    match answers.text("origin")?.split_once('\n') {
        Some((link, found)) if link.starts_with("/dev/block/") && found == device => Ok(()),
        other => bail!("/run/systemd/volatile-root is {other:?} instead of a link to {device}"),
    }
}

/// `systemd.volatile=overlay`.
pub fn overlay(context: &Context<'_>) -> Result<()> {
    let mounts = ("mounts", "findmnt --noheadings --raw --output TARGET | grep -E ^/run/hermetic || true");
    // Without `rw` systemd's gpt-auto-generator has mount(8) remount the root that it finds by the link, and overlayfs takes
    // no option of a remount.
    let answers = boot(context, Recipe::new(), "systemd.volatile=overlay rw", &[mounts])?;
    answers.expect("root", "overlay")?.expect("mounts", "")?;
    origin(&answers, "/dev/vda3")?;
    partitions(&answers, true)
}

/// `systemd.volatile=state`.
pub fn state(context: &Context<'_>) -> Result<()> {
    let answers = boot(context, Recipe::new(), "systemd.volatile=state", &[])?;
    answers.expect("root", "ext4")?.expect("var", "tmpfs")?.refuses("origin")?;
    partitions(&answers, true)
}

/// `hermetic.etc=copy`.
pub fn copied(context: &Context<'_>) -> Result<()> {
    let lacking = "cd /usr/share/factory/etc && find . | sort | while read f; do test -e /etc/$f -o -L /etc/$f || echo $f; done";
    let answers = boot(context, Recipe::new(), "hermetic.etc=copy", &[("lacking", lacking)])?;
    // The head and the checksum: copied files are not recorded.
    answers.expect("lacking", "")?.expect("ours", "4")?.expect("root", "ext4")?;
    Ok(())
}

/// `hermetic.etc=none`.
pub fn none(context: &Context<'_>) -> Result<()> {
    let apt = ("apt", "test ! -e /etc/apt");
    let answers = boot(context, Recipe::new(), "hermetic.etc=none", &[apt])?;
    answers.text("apt")?;
    answers.expect("ours", "4")?;
    Ok(())
}

/// `hermetic.etc=symlink`, with one line for each name at the top of the factory.
pub fn linked(context: &Context<'_>) -> Result<()> {
    // Written to on the first boot, by ldconfig.service as well, or by people later.
    let own = ["passwd", "group", "shadow", "gshadow", "subuid", "subgid", "systemd", "ld.so.cache"];
    let mut lines = String::new();
    let mut links = 0;
    let factory = context.bench.appliance.usr().join("share/factory/etc");
    let mut names: Vec<String> = fs::read_dir(&factory)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    names.sort();
    for (number, name) in names.iter().enumerate() {
        match own.contains(&name.as_str()) {
            true => writeln!(lines, "C /etc/{name}")?,
            // Both kinds of them: with an explicit target, and with the factory's by default.
            false if number % 2 == 0 => {
                writeln!(lines, "L? /etc/{name} - - - - ../usr/share/factory/etc/{name}")?
            }
            false => writeln!(lines, "L /etc/{name}")?,
        }
        links += usize::from(!own.contains(&name.as_str()));
    }
    // One that the image lacks makes no link that leads nowhere.
    writeln!(lines, "L? /etc/not-in-this-image - - - - ../usr/share/factory/etc/not-in-this-image")?;
    // One that is wrong costs itself, not the others, and not the boot.
    writeln!(lines, "nonsense /etc/wrong")?;
    let wrong = format!("/usr/lib/tmpfiles.d/10-factory.conf:{}: ", lines.lines().count());
    ensure!(links >= 45, "the factory has {links} names to link");
    let recipe = Recipe::new().file("lib/tmpfiles.d/10-factory.conf", lines, 0o644);
    let count = "find /etc -maxdepth 1 -type l -lname '*usr/share/factory/etc/*' | wc -l";
    // Credentials in the initramfs, in clear, as systemd-vmspawn of systemd 262 appends them: one for us, one for the real system.
    let mut initramfs = Initramfs::new("virtio");
    for (name, content) in [("firstboot.locale", "en_GB.UTF-8"), ("ssh.authorized_keys.root", "a key\n")] {
        let file = context.file(name);
        fs::write(&file, content)?;
        initramfs = initramfs.file(&file, &format!("/.extra/system_credentials/{name}.cred"));
    }
    let answers = boot_with(
        context,
        initramfs,
        recipe,
        "hermetic.etc=symlink",
        &[
            ("locale", "cat /etc/locale.conf && systemctl show-environment | grep ^LANG="),
            ("keys", "cat /root/.ssh/authorized_keys && test ! -e /run/credentials/@initrd"),
            ("count", count),
            ("pam", "test -s /etc/pam.d/common-auth && test ! -L /etc/not-in-this-image"),
            ("messages", "journalctl --boot --identifier=hermetic-init --output=cat"),
        ],
    )?;
    answers.text("pam")?;
    answers.expect("locale", "LANG=en_GB.UTF-8\nLANG=en_GB.UTF-8")?.expect("keys", "a key")?;
    answers.expect("count", &links.to_string())?;
    answers.contains("messages", &wrong)?;
    answers.contains("messages", "tmpfiles.d: 1 lines are wrong, 0 could not be carried out")?;
    context.say(format!("{links} links"));
    Ok(())
}
