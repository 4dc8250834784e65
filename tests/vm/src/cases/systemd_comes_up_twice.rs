//! Debian's whole systemd on an encrypted root, twice from the same disk. The first boot makes the root and comes up
//! with no failed unit, no job left and the units of a first boot run; the second finds the files of the first and runs
//! none of these units again. The real tools, asked from inside, see the devices as if systemd's own initrd had made
//! them, and a second machine, which opens the root with cryptsetup, finds no fault in the file system after either
//! boot.

use super::{Context, TEST_INIT};
use crate::command;
use crate::definition;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::inside::{Answers, Inside};
use crate::machine::{Exit, Machine};
use crate::numbers::{init_to_systemd, milliseconds};
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A whole systemd under an emulated processor, beside other machines.
pub(super) const DEADLINE: Duration = Duration::from_secs(600);

/// A unit of a first boot of our own beside systemd's: it leaves a line for each time it ran.
const FIRST_BOOT_UNIT: &str = "[Unit]\nConditionFirstBoot=yes\n[Service]\nType=oneshot\n\
                               ExecStart=/bin/sh -c 'echo ran >>/var/lib/hermetic-first-boot'\n";

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&context.recipe()?.repart(definition::ENCRYPTED))?;
    let root_hash = usr.root_hash().context("the appliance's /usr is verified")?;
    let disk = context.disk("disk.raw", &Image::new(context.partitions(&usr)?))?;
    let machine = context
        .machine()
        .deadline(DEADLINE)
        .initramfs(&context.initramfs(&Initramfs::new("virtio").key(&definition::KEY))?)
        .cmdline(&format!("usrhash={root_hash} {WANTS}"))
        .disk(Disk::new(&disk));
    let checker = Checker::make(context)?;

    let remember = "echo from the first boot >/var/lib/hermetic-proof; cat /var/lib/hermetic-proof";
    let (first, took_first) = boot(context, &machine, "first", remember)?;
    came_up(&first, &STANDS).context("first boot")?;
    first.contains("messages", root_hash)?;
    units_of_the_first_boot(&first, true).context("first boot")?;
    tools_agree(&first, root_hash).context("first boot")?;
    checker.check(context, &disk).context("after the first boot")?;

    let (second, took_second) = boot(context, &machine, "second", "cat /var/lib/hermetic-proof")?;
    came_up(&second, &STANDS).context("second boot")?;
    second.contains("messages", root_hash)?;
    units_of_the_first_boot(&second, false).context("second boot")?;
    tools_agree(&second, root_hash).context("second boot")?;
    second.expect("proof", "from the first boot")?;
    for same in ["machine-id", "root-uuid", "luks-uuid"] {
        second.expect(same, first.text(same)?)?;
    }
    checker.check(context, &disk).context("after the second boot")?;
    context.say(format!("/init to systemd {} and {}", milliseconds(took_first), milliseconds(took_second)));
    Ok(())
}

/// The devices and file systems that systemd runs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stands<'a> {
    /// Device and file system of the root.
    pub root: &'a str,
    /// Device and file system of /usr.
    pub usr: &'a str,
}

pub(super) const STANDS: Stands<'static> =
    Stands { root: "/dev/mapper/root ext4", usr: "/dev/mapper/usr erofs" };

/// The word that starts the unit of a first boot.
pub(super) const WANTS: &str = "systemd.wants=hermetic-first.service";

/// The questions that [`came_up`] and [`units_of_the_first_boot`] need.
pub(super) fn questions(context: &Context<'_>, name: &str, proof: &str) -> Inside {
    let show = |unit: &str| format!("systemctl show --property=ActiveState,ConditionResult,Result {unit}");
    Inside::new(&context.file(name))
        .unit("hermetic-first.service", FIRST_BOOT_UNIT)
        .ask("failed", "systemctl list-units --failed --all --output=json")
        .ask("manager", "systemctl show --property=NJobs,NFailedUnits,SystemState")
        .ask("jobs", "systemctl list-jobs")
        .ask("root-device", "systemctl show --property=ActiveState,SubState dev-mapper-root.device")
        .ask("usr-device", "systemctl show --property=ActiveState,SubState dev-mapper-usr.device")
        .ask("firstboot", &show("systemd-firstboot.service"))
        .ask("first-boot-complete", &show("first-boot-complete.target"))
        .ask("first-boot-unit", &show("hermetic-first.service"))
        .ask("first-boot-runs", "cat /var/lib/hermetic-first-boot")
        .ask("proof", proof)
        .ask("machine-id", "cat /etc/machine-id")
        .ask("group", "stat --format=%G /usr/lib/dbus-1.0/dbus-daemon-launch-helper")
        .ask("root", "findmnt --noheadings --raw --output SOURCE,FSTYPE /")
        .ask("usr", "findmnt --noheadings --raw --output SOURCE,FSTYPE /usr")
        .ask("messages", "journalctl --boot --identifier=hermetic-init --output=cat")
        .ask("complaints", "journalctl --boot --priority=warning --output=short-monotonic")
}

/// Boots into systemd, which answers and switches off.
fn boot(context: &Context<'_>, machine: &Machine, name: &str, proof: &str) -> Result<(Answers, Duration)> {
    let key = "$CREDENTIALS_DIRECTORY/hermetic.key";
    let inside = questions(context, name, proof)
        .credential("key", &definition::KEY)
        .ask("root-uuid", "blkid --match-tag UUID --output value /dev/mapper/root")
        .ask("luks-uuid", "cryptsetup luksUUID /dev/vda3")
        .ask("luks", "cryptsetup luksDump /dev/vda3")
        .ask("luks-metadata", "cryptsetup luksDump --dump-json-metadata /dev/vda3")
        .ask("key", &format!("cryptsetup open --test-passphrase --key-file {key} /dev/vda3"))
        .ask("wrong-key", "cryptsetup open --test-passphrase --key-file /etc/machine-id /dev/vda3")
        .ask("crypt-status", "cryptsetup status root")
        .ask("verity-status", "veritysetup status usr")
        .ask("tables", "dmsetup table --showkeys")
        .ask("block-devices", "lsblk --fs --json")
        .ask("udev-root", "udevadm info --query=property /dev/mapper/root")
        .ask("udev-usr", "udevadm info --query=property /dev/mapper/usr");
    let outcome = context.run(&inside.equip(machine.clone())?)?;
    outcome.expect(&Exit::PowerOff)?;
    Ok((inside.read()?, init_to_systemd(&outcome)?))
}

/// Checks that systemd has no failure, runs from the expected devices, and knows the groups of /usr's files.
pub(super) fn came_up(answers: &Answers, stands: &Stands<'_>) -> Result<()> {
    is_content(answers, stands)?;
    answers.expect("group", "messagebus")?;
    Ok(())
}

/// Checks that systemd has no failure, and runs from the expected devices.
pub(super) fn is_content(answers: &Answers, stands: &Stands<'_>) -> Result<()> {
    let complaints = || format!("its complaints:\n{}", answers.text("complaints").unwrap_or_default());
    answers.expect("state", "running").with_context(complaints)?;
    if answers.json("failed")? != json!([]) {
        bail!("units failed: {}", answers.text("failed")?);
    }
    let manager = answers.pairs("manager")?;
    for (key, expected) in [("NJobs", "0"), ("NFailedUnits", "0"), ("SystemState", "running")] {
        equal(&manager, key, expected).context("systemd's manager")?;
    }
    answers.expect("jobs", "No jobs running.")?;
    let mapped = |what: &str| what.starts_with("/dev/mapper/");
    for (device, what) in [("root-device", stands.root), ("usr-device", stands.usr)] {
        let unit = answers.pairs(device)?;
        if !mapped(what) {
            continue;
        }
        equal(&unit, "ActiveState", "active").context(device)?;
        equal(&unit, "SubState", "plugged").context(device)?;
    }
    answers.expect("root", stands.root)?.expect("usr", stands.usr)?;
    if answers.text("machine-id")?.len() != 32 {
        bail!("/etc/machine-id is `{}`", answers.text("machine-id")?);
    }
    Ok(())
}

/// On the first boot they run, on no other.
pub(super) fn units_of_the_first_boot(answers: &Answers, first: bool) -> Result<()> {
    let wanted = if first { "yes" } else { "no" };
    for unit in ["firstboot", "first-boot-complete", "first-boot-unit"] {
        let unit_facts = answers.pairs(unit)?;
        equal(&unit_facts, "ConditionResult", wanted).context(unit)?;
    }
    let complete = answers.pairs("first-boot-complete")?;
    equal(&complete, "ActiveState", if first { "active" } else { "inactive" })?;
    answers.expect("first-boot-runs", "ran")?;
    Ok(())
}

/// Checks that cryptsetup, dmsetup, lsblk and udev agree.
fn tools_agree(answers: &Answers, root_hash: &str) -> Result<()> {
    answers.contains("luks", "Version:       \t2")?;
    let metadata = answers.json("luks-metadata")?;
    for (place, expected) in [
        ("/segments/0/encryption", json!("aes-xts-plain64")),
        ("/keyslots/0/kdf/type", json!("pbkdf2")),
        ("/keyslots/0/kdf/hash", json!("sha512")),
        ("/keyslots/0/kdf/iterations", json!(1000)),
    ] {
        if metadata.pointer(place) != Some(&expected) {
            bail!("LUKS2 metadata at {place} is not {expected}: {metadata}");
        }
    }
    answers.text("key")?;
    answers.refuses("wrong-key")?;
    let status = answers.text("crypt-status")?;
    for words in [&["type:", "LUKS2"][..], &["key", "location:", "keyring"], &["device:", "/dev/vda3"]] {
        has_line(status, words).context("cryptsetup status root")?;
    }
    let status = answers.text("verity-status")?;
    for words in [&["status:", "verified"][..], &["root", "hash:", root_hash], &["mode:", "readonly"]] {
        has_line(status, words).context("veritysetup status usr")?;
    }
    no_key_in_a_table(answers.text("tables")?)?;
    stacked_as_it_should_be(&answers.json("block-devices")?)?;
    for (question, name, fs) in [("udev-root", "root", "ext4"), ("udev-usr", "usr", "erofs")] {
        let properties = answers.pairs(question)?;
        equal(&properties, "DM_NAME", name).context(question)?;
        equal(&properties, "ID_FS_TYPE", fs).context(question)?;
        if properties.get("SYSTEMD_READY") == Some(&"0") {
            bail!("udev tells systemd that {name} is not ready");
        }
        let links: Vec<&str> = properties.get("DEVLINKS").map_or(vec![], |links| links.split(' ').collect());
        let uuid = properties.get("ID_FS_UUID").copied().unwrap_or_default();
        for link in [format!("/dev/mapper/{name}"), format!("/dev/disk/by-uuid/{uuid}")] {
            if !links.contains(&link.as_str()) {
                bail!("udev makes no link {link} to {name}: {links:?}");
            }
        }
    }
    Ok(())
}

/// The crypt target refers to the kernel's keyring (`:LENGTH:TYPE:NAME`), and no word is as long as a key in hex.
fn no_key_in_a_table(tables: &str) -> Result<()> {
    let root = tables.lines().find_map(|line| line.strip_prefix("root: "));
    let words: Vec<&str> = root.context("dmsetup lists no table for root")?.split(' ').collect();
    match words.as_slice() {
        [_, _, "crypt", _, key, ..] if key.starts_with(":64:") => {}
        _ => bail!("the key is not a reference: {tables}"),
    }
    let is_hex = |word: &&&str| word.len() >= 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    match words.iter().find(is_hex) {
        Some(word) => bail!("dmsetup shows a key: {word}"),
        None => Ok(()),
    }
}

/// `lsblk`: /usr on both partitions of verity, root on LUKS on the third.
fn stacked_as_it_should_be(tree: &Value) -> Result<()> {
    let mut found = Vec::new();
    walk(tree.pointer("/blockdevices").unwrap_or(&Value::Null), "", &mut found);
    for expected in ["vda1:erofs>usr:erofs", "vda2:DM_verity_hash>usr:erofs", "vda3:crypto_LUKS>root:ext4"] {
        if !found.iter().any(|path| path.ends_with(expected)) {
            bail!("lsblk shows no {expected}, but {found:?}");
        }
    }
    Ok(())
}

fn walk(devices: &Value, above: &str, found: &mut Vec<String>) {
    for device in devices.as_array().map_or(&[][..], Vec::as_slice) {
        let text = |key: &str| device.get(key).and_then(Value::as_str).unwrap_or("-");
        let path = format!("{above}>{}:{}", text("name"), text("fstype"));
        walk(device.get("children").unwrap_or(&Value::Null), &path, found);
        found.push(path);
    }
}

fn equal(facts: &std::collections::BTreeMap<&str, &str>, key: &str, expected: &str) -> Result<()> {
    match facts.get(key) {
        Some(value) if *value == expected => Ok(()),
        other => bail!("{key} is {other:?} instead of `{expected}`; all: {facts:?}"),
    }
}

/// A line made of exactly these words.
fn has_line(text: &str, words: &[&str]) -> Result<()> {
    match text.lines().any(|line| line.split_whitespace().eq(words.iter().copied())) {
        true => Ok(()),
        false => bail!("no line `{}`:\n{text}", words.join(" ")),
    }
}

/// A machine with a separate appliance that gets the disk to check as its second, and the key as its third.
struct Checker {
    machine: Machine,
    key: std::path::PathBuf,
}

impl Checker {
    fn make(context: &Context<'_>) -> Result<Self> {
        let usr = context.usr(&context.recipe()?.repart(definition::PLAIN))?;
        let root_hash = usr.root_hash().context("the appliance's /usr is verified")?;
        let disk = context.disk("checker.raw", &Image::new(context.partitions(&usr)?))?;
        let key = context.file("key.raw");
        let mut content = definition::KEY.to_vec();
        content.resize(1 << 20, 0);
        fs::write(&key, content)?;
        let words = [
            format!("usrhash={root_hash} hermetic.init={TEST_INIT}"),
            "hermetic.test.run=/usr/sbin/cryptsetup+open+--readonly+--key-file=/dev/vdc+--keyfile-size=64\
             +/dev/vdb3+examined"
                .to_owned(),
            "hermetic.test.run=/usr/sbin/e2fsck+-fn+/dev/mapper/examined".to_owned(),
        ];
        let machine = context
            .machine()
            .deadline(DEADLINE)
            .initramfs(&context.initramfs(&Initramfs::new("virtio"))?)
            .cmdline(&words.join(" "))
            .disk(Disk::new(&disk));
        Ok(Self { machine, key })
    }

    /// sfdisk on the disk, e2fsck on the root in it.
    fn check(&self, context: &Context<'_>, disk: &Path) -> Result<()> {
        let said = command::output(context.bench.tools.tool("sfdisk")?.arg("--verify").arg(disk))?;
        if !said.contains("No errors detected") {
            bail!("sfdisk finds fault with the disk:\n{said}");
        }
        let machine =
            self.machine.clone().disk(Disk::new(disk).read_only()).disk(Disk::new(&self.key).read_only());
        let outcome = context.run(&machine)?;
        let state = outcome.expect(&Exit::PowerOff)?.state()?;
        for (index, tool) in ["cryptsetup", "e2fsck"].into_iter().enumerate() {
            let run = state.pointer(&format!("/runs/{index}")).unwrap_or(&Value::Null);
            if run.get("status") != Some(&json!(0)) {
                bail!("{tool} in the second machine: {run}");
            }
        }
        Ok(())
    }
}
