//! systemd's tools and ours on one header, a boot for each link of the chain: `Encrypt=key-file+tpm2` makes the root;
//! systemd-cryptenroll in the running system lists its slots, wipes the slots that hermetic-init sealed and seals anew,
//! and the next boot opens with that: PCR 7, PCR 7+14, a signed policy for the phase of the initrd (into the whole
//! systemd), a PIN. systemd-cryptsetup opens a root that hermetic-init sealed. Wrong PINs lock the TPM, or there are as
//! many tries as the options say; then the passphrase is typed. Of PINs that were typed, right or wrong, nothing is
//! left in the machine's memory.

use super::root_is_sealed::percent;
use super::small::{self, DEADLINE, KEY, Small};
use super::{Context, lasting, tpm2};
use crate::bare_tpm::BareTpm;
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::inside::Inside;
use crate::machine::{Exit, Machine, Outcome, Running};
use crate::memory::{self, Memory};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const BOTH: &str =
    "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=key-file+tpm2\nSizeMinBytes=64M\n";

/// Like nothing else that a machine has in its memory.
const PIN: &str = "Rk4-quince-7302-Wd9";
const WRONG_PINS: [&str; 3] = ["Ht8-medlar-1066-Nj2", "Gz5-damson-1815-Bv3", "9999"];
const PIN_QUESTION: &str = "TPM2 PIN for root on vda3 \"luks-root\"";

/// MiB, of the machine whose memory is looked at.
const MEMORY: u32 = 384;

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&tpm2::recipe(context, BOTH)?)?;
    let disk =
        context.disk("disk.raw", &Image { size: 512 << 20, ..small::image(context.partitions(&usr)?) })?;
    let tpm = context.file("tpm");
    let plain = Initramfs::new("virtio");
    let (public, signatures) = sign(context, &["enter-initrd"])?;
    let signed = Initramfs::new("virtio")
        .file(&public, "/.extra/tpm2-pcr-public-key.pem")
        .file(&signatures, "/.extra/tpm2-pcr-signature.json");
    let machine = |initramfs: &Initramfs| -> Result<Machine> {
        let machine = tpm2::machine(context, initramfs, &usr, &tpm)?.disk(Disk::new(&disk));
        Ok(machine.cmdline(&format!("hermetic.test.write=/run/key:{}", percent(KEY))))
    };
    let boots = |machine: &Machine, opens: &str| -> Result<Value> {
        let outcome = context.run(machine)?;
        outcome.expect(&Exit::PowerOff)?.line(opens)?;
        outcome.state()
    };

    // Ours, by the machine's default.
    let first = machine(&plain.clone().key(KEY))?.cmdline(&list());
    let state = boots(&first, "TPM2 token 0 opens keyslot 1")?;
    let listed = tpm2::slots(tpm2::succeeded(&state, 0)?);
    ensure!(listed == ["0 password", "1 tpm2"], "systemd-cryptenroll lists {listed:?}");

    // systemd-cryptsetup opens ours, where nothing says that a root was opened; systemd-cryptenroll takes it away.
    let copy = context.file("copy.img");
    tpm2::copy_root(context, &disk, &copy)?;
    let words = tpm2::attach("copy", "/dev/vdb") + &enroll("--tpm2-pcrs=7%2b14") + &list();
    let second = machine(&plain)?.disk(Disk::new(&copy)).cmdline(tpm2::UNATTENDED).cmdline(&words);
    let second = second.cmdline("hermetic.measure=no");
    let state = boots(&second, "TPM2 token 0 opens keyslot 1")?;
    tpm2::succeeded(&state, 0).context("systemd-cryptsetup on what we sealed")?;
    tpm2::succeeded(&state, 1).context("systemd-cryptenroll, PCR 7+14")?;
    let listed = tpm2::slots(tpm2::succeeded(&state, 2)?);
    ensure!(listed == ["0 password", "2 tpm2"], "systemd-cryptenroll leaves {listed:?}");

    // With the defaults of systemd-cryptenroll.
    let third = machine(&plain)?.cmdline(tpm2::UNATTENDED).cmdline(&enroll("--tpm2-pcrs=7"));
    let state = boots(&third, "opens keyslot 2")?;
    tpm2::succeeded(&state, 0).context("systemd-cryptenroll, PCR 7")?;

    // The next seal is for any boot that the image's signer approves; the key lies where sd-stub's was handed over.
    let fourth =
        machine(&signed)?.cmdline(tpm2::UNATTENDED).cmdline(tpm2::PHASES).cmdline(&enroll("--tpm2-pcrs="));
    let outcome = context.run(&fourth)?;
    outcome.expect(&Exit::PowerOff)?.line("TPM2 token 0 opens keyslot 1")?;
    // It was sealed to PCR 7 alone.
    outcome.line("the key that opened it is not bound to PCR 15")?;
    outcome.line(&format!("--wipe-slot=tpm2 --tpm2-device=auto --tpm2-pcrs=7+{} /dev/vda3", tpm2::BOND))?;
    tpm2::succeeded(&outcome.state()?, 0).context("systemd-cryptenroll, signed policy")?;

    into_systemd(context, &machine(&signed)?.cmdline(tpm2::PHASES))?;
    pins(context, &machine(&plain)?, &tpm)?;
    ours_is_for_the_signer(context, &public, &signatures)
}

/// With a key in the image it is for the key's owner that `Encrypt=tpm2` seals; where the signatures are the options may say.
fn ours_is_for_the_signer(context: &Context<'_>, public: &Path, signatures: &Path) -> Result<()> {
    let small = Small::new(context, "[Partition]\nType=root\nFormat=ext4\nEncrypt=tpm2\nSizeMinBytes=64M\n")?;
    let (tpm, keyed) = (
        context.file("signer-tpm"),
        Initramfs::new("virtio").file(public, "/.extra/tpm2-pcr-public-key.pem"),
    );
    let machine = |initramfs: &Initramfs| -> Result<Machine> {
        Ok(tpm2::machine(context, initramfs, &small.usr, &tpm)?
            .cmdline(small::IMPATIENT)
            .cmdline(tpm2::PHASES))
    };
    let first = machine(&keyed.clone().file(signatures, "/.extra/tpm2-pcr-signature.json"))?;
    let outcome = context.run(&first.disk(Disk::new(&small.disk)))?;
    outcome.expect(&Exit::PowerOff)?.line("sealed to PCR 7+15 (sha256) and the key that signs for PCR 11")?;
    outcome.line("TPM2 token 0 opens keyslot 0")?;

    let elsewhere = "rd.luks.options=headless,tpm2-signature=/etc/approved.json";
    let second = machine(&keyed.clone().file(signatures, "/etc/approved.json"))?.cmdline(elsewhere);
    let outcome = context.run(&second.disk(Disk::new(&small.disk)))?;
    outcome.expect(&Exit::PowerOff)?.line("TPM2 token 0 opens keyslot 0")?;

    // Signatures in the default place do not count when another place is named.
    let third = machine(&keyed.file(signatures, "/.extra/tpm2-pcr-signature.json"))?.cmdline(elsewhere);
    let says = ["vda3", "/etc/approved.json: No such file", "no signature for PCR 11", "headless"];
    small::refuses(context, &third, &small.disk, "root", &says).map(drop)
}

/// Unattended by the signed policy into the whole of systemd, where a PIN is enrolled.
fn into_systemd(context: &Context<'_>, machine: &Machine) -> Result<()> {
    let enroll = format!(
        "NEWPIN={PIN} systemd-cryptenroll --unlock-key-file=$CREDENTIALS_DIRECTORY/hermetic.key --wipe-slot=tpm2 \
         --tpm2-device=auto --tpm2-with-pin=yes --tpm2-pcrs=7 --tpm2-public-key= /dev/vda3"
    );
    let inside = Inside::new(&context.file("inside"))
        .credential("key", KEY)
        .ask("failed", "systemctl list-units --failed --all --output=json")
        .ask("slots", "systemd-cryptenroll /dev/vda3")
        .ask("stub", "ls /run/systemd/tpm2-pcr-*")
        .ask("pin", &enroll)
        .ask("left", "systemd-cryptenroll /dev/vda3");
    let machine = machine.clone().cmdline(tpm2::UNATTENDED).cmdline("hermetic.init=/usr/lib/systemd/systemd");
    let outcome = context.run(&inside.equip(machine)?)?;
    outcome.expect(&Exit::PowerOff)?.line("TPM2 token 1 opens keyslot 2")?;
    let answers = inside.read()?;
    answers.expect("state", "running")?;
    ensure!(answers.json("failed")? == json!([]), "units failed: {}", answers.text("failed")?);
    let listed = tpm2::slots(answers.text("slots")?);
    ensure!(listed == ["0 password", "2 tpm2"], "systemd-cryptenroll lists {listed:?}");
    answers.expect("stub", "/run/systemd/tpm2-pcr-public-key.pem\n/run/systemd/tpm2-pcr-signature.json")?;
    answers.text("pin").context("systemd-cryptenroll, PIN")?;
    let listed = tpm2::slots(answers.text("left")?);
    ensure!(listed == ["0 password", "1 tpm2"], "systemd-cryptenroll leaves {listed:?}");
    Ok(())
}

/// A PIN is typed, wrong and right; then wrong ones lock the TPM, and the passphrase is asked for; then a TPM that takes more
/// of them is shown as many as the options say.
fn pins(context: &Context<'_>, machine: &Machine, tpm: &Path) -> Result<()> {
    let patient = machine.clone().cmdline("rd.luks.options=tries=3,timeout=100");
    let [wrong, another, last] = WRONG_PINS;
    let mut running = context.start(&memory::outliving(&patient, MEMORY))?;
    type_wrong(&mut running, wrong)?;
    running.wait_for("the question for the PIN", PIN_QUESTION, DEADLINE)?;
    running.type_in(&format!("{PIN}\r"))?;
    let (memory, outcome) = Memory::take(running, MEMORY, &context.file("memory"), DEADLINE)?;
    opened_silently(&outcome, "opens keyslot 1")?;
    // The test init's file is found.
    ensure!(memory.count(&[KEY]) > vec![0], "/run/key is not found in the memory");
    memory.lacks(PIN.as_bytes()).context("the PIN that was typed")?;
    memory.lacks(wrong.as_bytes()).context("the wrong PIN that was typed")?;

    let credential = "systemd.set_credential=cryptsetup.tpm2-pin:";
    let unattended = machine.clone().cmdline(tpm2::UNATTENDED).cmdline(&format!("{credential}{PIN}"));
    opened(&context.run(&unattended)?, "opens keyslot 1").context("the PIN is a credential")?;

    // A TPM as it leaves the factory takes three; one was wrong above.
    let mut running = context.start(&patient.clone().cmdline(&format!("{credential}8642")))?;
    running.wait_for("the question for the PIN", PIN_QUESTION, DEADLINE)?;
    running.type_in(&format!("{last}\r"))?;
    running.wait_for("the lockout", "the TPM is locked after 3 wrong PINs of 3", DEADLINE)?;
    passphrase(&mut running)?;
    opened(&running.finish()?, "passphrase opens keyslot 0")?;

    BareTpm::start(&context.bench.tools, tpm)?.allow_wrong_pins(30)?;
    let mut running = context.start(&patient)?;
    for pin in [wrong, another, last] {
        type_wrong(&mut running, pin)?;
    }
    passphrase(&mut running)?;
    let outcome = running.finish()?;
    outcome.without("the TPM is locked")?;
    let asked = outcome.lines.iter().filter(|line| line.text.contains(PIN_QUESTION)).count();
    ensure!(asked == 3, "the PIN is asked for {asked} times");
    opened(&outcome, "passphrase opens keyslot 0")
}

fn type_wrong(running: &mut Running, pin: &str) -> Result<()> {
    running.wait_for("the question for the PIN", PIN_QUESTION, DEADLINE)?;
    running.type_in(&format!("{pin}\r"))?;
    running.wait_for("the wrong one's refusal", "the PIN is wrong", DEADLINE).map(drop)
}

fn passphrase(running: &mut Running) -> Result<()> {
    running.wait_for("the question for a passphrase", "Passphrase for root on vda3", DEADLINE)?;
    running.type_in(&format!("{}\r", std::str::from_utf8(KEY)?))
}

fn opened(outcome: &Outcome, by: &str) -> Result<()> {
    opened_silently(outcome.expect(&Exit::PowerOff)?, by)
}

/// Checks that this opened the root, however the boot ended, and that the log has no secret.
fn opened_silently(outcome: &Outcome, by: &str) -> Result<()> {
    outcome.line(by)?;
    for secret in WRONG_PINS.into_iter().chain([PIN, std::str::from_utf8(KEY)?]) {
        for line in outcome.lines.iter().filter(|line| line.text.contains("hermetic-init")) {
            ensure!(!line.text.contains(secret), "a line of the log has a secret: {}", line.text);
        }
    }
    lasting::mounted(&outcome.state()?, "/", "/dev/mapper/root ext4")
}

/// systemd-cryptenroll with the key file, in place of every seal that is there.
fn enroll(words: &str) -> String {
    tpm2::run(&format!(
        "/usr/bin/systemd-cryptenroll+--unlock-key-file=/run/key+--wipe-slot=tpm2+--tpm2-device=auto+{words}+/dev/vda3"
    ))
}

fn list() -> String {
    tpm2::run("/usr/bin/systemd-cryptenroll+/dev/vda3")
}

/// The state of PCR 11 before the phases, as systemd-measure takes it: nothing was measured.
const UNMEASURED: &str = "mount -t tmpfs none /sys && mkdir -p /sys/class/tpm/tpm0/pcr-sha256 && \
                          printf '%064d\n' 0 >/sys/class/tpm/tpm0/pcr-sha256/11 && exec \"$@\"";

/// Returns the paths of a public key and of systemd-measure's signatures for PCR 11 as it is when nothing but these phases was measured.
///
/// # Errors
/// A tool fails.
pub fn sign(context: &Context<'_>, phases: &[&str]) -> Result<(PathBuf, PathBuf)> {
    let openssl = |words: &[&str], files: &[(&str, &Path)]| {
        let mut openssl = context.bench.tools.tool("openssl")?;
        openssl.args(words);
        for (option, path) in files {
            openssl.arg(option).arg(path);
        }
        command::run(&mut openssl)
    };
    let (key, public) = (context.file("key.pem"), context.file("public.pem"));
    let signatures = context.file("signatures.json");
    openssl(
        &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        &[("-out", &key)],
    )?;
    openssl(&["pkey", "-pubout"], &[("-in", &key), ("-out", &public)])?;
    let measure = context.bench.tools.tool("systemd-measure")?;
    let mut unmeasured = Command::new("unshare");
    unmeasured.args(["--mount", "sh", "-c", UNMEASURED, "sh"]);
    unmeasured.arg(measure.get_program()).args(measure.get_args());
    unmeasured.args(["sign", "--current", "--bank=sha256"]);
    unmeasured.args(phases.iter().map(|phases| format!("--phase={phases}")));
    for (option, path) in [("private-key", &key), ("public-key", &public)] {
        unmeasured.arg(format!("--{option}={}", path.display()));
    }
    fs::write(&signatures, command::output(&mut unmeasured)?)?;
    Ok((public, signatures))
}
