//! The content of a new partition: LUKS2, a file system, what belongs into it.

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use rustix::mount::MountFlags;

use super::{copies::Copies, locks::Lock, volume::encrypt};
use crate::{
    boot::{
        disks::apply,
        failure::{Failure, OrFail as _},
        furnished,
        machine::{credentials::Imported, devices::Devices, run::OURS},
    },
    debug,
    disk::transaction::wipe,
    furnish::Identity,
    populate::{self, populate},
    repart::{Content, Creation, Filling, NewPartition, Room},
    sys::{
        block::{BlockDevice, Node},
        btrfs as mounted,
        dm::{Mapper, Mapping},
        mount,
    },
    warning,
};

/// The sources of content.
pub struct Image<'a> {
    /// The directory whose `usr` is /usr: what CopyFiles= is looked up in.
    pub above: BorrowedFd<'a>,
    /// /usr.
    pub usr: BorrowedFd<'a>,
    /// The sources of what is copied block by block.
    pub copies: &'a Copies,
    /// The places where partitions are mounted, as paths from the root.
    pub mounts: &'a [&'static str],
    /// The machine that a root is made for.
    pub identity: &'a Identity,
    /// The credentials of this boot, for its users.
    pub credentials: &'a Imported,
}

/// Formats and populates the partition, then lets go of it: nothing is mounted or mapped and everything is on the
/// medium when this returns.
///
/// # Errors
/// Anything that could not be written; what was mounted and mapped is gone all the same.
pub fn fill(
    device: &BlockDevice,
    creation: &Creation<'_>,
    locks: &[Lock<'_>],
    image: &Image<'_>,
    devices: &mut Devices,
) -> Result<(), Failure> {
    let mapping = match (creation.opened_by, locks) {
        (None, _) => None,
        (Some(_), [first, further @ ..]) => Some(encrypt(device, creation, first, further, devices)?),
        (Some(_), []) => {
            let name = &device.name;
            return Err(Failure::new(format!("{name}: nothing would open the new encrypted partition")));
        }
    };
    let node = mapping.as_ref().map_or_else(|| device.node(), Mapping::node);
    let result =
        format(&node, creation, image.copies).and_then(|()| mount_and_fill(&node, creation, image, devices));
    // Also after a failure: a mapping that stays would hold the partition that is to go.
    let removed = match &mapping {
        Some(mapping) => Mapper::open()
            .and_then(|mapper| mapper.remove(mapping))
            .or_fail(|| format!("{}: cannot remove the mapping of the new volume; reboot", device.name)),
        None => Ok(()),
    };
    result.and(removed)?;
    let node = Node::open(device.node()).or_fail(|| format!("cannot open {}", device.name))?;
    // What the next stage reads comes from the medium, not from what we believe we wrote.
    node.sync().and_then(|()| node.flush_cache()).or_fail(|| format!("cannot flush {}", device.name))
}

/// Wipes the places where something could be recognised, then writes what is copied, an empty file system, or nothing.
fn format(node: &Path, creation: &Creation<'_>, copies: &Copies) -> Result<(), Failure> {
    let node = Node::open_exclusive(node).or_fail(|| format!("cannot open {}", node.display()))?;
    let path = node.path().display();
    let measured = node.size().and_then(|length| Ok(Room { length, sector_size: node.block_size()? }));
    let measured = measured.or_fail(|| format!("cannot measure {path}"))?;
    apply(&wipe(measured.length), &node)?;
    match &creation.content {
        Content::Nothing => Ok(()),
        Content::Blocks => match copies.of(creation.new.position) {
            Some(source) => {
                source.copy(&node, measured.length)?;
                node.sync().or_fail(|| format!("cannot write {path}"))
            }
            None => Err(Failure::new(format!("{path}: the source of CopyBlocks= was not opened"))),
        },
        // The kernel's word on what was decided without it.
        Content::FileSystem(..) if measured != creation.room => {
            let (is, decided) = (measured, creation.room);
            Err(Failure::new(format!(
                "{path} has {} in sectors of {}, but the partition was planned with {} in sectors of {}",
                is.length, is.sector_size, decided.length, decided.sector_size
            )))
        }
        Content::FileSystem(_, recipe) => {
            let writes = recipe.as_writes().or_fail(|| creation.new.definition.file.clone())?;
            apply(writes, &node)
        }
    }
}

/// Mounts the new file system, fills it and unmounts it.
fn mount_and_fill(
    node: &Path,
    creation: &Creation<'_>,
    image: &Image<'_>,
    devices: &mut Devices,
) -> Result<(), Failure> {
    let Some(filling) = &creation.filling else { return Ok(()) };
    let Filling { system, ref options, .. } = *filling;
    let target = PathBuf::from(OURS).join("staging");
    devices.demand(&format!("fs-{system}"))?;
    fs::create_dir_all(&target).or_fail(|| format!("cannot create {}", target.display()))?;
    mount::device(node, system.name(), &target, MountFlags::NODEV | MountFlags::NOATIME, options)
        .or_fail(|| format!("cannot mount the new file system on {}", node.display()))?;
    let result = File::open(&target)
        .or_fail(|| format!("cannot open {}", target.display()))
        .and_then(|top| put_in(top.as_fd(), &target, filling, creation.new, image));
    let unmounted = mount::unmount(&target).or_fail(|| format!("cannot unmount {}", target.display()));
    result.and(unmounted)?;
    fs::remove_dir(&target).or_fail(|| format!("cannot remove {}", target.display()))
}

/// Puts in what the definition names, and into a root what every system needs to start: that keeps what is there already.
fn put_in(
    top: BorrowedFd<'_>,
    target: &Path,
    filling: &Filling<'_>,
    new: &NewPartition,
    image: &Image<'_>,
) -> Result<(), Failure> {
    let definition = &new.definition;
    if definition.populates() {
        let content = populate::Content::of(definition, image.mounts);
        let report = populate(top, image.above, &content).or_fail(|| definition.file.clone())?;
        debug!("{}: {} files, {} directories copied", new.label, report.files, report.directories);
        for path in &report.missing {
            warning!("{}: {path} is not there, nothing is copied", definition.file);
        }
        for path in &report.skipped {
            warning!("{}: {} cannot hold {path}, left out", definition.file, filling.system);
        }
    }
    let volume = |path: &str| {
        let path = target.join(path.trim_start_matches('/'));
        File::open(&path).or_fail(|| format!("cannot open {}", path.display()))
    };
    let default = filling.default.map(volume).transpose()?;
    // The subvolume that is mounted when none is named.
    let mounted_later = default.as_ref().map_or(top, |default| default.as_fd());
    if filling.is_furnished {
        furnished::create(mounted_later, image.usr, image.identity, image.credentials)?;
    }
    for top in [top, mounted_later] {
        populate::constrain(top, &filling.constraints)
            .or_fail(|| format!("cannot set attributes of {}", target.display()))?;
    }
    for path in &filling.read_only {
        mounted::make_read_only(&volume(path)?)
            .or_fail(|| format!("cannot make subvolume {path} read-only"))?;
    }
    Ok(())
}
