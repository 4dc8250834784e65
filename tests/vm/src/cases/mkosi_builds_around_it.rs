//! mkosi of Debian with our folder included, on an existing configuration: it builds a disk with a UKI around our initramfs and no
//! other, and neither asks for nor packs one of its own. The disk boots into systemd on a root that the first boot makes, with the root
//! password, the language and the host name of the configuration.
//!
//! In the long run also with everything signed: the UKI for Secure Boot and for its PCR 11, the boot loader, the root hash of /usr. OVMF,
//! Secure Boot on, starts it from the disk; the kernel vouches for /usr by a certificate of the firmware, root is sealed to whoever signs
//! for PCR 11, and PCR 11 is what systemd-measure says. The same disk is refused where the firmware lacks that certificate.
//!
//! mkosi runs in the tool root's programs; the image is the appliance's tree, which mkosi takes as its base instead of installing packages.

use super::Context;
use super::small;
use super::tpm2;
use super::volatile::{came_up, questions};
use crate::cargo;
use crate::command;
use crate::definition;
use crate::disk::Disk;
use crate::inside::Inside;
use crate::machine::{Exit, Machine};
use crate::reference;
use crate::uki;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(600);

/// The configuration: docs/how-to/mkosi.md has it, but for the tree that the image is made of.
const CONFIGURATION: &str = "\
[Include]
Include=/hermetic

[Distribution]
Distribution=debian
Release=trixie

[Output]
Format=disk
SplitArtifacts=uki,kernel,initrd

[Content]
BaseTrees=/base
Bootable=yes
KernelCommandLine=root=dissect mount.usr=dissect
RootPassword=hermetic
Locale=C.UTF-8
Hostname=from-mkosi
";

const REPART: [(&str, &str); 3] = [
    (
        "00-esp.conf",
        "[Partition]\nType=esp\nFormat=vfat\nCopyFiles=/boot:/\nCopyFiles=/efi:/\nSizeMinBytes=64M\nSizeMaxBytes=64M\n",
    ),
    (
        "10-usr-verity.conf",
        "[Partition]\nType=usr-verity\nVerity=hash\nVerityMatchKey=usr\nMinimize=best\nLabel=appliance_1\n",
    ),
    (
        "20-usr.conf",
        "[Partition]\nType=usr\nFormat=erofs\nCopyFiles=/usr:/\nVerity=data\nVerityMatchKey=usr\nMinimize=best\nLabel=appliance_1\n",
    ),
];

/// A part of every configuration of a hermetic /usr: the image's /etc becomes the factory's.
const FINALIZE: &str = "#!/bin/sh\nset -eu\nmkdir -p \"$BUILDROOT/usr/share/factory\"\n\
                        rm -rf \"$BUILDROOT/usr/share/factory/etc\"\n\
                        cp --archive \"$BUILDROOT/etc\" \"$BUILDROOT/usr/share/factory/\"\n";

/// Makes the directory `$0` the root of a mount namespace, and runs the rest in /conf. A chroot would not do: mkosi makes mounts its root.
const PIVOT: &str = "\
mount --bind \"$0\" \"$0\"
mount -t proc proc \"$0/proc\"
mount --rbind /dev \"$0/dev\"
mount --rbind /sys \"$0/sys\"
cd \"$0\"
pivot_root . .
umount --lazy .
cd /conf
exec env --ignore-environment PATH=/usr/sbin:/usr/bin HOME=/root LC_ALL=C.UTF-8 \"$@\"";

/// No package is asked for. 26 and later want a cache where nothing but it may be used.
const MKOSI: &str =
    "mkdir /cache && timeout 900 mkosi --cache-directory=/cache --cache-only=always build 2>&1";

/// The check that libcrypt accepts root's password and refuses another one.
const LOGIN: &str = "hash=$(getent shadow root | cut -d: -f2); for word in hermetic other; do \
                     perl -e 'print crypt($ARGV[0], $ARGV[1]) eq $ARGV[1] ? \"yes\" : \"no\"' \"$word\" \"$hash\"; done";

pub fn run(context: &Context<'_>) -> Result<()> {
    let host = host(context)?;
    builds(context, &host)
}

/// The mkosi that comes with the next Debian.
pub fn newest(context: &Context<'_>) -> Result<()> {
    let host = host(context)?;
    let packages = "usr/lib/python3/dist-packages/mkosi";
    fs::remove_dir_all(host.join(packages))?;
    let mut lay = Command::new("cp");
    lay.args(["--archive", "--remove-destination"]);
    command::run(lay.arg(reference::newest_mkosi(&context.bench.cache)?.join("usr")).arg(&host))?;
    builds(context, &host)
}

fn builds(context: &Context<'_>, host: &Path) -> Result<()> {
    let built = build(context, host, CONFIGURATION, &REPART, definition::PLAIN)?;
    let own = context.file("own.cpio.zst");
    let programs = host.join("hermetic/bin");
    let mut builder = Command::new(programs.join("hermetic"));
    builder.arg("initramfs").arg("--init").arg(programs.join("hermetic-init"));
    builder.arg("--root").arg(host.join("base"));
    command::run(builder.arg("--output").arg(&own))?;
    let (own, packed) = (fs::read(own)?, fs::read(built.join("image.initrd"))?);
    // A section of a PE file may be filled up.
    let padding =
        packed.strip_prefix(own.as_slice()).context("mkosi's initramfs does not begin with ours")?;
    ensure!(
        padding.len() < 4096 && padding.iter().all(|byte| *byte == 0),
        "mkosi packed {} bytes behind our initramfs",
        padding.len()
    );
    boot(context, &built)
}

/// A tree with mkosi, its tools, our folder, and the base of the image.
fn host(context: &Context<'_>) -> Result<PathBuf> {
    let (bench, host) = (context.bench, context.file("host"));
    for directory in ["dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "var/tmp", "conf", "base"] {
        fs::create_dir_all(host.join(directory))?;
    }
    merge_usr(&host)?;
    fs::write(host.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")?;
    fs::write(host.join("etc/group"), "root:x:0:\n")?;
    command::run(Command::new("cp").args(["--archive", "--link"]).arg(bench.tools.file("usr")).arg(&host))?;
    // Not into the files that are linked.
    let mut lay = Command::new("cp");
    lay.args(["--archive", "--remove-destination"]).arg(bench.reference.judges.join("usr")).arg(&host);
    command::run(&mut lay)?;

    let folder = cargo::repository().join("initramfs/mkosi");
    command::run(
        Command::new("cp")
            .args(["--archive", "--no-preserve=ownership"])
            .arg(folder)
            .arg(host.join("hermetic")),
    )?;
    let programs = host.join("hermetic/bin");
    fs::create_dir_all(&programs)?;
    fs::copy(&context.products.hermetic, programs.join("hermetic"))?;
    fs::copy(&context.products.init, programs.join("hermetic-init"))?;

    let base = host.join("base");
    for directory in ["boot", "dev", "efi", "proc", "root", "run", "sys", "tmp", "var"] {
        fs::create_dir_all(base.join(directory))?;
    }
    merge_usr(&base)?;
    command::run(Command::new("cp").args(["--archive", "--link"]).arg(bench.appliance.usr()).arg(&base))?;
    command::run(Command::new("cp").arg("--archive").arg(base.join("usr/share/factory/etc")).arg(&base))?;
    let modules = base.join("usr/lib/modules").join(bench.appliance.version());
    fs::copy(bench.appliance.kernel(), modules.join("vmlinuz"))?;
    let boot = "usr/lib/systemd/boot";
    command::run(Command::new("cp").args(["--archive", "--link"]).arg(host.join(boot)).arg(base.join(boot)))?;
    Ok(host)
}

/// The links of a merged /usr.
fn merge_usr(root: &Path) -> Result<()> {
    for name in ["bin", "lib", "lib64", "sbin"] {
        symlink(Path::new("usr").join(name), root.join(name))?;
    }
    Ok(())
}

/// Runs mkosi. Returns the directory with what it made: image.raw, image.efi, image.vmlinuz, image.initrd.
fn build(
    context: &Context<'_>,
    host: &Path,
    configuration: &str,
    repart: &[(&str, &str)],
    root: &str,
) -> Result<PathBuf> {
    let conf = host.join("conf");
    fs::create_dir_all(conf.join("mkosi.repart"))?;
    fs::create_dir_all(conf.join("mkosi.extra/usr/lib/repart.d"))?;
    fs::write(conf.join("mkosi.conf"), configuration)?;
    for (name, text) in repart {
        fs::write(conf.join("mkosi.repart").join(name), text)?;
    }
    fs::write(conf.join("mkosi.extra/usr/lib/repart.d/50-root.conf"), root)?;
    let finalize = conf.join("mkosi.finalize");
    fs::write(&finalize, FINALIZE)?;
    fs::set_permissions(&finalize, fs::Permissions::from_mode(0o755))?;
    let mut mkosi = Command::new("unshare");
    mkosi.args(["--mount", "--propagation", "private", "sh", "-euc", PIVOT]).arg(host);
    let said = command::output(mkosi.args(["sh", "-c", MKOSI]))?;
    ensure!(!said.contains("default initrd"), "mkosi built an initramfs of its own:\n{said}");
    let line = said.lines().find(|line| line.contains(" kB, unpacked "));
    let line = line.with_context(|| format!("hermetic initramfs does not say what was packed:\n{said}"))?;
    context.say(line.rsplit('/').next().unwrap_or(line));
    Ok(conf)
}

/// Boots the disk with what mkosi packed into the UKI.
fn boot(context: &Context<'_>, built: &Path) -> Result<()> {
    let mut inspect = context.bench.tools.inside(built, "ukify");
    let said = command::output(inspect.args(["inspect", "image.efi", "--json=short"]))?;
    let sections: Value = serde_json::from_str(&said).context("ukify printed no JSON")?;
    let words = sections.get(".cmdline").and_then(|section| section.get("text")).and_then(Value::as_str);
    let words = words.context("the UKI has no command line")?.trim_end_matches(['\0', '\n']);
    let disk = disk(built)?;
    let machine = Machine::new(&built.join("image.vmlinuz")).deadline(DEADLINE);
    let machine = machine.initramfs(&built.join("image.initrd")).cmdline(words).disk(Disk::new(&disk));
    let inside = questions(Inside::new(&context.file("inside")))
        .ask("login", LOGIN)
        .ask("name", "uname --nodename")
        .ask("locale", "cat /etc/locale.conf");
    let outcome = context.run(&inside.equip(machine)?)?;
    outcome.expect(&Exit::PowerOff)?;
    let answers = inside.read()?;
    came_up(&answers)?;
    answers.expect("login", "yesno")?.expect("name", "from-mkosi")?.expect("locale", "LANG=C.UTF-8")?;
    answers.expect("root", "ext4")?;
    Ok(())
}

/// The disk, with room for the root.
fn disk(built: &Path) -> Result<PathBuf> {
    let disk = built.join("image.raw");
    let file = fs::File::options().write(true).open(&disk)?;
    file.set_len(file.metadata()?.len() + (1 << 30))?;
    Ok(disk)
}

/// The part of a configuration that signs. Keys lie in /keys.
const SIGNS: &str = "
[Validation]
SecureBoot=yes
SecureBootAutoEnroll=no
SecureBootKey=/keys/programs.key
SecureBootCertificate=/keys/programs.crt
SignExpectedPcr=yes
SignExpectedPcrKey=/keys/pcr.key
SignExpectedPcrCertificate=/keys/pcr.crt
VerityKey=/keys/usr.key
VerityCertificate=/keys/usr.crt
";

const SIGNATURE: (&str, &str) = (
    "15-usr-verity-sig.conf",
    "[Partition]\nType=usr-verity-sig\nVerity=signature\nVerityMatchKey=usr\nLabel=appliance_1\n",
);

const SEALED: &str = "[Partition]\nType=root\nFormat=ext4\nEncrypt=tpm2\n";

/// The phases of a system that has come up.
const PHASES: &str = "enter-initrd:leave-initrd:sysinit:ready";

/// Everything signed, under Secure Boot.
pub fn signed(context: &Context<'_>) -> Result<()> {
    let host = host(context)?;
    let signers = [("programs", "programs"), ("pcr", "PCR 11"), ("usr", "image")]
        .map(|(file, name)| context.signer(name).map(|signer| (file, signer)));
    let [programs, pcr, usr] = signers;
    let (programs, pcr, usr) = (programs?, pcr?, usr?);
    fs::create_dir(host.join("keys"))?;
    for (name, signer) in [&programs, &pcr, &usr] {
        fs::copy(signer.key(), host.join(format!("keys/{name}.key")))?;
        fs::copy(signer.certificate(), host.join(format!("keys/{name}.crt")))?;
    }
    tpm2::lay(context, &host.join("base/usr"))?;

    let inside = questions(Inside::new(&context.file("inside")))
        .ask("pcr11", "cat /sys/class/tpm/tpm0/pcr-sha256/11")
        .ask("proof", "echo kept >>/var/lib/proof; cat /var/lib/proof")
        .ask("secure", "journalctl --boot --output=cat --grep='Secure boot enabled'");
    let machine = context.machine().cmdline(small::IMPATIENT).tpm(&context.file("tpm")).deadline(DEADLINE);
    let machine = inside.equip(machine)?;
    // Under Secure Boot there are no other words than those of the image.
    let words = format!(
        "KernelCommandLine=systemd.image_policy=usr=signed:root=encrypted+absent:esp=unprotected {}\n",
        machine.command_line(context.bench.accelerator)
    );
    let configuration = CONFIGURATION.replace("RootPassword=", &format!("{words}RootPassword="));
    // OVMF reads no FAT whose sectors are larger than the disk's, and systemd-repart makes one of 4096 bytes unless it is told.
    let configuration = configuration.replace("[Output]\n", "[Output]\nSectorSize=512\n") + SIGNS;
    let repart: Vec<_> = REPART.into_iter().chain([SIGNATURE]).collect();
    let built = build(context, &host, &configuration, &repart, SEALED)?;
    let disk = disk(&built)?;

    let without = machine.clone().secure_firmware(&context.variables("without.fd", &[&programs.1])?);
    let says = ["nobody vouches for the signature of root hash", "Required key not available"];
    small::refuses(context, &without, &disk, "usr", &says).context("without the certificate")?;
    let machine = machine.secure_firmware(&context.variables("with.fd", &[&programs.1, &usr.1])?);
    let machine = machine.disk(Disk::new(&disk));
    let expected = uki::pcr11(context.bench, &built.join("image.efi"), PHASES)?;
    for proof in ["kept", "kept\nkept"] {
        let outcome = context.run(&machine)?;
        outcome.expect(&Exit::PowerOff)?.line("signed: the kernel vouches for it")?;
        outcome.line("TPM2 token 0 opens keyslot 0")?;
        let answers = inside.read()?;
        came_up(&answers)?;
        answers.expect("proof", proof)?.expect("root", "ext4")?.text("secure")?;
        let value = answers.text("pcr11")?.to_lowercase();
        ensure!(value == expected, "PCR 11 is {value}, systemd-measure says {expected}");
    }
    Ok(())
}
