//! The initramfs has no key file of its own for the root: the key comes from the hypervisor as a credential, from the
//! file that is named after the volume, or from the file that the command line names; and the volume gets the requested
//! name.

use super::small::{self, ENCRYPTED, KEY, Small};
use super::{Context, TEST_INIT, lasting};
use crate::base64;
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine};
use anyhow::{Context as _, Result};
use std::fs;

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    small.boot(context, "")?;
    let content = lasting::root_on(context, &small.disk, 512)?.content;
    let uuid = content.split(' ').next_back().context("blkid finds no UUID")?;
    let machine = |initramfs: &Initramfs, words: &str| -> Result<Machine> {
        let machine = context.machine().initramfs(&context.initramfs(initramfs)?).deadline(small::DEADLINE);
        let words = format!("{} {} hermetic.init={TEST_INIT} {words}", small::IMPATIENT, small.words());
        Ok(machine.cmdline(&words).disk(Disk::new(&small.disk)))
    };
    let opens = |machine: &Machine, line: &str, name: &str| -> Result<()> {
        let outcome = context.run(machine)?;
        outcome.expect(&Exit::PowerOff)?.line(line)?;
        lasting::mounted(&outcome.state()?, "/", &format!("/dev/mapper/{name} ext4"))
    };

    let credential =
        format!("type=11,value=io.systemd.credential.binary:cryptsetup.passphrase={}", base64::encode(KEY));
    let by_credential = machine(&Initramfs::new("virtio"), "")?.qemu(&["-smbios", &credential]);
    opens(&by_credential, "credential cryptsetup.passphrase opens keyslot 0", "root")?;

    let (key, wrong) = (context.file("key"), context.file("wrong"));
    fs::write(&key, KEY)?;
    fs::write(&wrong, KEY.to_ascii_uppercase())?;
    // The file that is named comes first, and does not open it.
    let both = Initramfs::new("virtio")
        .file(&wrong, "/etc/wrong.key")
        .file(&key, "/etc/cryptsetup-keys.d/vault.key");
    let words = format!("luks.name={uuid}=vault luks.key={uuid}=/etc/wrong.key root=/dev/mapper/vault");
    let by_name = "key file /etc/cryptsetup-keys.d/vault.key opens keyslot 0";
    opens(&machine(&both, &words)?, by_name, "vault")?;

    let named = Initramfs::new("virtio").file(&key, "/etc/right.key");
    let words = format!("rd.luks.uuid={uuid} rd.luks.key=/etc/right.key");
    opens(
        &machine(&named, &words)?,
        "key file /etc/right.key opens keyslot 0",
        &format!("luks-{}", uuid.to_lowercase()),
    )
}
