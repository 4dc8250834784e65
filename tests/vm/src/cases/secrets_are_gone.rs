//! The secrets of a root in the machine's memory once hermetic-init has handed over: the volume key as often as after
//! cryptsetup has opened the same volume on the same kernel, which is where dm-crypt needs it, after a boot that made
//! the root, after one for which the passphrase was typed and after one that a TPM opened; of a typed passphrase, right
//! or wrong, and of a secret that the TPM released, nothing. No keyring has a key, and dm-crypt's table names its own.

use super::lasting;
use super::root_is_sealed::percent;
use super::small::{self, DEADLINE, ENCRYPTED};
use super::{Context, TEST_INIT};
use crate::bare_tpm::BareTpm;
use crate::base64;
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::initramfs::Initramfs;
use crate::machine::{Machine, Outcome};
use crate::memory::{self, Memory};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

const SEALED: &str =
    "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=key-file+tpm2\nSizeMinBytes=64M\n";

/// Sealed to this TPM and to no state of it: it is asked for the secret without the machine.
const UNBOUND: &str = "hermetic.tpm2-root-bond=no hermetic.tpm2-pcrs=";

/// Short enough to get Argon2id, and like nothing else that a machine has in its memory.
const PASSPHRASE: &str = "Wq7-tangerine-0451-Zx8";
/// The first passphrase that is typed.
const WRONG: &str = "Vp3-marmalade-1984-Ky6";

/// MiB.
const MEMORY: u32 = 384;

/// Bytes of a key that is looked for: AES-256 takes half of the volume key, and a machine moves 16 bytes at a time.
const PARTS: [usize; 3] = [64, 32, 16];

pub fn run(context: &Context<'_>) -> Result<()> {
    let usr = context.usr(&context.recipe()?.repart(SEALED))?;
    let disk =
        context.disk("disk.raw", &Image { size: 384 << 20, ..small::image(context.partitions(&usr)?) })?;
    let to_test_init = format!("hermetic.init={TEST_INIT}");
    let bare = lasting::bare(context, &usr).cmdline(&to_test_init).disk(Disk::new(&disk));

    let initramfs = context.initramfs(&Initramfs::new("virtio").key(PASSPHRASE.as_bytes()))?;
    let tpm = context.file("tpm");
    let making = bare.clone().initramfs(&initramfs).tpm(&tpm).cmdline(UNBOUND);
    let made = after(context, &making, |_| Ok(()))?;
    made.1.line("root: sealed to")?;
    let volume = partition(context, &disk)?;
    let key = volume_key(context, &volume)?;
    let secret = BareTpm::start(&context.bench.tools, &tpm)?.unseal(&blob(context, &volume)?)?;
    // The passphrase of the keyslot (systemd: src/cryptsetup/cryptsetup-tokens/luks2-tpm2.c).
    let text = base64::encode(&secret);
    opens(context, &volume, &text)?;

    let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
    let released = after(context, &bare.clone().initramfs(&initramfs).tpm(&tpm), |_| Ok(()))?;
    released.1.line("TPM2 token 0 opens keyslot 1")?;
    let asking = bare.initramfs(&initramfs).cmdline("rd.luks.options=tries=3,timeout=100");
    let typed = after(context, &asking, |running| {
        for (text, what) in
            [(WRONG, "passphrase: no keyslot opens"), (PASSPHRASE, "passphrase opens keyslot 0")]
        {
            running.wait_for("the question", "Passphrase for root on vda3", DEADLINE)?;
            running.type_in(&format!("{text}\r"))?;
            running.wait_for("its answer", what, DEADLINE)?;
        }
        Ok(())
    })?;

    let theirs = cryptsetup_opens(context, &volume, &secret)?;

    let parts: Vec<&[u8]> = PARTS.iter().flat_map(|size| key.chunks(*size)).collect();
    let expected = theirs.0.count(&parts);
    // The halves are where dm-crypt has them, so the search works.
    ensure!(
        expected.iter().skip(1).take(2).all(|count| *count > 0),
        "cryptsetup's key is nowhere: {expected:?}"
    );
    ensure!(theirs.0.count(&[PASSPHRASE.as_bytes()]) > vec![0], "/run/key is not found in the memory");
    let outcomes =
        [("the root was made", &made), ("a TPM opened it", &released), ("a passphrase was typed", &typed)];
    for (what, (memory, outcome)) in outcomes {
        let found = memory.count(&parts);
        ensure!(
            found.iter().zip(&expected).all(|(ours, theirs)| ours <= theirs),
            "after {what} the volume key and its parts occur {found:?} times, after cryptsetup {expected:?} times"
        );
        nothing_to_read(&outcome.state()?).context(what)?;
    }
    for typed_in in [PASSPHRASE, WRONG] {
        typed.0.lacks(typed_in.as_bytes()).with_context(|| format!("`{typed_in}` was typed"))?;
    }
    for (form, bytes) in [("the bytes", secret.as_slice()), ("the text", text.as_bytes())] {
        ensure!(theirs.0.count(&[bytes]) > vec![0], "{form} of the secret are not found where they are");
        for (what, memory) in [("sealed", &made.0), ("released", &released.0)] {
            memory.lacks(bytes).with_context(|| format!("{form} of the secret, once it was {what}"))?;
        }
    }
    context.say(format!("the volume key's halves occur {:?} times", expected.get(1..3).unwrap_or_default()));
    Ok(())
}

/// Runs a machine until it switches itself off, and takes its memory.
fn after(
    context: &Context<'_>,
    machine: &Machine,
    meanwhile: impl FnOnce(&mut crate::machine::Running) -> Result<()>,
) -> Result<(Memory, Outcome)> {
    let mut running = context.start(&memory::outliving(machine, MEMORY))?;
    meanwhile(&mut running)?;
    Memory::take(running, MEMORY, &context.file("memory"), DEADLINE)
}

/// The root partition as a separate file.
fn partition(context: &Context<'_>, disk: &Path) -> Result<PathBuf> {
    let root = lasting::root_on(context, disk, 512)?;
    let mut bytes = vec![0; usize::try_from(root.length)?];
    File::open(disk)?.read_exact_at(&mut bytes, root.start)?;
    let path = context.file("volume.raw");
    fs::write(&path, bytes)?;
    Ok(path)
}

/// The volume key, as cryptsetup knows it.
fn volume_key(context: &Context<'_>, volume: &Path) -> Result<Vec<u8>> {
    let (passphrase, key) = (context.file("passphrase"), context.file("volume-key"));
    fs::write(&passphrase, PASSPHRASE)?;
    let mut dump = context.bench.tools.tool("cryptsetup")?;
    dump.args(["luksDump", "--batch-mode", "--dump-volume-key", "--key-file"]).arg(&passphrase);
    command::run(dump.arg("--volume-key-file").arg(&key).arg(volume))?;
    let key = fs::read(key)?;
    ensure!(key.len() == 64, "the volume key has {} bytes", key.len());
    Ok(key)
}

/// The TPM's blob for the volume, as cryptsetup prints the volume's only token.
fn blob(context: &Context<'_>, volume: &Path) -> Result<Vec<u8>> {
    let mut dump = context.bench.tools.tool("cryptsetup")?;
    let metadata = command::output(dump.args(["luksDump", "--dump-json-metadata"]).arg(volume))?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let blob = metadata.pointer("/tokens/0/tpm2-blob").and_then(Value::as_str);
    base64::decode(blob.context("no token of a TPM2 in the header")?)
}

/// Checks by cryptsetup that this is the passphrase of the TPM's keyslot.
fn opens(context: &Context<'_>, volume: &Path, passphrase: &str) -> Result<()> {
    let file = context.file("secret");
    fs::write(&file, passphrase)?;
    let mut open = context.bench.tools.tool("cryptsetup")?;
    open.args(["open", "--test-passphrase", "--key-slot", "1", "--key-file"]).arg(&file).arg(volume);
    command::run(&mut open).context("what the TPM released is no passphrase of the volume")
}

/// A machine with another root, in which cryptsetup opens the volume, and the secret that the TPM released lies in
/// files.
fn cryptsetup_opens(context: &Context<'_>, volume: &Path, secret: &[u8]) -> Result<(Memory, Outcome)> {
    let usr = context.usr(&context.recipe()?.repart(ENCRYPTED))?;
    let disk =
        context.disk("other.raw", &Image { size: 384 << 20, ..small::image(context.partitions(&usr)?) })?;
    let text = percent(PASSPHRASE.as_bytes());
    let (bytes, coded) = (percent(secret), percent(base64::encode(secret).as_bytes()));
    // There is no udev, so nothing waits for it.
    let words = format!(
        "hermetic.test.write=/run/key:{text} hermetic.test.write=/run/bytes:{bytes} hermetic.test.write=/run/text:{coded} \
         hermetic.test.run=/usr/bin/env+DM_DISABLE_UDEV=1+cryptsetup+open+--key-file+/run/key+/dev/vdb+volume"
    );
    let machine = lasting::machine(context, Initramfs::new("virtio"), &usr)?;
    let machine = machine.disk(Disk::new(&disk)).disk(Disk::new(volume)).cmdline(&words);
    let (memory, outcome) = after(context, &machine, |_| Ok(()))?;
    let state = outcome.state()?;
    let status = state.pointer("/runs/0/status").and_then(Value::as_i64);
    ensure!(status == Some(0), "cryptsetup does not open the volume: {:?}", state.get("runs"));
    Ok((memory, outcome))
}

/// No key in any keyring that root can see, and none in dm-crypt's table.
fn nothing_to_read(state: &Value) -> Result<()> {
    let keys = state.get("keys").and_then(Value::as_array).context("no /proc/keys in the state")?;
    for key in keys.iter().filter_map(Value::as_str) {
        // ID, flags, usage, expiry, permissions, UID, GID, type, description (keyrings(7)).
        let mut words = key.split_whitespace().skip(7);
        let kind = words.next().unwrap_or_default();
        // The kernel makes this keyring for self-encrypting disks, empty (block/sed-opal.c).
        let own = words.next() == Some("opal-boot-pin:");
        if ["logon", "user", "encrypted", "trusted"].contains(&kind) && !own {
            bail!("a key is left: {key}");
        }
    }
    let table = state.pointer("/dm_table/stdout").and_then(Value::as_str).context("no table of dmsetup")?;
    let root =
        table.lines().find(|line| line.starts_with("root:")).with_context(|| format!("no root: {table}"))?;
    let named = root.split_whitespace().any(|word| word.starts_with(":64:logon:cryptsetup:"));
    ensure!(named && root.contains(" crypt aes-xts-plain64 "), "the table of the root is `{root}`");
    Ok(())
}
