//! A system whose users all come from its image (no root in the factory's passwd): on the first boot a service runs as
//! a user of sysusers.d that owns its directory, root has the password of a credential, and a locked user cannot log
//! in. An update with more users changes no id. An encrypted credential that sd-stub found beside the kernel
//! reaches the service that asks for it. And every setting that comes as a credential, by firmware or command line, arrives on
//! the first boot: host name, time zone, language, keymap, root's ssh keys, a line of tmpfiles.d, the machine id.

use super::Context;
use super::volatile::{came_up, questions};
use crate::command;
use crate::definition;
use crate::disk::Disk;
use crate::image::{self, Image};
use crate::initramfs::Initramfs;
use crate::inside::{Answers, Inside};
use crate::machine::{Exit, Machine};
use crate::usr::{Recipe, Usr};
use anyhow::{Context as _, Result};
use std::time::Duration;

const DEADLINE: Duration = Duration::from_secs(600);

/// Users of the first version.
const SYSUSERS: &str =
    "u kiosk - \"The Kiosk\" /var/lib/kiosk\nu operator - Operator /var/lib/kiosk /bin/bash\nu! robot -\n";

/// Those that the second version adds: they are read before the others, and would have had their ids on an empty root.
const MORE: &str = "u early -\ng earlier -\n";

/// A directory that the user owns, and a file of the group.
const TMPFILES: &str = "d /var/lib/kiosk 0750 kiosk kiosk\nf /var/lib/kiosk/list 0640 kiosk kiosk - listed\n";

/// A time zone (tzfile(5)): one hour ahead, by the name of CET, for ever.
const ZONE: &[u8] = b"TZif\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\x04\0\0\x0e\x10\0\0CET\0";

/// The machine's id, and a key of root's.
const MACHINE_ID: &[u8] = b"00112233445566778899aabbccddeeff";
const KEY: &[u8] = b"ssh-ed25519 AAAA root@elsewhere\n";

/// Settings by the command line; the second is `f /var/lib/extra 0644 - - - extra`, as base64(1) writes it.
const WORDS: &str = "systemd.set-credential=firstboot.hostname:kiosk-7 systemd.credentials_boot_policy=relaxed \
                     systemd.set-credential-binary=tmpfiles.extra:ZiAvdmFyL2xpYi9leHRyYSAwNjQ0IC0gLSAtIGV4dHJhCg==";

/// A service of the user, which starts with all others.
const SERVICE: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nUser=kiosk\nLoadCredentialEncrypted=sealed\n\
                       ExecStart=/bin/sh -c 'id -un >>/var/lib/kiosk/ran && cat %d/sealed /var/lib/kiosk/list >>/var/lib/kiosk/ran'\n";

/// The password of root, and the password of a user as its hash, which hermetic-init did not make.
const PASSWORD: &[u8] = b"correct horse";
const HASH: &[u8] =
    b"$6$saltsalt$NFfehJH6WNBfj.Fb1ITVHlChpq1833801ruh5urlJ3omKmea5.Z51NHgAk1HOi5RDfkpRd3V5x0P72h1jo9QZ/";

/// The check that libcrypt accepts root's password and refuses another one.
const LOGIN: &str = "hash=$(getent shadow root | cut -d: -f2); for word in 'correct horse' 'wrong horse'; do \
                     perl -e 'print crypt($ARGV[0], $ARGV[1]) eq $ARGV[1] ? \"yes\" : \"no\"' \"$word\" \"$hash\"; done";

pub fn run(context: &Context<'_>) -> Result<()> {
    let (one, two) = (version(context, false)?, version(context, true)?);
    let mut partitions = image::usr_partitions(&one, "appliance_1")?;
    partitions.extend(image::usr_partitions(&two, "appliance_2")?);
    let disk = context.disk("disk.raw", &Image::new(partitions))?;
    let (plain, sealed) = (context.file("plain"), context.file("sealed.cred"));
    std::fs::write(&plain, "unsealed\n")?;
    // Encrypted with the null key: the test shows the use of a credential, not its secrecy.
    let mut encrypt = context.bench.tools.tool("systemd-creds")?;
    command::run(encrypt.args(["--with-key=null", "--name=sealed", "encrypt"]).arg(&plain).arg(&sealed))?;
    let initramfs = Initramfs::new("virtio").file(&sealed, "/.extra/credentials/sealed.cred");
    let initramfs = context.initramfs(&initramfs)?;
    let machine = |usr: &Usr| -> Result<Machine> {
        let hash = usr.root_hash().context("the appliance's /usr is verified")?;
        let machine = context.machine().deadline(DEADLINE).initramfs(&initramfs);
        Ok(machine.cmdline(&format!("usrhash={hash} {WORDS}")).disk(Disk::new(&disk)))
    };
    let first = boot(context, &machine(&one)?, "first").context("version 1")?;
    first.expect("ran", "kiosk\nunsealed\nlisted")?;
    first.expect("owners", "750 kiosk:kiosk\n640 kiosk:kiosk\n644 kiosk:kiosk")?;
    first.expect("login", "yesno")?;
    first.expect("operator", std::str::from_utf8(HASH)?)?;
    first.expect("locked", "robot:!*::1\nkiosk:!*::")?;
    first.expect("encrypted", "400 sealed")?;

    first.expect("name", "kiosk-7\nkiosk-7")?;
    first.expect("zone", "../usr/share/zoneinfo/Europe/Berlin\nCET")?;
    first
        .expect("language", "LANG=en_GB.UTF-8\nLC_MESSAGES=C.UTF-8\nLANG=en_GB.UTF-8\nLC_MESSAGES=C.UTF-8")?;
    first.expect("machine-id", std::str::from_utf8(MACHINE_ID)?)?;
    first.expect("keys", std::str::from_utf8(KEY)?.trim())?.expect("extra", "extra")?;
    first.contains("keymap", "KEYMAP=de")?.expect("vconsole", "de")?;

    let second = boot(context, &machine(&two)?, "second").context("version 2")?;
    second.expect("ids", first.text("ids")?)?.expect("login", "yesno")?;
    second.contains("all", "early:")?.contains("all", "earlier:")?;
    second.expect("ran", "kiosk\nunsealed\nlistedkiosk\nunsealed\nlisted")?;
    second.expect("owners", first.text("owners")?)?;
    second.expect("name", first.text("name")?)?.expect("zone", first.text("zone")?)?;
    second.expect("language", first.text("language")?)?.expect("keys", first.text("keys")?)?;
    Ok(())
}

fn version(context: &Context<'_>, has_more: bool) -> Result<Usr> {
    let passwd = std::fs::read_to_string(context.bench.appliance.usr().join("share/factory/etc/passwd"))?;
    let rootless: String =
        passwd.lines().filter(|line| !line.starts_with("root:")).map(|line| format!("{line}\n")).collect();
    // Debian's own line makes vconsole.conf a link before systemd-firstboot looks, which then leaves it alone.
    let lines = std::fs::read_to_string(context.bench.appliance.usr().join("lib/tmpfiles.d/debian.conf"))?;
    let lines: String =
        lines.lines().filter(|line| !line.contains("vconsole")).map(|line| format!("{line}\n")).collect();
    let recipe = Recipe::new()
        .repart(definition::PLAIN)
        .file("share/factory/etc/passwd", rootless, 0o644)
        .file("share/factory/etc/locale.conf", "LANG=C.UTF-8\n", 0o644)
        .file("share/factory/etc/hostname", "factory\n", 0o644)
        .file("share/zoneinfo/Europe/Berlin", ZONE, 0o644)
        .file("lib/tmpfiles.d/debian.conf", lines, 0o644)
        .file("lib/sysusers.d/kiosk.conf", SYSUSERS, 0o644)
        .file("lib/tmpfiles.d/kiosk.conf", TMPFILES, 0o644)
        .file("lib/systemd/system/kiosk.service", SERVICE, 0o644)
        .file("lib/systemd/system/multi-user.target.d/kiosk.conf", "[Unit]\nWants=kiosk.service\n", 0o644);
    context.usr(&if has_more { recipe.file("lib/sysusers.d/00-more.conf", MORE, 0o644) } else { recipe })
}

/// Boots into systemd, which answers and switches off.
fn boot(context: &Context<'_>, machine: &Machine, name: &str) -> Result<Answers> {
    let inside = questions(Inside::new(&context.file(name)))
        .system_credential("passwd.plaintext-password.root", PASSWORD)
        .system_credential("passwd.hashed-password.operator", HASH)
        .system_credential("firstboot.timezone", b"Europe/Berlin")
        .system_credential("firstboot.locale", b"en_GB.UTF-8")
        .system_credential("firstboot.locale-messages", b"C.UTF-8")
        .system_credential("firstboot.keymap", b"de")
        .system_credential("vconsole.keymap", b"de")
        .system_credential("ssh.authorized_keys.root", KEY)
        .system_credential("system.machine_id", MACHINE_ID)
        .ask("name", "cat /etc/hostname && uname --nodename")
        .ask("zone", "readlink /etc/localtime && date +%Z")
        .ask(
            "language",
            "cat /etc/locale.conf && systemctl show-environment | grep -E '^(LANG|LC_MESSAGES)=' | sort",
        )
        .ask("keymap", "cat /etc/vconsole.conf")
        .ask("vconsole", "systemd-creds --system cat vconsole.keymap")
        .ask("keys", "cat /root/.ssh/authorized_keys")
        .ask("extra", "cat /var/lib/extra")
        .ask("ran", "cat /var/lib/kiosk/ran")
        .ask("owners", "cd /var/lib/kiosk && stat --format='%a %U:%G' . list ran")
        .ask("ids", "for name in kiosk operator robot; do id $name; done")
        .ask("all", "getent passwd; getent group")
        .ask("login", LOGIN)
        .ask("operator", "getent shadow operator | cut -d: -f2")
        .ask("locked", "getent shadow robot kiosk | cut -d: -f1,2,7,8")
        .ask("encrypted", "cd /run/credentials/@encrypted && stat --format='%a %n' *");
    let outcome = context.run(&inside.equip(machine.clone())?)?;
    outcome.expect(&Exit::PowerOff)?;
    let answers = inside.read()?;
    came_up(&answers)?;
    Ok(answers)
}
