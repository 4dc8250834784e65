//! systemd's tools and ours on one header, a boot for each link of the chain: `Encrypt=key-file+tpm2` makes the root;
//! systemd-cryptenroll in the running system lists its slots, wipes what we sealed and seals anew, and the next boot opens
//! with that: PCR 7+14, a signed policy for the phase of the initrd (into the whole systemd), a PIN. systemd-cryptsetup opens
//! what we sealed. Wrong PINs lock the TPM; then somebody types the passphrase.

use super::root_is_sealed::percent;
use super::small::{self, DEADLINE, KEY};
use super::{Context, lasting, tpm2};
use crate::base64;
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::inside::Inside;
use crate::machine::{Exit, Machine, Outcome, Running};
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

const BOTH: &str =
    "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=key-file+tpm2\nSizeMinBytes=64M\n";

const PIN: &str = "2468";
const PIN_QUESTION: &str = "TPM2 PIN for root on vda3 \"root\"";

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&tpm2::recipe(context, BOTH)?)?;
    let disk =
        context.disk("disk.raw", &Image { size: 512 << 20, ..small::image(context.partitions(&usr)?) })?;
    let tpm = context.file("tpm");
    let plain = Initramfs::new("virtio");
    let (public, signatures) = sign(context)?;
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

    // systemd-cryptsetup opens ours; systemd-cryptenroll takes it away.
    let copy = context.file("copy.img");
    tpm2::copy_root(context, &disk, &copy)?;
    let words = tpm2::attach("copy", "/dev/vdb") + &enroll("--tpm2-pcrs=7%2b14") + &list();
    let second = machine(&plain)?.disk(Disk::new(&copy)).cmdline(tpm2::UNATTENDED).cmdline(&words);
    let state = boots(&second, "TPM2 token 0 opens keyslot 1")?;
    tpm2::succeeded(&state, 0).context("systemd-cryptsetup on what we sealed")?;
    tpm2::succeeded(&state, 1).context("systemd-cryptenroll, PCR 7+14")?;
    let listed = tpm2::slots(tpm2::succeeded(&state, 2)?);
    ensure!(listed == ["0 password", "2 tpm2"], "systemd-cryptenroll leaves {listed:?}");

    // The next seal is for whatever the image's signer approves; the key lies where sd-stub's was handed over.
    let third = machine(&signed)?.cmdline(tpm2::UNATTENDED).cmdline(&enroll("--tpm2-pcrs="));
    let state = boots(&third, "opens keyslot 2")?;
    tpm2::succeeded(&state, 0).context("systemd-cryptenroll, signed policy")?;

    into_systemd(context, &machine(&signed)?)?;
    pins(context, &machine(&plain)?)
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
    outcome.expect(&Exit::PowerOff)?.line("TPM2 token 0 opens keyslot 1")?;
    let answers = inside.read()?;
    answers.expect("state", "running")?;
    ensure!(answers.json("failed")? == json!([]), "units failed: {}", answers.text("failed")?);
    let listed = tpm2::slots(answers.text("slots")?);
    ensure!(listed == ["0 password", "1 tpm2"], "systemd-cryptenroll lists {listed:?}");
    answers.expect("stub", "/run/systemd/tpm2-pcr-public-key.pem\n/run/systemd/tpm2-pcr-signature.json")?;
    answers.text("pin").context("systemd-cryptenroll, PIN")?;
    let listed = tpm2::slots(answers.text("left")?);
    ensure!(listed == ["0 password", "2 tpm2"], "systemd-cryptenroll leaves {listed:?}");
    Ok(())
}

/// A PIN is typed, wrong and right; then wrong ones lock the TPM, and the passphrase is asked for.
fn pins(context: &Context<'_>, machine: &Machine) -> Result<()> {
    let patient = machine.clone().cmdline("rd.luks.options=tries=3,timeout=100");
    let mut running = context.start(&patient)?;
    running.wait_for("the question for the PIN", PIN_QUESTION, DEADLINE)?;
    running.type_in("1357\r")?;
    running.wait_for("the wrong one's refusal", "the PIN is wrong", DEADLINE)?;
    running.wait_for("the question for the PIN", PIN_QUESTION, DEADLINE)?;
    running.type_in(&format!("{PIN}\r"))?;
    opened(&running.finish()?, "opens keyslot 2")?;

    let credential = "systemd.set_credential=cryptsetup.tpm2-pin:";
    let unattended = machine.clone().cmdline(tpm2::UNATTENDED).cmdline(&format!("{credential}{PIN}"));
    opened(&context.run(&unattended)?, "opens keyslot 2").context("the PIN is a credential")?;

    // A TPM as it leaves the factory takes three; one was wrong above.
    let mut running = context.start(&patient.cmdline(&format!("{credential}8642")))?;
    running.wait_for("the question for the PIN", PIN_QUESTION, DEADLINE)?;
    running.type_in("9999\r")?;
    running.wait_for("the lockout", "the TPM is locked after 3 wrong PINs of 3", DEADLINE)?;
    passphrase(&mut running)?;
    opened(&running.finish()?, "passphrase opens keyslot 0")
}

fn passphrase(running: &mut Running) -> Result<()> {
    running.wait_for("the question for a passphrase", "Passphrase for root on vda3", DEADLINE)?;
    running.type_in(&format!("{}\r", std::str::from_utf8(KEY)?))
}

fn opened(outcome: &Outcome, by: &str) -> Result<()> {
    outcome.expect(&Exit::PowerOff)?.line(by)?;
    for secret in [PIN, "9999", std::str::from_utf8(KEY)?] {
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

/// A public key, and its signature for PCR 11 as it is when `enter-initrd` was measured and nothing else (systemd-measure(1)).
fn sign(context: &Context<'_>) -> Result<(PathBuf, PathBuf)> {
    let file = |name: &str| context.file(name);
    let openssl = |words: &[&str], files: &[(&str, &Path)]| {
        let mut openssl = context.bench.tools.tool("openssl")?;
        openssl.args(words);
        for (option, path) in files {
            openssl.arg(option).arg(path);
        }
        command::run(&mut openssl)
    };
    let (key, public, der) = (file("key.pem"), file("public.pem"), file("public.der"));
    let (approved, signature, signatures) = (file("approved"), file("signature"), file("signatures.json"));
    openssl(
        &["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
        &[("-out", &key)],
    )?;
    openssl(&["pkey", "-pubout"], &[("-in", &key), ("-out", &public)])?;
    openssl(&["pkey", "-pubin", "-outform", "DER"], &[("-in", &public), ("-out", &der)])?;
    let extended =
        Sha256::new().chain_update([0; 32]).chain_update(Sha256::digest("enter-initrd")).finalize();
    // TPM2_PolicyPCR (TPM 2.0 Library part 3, 23.7) for PCR 11 of the SHA-256 bank.
    let policy = Sha256::new()
        .chain_update([0; 32])
        .chain_update(0x17f_u32.to_be_bytes())
        .chain_update([0, 0, 0, 1, 0, 11, 3, 0, 8, 0])
        .chain_update(Sha256::digest(extended))
        .finalize();
    fs::write(&approved, policy)?;
    let mut dgst = context.bench.tools.tool("openssl")?;
    dgst.args(["dgst", "-sha256", "-sign"]).arg(&key).arg("-out").arg(&signature).arg(&approved);
    command::run(&mut dgst)?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let told = json!({ "sha256": [{
        "pcrs": [11],
        "pkfp": hex(&Sha256::digest(fs::read(&der)?)),
        "pol": hex(&policy),
        "sig": base64::encode(&fs::read(&signature)?),
    }]});
    fs::write(&signatures, told.to_string())?;
    Ok((public, signatures))
}
