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
use crate::signer::Signer;
use crate::usr::Recipe;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The policy that demands a signature.
const SIGNED: &str = "systemd.image_policy=usr=signed:root=encrypted+absent";

/// The bytes that systemd-repart gives to a signature.
const SIGNATURE: usize = 16384;

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
fn define(context: &Context<'_>, directory: &Path, recipe: &Recipe) -> Result<()> {
    let usr = context.usr(recipe)?;
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
        self.boots_from(context, machine, words, "/dev/mapper/usr")
    }

    fn boots_from(
        &self,
        context: &Context<'_>,
        machine: &Machine,
        words: &str,
        usr: &str,
    ) -> Result<Outcome> {
        let machine = machine.clone().disk(Disk::new(&self.disk)).cmdline(words);
        let outcome = context.run(&machine.cmdline(&format!("hermetic.init={TEST_INIT}")))?;
        lasting::mounted(&outcome.expect(&Exit::PowerOff)?.state()?, "/usr", &format!("{usr} erofs"))?;
        Ok(outcome)
    }

    /// The content of the signature partition.
    fn content(&self) -> Result<Vec<u8>> {
        self.content_at(self.signature)
    }

    /// The content of a signature partition that begins at this byte.
    fn content_at(&self, start: u64) -> Result<Vec<u8>> {
        let mut content = vec![0; SIGNATURE];
        fs::File::open(&self.disk)?.read_exact_at(&mut content, start).context("the disk is too short")?;
        Ok(content)
    }
}

fn prepare(context: &Context<'_>) -> Result<Built> {
    prepare_with(context, &small::recipe(context, ENCRYPTED)?)
}

fn prepare_with(context: &Context<'_>, recipe: &Recipe) -> Result<Built> {
    let directory = context.file("builder");
    fs::create_dir(&directory)?;
    define(context, &directory, recipe)?;
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
    // Without a root hash from elsewhere it is mounted as if it had no signature.
    built.boots_from(context, &without, "", "/dev/vda3")?.line("/usr unverified on vda3").map(drop)
}

/// A second signature: the first definition takes the one that is there.
const COPIES: [(&str, &str); 2] = [
    ("10-signature", "Type=usr-verity-sig\n"),
    ("11-second", "Type=usr-verity-sig\nLabel=second\nCopyBlocks=auto\nSizeMinBytes=16K\nSizeMaxBytes=16K\n"),
];

/// The same disk under OVMF with the certificate among the firmware's (`db`), where the kernel takes it from: it vouches, and the
/// initramfs need not have the certificate. With another one in its place nobody does. The first boot copies the signature that it
/// booted by; when the first one is gone, the kernel vouches by the copy.
pub fn by_kernel(context: &Context<'_>) -> Result<()> {
    let recipe = COPIES.iter().fold(small::recipe(context, ENCRYPTED)?, |recipe, (name, text)| {
        recipe.file(&format!("lib/repart.d/{name}.conf"), format!("[Partition]\n{text}"), 0o644)
    });
    let built = prepare_with(context, &recipe)?;
    let (signer, stranger) = (context.signer("signer")?, context.signer("stranger")?);
    let machine = built.machine(context, None)?;
    let words = format!("usrhash={} {SIGNED}", built.root_hash);
    let enrolled = |name: &str, signer: &Signer| -> Result<Machine> {
        Ok(machine.clone().firmware(&context.variables(name, &[signer])?))
    };
    let says = ["nobody vouches", "Required key not available"];
    let refuses = enrolled("stranger.fd", &stranger)?.cmdline(&words);
    small::refuses(context, &refuses, &built.disk, "usr", &says)?;
    let options = "systemd.verity_usr_options=root-hash-signature=auto,panic-on-corruption";
    let (words, vouches) = (format!("{words} {options}"), enrolled("signer.fd", &signer)?);
    built.boots(context, &vouches, &words)?.line(BY_KERNEL)?;

    let (start, length) = second(context, &built.disk)?;
    ensure!(length == SIGNATURE as u64, "the second signature has {length} bytes");
    ensure!(built.content_at(start)? == built.content()?, "the second signature is no copy");
    image::overwrite(&built.disk, built.signature, &[0; SIGNATURE])?;
    built.boots(context, &vouches, &words)?.line(BY_KERNEL).map(drop)
}

/// The bytes at which the second signature begins, and its length.
fn second(context: &Context<'_>, disk: &Path) -> Result<(u64, u64)> {
    lasting::faultless(context, disk, 512)?;
    let said = command::output(context.bench.tools.tool("sfdisk")?.arg("--json").arg(disk))?;
    let table: Value = serde_json::from_str(&said)?;
    let rows = table.pointer("/partitiontable/partitions").and_then(Value::as_array);
    let is_second = |row: &&Value| row.get("name").and_then(Value::as_str) == Some("second");
    let row =
        rows.into_iter().flatten().find(is_second).with_context(|| format!("no second one: {table}"))?;
    let bytes = |field: &str| row.get(field).and_then(Value::as_u64).map(|sectors| sectors * 512);
    bytes("start").zip(bytes("size")).context("sfdisk names no place")
}

const BY_KERNEL: &str = "signed: the kernel vouches for it";
