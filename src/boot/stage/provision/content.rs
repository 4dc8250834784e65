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
        machine::{credentials::Imported, devices::Devices, run::OURS},
        random::random,
        stage::etc,
    },
    debug,
    mkfs::FileSystem,
    populate::{self, Content, populate},
    repart::{self, Making, NewPartition},
    sys::{
        block::{BlockDevice, Node},
        btrfs as mounted, clock,
        dm::{Mapper, Mapping},
        mount,
    },
    units::Bytes,
    warning,
    writes::Writes,
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
    pub identity: &'a etc::Identity,
    /// The credentials of this boot, for its users.
    pub credentials: &'a Imported,
}

/// The bytes at either end of a partition that could be taken for its content: superblocks, and the labels of ZFS and md
/// RAID at the end.
const ENDS: u64 = Bytes::MIB;

/// Checks that the file system can be made in a partition of this size, without making it.
///
/// # Errors
/// It cannot.
pub fn rehearse(new: &NewPartition, block_size: u32) -> Result<(), Failure> {
    empty(new, new.room(block_size), [0; 16]).map(drop)
}

/// True when anything is to be put into it.
fn is_filled(new: &NewPartition) -> bool {
    new.definition.is_root() || new.definition.populates() || !repart::constraints(new).is_empty()
}

/// The file system that is mounted to be filled; None for what stays as it was formatted.
pub fn filled(new: &NewPartition) -> Option<FileSystem> {
    new.file_system().filter(|system| system.holds_files() && is_filled(new))
}

/// Its empty file system in this room.
fn empty(new: &NewPartition, room: (Bytes, u32), random: [u8; 16]) -> Result<Option<Writes>, Failure> {
    let making = Making {
        room,
        page_size: rustix::param::page_size() as u32,
        random,
        now: clock::unix_seconds(),
        is_filled: is_filled(new),
    };
    new.empty_file_system(making).or_fail(|| new.definition.file.clone())
}

/// Formats and populates the partition, then lets go of it: nothing is mounted or mapped and everything is on the
/// medium when this returns.
///
/// # Errors
/// Anything that could not be written; what was mounted and mapped is gone all the same.
pub fn fill(
    device: &BlockDevice,
    new: &NewPartition,
    locks: &[Lock<'_>],
    image: &Image<'_>,
    devices: &mut Devices,
) -> Result<(), Failure> {
    let mapping = match locks {
        [] => None,
        [first, further @ ..] => Some(encrypt(device, new, first, further, devices)?),
    };
    let node = mapping.as_ref().map_or_else(|| device.node(), Mapping::node);
    let result = format(&node, new, image.copies).and_then(|()| furnish(&node, new, image, devices));
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

/// Writes what is copied, or an empty file system, or nothing where something could be recognised.
fn format(node: &Path, new: &NewPartition, copies: &Copies) -> Result<(), Failure> {
    let node = Node::open_exclusive(node).or_fail(|| format!("cannot open {}", node.display()))?;
    let measured = node.size().and_then(|size| Ok((size, node.block_size()?)));
    let (size, sector_size) = measured.or_fail(|| format!("cannot measure {}", node.path().display()))?;
    let mut wipe = Writes::new();
    let ends = ENDS.min(size.0);
    wipe.zero(Bytes(0), Bytes(ends));
    wipe.zero(Bytes(size.0.saturating_sub(ends).max(ends)), Bytes(size.0.saturating_sub(ends).min(ends)));
    apply(&wipe, &node)?;
    if let Some(source) = copies.of(new.position) {
        source.copy(&node, size)?;
        return node.sync().or_fail(|| format!("cannot write {}", node.path().display()));
    }
    let mut bytes = [0; 16];
    random(&mut bytes).or_fail(|| "the kernel gives no random bytes".into())?;
    match empty(new, (size, sector_size), bytes)? {
        Some(writes) => apply(&writes, &node),
        None => Ok(()),
    }
}

/// Mounts the new file system, fills it and unmounts it.
fn furnish(node: &Path, new: &NewPartition, image: &Image<'_>, devices: &mut Devices) -> Result<(), Failure> {
    let Some(system) = filled(new) else { return Ok(()) };
    let target = PathBuf::from(OURS).join("staging");
    devices.demand(&format!("fs-{system}"))?;
    fs::create_dir_all(&target).or_fail(|| format!("cannot create {}", target.display()))?;
    let options = match system {
        // The kernel's lazy initialisation would write behind our back while the partition is not committed yet.
        FileSystem::Ext4 => "noinit_itable",
        // Paths of definitions begin at the top, whichever subvolume is mounted later.
        FileSystem::Btrfs => "subvolid=5",
        FileSystem::Vfat | FileSystem::Swap => "",
    };
    mount::device(node, system.name(), &target, MountFlags::NODEV | MountFlags::NOATIME, options)
        .or_fail(|| format!("cannot mount the new file system on {}", node.display()))?;
    let result = File::open(&target)
        .or_fail(|| format!("cannot open {}", target.display()))
        .and_then(|top| put_in(top.as_fd(), &target, system, new, image));
    let unmounted = mount::unmount(&target).or_fail(|| format!("cannot unmount {}", target.display()));
    result.and(unmounted)?;
    fs::remove_dir(&target).or_fail(|| format!("cannot remove {}", target.display()))
}

/// Puts in what the definition names, and into a root what every system needs to start: that keeps what is there already.
fn put_in(
    top: BorrowedFd<'_>,
    target: &Path,
    system: FileSystem,
    new: &NewPartition,
    image: &Image<'_>,
) -> Result<(), Failure> {
    let definition = &new.definition;
    if definition.populates() {
        let content = Content {
            copy_files: &definition.copy_files,
            exclude_files: &definition.exclude_files,
            exclude_files_target: &definition.exclude_files_target,
            make_directories: &definition.make_directories,
            make_symlinks: &definition.make_symlinks,
            root_of: definition.is_root().then_some(image.mounts),
        };
        let report = populate(top, image.above, &content).or_fail(|| definition.file.clone())?;
        debug!("{}: {} files, {} directories copied", new.label, report.files, report.directories);
        for path in &report.missing {
            warning!("{}: {path} is not there, nothing is copied", definition.file);
        }
        for path in &report.skipped {
            warning!("{}: {system} cannot hold {path}, left out", definition.file);
        }
    }
    let volume = |path: &str| {
        let path = target.join(path.trim_start_matches('/'));
        File::open(&path).or_fail(|| format!("cannot open {}", path.display()))
    };
    let default = definition.default_subvolume.as_deref().filter(|_| system == FileSystem::Btrfs);
    let default = default.map(volume).transpose()?;
    // What is mounted later without further words.
    let mounted_later = default.as_ref().map_or(top, |default| default.as_fd());
    if definition.is_root() {
        etc::populate(mounted_later, image.usr, image.identity, image.credentials)?;
    }
    let constraints = repart::constraints(new);
    for top in [top, mounted_later] {
        populate::constrain(top, &constraints)
            .or_fail(|| format!("cannot set attributes of {}", target.display()))?;
    }
    for path in definition.read_only_subvolumes().filter(|_| system == FileSystem::Btrfs) {
        mounted::make_read_only(&volume(path)?)
            .or_fail(|| format!("cannot make subvolume {path} read-only"))?;
    }
    Ok(())
}
