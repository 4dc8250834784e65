//! A disk that systemd-repart made and signed, under `usr=signed`: it boots where a certificate of the initramfs vouches for the root
//! hash of the command line, and without a root hash for the one that was signed. Without the certificate and with a signature
//! by another key the boot is refused by name, and not a byte of the disk changes; in the long run also with one for another root hash,
//! cut short, with the empty partition of an image that is to be signed later, and behind a filter that hides it. Where the policy
//! would do with the root hash alone, a signature that nobody vouches for is a line in the log.

use super::small::{self, ENCRYPTED};
use super::{Context, TEST_INIT, lasting};
use crate::command;
use crate::disk::Disk;
use crate::image;
use crate::initramfs::Initramfs;
use crate::machine::{Exit, Machine, Outcome};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The policy that demands a signature.
const SIGNED: &str = "systemd.image_policy=usr=signed:root=encrypted+absent";

/// The directory of a builder, and the disk that it made.
struct Built {
    directory: PathBuf,
    disk: PathBuf,
    root_hash: String,
    /// The start of the signature partition in bytes.
    signature: u64,
}

/// Puts the key and the certificate of a signer into the builder's directory.
fn key(context: &Context<'_>, directory: &Path, name: &str) -> Result<()> {
    let signer = context.signer(name)?;
    fs::copy(signer.key(), directory.join(format!("{name}.key")))?;
    fs::copy(signer.certificate(), directory.join(format!("{name}.crt")))?;
    Ok(())
}

/// A disk with this /usr, its hash tree and the signature of its root hash, as systemd-repart makes it for a builder.
fn build(context: &Context<'_>, directory: &Path, name: &str, key: &str, words: &[&str]) -> Result<Built> {
    let mut repart = context.bench.tools.inside(directory, "systemd-repart");
    repart.args([
        "--offline=yes",
        "--empty=create",
        "--size=256M",
        "--dry-run=no",
        "--json=short",
        "--no-pager",
    ]);
    repart.args(["--seed=11111111222233334444555555555555", "--definitions=/mnt/definitions"]);
    repart.args([format!("--private-key=/mnt/{key}.key"), format!("--certificate=/mnt/{key}.crt")]);
    let table = command::output(repart.args(words).arg(format!("/mnt/{name}")))?;
    let table: Value = serde_json::from_str(table.trim())?;
    let root_hash = table.pointer("/0/roothash").and_then(Value::as_str);
    Ok(Built {
        directory: directory.to_owned(),
        disk: directory.join(name),
        root_hash: root_hash.context("systemd-repart names no root hash")?.to_owned(),
        signature: table.pointer("/0/offset").and_then(Value::as_u64).context("no place of the signature")?,
    })
}

/// Writes the definitions of the partitions, with the /usr of this recipe.
fn define(context: &Context<'_>, directory: &Path) -> Result<()> {
    let usr = context.usr(&small::recipe(context, ENCRYPTED)?)?;
    image::copy(&usr.data(), &directory.join("usr.img"))?;
    fs::create_dir(directory.join("definitions"))?;
    // The rest of the disk is for root.
    let data = format!("SizeMaxBytes={}\nCopyBlocks=/mnt/usr.img\n", fs::metadata(usr.data())?.len());
    for (place, kind, verity, more) in [
        ("10", "usr-verity-sig", "signature", ""),
        ("20", "usr-verity", "hash", "SizeMaxBytes=8M\n"),
        ("30", "usr", "data", data.as_str()),
    ] {
        let text = format!(
            "[Partition]\nType={kind}\nLabel=appliance_1\nVerity={verity}\nVerityMatchKey=usr\n{more}"
        );
        fs::write(directory.join(format!("definitions/{place}.conf")), text)?;
    }
    Ok(())
}

impl Built {
    /// An impatient machine with the key of root and this certificate.
    fn machine(&self, context: &Context<'_>, certificate: Option<&str>) -> Result<Machine> {
        let initramfs = Initramfs::new("virtio").key(small::KEY);
        let initramfs = certificate.iter().fold(initramfs, |initramfs, name| {
            initramfs.certificate(&self.directory.join(format!("{name}.crt")))
        });
        let machine = context.machine().initramfs(&context.initramfs(&initramfs)?);
        Ok(machine.cmdline(small::IMPATIENT).deadline(small::DEADLINE))
    }

    fn boots(&self, context: &Context<'_>, machine: &Machine, words: &str) -> Result<Outcome> {
        let machine = machine.clone().disk(Disk::new(&self.disk)).cmdline(words);
        let outcome = context.run(&machine.cmdline(&format!("hermetic.init={TEST_INIT}")))?;
        lasting::mounted(&outcome.expect(&Exit::PowerOff)?.state()?, "/usr", "/dev/mapper/usr erofs")?;
        Ok(outcome)
    }

    /// The content of the signature partition.
    fn content(&self) -> Result<Vec<u8>> {
        let disk = fs::read(&self.disk)?;
        let start = usize::try_from(self.signature)?;
        Ok(disk.get(start..start + 16384).context("the disk is too short")?.to_vec())
    }
}

fn prepare(context: &Context<'_>) -> Result<Built> {
    let directory = context.file("builder");
    fs::create_dir(&directory)?;
    define(context, &directory)?;
    key(context, &directory, "signer")?;
    build(context, &directory, "disk.raw", "signer", &[])
}

/// The words of a line that refuses.
const NOBODY: &str = "nobody vouches for the signature of root hash";

pub fn run(context: &Context<'_>) -> Result<()> {
    let built = prepare(context)?;
    let words = format!("usrhash={} {SIGNED}", built.root_hash);
    let with = built.machine(context, Some("signer"))?;
    let without = built.machine(context, None)?.cmdline(&words);
    let says = [NOBODY, "the initramfs has no certificate in /usr/lib/verity.d"];
    small::refuses(context, &without, &built.disk, "usr", &says)?;

    // The first boot makes root. The words of the second are those of ParticleOS, behind the root hash that mkosi puts in front.
    let auto = format!("{words} systemd.verity_usr_options=root-hash-signature=auto,panic-on-corruption");
    built.boots(context, &with, &auto)?.line(VOUCHED)?;
    let particle = format!(
        "root=dissect mount.usr=dissect {words} usrhash= systemd.image_filter=usr-verity-sig=appliance_*"
    );
    built.boots(context, &with, &particle)?.line(VOUCHED)?;

    let stranger = forged(context, &built)?;
    image::overwrite(&built.disk, built.signature, &stranger)?;
    let says = [NOBODY, "whose certificate is not there"];
    small::refuses(context, &with.cmdline(&words), &built.disk, "usr", &says).map(drop)
}

const VOUCHED: &str = "signed: /usr/lib/verity.d/signer.crt vouches for it";

/// The partition of the same /usr, signed by somebody else.
fn forged(context: &Context<'_>, built: &Built) -> Result<Vec<u8>> {
    key(context, &built.directory, "stranger")?;
    let stranger = build(context, &built.directory, "stranger.raw", "stranger", &[])?;
    ensure!(stranger.root_hash == built.root_hash, "the same /usr has two root hashes");
    stranger.content()
}

/// Every other signature, on the disk as it came from the builder; then a policy that does with the root hash alone.
pub fn others(context: &Context<'_>) -> Result<()> {
    let built = prepare(context)?;
    let directory = built.directory.as_path();
    let with = built.machine(context, Some("signer"))?;
    let usrhash = format!("usrhash={}", built.root_hash);
    let words = format!("{usrhash} {SIGNED}");
    let good = built.content()?;
    let stranger = forged(context, &built)?;
    fs::write(directory.join("usr.img"), vec![7; 4 << 20])?;
    let other = build(context, directory, "other.raw", "signer", &[])?.content()?;
    let later = ["--defer-partitions=usr-verity-sig"];
    let deferred = build(context, directory, "deferred.raw", "signer", &later)?.content()?;
    let cut: Vec<u8> = good.iter().enumerate().map(|(at, byte)| if at < 700 { *byte } else { 0 }).collect();
    let demands = "demands a signed /usr";
    for (content, words, says) in [
        (&other, words.as_str(), ["is for root hash", demands]),
        (&other, SIGNED, ["names other partitions", demands]),
        (&stranger, SIGNED, [NOBODY, "whose certificate is not there"]),
        (&cut, &words, ["vda1: it is not a JSON object, or cut short", demands]),
        (&deferred, SIGNED, ["vda1: it is empty", demands]),
    ] {
        image::overwrite(&built.disk, built.signature, content)?;
        small::refuses(context, &with.clone().cmdline(words), &built.disk, "usr", &says)?;
    }
    image::overwrite(&built.disk, built.signature, &good)?;
    let hidden = with.cmdline(&format!("{words} systemd.image_filter=usr-verity-sig=other_*"));
    small::refuses(context, &hidden, &built.disk, "usr", &["with a label that matches other_*", demands])?;

    let without = built.machine(context, None)?;
    built.boots(context, &without, &usrhash)?.line("going on without, as systemd.image_policy= allows")?;
    // Without a root hash from elsewhere it is mapped, and is not a verified one.
    built.boots(context, &without, "")?.line("/usr unverified on vda3").map(drop)
}

/// The same disk under OVMF with the certificate among the firmware's (`db`), where the kernel takes it from: it vouches, and the
/// initramfs need not have the certificate. With another one in its place nobody does.
pub fn by_kernel(context: &Context<'_>) -> Result<()> {
    let built = prepare(context)?;
    key(context, &built.directory, "stranger")?;
    let machine = built.machine(context, None)?;
    let words = format!("usrhash={} {SIGNED}", built.root_hash);
    let enrolled = |name: &str| -> Result<Machine> {
        let variables = built.directory.join(format!("{name}.fd"));
        fs::copy(context.bench.tools.file("usr/share/OVMF/OVMF_VARS_4M.fd"), &variables)?;
        let mut tool = context.bench.tools.inside(&built.directory, "virt-fw-vars");
        tool.args(["--inplace", &format!("{name}.fd")]);
        command::run(tool.args([
            "--add-db",
            "11111111-2222-3333-4444-555555555555",
            &format!("{name}.crt"),
        ]))?;
        Ok(machine.clone().firmware(&variables))
    };
    let says = ["nobody vouches", "Required key not available"];
    small::refuses(context, &enrolled("stranger")?.cmdline(&words), &built.disk, "usr", &says)?;
    let options = "systemd.verity_usr_options=root-hash-signature=auto,panic-on-corruption";
    let outcome = built.boots(context, &enrolled("signer")?, &format!("{words} {options}"))?;
    outcome.line("signed: the kernel vouches for it").map(drop)
}
