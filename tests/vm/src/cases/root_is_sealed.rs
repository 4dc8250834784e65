//! `Encrypt=tpm2`: the first boot seals root to the TPM2 and shows a recovery key; the second opens it unattended. The
//! reason of a broken seal is printed in one line, and the next key is tried: another state of the boot, a TPM that was
//! cleared, a missing TPM. After the initrd it cannot be unsealed again. A stranger's root that is sealed to the same
//! TPM opens, but PCR 15 differs, and secrets that the true system sealed to it stay closed.

use super::small::{self, IMPATIENT, KEY, Small};
use super::{Context, TEST_INIT, boot_is_measured, lasting, tpm2};
use crate::bare_tpm::BareTpm;
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine};
use anyhow::{Context as _, Result, ensure};
use std::fs::{self, File};
use std::path::Path;

const SEALED: &str = "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=tpm2\nSizeMinBytes=64M\n";

/// Sealed to the phase of the boot as well, which is over when the real system runs.
const PHASE: &str = "hermetic.tpm2-pcrs=7+11";

/// The message of systemd-cryptsetup when a PCR differs from the one at sealing.
const REFUSED: &str = "Failed to unseal secret using TPM2: Operation not permitted";

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&tpm2::recipe(context, SEALED)?)?;
    let image = |name: &str| {
        context.disk(name, &Image { size: 512 << 20, ..small::image(context.partitions(&usr)?) })
    };
    let disk = image("disk.raw")?;
    let (tpm, safe) = (context.file("tpm"), context.file("safe.img"));
    make_safe(context, &safe)?;
    let bare = |tpm: &Path| -> Result<Machine> {
        Ok(tpm2::machine(context, &Initramfs::new("virtio"), &usr, tpm)?.cmdline(PHASE))
    };
    let machine =
        |disk: &Path| -> Result<Machine> { Ok(bare(&tpm)?.disk(Disk::new(disk)).disk(Disk::new(&safe))) };

    // The first boot. Something else is sealed to PCR 15 by the system that runs then.
    let words = format!(
        "{} hermetic.recovery-key=show hermetic.test.write=/run/key:{}{}{}",
        tpm2::UNATTENDED,
        percent(KEY),
        tpm2::run("/usr/bin/systemd-cryptenroll+/dev/vda3"),
        tpm2::run(
            "/usr/bin/systemd-cryptenroll+--unlock-key-file=/run/key+--tpm2-device=auto+--tpm2-pcrs=15+/dev/vdb"
        ),
    );
    let first = context.run(&machine(&disk)?.cmdline(&words))?;
    first.expect(&Exit::PowerOff)?.line("root: sealed to PCR 7+11 (sha256)")?;
    first.line("TPM2 token 0 opens keyslot 0")?;
    let recovery_key = tpm2::recovery_key(&first.lines)?;
    let state = first.state()?;
    let group = recovery_key.split('-').next().unwrap_or_default();
    ensure!(!state.to_string().contains(group), "the recovery key is in the log or in /run");
    let listed = tpm2::slots(tpm2::succeeded(&state, 0)?);
    ensure!(listed == ["0 tpm2", "1 recovery"], "systemd-cryptenroll lists {listed:?}");
    tpm2::succeeded(&state, 1).context("sealing to PCR 15")?;
    let pcr15 = boot_is_measured::measured(&state).context("the first boot")?;

    // The second, and an attempt to unseal the root once more when the initrd is over.
    let copy = context.file("copy.img");
    tpm2::copy_root(context, &disk, &copy)?;
    let words = format!(
        "{}{}{}",
        tpm2::UNATTENDED,
        tpm2::attach("safe", "/dev/vdb"),
        tpm2::attach("again", "/dev/vdc")
    );
    let second = context.run(&machine(&disk)?.disk(Disk::new(&copy)).cmdline(&words))?;
    second.expect(&Exit::PowerOff)?.line("TPM2 token 0 opens keyslot 0")?;
    second.without("recovery key  ")?;
    let state = second.state()?;
    lasting::mounted(&state, "/", "/dev/mapper/root ext4")?;
    tpm2::succeeded(&state, 0).context("what was sealed to PCR 15 by the same system")?;
    tpm2::failed(&state, 1, REFUSED).context("a second unseal, after the initrd")?;
    ensure!(boot_is_measured::measured(&state)? == pcr15, "two boots of one root differ in PCR 15");

    // A stranger's root, sealed to the same storage root key.
    let theirs = image("theirs.raw")?;
    let words = format!("{}{}", tpm2::UNATTENDED, tpm2::attach("safe", "/dev/vdb"));
    let attack = context.run(&machine(&theirs)?.cmdline(&words))?;
    attack.expect(&Exit::PowerOff)?.line("TPM2 token 0 opens keyslot 0")?;
    let state = attack.state()?;
    ensure!(boot_is_measured::measured(&state)? != pcr15, "PCR 15 does not tell a stranger's root");
    tpm2::failed(&state, 0, REFUSED).context("what was sealed to PCR 15, from a stranger's root")?;

    // Another state: nothing is measured, so PCR 11 is not that of an initrd.
    let changed = machine(&disk)?.cmdline("hermetic.measure=no rd.luks.options=tries=1,timeout=100");
    let mut running = context.start(&changed)?;
    running.wait_for("the seal's refusal", "PCR 7+11 (sha256) not as at enrolment", small::DEADLINE)?;
    running.wait_for("the question", "Passphrase or recovery key for root on vda3", small::DEADLINE)?;
    running.type_in(&format!("{}\r", recovery_key.replace('-', " ").to_uppercase()))?;
    let outcome = running.finish()?;
    outcome.expect(&Exit::PowerOff)?.line("recovery key opens keyslot 1")?;

    // The TPM is cleared; and gone.
    BareTpm::start(&context.bench.tools, &tpm)?.clear()?;
    let cleared = bare(&tpm)?.cmdline(IMPATIENT);
    small::refuses(context, &cleared, &disk, "root", &["vda3", "cleared or replaced", "headless"])?;
    let none = lasting::bare(context, &usr).initramfs(&context.initramfs(&Initramfs::new("virtio"))?);
    let none = none.cmdline(IMPATIENT);
    small::refuses(context, &none, &disk, "root", &["vda3", "there is no TPM 2.0", "headless"])?;
    without_a_tpm(context)
}

/// A first boot on a machine without a TPM: refused, unless the command line has another key.
fn without_a_tpm(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, SEALED)?;
    let machine = small.machine(context)?;
    small::refuses(
        context,
        &machine,
        &small.disk,
        "provision",
        &["50-root.conf", "Encrypt=tpm2, but there is no TPM 2.0", "hermetic.no-tpm=recovery"],
    )?;
    let by_recovery = machine
        .cmdline(&format!("hermetic.no-tpm=recovery rd.luks.options=timeout=100 hermetic.init={TEST_INIT}"));
    let mut running = context.start(&by_recovery.disk(Disk::new(&small.disk)))?;
    running.wait_for("the question", "Passphrase or recovery key for root on vda3", small::DEADLINE)?;
    let key = tpm2::recovery_key(running.lines())?;
    running.type_in(&format!("{key}\r"))?;
    let outcome = running.finish()?;
    outcome.expect(&Exit::PowerOff)?.line("recovery key opens keyslot 0")?;

    let small = Small::new(context, SEALED)?;
    let state = small.boot(context, "hermetic.no-tpm=key-file")?;
    lasting::mounted(&state, "/", "/dev/mapper/root ext4").context("hermetic.no-tpm=key-file")
}

/// A volume of the true system's, beside its root.
fn make_safe(context: &Context<'_>, path: &Path) -> Result<()> {
    File::create(path)?.set_len(20 << 20)?;
    fs::write(context.file("key"), KEY)?;
    let mut cryptsetup = context.bench.tools.tool("cryptsetup")?;
    cryptsetup.args(["luksFormat", "--batch-mode", "--type", "luks2", "--pbkdf", "pbkdf2"]);
    cryptsetup.args(["--pbkdf-force-iterations", "1000", "--key-file"]).arg(context.file("key")).arg(path);
    command::run(&mut cryptsetup)
}

/// Bytes for a word of the test init.
pub fn percent(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02x}")).collect()
}
