//! mkosi of Debian with our folder included, on an existing configuration: it builds a disk with a UKI around our initramfs and no
//! other, and neither asks for nor packs one of its own. The disk boots into systemd on a root that the first boot makes, with the root
//! password, the language and the host name of the configuration.
//!
//! mkosi runs in the tool root's programs; the image is the appliance's tree, which mkosi takes as its base instead of installing packages.

use super::Context;
use super::volatile::{came_up, questions};
use crate::cargo;
use crate::command;
use crate::definition;
use crate::disk::Disk;
use crate::inside::Inside;
use crate::machine::{Exit, Machine};
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

/// The check that libcrypt accepts root's password and refuses another one.
const LOGIN: &str = "hash=$(getent shadow root | cut -d: -f2); for word in hermetic other; do \
                     perl -e 'print crypt($ARGV[0], $ARGV[1]) eq $ARGV[1] ? \"yes\" : \"no\"' \"$word\" \"$hash\"; done";

pub fn run(context: &Context<'_>) -> Result<()> {
    let host = host(context)?;
    let built = build(context, &host)?;
    let own = context.file("own.cpio.zst");
    let mut builder = Command::new(&context.products.hermetic);
    builder.arg("initramfs").arg("--init").arg(&context.products.init).arg("--root").arg(host.join("base"));
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
    for directory in ["dev", "etc", "proc", "root", "run", "sys", "tmp", "var/tmp", "conf", "base"] {
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
fn build(context: &Context<'_>, host: &Path) -> Result<PathBuf> {
    let conf = host.join("conf");
    fs::create_dir_all(conf.join("mkosi.repart"))?;
    fs::create_dir_all(conf.join("mkosi.extra/usr/lib/repart.d"))?;
    fs::write(conf.join("mkosi.conf"), CONFIGURATION)?;
    for (name, text) in REPART {
        fs::write(conf.join("mkosi.repart").join(name), text)?;
    }
    fs::write(conf.join("mkosi.extra/usr/lib/repart.d/50-root.conf"), definition::PLAIN)?;
    let finalize = conf.join("mkosi.finalize");
    fs::write(&finalize, FINALIZE)?;
    fs::set_permissions(&finalize, fs::Permissions::from_mode(0o755))?;
    let mut mkosi = Command::new("unshare");
    mkosi.args(["--mount", "--propagation", "private", "sh", "-euc", PIVOT]).arg(host);
    let said = command::output(mkosi.args(["sh", "-c", "timeout 900 mkosi --cache-only=always build 2>&1"]))?;
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
    let disk = built.join("image.raw");
    let file = fs::File::options().write(true).open(&disk)?;
    // Room for the root.
    file.set_len(file.metadata()?.len() + (1 << 30))?;
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
