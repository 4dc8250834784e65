//! What can be done, and by whom: the one place that says so. Everything is understood when it is read; what is asked for
//! here is whether a new partition can be made as its definition says.

use std::prelude::v1::*;

use super::{CopyBlocks, Definition, Encrypt, Format, RepartError, Verity};
use crate::disk::types::{self, Role};

/// Who makes partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// The first boot.
    Boot,
    /// The host tool.
    Tool,
}

/// Refuses a new partition that cannot be made as its definition says. To be asked for every new partition of a plan
/// before anything is written.
///
/// # Errors
/// What cannot be done, with file and line and what to say instead.
pub fn refuse(definition: &Definition, maker: Maker) -> Result<(), RepartError> {
    let encrypted = definition.encrypt != Encrypt::Off;
    let unsupported = |key: &str, value: &str, advice| {
        Err(definition.refuse(key, format!("{key}={value} is not supported"), advice))
    };
    if definition.verity != Verity::Off {
        return unsupported("Verity", definition.verity.word(), "leave it to who builds the image");
    }
    if definition.minimize {
        return unsupported("Minimize", "yes", "leave it to who builds the image");
    }
    match definition.encrypt {
        Encrypt::Off | Encrypt::KeyFile => {}
        other => return unsupported("Encrypt", other.word(), "say Encrypt=off or Encrypt=key-file"),
    }
    let format = match definition.format {
        // Copied blocks bring their own.
        _ if definition.copy_blocks.is_some() => None,
        format => format,
    };
    let (formats, advice): (&[Format], _) = match maker {
        Maker::Boot => (&[Format::Ext4], "say Format=ext4"),
        Maker::Tool => {
            (&[Format::Ext4, Format::Vfat, Format::Swap, Format::Empty], "say ext4, vfat, swap or empty")
        }
    };
    if let Some(format) = format.filter(|format| !formats.contains(format)) {
        return unsupported("Format", format.word(), advice);
    }
    match (maker, &definition.copy_blocks) {
        (_, None) | (Maker::Tool, _) => {}
        (Maker::Boot, Some(CopyBlocks::Auto)) => {
            return unsupported("CopyBlocks", "auto", "remove it: the root partition is populated from /usr");
        }
        (Maker::Boot, Some(CopyBlocks::Path(path))) => {
            return unsupported("CopyBlocks", path, "remove it: the root partition is populated from /usr");
        }
    }
    let content = definition.populates() || !definition.subvolumes.is_empty();
    if content && (encrypted || maker == Maker::Tool) {
        return Err(definition.refuse(
            "CopyFiles",
            "CopyFiles=, MakeDirectories=, MakeSymlinks= and Subvolumes= are not supported",
            "remove them",
        ));
    }
    if maker == Maker::Boot {
        if types::role(definition.type_guid) != Some(Role::Root) {
            let identifier = types::Identifier(definition.type_guid).to_string();
            return unsupported("Type", &identifier, "only the root partition can be made here");
        }
        if content {
            return Err(definition.refuse(
                "CopyFiles",
                "CopyFiles=, MakeDirectories=, MakeSymlinks= and Subvolumes= are not supported",
                "remove them: the root partition is populated from /usr",
            ));
        }
        if format.is_none() {
            let what = "no Format= for the root partition";
            return Err(definition.refuse("Format", what, "say Format=ext4, or it could not be mounted"));
        }
    }
    Ok(())
}
