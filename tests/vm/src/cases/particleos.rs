//! An image of ParticleOS's shape (tests/particleos), made by systemd-repart as mkosi has it made: an ESP, /usr with its hash tree and
//! its signature. It lies on a larger disk, and boots with ParticleOS's newest command line and that of 2025 as they are. The first boot makes
//! whatever systemd-repart would make of it, at the same place, with the same identity; what is there already and says
//! CopyBlocks=auto is left alone. systemd comes up with every file system where its own initrd would have it, and so does the next
//! boot, which changes nothing.

use super::systemd_comes_up_twice::{self as systemd, DEADLINE, Stands, WANTS};
use super::{Context, lasting, tpm2};
use crate::cargo;
use crate::command;
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use crate::inside::Answers;
use crate::machine::Exit;
use crate::repart::{self, Built};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of the disk: what systemd-repart makes needs 17.7 GiB at least.
const SIZE: u64 = 24 << 30;

const STANDS: Stands<'static> = Stands { root: "/dev/mapper/root btrfs", usr: "/dev/mapper/usr erofs" };

/// The work of systemd-gpt-auto-generator on the other partitions. That of 257 cannot say of the /usr that it runs on that it is
/// verified, and with this policy it finds nothing, in whatever initrd the machine began; so it is asked without it. Units
/// that it makes start as they would in a newer system.
const FIND: &str = "mkdir /run/found && \
    SYSTEMD_PROC_CMDLINE=rw /usr/lib/systemd/system-generators/systemd-gpt-auto-generator /run/found /run/found /run/found && \
    cp --recursive /run/found/. /run/systemd/system/ && systemctl daemon-reload && \
    { systemctl start home.mount dev-mapper-swap.swap || { journalctl --boot --output=cat --unit=systemd-cryptsetup@swap >&2; false; }; }";

/// Files by the names of this directory, and its command lines.
const FILES: &str = "tests/particleos";
const OF_2026: &str = "command-line-2026";
const OF_2025: &str = "command-line-2025";

/// An image on its disk.
struct System<'a> {
    context: &'a Context<'a>,
    built: Built,
    files: PathBuf,
    disk: PathBuf,
    certificate: PathBuf,
}

impl<'a> System<'a> {
    fn new(context: &'a Context<'_>) -> Result<Self> {
        let files = cargo::repository().join(FILES);
        // Where units expect it.
        let cryptsetup = fs::read(context.bench.own_tools.file("usr/lib/systemd/systemd-cryptsetup"))?;
        let recipe = context.recipe()?.file("bin/systemd-cryptsetup", cryptsetup, 0o755);
        let recipe = tpm2::equip(context, recipe)?.tree(&files.join("usr"))?;
        let signer = context.signer("image")?;
        let built = Built::make(context.bench, &recipe, &files.join("image"), &signer)?;
        let disk = context.file("disk.raw");
        built.copy(&disk, SIZE)?;
        Ok(Self { context, built, files, disk, certificate: signer.certificate() })
    }

    /// Boots into systemd, with the command line of this file and the root hash that mkosi adds to it.
    fn boot(&self, name: &str, line: &str, words: &str) -> Result<Answers> {
        let context = self.context;
        let line = fs::read_to_string(self.files.join(line))?;
        let initramfs = Initramfs::new("virtio").module("btrfs").certificate(&self.certificate);
        let initramfs = context.initramfs(&initramfs)?;
        let machine = context.machine().deadline(DEADLINE).initramfs(&initramfs).disk(Disk::new(&self.disk));
        let machine = machine.cmdline(line.trim()).cmdline(&format!("usrhash={}", self.built.root_hash()));
        let machine = machine.tpm(&context.file("tpm")).cmdline(words).cmdline(WANTS);
        let inside = systemd::questions(context, name, "echo kept >>/var/lib/proof; cat /var/lib/proof")
            .ask("generator", "journalctl --boot --output=cat --grep='does not match image policy'")
            .ask("found", FIND)
            .ask("home", "echo kept >>/home/proof; findmnt --noheadings --raw --output SOURCE,FSTYPE /home")
            .ask("home-proof", "cat /home/proof")
            .ask("swap", "lsblk --noheadings --raw --output NAME,MOUNTPOINT | grep SWAP")
            // The top of a subvolume has this inode (btrfs: BTRFS_FIRST_FREE_OBJECTID).
            .ask("subvolume", "stat --format=%i /var")
            .ask(
                "links",
                "find /etc -maxdepth 1 -type l -lname '*usr/share/factory/etc/*' -printf '%P\\n' | sort",
            );
        let outcome = context.run(&inside.equip(machine)?)?;
        outcome.expect(&Exit::PowerOff)?;
        let answers = inside.read()?;
        systemd::came_up(&answers, &STANDS)?;
        systemd::units_of_the_first_boot(&answers, name == "first")?;
        answers.contains("generator", "/dev/vda: Image does not match image policy.")?;
        answers.text("found")?;
        answers.expect("home", "/dev/vda10 btrfs")?.expect("swap", "swap [SWAP]")?;
        answers.expect("subvolume", "256")?;
        Ok(answers)
    }

    /// The partitions of the disk by sfdisk.
    fn rows(&self) -> Result<Vec<Value>> {
        lasting::faultless(self.context, &self.disk, 512)?;
        let mut sfdisk = self.context.bench.tools.tool("sfdisk")?;
        let table: Value = serde_json::from_str(&command::output(sfdisk.arg("--json").arg(&self.disk))?)?;
        let rows = table.pointer("/partitiontable/partitions").and_then(Value::as_array);
        Ok(rows.context("sfdisk lists no partitions")?.clone())
    }

    /// Checks that the partitions are those of systemd-repart on the same disk, for a machine with this id.
    fn made_as_systemd_does(&self, machine_id: &str) -> Result<Vec<Value>> {
        let pristine = self.context.file("pristine.raw");
        self.built.copy(&pristine, SIZE)?;
        let theirs = repart::plan(self.context.bench, &pristine, &self.files.join("usr"), machine_id)?;
        let ours = self.rows()?;
        ensure!(theirs.len() == ours.len(), "systemd-repart has {theirs:?}, the disk {ours:?}");
        for (theirs, ours) in theirs.iter().zip(&ours) {
            let number = |row: &Value, field: &str| row.get(field).and_then(Value::as_u64);
            let text = |row: &Value, field: &str| {
                row.get(field).and_then(Value::as_str).unwrap_or_default().to_lowercase()
            };
            let bytes = |field: &str| number(ours, field).map(|sectors| sectors * 512);
            ensure!(
                number(theirs, "offset") == bytes("start")
                    && number(theirs, "raw_size") == bytes("size")
                    && text(theirs, "label") == text(ours, "name")
                    && text(theirs, "uuid") == text(ours, "uuid"),
                "systemd-repart has {theirs}, the disk {ours}"
            );
        }
        Ok(ours)
    }
}

/// First the newest command line, which demands a signed /usr and filters partitions by their labels; then that of 2025. /etc is ours.
pub fn run(context: &Context<'_>) -> Result<()> {
    twice(context, [OF_2026, OF_2025], "")
}

/// In the other order, with /etc as ParticleOS has it.
pub fn linked(context: &Context<'_>) -> Result<()> {
    twice(context, [OF_2025, OF_2026], "hermetic.etc=symlink")
}

fn twice(context: &Context<'_>, [first, second]: [&str; 2], words: &str) -> Result<()> {
    let system = System::new(context)?;
    let first = system.boot("first", first, words).context("the first boot")?;
    first.expect("proof", "kept")?.expect("home-proof", "kept")?;
    let rows = system.made_as_systemd_does(first.text("machine-id")?)?;
    holds(context, &system.disk, &rows)?;

    let second = system.boot("second", second, words).context("the second boot")?;
    second.expect("proof", "kept\nkept")?.expect("home-proof", "kept\nkept")?;
    second.expect("machine-id", first.text("machine-id")?)?;
    ensure!(system.rows()? == rows, "the second boot changed the table");
    // What the image's tmpfiles.d makes a link to the factory is that link, whoever fills /etc.
    for answers in [first, second] {
        let links: Vec<&str> = answers.text("links")?.lines().collect();
        let wanted = ["ld.so.conf", "nsswitch.conf", "profile.d", "security"];
        ensure!(wanted.iter().all(|name| links.contains(name)), "links of /etc: {links:?}");
    }
    Ok(())
}

/// The content of the partitions that were made, by blkid.
fn holds(context: &Context<'_>, disk: &Path, rows: &[Value]) -> Result<()> {
    let expected = ["vfat", "", "DM_verity_hash", "erofs", "", "", "", "crypto_LUKS", "crypto_LUKS", "btrfs"];
    let mut found = Vec::new();
    for row in rows {
        let bytes =
            |field: &str| row.get(field).and_then(Value::as_u64).map(|sectors| (sectors * 512).to_string());
        let mut blkid = context.bench.tools.tool("blkid")?;
        blkid.args(["-p", "-o", "value", "-s", "TYPE", "-O", &bytes("start").context("no place")?]);
        blkid.args(["-S", &bytes("size").context("no size")?]).arg(disk);
        // It ends with status 2 where it knows nothing.
        found.push(command::output(&mut blkid).unwrap_or_default().trim().to_owned());
    }
    ensure!(found == expected, "blkid finds {found:?} instead of {expected:?}");
    Ok(())
}
