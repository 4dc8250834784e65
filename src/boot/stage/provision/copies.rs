//! The sources of `CopyBlocks=`: a file or a device that the definition names, or the partition
//! that is booted. Opened before anything is planned: its size decides how large the partition gets.

use std::{
    fs::File,
    os::fd::{AsFd as _, BorrowedFd},
};

use uuid::Uuid;

use crate::{
    boot::{
        disks,
        failure::{Failure, OrFail as _},
        stage::usr::Usr,
    },
    disk::{
        partition::Layout,
        types::{self, Role},
    },
    populate::blocks,
    repart::{self, Copied, CopyBlocks, Definition, Maker},
    sys::block::Node,
    units::Bytes,
};

/// The sources, each with the place of its definition.
#[derive(Default)]
pub struct Copies(Vec<(usize, Source)>);

/// Something to be copied whole.
pub struct Source {
    file: File,
    name: String,
    length: Bytes,
}

impl Copies {
    /// Opens the source of every definition whose partition does not exist, and gives the definition its length. Paths
    /// below /usr are those of the mounted one, whose tree is `above`; others are the initramfs's. A partition that
    /// copies the booted one keeps its identity, as in systemd, so that the root hash finds the copy too.
    ///
    /// # Errors
    /// A source that is missing or cannot be copied, a type that is never booted from.
    pub fn open(
        definitions: &mut [Definition],
        layout: &Layout,
        usr: &Usr,
        above: BorrowedFd<'_>,
    ) -> Result<Self, Failure> {
        let mut all = Vec::new();
        repart::measure(
            Maker::Boot,
            definitions,
            layout,
            &|error| Failure::new(format!("/usr's repart.d: {error}")),
            &mut |place, definition, copied| {
                let (source, guid) = match copied {
                    CopyBlocks::Path(path) => (named(definition, path, above)?, None),
                    CopyBlocks::Auto => booted(definition, usr)?,
                };
                let length = Some(source.length.0);
                all.push((place, source));
                Ok(Copied { length, guid })
            },
        )?;
        Ok(Self(all))
    }

    /// The source of the definition at this place.
    pub fn of(&self, place: usize) -> Option<&Source> {
        self.0.iter().find(|(position, _)| *position == place).map(|(_, source)| source)
    }
}

impl Source {
    /// Copies all of it to the start of a partition or mapping of this size. Nothing is flushed.
    ///
    /// # Errors
    /// There is less room than it needs; the error of the first read or write that failed.
    pub fn copy(&self, to: &Node, size: Bytes) -> Result<(), Failure> {
        let Self { file, name, length } = self;
        let target = to.path().display();
        if *length > size {
            let reason = format!("{name} has {length}, but {target} only {size}; raise SizeMaxBytes=");
            return Err(Failure::new(reason));
        }
        blocks::copy(file, to.file(), *length).or_fail(|| format!("cannot copy {name} to {target}"))
    }
}

/// A file or a block device: of /usr, or of the initramfs.
fn named(definition: &Definition, path: &str, above: BorrowedFd<'_>) -> Result<Source, Failure> {
    let top;
    let root = if path.starts_with("/usr/") {
        above
    } else {
        top = File::open("/").or_fail(|| "cannot open the root of the initramfs".into())?;
        top.as_fd()
    };
    let (file, length) = blocks::open(definition, path, path, root).or_fail(|| "/usr's repart.d".into())?;
    Ok(Source { file, name: path.into(), length })
}

/// The partition that /usr is booted from, or that of its hash tree or its signature, and its identity.
fn booted(definition: &Definition, usr: &Usr) -> Result<(Source, Option<Uuid>), Failure> {
    let not_booted = || Failure::new(format!("/usr's repart.d: {}", repart::not_booted(definition)));
    let device = match types::role(definition.type_guid) {
        Some(Role::Usr) => Some(usr.data()),
        Some(Role::UsrVerity) => usr.hash(),
        Some(Role::UsrVeritySig) => usr.signature(),
        _ => None,
    };
    let device = device.ok_or_else(not_booted)?;
    // The type as the table has it: /usr may have been named by the command line, and be something else.
    let entry = disks::entry(device).filter(|entry| entry.type_guid == definition.type_guid);
    let entry = entry.ok_or_else(not_booted)?;
    let node = device.node();
    let file = File::open(&node).or_fail(|| format!("cannot open {}", node.display()))?;
    let length = blocks::size(&file).or_fail(|| format!("cannot measure {}", node.display()))?;
    Ok((Source { file, name: device.name.clone(), length }, Some(entry.guid)))
}
