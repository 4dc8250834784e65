//! The slot of /usr, its hash tree, its file system.

use hermetic_init::{
    config::{Config, DeviceSpec, Uses, UsrSource},
    disk::{
        partition::Partition,
        probe,
        slot::{Choice, has_version, select_usr},
    },
    file_system::FileSystem,
    image::{self, Missing, NO_TABLE},
    units::Bytes,
    verity::{self, Fault, SignatureSource, Tree},
    writes::ReadAt as _,
};

use super::{disk::Named, report::Report};
use crate::{repart::Failure, wait};

/// The stage of the boot.
const STAGE: &str = "usr";

/// The kernel's answer to the read of a block that was changed, in the words of the C library that the boot is linked with, musl;
/// this program may be linked with another one.
const EIO: &str = "I/O error (os error 5)";

/// The first mapping of a boot.
const MAPPING: &str = "/dev/dm-0";

/// The partitions of /usr.
pub struct Found {
    /// The partition with the file system.
    pub data: Partition,
    /// The partition with the hash tree.
    pub hash: Option<Partition>,
    /// True when a partition may hold a signature of its root hash.
    pub is_signed: bool,
}

/// Finds the partitions of /usr as the boot does on the one disk that there is; without a root hash those of the kernel image's
/// version. None: it refuses.
///
/// # Errors
/// It cannot be told.
pub fn find(
    config: &Config,
    disk: &Named,
    version: Option<&str>,
    report: &mut Report,
) -> Result<Option<Found>, Failure> {
    if let Some(line) = disk.unusable() {
        report.warn(STAGE, line);
    }
    let verity = config.usr.verity.as_ref();
    let named = match (verity, &config.usr.source) {
        (None, UsrSource::Device(spec)) => Some((spec.clone(), None)),
        (Some(verity), _) if verity.data.is_some() || verity.hash.is_some() => {
            let by = |spec: &Option<DeviceSpec>, guid: uuid::Uuid| {
                spec.clone().unwrap_or_else(|| DeviceSpec::PartUuid(guid.to_string()))
            };
            let root_hash = &verity.root_hash;
            Some((by(&verity.data, root_hash.data_guid()), Some(by(&verity.hash, root_hash.verity_guid()))))
        }
        _ => None,
    };
    if let Some((data, hash)) = named {
        let Some(data) = answering(config, disk, &data, report)? else { return Ok(None) };
        let Some(hash) = hash else { return Ok(Some(Found { data, hash: None, is_signed: false })) };
        let hash = answering(config, disk, &hash, report)?;
        return Ok(hash.map(|hash| Found { data, hash: Some(hash), is_signed: false }));
    }
    let root_hash = verity.map(|verity| &verity.root_hash);
    let choice = match (root_hash, version) {
        (Some(root_hash), _) => Choice::RootHash(root_hash),
        (None, Some(version)) => Choice::Version(version),
        (None, None) => Choice::Newest,
    };
    let slot = match disk.gpt() {
        None => Err(NO_TABLE.to_owned()),
        Some(gpt) => select_usr(gpt.partitions(), choice, &config.image_filter)
            .map_err(|error| format!("{}: {error}", disk.name())),
    };
    let slot = match slot {
        Ok(slot) => slot,
        Err(why_not) => {
            report.refuse(STAGE, missing(config, disk, &image::subject(root_hash), &why_not));
            return Ok(None);
        }
    };
    if let (None, Some(version)) = (root_hash, version)
        && !has_version(&slot.label, version)
    {
        report.warn(STAGE, image::other_version(disk.name(), version, &slot.label));
    }
    let entry = |number| disk.gpt().and_then(|gpt| gpt.partition(number)).cloned();
    let Some(data) = entry(slot.data) else { return Ok(None) };
    let name = disk.partition_name(data.number);
    report.fact(STAGE, format!("{name} ({:?}) is {}", slot.label, image::subject(root_hash)));
    let is_signed = !slot.signatures.is_empty();
    Ok(Some(Found { data, hash: slot.verity.and_then(entry), is_signed }))
}

/// The refusal of something that no device has in time.
pub fn missing(config: &Config, disk: &Named, subject: &str, why_not: &str) -> String {
    let names = disk.names();
    Missing {
        subject,
        seconds: config.hermetic.device_timeout.as_secs(),
        why_not,
        there: &names.iter().map(String::as_str).collect::<Vec<_>>(),
        silent: &[],
    }
    .to_string()
}

fn answering(
    config: &Config,
    disk: &Named,
    spec: &DeviceSpec,
    report: &mut Report,
) -> Result<Option<Partition>, Failure> {
    let found = disk.answering(spec)?;
    if found.is_none() {
        let line = missing(config, disk, &spec.to_string(), "no device answers to that");
        report.refuse(STAGE, line);
    }
    Ok(found.cloned())
}

/// The part of /usr that its root hash vouches for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verified {
    /// Every block.
    Whole,
    /// The blocks that were read, if any.
    Partly,
    /// Not the block that was found changed.
    Changed,
}

/// Verifies /usr against its root hash: what the boot reads before it mounts, then all of it unless it is to be `quick`. None: the
/// boot refuses it.
///
/// # Errors
/// The image cannot be read.
pub fn verify(
    config: &Config,
    disk: &Named,
    found: &Found,
    quick: bool,
    report: &mut Report,
) -> Result<Option<Verified>, Failure> {
    let policy = config.image_policy.usr;
    let enough = if config.usr.verity.is_some() { Uses::VERITY } else { Uses::UNPROTECTED };
    let asked = !matches!(config.usr.signature, None | Some(SignatureSource::Discovered));
    // Without a root hash the boot takes the one that is signed.
    let signed = config.usr.verity.is_none() && found.is_signed && policy.allows(Uses::SIGNED);
    if asked || signed || !policy.allows(enough) {
        return Err(Failure::new(
            "the boot goes by a signature of the root hash, which is not judged here yet; name the root hash by usrhash=, or check without the demand",
        ));
    }
    let data_name = disk.partition_name(found.data.number);
    let (Some(verity), Some(hash)) = (&config.usr.verity, &found.hash) else {
        report.warn(STAGE, format!("/usr unverified on {data_name}"));
        return Ok(Some(Verified::Partly));
    };
    let root_hash = &verity.root_hash;
    let hash_name = disk.partition_name(hash.number);
    let (data, tree) = (disk.range(&found.data), disk.range(hash));
    let mut bytes = [0; verity::LENGTH];
    let read = tree.read_exact_at(Bytes(0), &mut bytes).map_err(|error| error.to_string());
    let superblock = match image::superblock(
        root_hash,
        (&data_name, data.length()),
        (&hash_name, tree.length()),
        read.map(|()| bytes.as_slice()),
    ) {
        Ok(superblock) => superblock,
        Err(line) => {
            report.refuse(STAGE, line);
            return Ok(None);
        }
    };
    let walk = Tree { superblock: &superblock, root_hash, data: &data, hash: &tree };
    match walk.verify_first() {
        Ok(()) => {}
        Err(Fault::Read(error)) => return Err(disk.unreadable(&error)),
        Err(_) => {
            report.refuse(STAGE, image::mismatch(&data_name, root_hash, &EIO));
            return Ok(None);
        }
    }
    if quick {
        report.fact(STAGE, format!("/usr verified on {data_name} (its first block)"));
        return Ok(Some(Verified::Partly));
    }
    let total = superblock.data_length();
    let verified = wait::measured(&format!("verifying {total}"), total, |progress| walk.verify(progress));
    let (on, what, offset) = match verified {
        Ok(()) => {
            report.fact(STAGE, format!("/usr verified on {data_name} ({total})"));
            return Ok(Some(Verified::Whole));
        }
        Err(Fault::Read(error)) => return Err(disk.unreadable(&error)),
        Err(Fault::Hash { offset }) => (&hash_name, "the hash tree", offset),
        // The boot looks for the superblock of a file system there.
        Err(Fault::Data { offset }) if offset.0 < probe::LENGTH as u64 => {
            report.refuse(STAGE, format!("cannot read {MAPPING}: {EIO}"));
            return Ok(None);
        }
        Err(Fault::Data { offset }) => (&data_name, "data", offset),
    };
    let line = format!("{on}: the block of {what} at byte {} was changed", offset.0);
    report.damage(STAGE, line + "; what reads it fails, write the image anew");
    Ok(Some(Verified::Changed))
}

/// The file system of /usr. None: the boot refuses it.
///
/// # Errors
/// The image cannot be read.
pub fn file_system(
    config: &Config,
    disk: &Named,
    found: &Found,
    report: &mut Report,
) -> Result<Option<FileSystem>, Failure> {
    let node = match (&config.usr.verity, &found.hash) {
        (Some(_), Some(_)) => MAPPING.to_owned(),
        _ => format!("/dev/{}", disk.partition_name(found.data.number)),
    };
    let superblock = disk.superblock(&found.data)?;
    let wanted = config.usr.mount.fstype.as_deref();
    let policy = config.image_policy.usr;
    match image::file_system(&node, superblock.as_ref(), FileSystem::mounts_as_usr, policy, wanted) {
        Ok(system) => Ok(Some(system)),
        Err(line) => {
            report.refuse(STAGE, line);
            Ok(None)
        }
    }
}
