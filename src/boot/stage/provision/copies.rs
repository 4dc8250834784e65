//! Sources of new partitions that copy block by block (`CopyBlocks=`): a file or a device that the definition names, or the partition
//! that is booted. Opened before anything is planned: its size decides how large the partition gets.

use std::{
    fs::File,
    io::{Seek as _, SeekFrom},
    os::{
        fd::{AsFd as _, BorrowedFd},
        unix::fs::FileTypeExt as _,
    },
};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use uuid::Uuid;

use crate::{
    boot::{
        disks,
        failure::{Failure, OrFail as _},
        stage::usr::Usr,
    },
    disk::{
        partition::Layout,
        types::{self, Identifier, Role},
    },
    populate::blocks,
    repart::{self, CopyBlocks, Definition, Maker},
    sys::block::{BlockDevice, Node},
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
    /// Opens the source of every definition whose partition does not exist, and tells the definition how long it is. Paths
    /// below /usr are those of the mounted one, whose tree is `above`; others are the initramfs's. A partition that copies
    /// the booted one keeps its identity, as systemd does, so that the root hash finds the copy too.
    ///
    /// # Errors
    /// A source that is not there or cannot be copied, a type that nothing is booted from.
    pub fn open(
        definitions: &mut [Definition],
        layout: &Layout,
        usr: &Usr,
        above: BorrowedFd<'_>,
    ) -> Result<Self, Failure> {
        let matched = repart::matched(definitions, layout);
        let mut all = Vec::new();
        for (place, (definition, existing)) in definitions.iter_mut().zip(matched).enumerate() {
            let Some(copied) = definition.copy_blocks.clone().filter(|_| existing.is_none()) else {
                continue;
            };
            repart::refuse(definition, Maker::Boot).or_fail(|| "/usr's repart.d is refused".into())?;
            let source = match &copied {
                CopyBlocks::Path(path) => named(definition, path, above)?,
                CopyBlocks::Auto => {
                    let (source, guid) = booted(definition, usr)?;
                    definition.uuid.get_or_insert(guid);
                    source
                }
            };
            definition.copy_size = Some(source.length.0);
            all.push((place, source));
        }
        Ok(Self(all))
    }

    /// The source that the definition at this place copies.
    pub fn of(&self, place: usize) -> Option<&Source> {
        self.0.iter().find(|(position, _)| *position == place).map(|(_, source)| source)
    }
}

impl Source {
    /// Copies all of it to the start of a partition or mapping of this size. Nothing is flushed.
    ///
    /// # Errors
    /// There is less room than it needs; what the first read or write that failed says.
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

/// A file or a block device.
fn named(definition: &Definition, path: &str, above: BorrowedFd<'_>) -> Result<Source, Failure> {
    let cannot = |what: &str| format!("{}: CopyBlocks={path} {what}", definition.file);
    let top;
    let root = if path.starts_with("/usr/") {
        above
    } else {
        top = File::open("/").or_fail(|| cannot("cannot be looked up"))?;
        top.as_fd()
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let mut file = openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
        .map(File::from)
        .or_fail(|| cannot("cannot be opened"))?;
    let kind = file.metadata().or_fail(|| cannot("cannot be looked at"))?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let what = cannot("is neither a file nor a block device; name one, or say auto");
        return Err(Failure::new(what));
    }
    let length = file.seek(SeekFrom::End(0)).or_fail(|| cannot("cannot be measured"))?;
    if length == 0 || !length.is_multiple_of(512) {
        let what = cannot(&format!("has {length} bytes, which no partition has; pad it to whole sectors"));
        return Err(Failure::new(what));
    }
    Ok(Source { file, name: path.into(), length: Bytes(length) })
}

/// The partition that /usr is booted from, or that of its hash tree, and its identity.
fn booted(definition: &Definition, usr: &Usr) -> Result<(Source, Uuid), Failure> {
    let refuse = |what: String| {
        Err(Failure::new(format!("{}: CopyBlocks=auto: {what}; name a path", definition.file)))
    };
    let device = match types::role(definition.type_guid) {
        Some(Role::Usr) => Some(usr.data()),
        Some(Role::UsrVerity) => usr.hash(),
        _ => None,
    };
    let wanted = Identifier(definition.type_guid);
    let Some(device) = device else { return refuse(format!("nothing is booted from a {wanted} partition")) };
    let all = BlockDevice::all().or_fail(|| "cannot list /sys/class/block".into())?;
    // The type as the table has it: /usr may have been named by the command line, and be something else.
    let Some(entry) = disks::entry(device, &all).filter(|entry| entry.type_guid == definition.type_guid)
    else {
        return refuse(format!("{}, which is booted, is no {wanted} partition of a GPT", device.name));
    };
    let node = device.node();
    let file = File::open(&node).or_fail(|| format!("cannot open {}", node.display()))?;
    let length = blocks::size(&file).or_fail(|| format!("cannot measure {}", node.display()))?;
    Ok((Source { file, name: device.name.clone(), length }, entry.guid))
}
