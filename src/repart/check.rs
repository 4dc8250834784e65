//! The implications of a definition, and the words that it may not combine. The refusals are those of systemd-repart
//! 262.

use std::prelude::v1::*;

use super::{
    CopyBlocks, Definition, Encrypt, Format, Integrity, RepartError, Verity, fields::is_file_name,
    vocabulary::SLOT,
};
use crate::disk::types::{self, Role};
use crate::file_system::FileSystem;

/// Fills in the implied values and refuses contradictions within one definition.
pub(super) fn complete(definition: &mut Definition) -> Result<(), RepartError> {
    let d = &*definition;
    let copies = d.copy_blocks.is_some();
    let populates = d.populates();
    let above = |min: Option<u64>, max: Option<u64>| min.zip(max).filter(|(min, max)| min > max);
    if let Some((min, max)) = above(d.size_min, d.size_max) {
        return Err(d.refuse(
            "SizeMinBytes",
            format!("SizeMinBytes= is {min} and SizeMaxBytes= is {max}"),
            "the smallest size cannot be above the largest",
        ));
    }
    if let Some((min, max)) = above(d.padding_min, d.padding_max) {
        return Err(d.refuse(
            "PaddingMinBytes",
            format!("PaddingMinBytes= is {min} and PaddingMaxBytes= is {max}"),
            "the smallest padding cannot be above the largest",
        ));
    }
    if copies && (d.format.is_some() || populates) {
        return Err(d.refuse("CopyBlocks", "CopyBlocks= beside Format= or files", "say one of them"));
    }
    if populates && d.format.is_some_and(|format| !format.file_system().is_some_and(FileSystem::holds_files))
    {
        return Err(d.refuse("Format", "files in a partition without a file system", "say another Format="));
    }
    let moves_in = d.block_device_replace.is_some();
    if moves_in && (copies || d.format.is_some() || populates) {
        let what = "BlockDeviceReplace= beside CopyBlocks=, Format= or files";
        return Err(d.refuse("BlockDeviceReplace", what, "say one of them"));
    }
    if d.volume_name.is_some() && !moves_in {
        let what = "VolumeName= without BlockDeviceReplace=";
        return Err(d.refuse("VolumeName", what, "no mapping stays without it: remove it"));
    }
    if d.integrity == Integrity::Inline {
        let problem = match (d.encrypt, d.discard) {
            (Encrypt::Off, _) => Some("without Encrypt="),
            (_, Some(true)) => Some("beside Discard=yes"),
            _ => None,
        };
        if let Some(problem) = problem {
            let what = format!("Integrity=inline {problem}");
            return Err(d.refuse("Integrity", what, "change one of them"));
        }
    }
    let is_boot = [types::ESP, types::XBOOTLDR].contains(&d.type_guid);
    let implied = match d.type_guid {
        types::SWAP => Some(Format::FileSystem(FileSystem::Swap)),
        _ if populates || (d.encrypt != Encrypt::Off && !copies && !moves_in) => {
            Some(Format::FileSystem(if is_boot { FileSystem::Vfat } else { FileSystem::Ext4 }))
        }
        _ => None,
    };
    // Blocks that are copied onto swap space count more than its format.
    let format = d.format.or(implied);
    if d.minimize && format.is_none() && d.verity != Verity::Hash {
        return Err(d.refuse("Minimize", "Minimize= without Format=", "say Format= or Verity=hash"));
    }
    if let Some(system) =
        format.and_then(Format::file_system).filter(|system| system.is_read_only() && !populates)
    {
        let what = format!("Format={system} without anything to put into it");
        return Err(d.refuse("Format", what, "say CopyFiles="));
    }
    if d.encrypt != Encrypt::Off && format == Some(Format::Empty) {
        return Err(d.refuse("Encrypt", "Encrypt= beside Format=empty", "say one of them"));
    }
    verity(d, format)?;
    if let Some(default) = &d.default_subvolume
        && !d.subvolumes.iter().any(|subvolume| subvolume.path == *default)
    {
        let what = format!("DefaultSubvolume={default} is none of Subvolumes=");
        return Err(d.refuse("DefaultSubvolume", what, "add it there"));
    }
    if let Some(target) = &d.supplement_for {
        if !is_file_name(target) {
            let what = format!("SupplementFor={target} is no name");
            return Err(d.refuse("SupplementFor", what, "say a definition's name without .conf"));
        }
        if alone(d) {
            return Err(d.refuse("SupplementFor", ALONE, "say one of them"));
        }
    }
    definition.format = format;
    let role = types::role(definition.type_guid);
    let is_tree = matches!(role, Some(Role::RootVerity | Role::UsrVerity));
    if (is_tree || definition.verity == Verity::Data) && definition.read_only.is_none() {
        definition.read_only = Some(true);
    }
    if definition.format == Some(Format::Empty) {
        // Set and not asked: a slot that discovery takes would be mounted before an update filled it.
        definition.no_auto = Some(true);
        definition.label.get_or_insert_with(|| SLOT.into());
    }
    // The code of 257 sets this with any value of GrowFileSystem=; its manual promises otherwise.
    if types::knows_grow_file_system(definition.type_guid) && definition.read_only != Some(true) {
        definition.grow_file_system.get_or_insert(true);
    }
    Ok(())
}

/// Checks the words that Verity= needs and excludes.
fn verity(d: &Definition, format: Option<Format>) -> Result<(), RepartError> {
    let word = d.verity.word();
    match (d.verity, &d.verity_match_key) {
        (Verity::Off, None) => return Ok(()),
        (Verity::Off, Some(_)) => {
            return Err(d.refuse("VerityMatchKey", "VerityMatchKey= without Verity=", "say Verity="));
        }
        (_, None) => {
            return Err(d.refuse("Verity", format!("Verity={word} without VerityMatchKey="), "say it"));
        }
        _ => {}
    }
    if d.verity != Verity::Data {
        if d.encrypt != Encrypt::Off {
            return Err(d.refuse("Verity", format!("Verity={word} beside Encrypt="), "say one of them"));
        }
        if format.is_some() || d.populates() {
            let what = format!("Verity={word} beside Format= or files");
            return Err(d.refuse("Verity", what, "its content follows from the data partition"));
        }
    }
    if d.verity == Verity::Signature && (d.size_min.is_some() || d.size_max.is_some()) {
        let what = "Verity=signature beside SizeMinBytes= or SizeMaxBytes=";
        return Err(d.refuse("Verity", what, "its size is known: remove them"));
    }
    Ok(())
}

const ALONE: &str = "SupplementFor= beside CopyBlocks=, Encrypt= or Verity=";

/// Returns true when a definition has a word that cannot be merged with another definition.
fn alone(d: &Definition) -> bool {
    d.copy_blocks.is_some() || d.encrypt != Encrypt::Off || d.verity != Verity::Off
}

/// Refuses contradictions between definitions.
pub(super) fn relations(list: &[Definition]) -> Result<(), RepartError> {
    for definition in list.iter().filter(|definition| definition.verity != Verity::Off) {
        siblings(list, definition)?;
    }
    for (index, definition) in list.iter().enumerate() {
        let Some(name) = &definition.supplement_for else { continue };
        let refuse = |what: String, advice| Err(definition.refuse("SupplementFor", what, advice));
        let Some(target) = target(list, index) else {
            return refuse(format!("SupplementFor={name} names no definition"), "add one or remove it");
        };
        let Some(goal) = list.get(target) else { continue };
        if goal.supplement_for.is_some() {
            return refuse(format!("SupplementFor={name} names a supplement"), "name what that one names");
        }
        if alone(goal) {
            return refuse(ALONE.into(), "name another definition");
        }
        let earlier = list.iter().take(index).any(|other| other.supplement_for.as_ref() == Some(name));
        if earlier {
            return refuse(format!("SupplementFor={name} is said twice"), "only one can be merged");
        }
        let apart = |mins: [Option<u64>; 2], maxima: [Option<u64>; 2]| {
            let max = maxima.into_iter().flatten().min();
            mins.into_iter().flatten().max().zip(max).is_some_and(|(min, max)| min > max)
        };
        if apart([definition.size_min, goal.size_min], [definition.size_max, goal.size_max]) {
            return refuse(format!("the sizes of {name} and this one exclude each other"), "change one");
        }
        if apart([definition.padding_min, goal.padding_min], [definition.padding_max, goal.padding_max]) {
            return refuse(format!("the paddings of {name} and this one exclude each other"), "change one");
        }
    }
    Ok(())
}

/// The definition that the supplement at `index` is for.
pub(super) fn target(list: &[Definition], index: usize) -> Option<usize> {
    let name = list.get(index)?.supplement_for.as_deref()?;
    list.iter()
        .enumerate()
        .position(|(other, definition)| other != index && definition.file.strip_suffix(".conf") == Some(name))
}

/// The data and hash partitions of one image have each other, once, with the same priority; a signature has both. What a
/// later one of them copies, the earlier ones copy in the same way.
fn siblings(list: &[Definition], definition: &Definition) -> Result<(), RepartError> {
    let modes = [Verity::Data, Verity::Hash, Verity::Signature];
    let mut is_earlier = true;
    for mode in modes {
        if mode == definition.verity {
            is_earlier = false;
            continue;
        }
        let mut others = list
            .iter()
            .filter(|other| other.verity == mode && other.verity_match_key == definition.verity_match_key);
        let (first, second) = (others.next(), others.next());
        let key = definition.verity_match_key.as_deref().unwrap_or_default();
        let refuse = |what: String, advice| Err(definition.refuse("Verity", what, advice));
        match (first, second) {
            (None, _) if mode == Verity::Signature => {}
            (None, _) => {
                let what = format!("no definition says Verity={} and VerityMatchKey={key}", mode.word());
                return refuse(what, "add one");
            }
            (_, Some(_)) => {
                let what = format!("two definitions say Verity={} and VerityMatchKey={key}", mode.word());
                return refuse(what, "remove one");
            }
            (Some(other), None) if other.priority != definition.priority => {
                return refuse(format!("{} has another Priority=", other.file), "give both the same one");
            }
            (Some(other), None) if is_earlier && !copies_alike(definition, other) => {
                let what = format!("CopyBlocks= that {} has not", other.file);
                return refuse(what, "copy all partitions of one image, or let them be made");
            }
            _ => {}
        }
    }
    Ok(())
}

/// True unless `definition` copies, and the other one does not, or from elsewhere.
fn copies_alike(definition: &Definition, other: &Definition) -> bool {
    match (&definition.copy_blocks, &other.copy_blocks) {
        (None, _) | (Some(CopyBlocks::Auto), Some(CopyBlocks::Auto)) => true,
        (Some(CopyBlocks::Path(_)), Some(CopyBlocks::Path(_))) => true,
        (Some(_), _) => false,
    }
}
