//! The content of a device, by the superblock at its start.

use std::{io, path::Path};

use crate::{
    boot::failure::{Failure, OrFail as _},
    disk::probe::{self, Format, Superblock},
    sys::block::Node,
    units::Bytes,
    writes::ReadAt,
};

/// Reads the superblock of what a device holds; None when it is not known.
///
/// # Errors
/// The device cannot be read.
pub fn superblock(node: &Path) -> io::Result<Option<Superblock>> {
    let node = Node::open(node)?;
    let length = usize::try_from(node.size()?.0).unwrap_or(probe::LENGTH).min(probe::LENGTH);
    let mut start = vec![0; length];
    ReadAt::read_exact_at(node.file(), Bytes(0), &mut start)?;
    Ok(probe::probe(&start))
}

/// The name of the file system on `node`, which must be one of `allowed`, and `wanted` if that is given.
///
/// # Errors
/// It cannot be read, holds nothing known, or another file system.
pub fn file_system(node: &Path, allowed: &[Format], wanted: Option<&str>) -> Result<&'static str, Failure> {
    let found = superblock(node).or_fail(|| format!("cannot read {}", node.display()))?;
    let refuse = |reason: String| Err(Failure::new(format!("{}: {reason}", node.display())));
    let names = allowed.iter().map(Format::to_string).collect::<Vec<_>>().join(", ");
    let Some(found) = found else {
        return refuse(format!(
            "no file system that we know; it is damaged or was never written (wanted: {names})"
        ));
    };
    match found.format.mount_type() {
        Some(name) if allowed.contains(&found.format) => match wanted {
            Some(wanted) if wanted != name => {
                refuse(format!("holds {name}, but the command line says {wanted}; correct the command line"))
            }
            _ => Ok(name),
        },
        _ => refuse(format!("{} cannot be mounted here; use one of {names}", found.format)),
    }
}
