//! The sources of `CopyBlocks=`: measured before anything is planned, because their size decides how large a partition gets.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{CopyBlocks, Definition, Maker, RepartError, matched, refuse};
use crate::disk::{partition::Layout, types::Identifier};

/// A source, measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Copied {
    /// Its length in bytes; None when it is not known.
    pub length: Option<u64>,
    /// The identity that the new partition keeps, so that the root hash finds the copy too.
    pub guid: Option<Uuid>,
}

/// Measures with `look` the source of every definition that copies one and whose partition does not exist, and gives
/// the definition the size. It gets the place of the definition among all.
///
/// # Errors
/// The error of `look`, and a source that a boot could not make or copy. The host tool refuses later, when it carries
/// out the plan: it also shows partitions that it cannot make.
pub fn measure<E>(
    maker: Maker,
    definitions: &mut [Definition],
    layout: &Layout,
    refused: &dyn Fn(RepartError) -> E,
    look: &mut dyn FnMut(usize, &Definition, &CopyBlocks) -> Result<Copied, E>,
) -> Result<(), E> {
    let matched = matched(definitions, layout);
    for (position, (definition, existing)) in definitions.iter_mut().zip(matched).enumerate() {
        let Some(copied) = definition.copy_blocks.clone().filter(|_| existing.is_none()) else { continue };
        if maker == Maker::Boot {
            refuse(definition, maker).map_err(refused)?;
        }
        let Copied { length, guid } = look(position, definition, &copied)?;
        if let (CopyBlocks::Path(path), Some(length)) = (&copied, length)
            && (length == 0 || !length.is_multiple_of(512))
        {
            let what = format!("CopyBlocks={path} has {length} bytes, which no partition has");
            return Err(refused(definition.refuse("CopyBlocks", what, "pad it to whole sectors")));
        }
        definition.uuid = definition.uuid.or(guid);
        definition.copy_size = length;
    }
    Ok(())
}

/// The refusal of `CopyBlocks=auto` where the boot is not from such a partition.
pub fn not_booted(definition: &Definition) -> RepartError {
    let wanted = Identifier(definition.type_guid);
    let what = format!("CopyBlocks=auto: nothing is booted from a {wanted} partition");
    definition.refuse("CopyBlocks", what, "name a path")
}
