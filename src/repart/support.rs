//! The limits of what can be made of several keys together, and by whom; of one key alone its row in [`super::keys`] says so. Everything is understood when it is read; what is asked for
//! here is whether a new partition can be made as its definition says.

use std::prelude::v1::*;

use super::{CopyBlocks, Definition, Encrypt, Format, Maker, Place, RepartError, Verity};
use crate::{
    disk::types::{self, Role},
    file_system::{FileSystem, MadeBy},
    luks,
};

impl Maker {
    /// True when it can make an empty file system of this kind. As yet neither runs a program.
    fn makes(self, system: FileSystem) -> bool {
        match (self, system.made_by()) {
            (Self::Boot | Self::Tool, MadeBy::Writes) => true,
            (Self::Boot | Self::Tool, MadeBy::Program(_) | MadeBy::Nothing) => false,
        }
    }
}

/// Lists the file systems that are wanted, and the words after them, as a sentence does: `ext4, btrfs or empty`.
fn one_of(wanted: &dyn Fn(FileSystem) -> bool, more: &[&'static str]) -> String {
    let systems = FileSystem::ALL.iter().copied().filter(|system| wanted(*system));
    let words: Vec<&str> = systems.map(FileSystem::name).chain(more.iter().copied()).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Refuses a new partition that cannot be made as its definition says. To be asked for every new partition of a plan
/// before anything is written.
///
/// # Errors
/// A definition that asks for what cannot be done, with file and line and what to say instead.
pub fn refuse(definition: &Definition, maker: Maker) -> Result<(), RepartError> {
    let unsupported = |key: &str, value: &str, advice| {
        Err(definition.refuse(key, format!("{key}={value} is not supported"), advice))
    };
    if let Some((key, advice)) = definition.beyond(maker) {
        let said = definition.places.iter().rev().find(|place| place.key == key);
        return unsupported(key, said.map_or("", |place| place.value.as_str()), advice);
    }
    if definition.verity != Verity::Off && definition.copy_blocks.is_none() {
        return unsupported("Verity", definition.verity.word(), "leave it to who builds the image");
    }
    protection(definition, maker)?;
    match (maker, definition.encrypt) {
        (_, Encrypt::Off | Encrypt::KeyFile) | (Maker::Boot, _) => {}
        (Maker::Tool, other) => {
            return unsupported(
                "Encrypt",
                other.word(),
                "let the first boot make it, or say off or key-file",
            );
        }
    }
    let format = match definition.format {
        // Copied blocks bring their own.
        _ if definition.copy_blocks.is_some() => None,
        format => format,
    };
    let system = format.and_then(Format::file_system);
    if let Some(system) = system.filter(|system| !maker.makes(*system)) {
        let what = match system.made_by() {
            MadeBy::Program(program) => format!(" ({program} cannot be run)"),
            MadeBy::Writes | MadeBy::Nothing => String::new(),
        };
        return Err(definition.refuse(
            "Format",
            format!("Format={system} is not supported{what}"),
            format!("say Format={}", one_of(&|system| maker.makes(system), &["empty"])),
        ));
    }
    if system == Some(FileSystem::Btrfs) {
        compression(definition)?;
    }
    let largest = luks::CONTENT_SECTOR as u32;
    let has_sectors = system.is_some() || definition.encrypt != Encrypt::Off;
    if let Some(size) = definition.file_system_sector.filter(|size| has_sectors && *size > largest) {
        return unsupported("FileSystemSectorSize", &size.to_string(), "say 4096 or less");
    }
    let booted =
        matches!(types::role(definition.type_guid), Some(Role::Usr | Role::UsrVerity | Role::UsrVeritySig));
    if maker == Maker::Boot && definition.copy_blocks == Some(CopyBlocks::Auto) && !booted {
        return unsupported(
            "CopyBlocks",
            "auto",
            "name a path: the first boot has /usr, its hashes and its signature alone",
        );
    }
    if !definition.subvolumes.is_empty() && !system.is_some_and(FileSystem::has_subvolumes) {
        let with = one_of(&FileSystem::has_subvolumes, &[]);
        let what = format!("Subvolumes= without Format={with}");
        return Err(definition.refuse("Subvolumes", what, format!("say Format={with}, or remove it")));
    }
    let encrypted = definition.encrypt != Encrypt::Off;
    let content = definition.populates() || definition.copy_blocks.is_some();
    if maker == Maker::Tool && encrypted && content {
        return Err(definition.refuse(
            "Encrypt",
            "files or blocks on an encrypted partition of an image are not supported",
            "let the first boot make this partition, or say Encrypt=off",
        ));
    }
    if maker == Maker::Boot {
        let is_root = types::role(definition.type_guid) == Some(Role::Root);
        if is_root && !system.is_some_and(FileSystem::mounts_as_root) {
            let what = match format {
                None => "no Format= for the root partition".into(),
                Some(format) => format!("Format={} for the root partition", format.word()),
            };
            let taken = one_of(&|system| maker.makes(system) && system.mounts_as_root(), &[]);
            return Err(definition.refuse(
                "Format",
                what,
                format!("say Format={taken}, or no system could start on it"),
            ));
        }
    }
    Ok(())
}

/// Refuses what would leave a partition less protected than its definition says.
fn protection(definition: &Definition, maker: Maker) -> Result<(), RepartError> {
    if definition.copy_files.iter().any(|files| files.fs_verity) {
        let advice = "say fsverity=off: the new files would have no protection of their own";
        return Err(definition.refuse("CopyFiles", "fsverity=copy is not supported", advice));
    }
    let key_file = matches!(definition.encrypt, Encrypt::KeyFile | Encrypt::KeyFileTpm2);
    if maker == Maker::Boot && key_file && definition.key_file.is_some() {
        let advice = "give the first boot its key file by hermetic.key-file=, and remove this";
        return Err(definition.refuse("KeyFile", "KeyFile= is not supported", advice));
    }
    let more = |place: &&Place| place.key == "TPM2PCRs" && place.value.contains(':');
    if definition.encrypt.asks_for_tpm()
        && definition.tpm2_pcrs.is_some()
        && let Some(place) = definition.places.iter().find(more)
    {
        let what = format!("TPM2PCRs={} is not supported", place.value);
        return Err(definition.refuse("TPM2PCRs", what, "say the numbers of PCRs alone"));
    }
    Ok(())
}

/// Refuses a compression that the kernel's btrfs does not know.
fn compression(definition: &Definition) -> Result<(), RepartError> {
    let Some(compression) = &definition.compression else { return Ok(()) };
    let most = match compression.as_str() {
        "zlib" => 9,
        "lzo" => 0,
        "zstd" => 15,
        _ => {
            let what = format!("Compression={compression} beside Format=btrfs");
            return Err(definition.refuse("Compression", what, "say zlib, lzo or zstd"));
        }
    };
    match &definition.compression_level {
        Some(level) if !level.parse().is_ok_and(|level: u32| (1..=most).contains(&level)) => {
            let what = format!("CompressionLevel={level} beside Compression={compression}");
            Err(definition.refuse("CompressionLevel", what, "say 1 to 9 with zlib, 1 to 15 with zstd"))
        }
        _ => Ok(()),
    }
}
