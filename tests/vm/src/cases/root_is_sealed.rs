//! `Encrypt=tpm2` without another word: the first boot seals root to the TPM2 and shows a recovery key; the second opens it
//! unattended, and so does a root that systemd-cryptenroll binds anew in the running system. An encrypted swap and /home beside it
//! are opened by the real system. The reason of a broken seal is printed in one line, and the next key is tried: PCR 15 that was
//! extended before a kexec, a TPM that was cleared, a missing TPM.
//!
//! Strangers: a root that is sealed to the same TPM, one that was sealed elsewhere to the storage root key that any header tells, a
//! plain one where policy takes it, and a tmpfs. Each runs in the state of the true system. None gets the true root's key or what
//! was sealed to PCR 15, by our token or by systemd-cryptenroll's; what was sealed to the state alone it gets.

use super::small::{self, IMPATIENT, KEY, Small};
use super::{Context, TEST_INIT, boot_is_measured, lasting, systemd_seals_root, tpm2};
use crate::bare_tpm::BareTpm;
use crate::base64;
use crate::command;
use crate::disk::Disk;
use crate::image::{self, Image, Partition, types};
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine, Outcome};
use crate::uki::{self, Uki};
use crate::usr::Usr;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const SEALED: &str =
    "[Partition]\nType=root\nLabel=root\nFormat=ext4\nEncrypt=tpm2\nSizeMinBytes=64M\nSizeMaxBytes=64M\n";
const SWAP: &str =
    "[Partition]\nType=swap\nLabel=swap\nFormat=swap\nEncrypt=tpm2\nSizeMinBytes=32M\nSizeMaxBytes=32M\n";
const HOME: &str =
    "[Partition]\nType=home\nLabel=home\nFormat=ext4\nEncrypt=tpm2\nSizeMinBytes=48M\nSizeMaxBytes=48M\n";

/// Sealed to the phase of the boot as well, which is over when the real system runs.
const PHASE: &str = "hermetic.measure=yes hermetic.tpm2-pcrs=7+11";

/// The message of systemd-cryptsetup when a PCR differs from the one at sealing.
const REFUSED: &str = "Failed to unseal secret using TPM2: Operation not permitted";

/// The error of a token for a root when a root was opened.
const OPENED: &str = "PCR 15 was extended before this kernel";

/// The plain root of a stranger.
const UUID: &str = "6a3b2c1d-0e4f-4a5b-8c6d-7e8f9a0b1c2d";

/// An appliance, its TPM, and a volume beside it.
struct System<'a> {
    context: &'a Context<'a>,
    usr: Usr,
    disk: PathBuf,
    tpm: PathBuf,
    safe: PathBuf,
    initramfs: Initramfs,
    /// The variables of UEFI firmware, and the image that it starts, with sd-stub in it; None for a machine without.
    firmware: Option<(PathBuf, PathBuf)>,
    words: &'static str,
}

impl<'a> System<'a> {
    fn new(context: &'a Context<'_>, words: &'static str) -> Result<Self> {
        let recipe = tpm2::recipe(context, SEALED)?.file("lib/repart.d/60-swap.conf", SWAP, 0o644).file(
            "lib/repart.d/70-home.conf",
            HOME,
            0o644,
        );
        let usr = context.usr(&recipe)?;
        let (tpm, safe) = (context.file("tpm"), context.file("safe.img"));
        make_safe(context, &safe)?;
        let (disk, initramfs) = (PathBuf::new(), Initramfs::new("virtio"));
        let mut system = Self { context, usr, disk, tpm, safe, initramfs, firmware: None, words };
        system.disk = system.image("disk.raw", None)?;
        Ok(system)
    }

    /// A disk with /usr, and a root when there is one already.
    fn image(&self, name: &str, root: Option<Partition>) -> Result<PathBuf> {
        let mut partitions = self.context.partitions(&self.usr)?;
        partitions.extend(root);
        self.context.disk(name, &Image { size: 512 << 20, ..small::image(partitions) })
    }

    /// A machine without a disk.
    fn bare(&self) -> Result<Machine> {
        let bare = lasting::bare(self.context, &self.usr);
        let machine = match &self.firmware {
            None => bare.initramfs(&self.context.initramfs(&self.initramfs)?),
            // The words are what the stub is started with: without Secure Boot it takes them.
            Some((variables, image)) => Machine::new(image).cmdline(bare.words()).firmware(variables),
        };
        let machine = machine.tpm(&self.tpm).cmdline(&format!("{} hermetic.init={TEST_INIT}", self.words));
        Ok(machine.deadline(2 * small::DEADLINE))
    }

    /// Checks the measurements of a boot; returns PCR 15.
    fn measured(&self, state: &Value) -> Result<String> {
        let Some((_, image)) = &self.firmware else { return boot_is_measured::measured_alone(state) };
        let eleven = uki::pcr11(self.context.bench, image, "enter-initrd:leave-initrd")?;
        boot_is_measured::measured_behind_the_stub(state, &eleven)
    }

    /// A machine with this disk, and the safe behind it.
    fn machine(&self, disk: &Path) -> Result<Machine> {
        Ok(self.bare()?.disk(Disk::new(disk)).disk(Disk::new(&self.safe)))
    }

    fn run(&self, machine: Machine, words: &str) -> Result<Outcome> {
        let outcome = self.context.run(&machine.cmdline(tpm2::UNATTENDED).cmdline(words))?;
        outcome.expect(&Exit::PowerOff)?;
        Ok(outcome)
    }

    /// The first boot, in which something else is sealed to PCR 15 by the system that runs then. Returns the recovery key, the
    /// console and the state.
    fn first(&self, further: &str) -> Result<(String, Outcome, Value)> {
        let words = format!(
            "hermetic.recovery-key=show hermetic.test.write=/run/key:{}{}{}{further}",
            percent(KEY),
            tpm2::run("/usr/bin/systemd-cryptenroll+/dev/vda3"),
            tpm2::run(
                "/usr/bin/systemd-cryptenroll+--unlock-key-file=/run/key+--tpm2-device=auto+--tpm2-pcrs=15+/dev/vdb"
            ),
        );
        let first = self.run(self.machine(&self.disk)?, &words)?;
        first.line("TPM2 token 0 opens keyslot 0")?;
        let recovery_key = tpm2::recovery_key(&first.lines)?;
        let state = first.state()?;
        let group = recovery_key.split('-').next().unwrap_or_default();
        ensure!(!state.to_string().contains(group), "the recovery key is in the log or in /run");
        let listed = tpm2::slots(tpm2::succeeded(&state, 0)?);
        ensure!(listed == ["0 tpm2", "1 recovery"], "systemd-cryptenroll lists {listed:?}");
        tpm2::succeeded(&state, 1).context("sealing to PCR 15")?;
        Ok((recovery_key, first, state))
    }
}

pub fn run(context: &Context<'_>) -> Result<()> {
    let system = System::new(context, "")?;
    let beside = tpm2::attach("swap", "/dev/vda4") + &tpm2::attach("home", "/dev/vda5");
    let opens_beside = |state: &Value, number: usize| -> Result<()> {
        tpm2::succeeded(state, number).context("the encrypted swap beside root")?;
        tpm2::succeeded(state, number + 1).context("the encrypted /home beside root").map(drop)
    };

    let (recovery_key, first, state) = system.first(&beside)?;
    first.line("root: sealed to PCR 7+15 (sha256)")?;
    first.line("swap: sealed to PCR 7 (sha256)")?;
    first.without("is not bound to PCR 15")?;
    opens_beside(&state, 2)?;
    let pcr15 = boot_is_measured::measured_alone(&state).context("the first boot")?;

    // The second, an attempt to unseal the root once more, and the same bond by systemd-cryptenroll.
    let (ours, theirs) = (context.file("ours.img"), context.file("systemds.img"));
    tpm2::copy_root(context, &system.disk, &ours)?;
    let enroll = |pcrs: &str| {
        let key = format!("PASSWORD={recovery_key}+/usr/bin/systemd-cryptenroll+--wipe-slot=tpm2");
        tpm2::run(&format!("{key}+--tpm2-device=auto+--tpm2-pcrs={pcrs}%2b{}+/dev/vda3", tpm2::BOND))
    };
    let words = [
        tpm2::attach("safe", "/dev/vdb"),
        tpm2::attach("again", "/dev/vdc"),
        beside.clone(),
        enroll("7"),
        enroll("7%2b14"),
    ];
    let words = words.concat();
    let second = system.run(system.machine(&system.disk)?.disk(Disk::new(&ours)), &words)?;
    second.line("TPM2 token 0 opens keyslot 0")?;
    second.without("recovery key  ")?;
    let state = second.state()?;
    lasting::mounted(&state, "/", "/dev/mapper/root ext4")?;
    tpm2::succeeded(&state, 0).context("what was sealed to PCR 15 by the same system")?;
    tpm2::failed(&state, 1, REFUSED).context("a second unseal, when the root is open")?;
    opens_beside(&state, 2)?;
    // It finds that ours is the same, and leaves it alone.
    tpm2::succeeded(&state, 4).context("systemd-cryptenroll, PCR 7 and PCR 15 of zeroes")?;
    let said = state.pointer("/runs/4/stderr").and_then(Value::as_str).unwrap_or_default();
    ensure!(said.contains("already enrolled"), "systemd-cryptenroll says {said}");
    tpm2::succeeded(&state, 5).context("systemd-cryptenroll, PCR 7, 14 and PCR 15 of zeroes")?;
    ensure!(boot_is_measured::measured_alone(&state)? == pcr15, "two boots of one root differ in PCR 15");

    let third = system.run(system.machine(&system.disk)?, "")?;
    third.line("opens keyslot 2")?;
    third.without("is not bound to PCR 15")?;
    tpm2::copy_root(context, &system.disk, &theirs)?;

    strangers(&system, &ours, &theirs, &pcr15)?;
    after_a_kexec(&system, &recovery_key)?;

    // The TPM is cleared; and gone.
    BareTpm::start(&context.bench.tools, &system.tpm)?.clear()?;
    let cleared = system.bare()?.cmdline(IMPATIENT);
    small::refuses(context, &cleared, &system.disk, "root", &["vda3", "cleared or replaced", "headless"])?;
    let none = lasting::bare(context, &system.usr).initramfs(&context.initramfs(&Initramfs::new("virtio"))?);
    let none = none.cmdline(IMPATIENT);
    small::refuses(context, &none, &system.disk, "root", &["vda3", "there is no TPM 2.0", "headless"])?;
    without_a_tpm(context)
}

/// Roots of strangers, in the state of the true system, with a copy of the true root (sealed by us, and by systemd-cryptenroll).
fn strangers(system: &System<'_>, ours: &Path, systemds: &Path, pcr15: &str) -> Result<()> {
    let context = system.context;
    let home = context.file("home.img");
    tpm2::copy_partition(context, &system.disk, "home", &home)?;
    let copies =
        |machine: Machine| machine.disk(Disk::new(ours)).disk(Disk::new(systemds)).disk(Disk::new(&home));
    let words = [("safe", "vdb"), ("ours", "vdc"), ("systemds", "vdd"), ("other", "vde")]
        .map(|(name, device)| tpm2::attach(name, &format!("/dev/{device}")))
        .concat();
    let learns_nothing = |state: &Value| -> Result<()> {
        tpm2::failed(state, 0, REFUSED).context("what was sealed to PCR 15")?;
        tpm2::failed(state, 1, REFUSED).context("the root's key by our token")?;
        tpm2::failed(state, 2, REFUSED).context("the root's key by systemd-cryptenroll's token")?;
        // This is the state that the true system was sealed in.
        tpm2::succeeded(state, 3).context("what is sealed to the state alone").map(drop)
    };

    // Sealed by the same TPM.
    let sealed = system.image("sealed.raw", None)?;
    let attack =
        system.run(copies(system.machine(&sealed)?), &format!("hermetic.recovery-key=show{words}"))?;
    attack.line("TPM2 token 0 opens keyslot 0")?;
    let state = attack.state()?;
    learns_nothing(&state).context("a root that this TPM sealed")?;
    ensure!(system.measured(&state)? != pcr15, "PCR 15 does not tell a stranger's root");

    // Sealed elsewhere, to nothing, for the storage root key of which the token has the public part.
    import(context, &sealed, ours, &tpm2::recovery_key(&attack.lines)?)?;
    let attack = system.run(copies(system.machine(&sealed)?), &words)?;
    attack.line("opens keyslot 2")?;
    attack.line("the key that opened it is not bound to PCR 15")?;
    learns_nothing(&attack.state()?).context("a root that was sealed elsewhere")?;

    // Plain.
    let root = context.file("plain.img");
    File::create(&root)?.set_len(64 << 20)?;
    command::run(context.bench.tools.tool("mkfs.ext4")?.args(["-q", "-F"]).arg(&root))?;
    let plain = system.image("plain.raw", Some(Partition::of(types::ROOT, UUID, "root", &root)?))?;
    let attack =
        system.run(copies(system.machine(&plain)?), &format!("hermetic.root-policy=existing{words}"))?;
    let state = attack.state()?;
    lasting::mounted(&state, "/", "/dev/vda3 ext4")?;
    learns_nothing(&state).context("a plain root")?;

    let attack = system.run(copies(system.machine(&system.disk)?), &format!("root=tmpfs{words}"))?;
    learns_nothing(&attack.state()?).context("a root on a tmpfs")
}

/// Puts a keyslot into the root of the disk `sealed` whose secret was sealed with an empty policy, without the TPM, for the storage
/// root key that is told by the header in the image `header`.
fn import(context: &Context<'_>, sealed: &Path, header: &Path, recovery_key: &str) -> Result<()> {
    let metadata = command::output(
        context.bench.tools.tool("cryptsetup")?.args(["luksDump", "--dump-json-metadata"]).arg(header),
    )?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let tokens = metadata.get("tokens").and_then(Value::as_object).context("no tokens")?;
    let key = tokens.values().find_map(|token| token.get("tpm2_srk")?.as_str()).context("no tpm2_srk")?;
    let key = base64::decode(key)?;
    // Esys_TR_Serialize: a handle, a name, a kind, and the TPM2B_PUBLIC that the tool takes.
    let name = key.get(4..6).context("tpm2_srk is cut short")?;
    let start = 10 + usize::from(u16::from_be_bytes(name.try_into()?));
    let (public, unlock) = (context.file("srk.public"), context.file("recovery-key"));
    fs::write(&public, key.get(start..).context("tpm2_srk is cut short")?)?;
    fs::write(&unlock, recovery_key)?;
    let image = context.file("sealed.img");
    tpm2::copy_root(context, sealed, &image)?;
    let mut enroll = context.bench.tools.tool("systemd-cryptenroll")?;
    enroll.arg(format!("--unlock-key-file={}", unlock.display()));
    enroll.arg(format!("--tpm2-device-key={}", public.display()));
    enroll.args(["--wipe-slot=tpm2", "--tpm2-pcrs=", "--tpm2-public-key="]).arg(&image);
    command::run(&mut enroll)?;
    let mut head = vec![0; 16 << 20];
    std::io::Read::read_exact(&mut File::open(&image)?, &mut head)?;
    image::overwrite(sealed, lasting::root_on(context, sealed, 512)?.start, &head)
}

/// A system whose root is a tmpfs starts the kernel again: the TPM remembers that a root was opened. The recovery key is asked for,
/// and a first boot seals no root.
fn after_a_kexec(system: &System<'_>, recovery_key: &str) -> Result<()> {
    let context = system.context;
    let machine = |disk: &Path, words: &str| -> Result<Machine> {
        let (initramfs, both) = (context.initramfs(&Initramfs::new("virtio"))?, context.file("kexec.img"));
        let parts = [fs::read(context.bench.appliance.kernel())?, fs::read(initramfs)?];
        fs::write(&both, parts.concat())?;
        let bare = lasting::bare(context, &system.usr);
        let words = format!("{} tsc=unstable hermetic.init={TEST_INIT} {words}", bare.words());
        let [kernel, initramfs] = parts.map(|part| part.len());
        let words = words.replace(' ', "%20");
        let word = format!("hermetic.test.kexec=/dev/vdb:{kernel}:{initramfs}:{words}");
        Ok(system
            .bare()?
            .disk(Disk::new(disk))
            .disk(Disk::new(&both))
            .cmdline(&format!("root=tmpfs {word} hermetic.test.end=kexec")))
    };
    let mut running = context.start(&machine(&system.disk, "rd.luks.options=tries=1,timeout=100")?)?;
    running.wait_for("the seal's refusal", OPENED, 2 * small::DEADLINE)?;
    running.wait_for("the question", "Passphrase or recovery key for root on vda3", small::DEADLINE)?;
    running.type_in(&format!("{}\r", recovery_key.replace('-', " ").to_uppercase()))?;
    let outcome = running.finish()?;
    outcome.expect(&Exit::PowerOff)?.line("recovery key opens keyslot 1")?;
    outcome.line(&format!(
        "systemd-cryptenroll --wipe-slot=tpm2 --tpm2-device=auto --tpm2-pcrs=7+{}",
        tpm2::BOND
    ))?;

    let new = system.image("new.raw", None)?;
    let outcome = context.run(&machine(&new, IMPATIENT)?)?;
    outcome.expect(&Exit::Reboot)?;
    small::reason(
        &outcome,
        "provision",
        &["50-root.conf", "Encrypt=tpm2", OPENED, "hermetic.no-tpm=recovery"],
    )
}

/// The same strangers under UEFI firmware and sd-stub, which measured the kernel.
pub fn under_firmware(context: &Context<'_>) -> Result<()> {
    let mut system = System::new(context, "")?;
    let (variables, image) = (context.file("variables.fd"), context.file("image.efi"));
    let initramfs = context.initramfs(&Initramfs::new("virtio"))?;
    Uki::new(context.bench, &initramfs, "", "ID=hermetic\n").make(&image)?;
    system.firmware = Some((variables, image));
    let (_, first, state) = system.first("")?;
    first.line("root: sealed to PCR 7+15 (sha256)")?;
    let pcr15 = system.measured(&state).context("the first boot")?;
    let second = system.run(system.machine(&system.disk)?, &tpm2::attach("safe", "/dev/vdb"))?;
    let state = second.state()?;
    tpm2::succeeded(&state, 0).context("what was sealed to PCR 15 by the same system")?;
    ensure!(system.measured(&state)? == pcr15, "phases change PCR 15");
    let copies = [context.file("ours.img"), context.file("again.img")];
    for copy in &copies {
        tpm2::copy_root(context, &system.disk, copy)?;
    }
    let [ours, again] = &copies;
    strangers(&system, ours, again, &pcr15)
}

/// Sealed to the phase of the initrd as well, under the word that measures phases; and without the bond.
pub fn further(context: &Context<'_>) -> Result<()> {
    let system = System::new(context, PHASE)?;
    let (recovery_key, first, state) = system.first("")?;
    first.line("root: sealed to PCR 7+11+15 (sha256)")?;
    boot_is_measured::measured(&state).context("the first boot")?;

    // Another state: nothing is measured, so PCR 11 is not that of an initrd.
    let changed = system.machine(&system.disk)?;
    let changed = changed.cmdline("hermetic.measure=no rd.luks.options=tries=1,timeout=100");
    let mut running = context.start(&changed)?;
    running.wait_for("the seal's refusal", "PCR 7+11+15 (sha256) not as at enrolment", small::DEADLINE)?;
    running.wait_for("the question", "Passphrase or recovery key for root on vda3", small::DEADLINE)?;
    running.type_in(&format!("{recovery_key}\r"))?;
    let outcome = running.finish()?;
    outcome.expect(&Exit::PowerOff)?.line("recovery key opens keyslot 1")?;

    // The premise: without the bond the running system gets the key once more.
    let system = System::new(context, "hermetic.tpm2-root-bond=no")?;
    let (_, first, _) = system.first("")?;
    first.line("root: sealed to PCR 7 (sha256)")?;
    first.line("hermetic.tpm2-root-bond=no: the TPM gives its key to a stranger's root as well")?;
    let copy = context.file("copy.img");
    tpm2::copy_root(context, &system.disk, &copy)?;
    let machine = system.machine(&system.disk)?.disk(Disk::new(&copy)).cmdline("hermetic.tpm2-root-bond=yes");
    let second = system.run(machine, &tpm2::attach("again", "/dev/vdc"))?;
    second.line("the key that opened it is not bound to PCR 15")?;
    second.line(&format!("--tpm2-pcrs=7+{}", tpm2::BOND))?;
    tpm2::succeeded(&second.state()?, 0).context("a root that is not bound, once more").map(drop)
}

/// Sealed to the signer of PCR 11, who signs for the phase of the running system as well, as ukify(1) has it by default. There the
/// signature opens what was sealed there, and not the root.
pub fn later_phase(context: &Context<'_>) -> Result<()> {
    let (public, signatures) =
        systemd_seals_root::sign(context, &["enter-initrd", "enter-initrd:leave-initrd"])?;
    let mut system = System::new(context, "hermetic.measure=yes")?;
    system.initramfs = Initramfs::new("virtio")
        .file(&public, "/.extra/tpm2-pcr-public-key.pem")
        .file(&signatures, "/.extra/tpm2-pcr-signature.json");
    let (_, first, _) = system.first("")?;
    first.line("root: sealed to PCR 7+15 (sha256) and the key that signs for PCR 11")?;
    let copy = context.file("copy.img");
    tpm2::copy_root(context, &system.disk, &copy)?;
    let words = tpm2::attach("safe", "/dev/vdb") + &tpm2::attach("again", "/dev/vdc");
    let second = system.run(system.machine(&system.disk)?.disk(Disk::new(&copy)), &words)?;
    second.line("TPM2 token 0 opens keyslot 0")?;
    let state = second.state()?;
    tpm2::succeeded(&state, 0).context("what was sealed in the phase of the running system")?;
    tpm2::failed(&state, 1, REFUSED).context("the root, in a phase that is signed for")
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
