//! Stage "root": find, unlock, mount. The only way to a root, on the first boot and on every other.

mod encrypted;
mod grow;
mod volatile;

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::mount::MountFlags;

use crate::{
    boot::{
        disks::{self, Disk, disk_of},
        failure::{Failure, OrFail as _},
        machine::devices::{Devices, Look},
        means::Means,
        policy::Expectation,
        stage::usr::Usr,
    },
    config::{Config, Mount, RootSource, Volatile},
    disk::{
        partition::Partition,
        probe::Format,
        slot::select_root,
        validatefs::{Constraint, Place},
    },
    file_system::FileSystem,
    image, info, notice,
    sys::{
        block::{BlockDevice, Node},
        dm::Mapping,
        mount::{self, Options},
    },
    warning,
};

/// The directory on which root is mounted until the hand-over. Not below /run: that is moved into the root.
const MOUNT: &str = "/sysroot";

/// The flags of mounts that bound what files can do. A root that is hidden bounds what hides it, so that `rootflags=noexec` holds of
/// whatever can be written to.
const BOUNDS: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID).union(MountFlags::NOEXEC);

/// The mounted root.
pub struct Root {
    path: PathBuf,
    mapping: Option<Mapping>,
    read_only: bool,
    elsewhere: Option<Disk>,
    new: bool,
    summary: String,
}

impl Root {
    /// The directory on which it is mounted, until the hand-over.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The dm-crypt device below it, if there is one.
    pub fn mapping(&self) -> Option<&Mapping> {
        self.mapping.as_ref()
    }

    /// The disk of it, where that is another one than /usr's and has a table.
    pub fn elsewhere(&self) -> Option<&Disk> {
        self.elsewhere.as_ref()
    }

    /// True when it was mounted read-only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// True when it is an empty tmpfs, made by this boot for this boot.
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// One line about it.
    pub fn summary(&self) -> &str {
        &self.summary
    }
}

/// Finds the root, unlocks it when it is encrypted, and mounts it; or makes one for this boot alone.
///
/// # Errors
/// No root, one that is not what policy expects, a key that does not open it, a file system that does not mount.
pub fn open(means: &mut Means, usr: &Usr, expectation: &Expectation) -> Result<Root, Failure> {
    let path = PathBuf::from(MOUNT);
    fs::create_dir_all(&path)
        .or_fail(|| format!("cannot create {MOUNT}; a root that starts us by init= needs that directory"))?;
    if means.config.root_is_new() {
        let config = &means.config;
        // Options that were meant for a root on a disk are not for a tmpfs.
        let anything = Mount { read_write: true, ..Mount::default() };
        let wish = if config.root.source == RootSource::Tmpfs { &config.root.mount } else { &anything };
        means.measurements.root("tmpfs", &mut means.devices)?;
        let bounds = Options::parse(MountFlags::empty(), &config.root.mount.options).flags;
        volatile::tmpfs(wish, bounds.intersection(BOUNDS), &path)?;
        volatile::record_origin(usr.data().number)?;
        let summary = "root new on a tmpfs".to_owned();
        info!("{summary}");
        return Ok(Root {
            path,
            mapping: None,
            read_only: !wish.read_write,
            elsewhere: None,
            new: true,
            summary,
        });
    }
    let (device, partition) = find(&means.config, usr, &mut means.devices)?;
    let found = disks::superblock(&device.node()).or_fail(|| format!("cannot read {}", device.name))?;
    let outside = found.map(|superblock| superblock.format);
    expectation.admit_root(&means.config, &device, outside)?;
    let elsewhere = match usr.disk() {
        Some(disk) if disk.device.name == disk_of(&device) => None,
        _ => disks::disk_below(&device),
    };
    if let Some(disk) = &elsewhere {
        expectation.admit(&means.config, disk, disk.gpt.partitions())?;
    }
    let protected = Node::open(device.node())
        .and_then(|node| node.is_read_only())
        .or_fail(|| format!("cannot learn if {} is read-only", device.name))?;
    if protected {
        warning!(
            "{}: the disk is read-only: root is mounted read-only, and nothing on it changes",
            device.name
        );
    }
    let mapping = match outside {
        Some(Format::LUKS2) => Some(encrypted::unlock(means, &device, protected, expectation.root_pcrs())?),
        // Before its content is looked at, as the key of an encrypted one is measured.
        _ => {
            let kind = if means.config.volatile == Volatile::Overlay { "overlay" } else { "plain" };
            means.measurements.root(kind, &mut means.devices)?;
            None
        }
    };
    let Means { config, devices, .. } = means;
    let (mapping, locked) = mapping.map_or((None, false), |(mapping, read_only)| (Some(mapping), read_only));
    let node = mapping.as_ref().map_or_else(|| device.node(), Mapping::node);
    let mount = &config.root.mount;
    let system = disks::file_system(
        &node,
        FileSystem::mounts_as_root,
        config.image_policy.root,
        mount.fstype.as_deref(),
    )?;
    let name = system.name();
    devices.demand(&format!("fs-{name}"))?;
    let overlay = match config.volatile {
        Volatile::Overlay => Some(volatile::Overlay::new()?),
        _ => None,
    };
    // As mount(8) does with a device that is write-protected, and the kernel with a root of its own.
    let writable = mount.read_write && !locked && !protected && overlay.is_none();
    let read_only = if writable { MountFlags::empty() } else { MountFlags::RDONLY };
    let options = Options::parse(MountFlags::NODEV | read_only, &mount.options);
    let source = mapping.as_ref().map_or(node, Mapping::link);
    let target = overlay.as_ref().map_or(path.as_path(), volatile::Overlay::lower);
    mount::device(&source, name, target, options.flags, &options.data).map_err(|error| {
        let reason = format!("cannot mount {} as {name}: {error}", source.display());
        Failure::new(if protected { unwritten(reason, system) } else { reason })
    })?;
    if let Err(failure) = belongs_here(target, &device, partition.as_ref()) {
        // The reason is more important; the machine is about to end.
        let _ = mount::unmount(target);
        return Err(failure);
    }
    if !options.flags.contains(MountFlags::RDONLY) {
        grow::root(system, expectation, usr, &device, &source, &path);
    }
    let how = if mapping.is_some() { "unlocked" } else { "plain" };
    let mut summary = format!("root {how} on {} ({name})", device.name);
    if let Some(overlay) = overlay {
        overlay.mount(&path, options.flags.intersection(BOUNDS), devices)?;
        let number = mapping.as_ref().map_or(device.number, |mapping| mapping.number);
        volatile::record_origin(number)?;
        summary.push_str(" below an overlay");
    }
    info!("{summary}");
    mend_table(usr, &device);
    let read_only = options.flags.contains(MountFlags::RDONLY) && config.volatile != Volatile::Overlay;
    Ok(Root { path, mapping, read_only, elsewhere, new: false, summary })
}

/// The refusal for this reason to mount a file system of a disk that takes no writes: most likely its journal is to be replayed. File
/// systems say so by errors of their own, btrfs by EIO. As with mount(8), nobody but the operator chooses to see it as it was before.
fn unwritten(reason: String, system: FileSystem) -> String {
    let reason = reason + "; the disk is read-only: if the journal has to be replayed, make it writable";
    match system.options_unwritten() {
        "" => reason,
        words => format!("{reason}, or boot with rootflags={words}"),
    }
}

/// Finds the partition or device that holds the root, and its entry in the table.
fn find(
    config: &Config,
    usr: &Usr,
    devices: &mut Devices,
) -> Result<(BlockDevice, Option<Partition>), Failure> {
    match &config.root.source {
        RootSource::Device(spec) => {
            let preferred = usr.disk().map(|disk| disk.device.name.clone());
            devices.wait(&format!("root={spec}"), |there| {
                Ok(match disks::resolve(spec, there, preferred.as_deref())? {
                    Some(device) => {
                        let partition = there.entry(&device);
                        Look::Found((device, partition))
                    }
                    None => Look::NotYet("no device answers to that".into()),
                })
            })
        }
        RootSource::Auto => {
            let Some(disk) = usr.disk() else {
                return Err(Failure::new(image::NO_TABLE_FOR_ROOT));
            };
            let partition = select_root(disk.gpt.partitions(), &config.image_filter)
                .ok_or_else(|| Failure::new(image::no_root(&disk.device.name)))?;
            Ok((disk.partition(partition)?, Some(partition.clone())))
        }
        RootSource::Tmpfs => Err(Failure::new("root=tmpfs is on no device")),
    }
}

/// Mends the table of the disk that the root is on. Before the root was opened nothing said that the disk is ours; a table that
/// cannot be written does not keep the machine from booting by the other copy.
fn mend_table(usr: &Usr, root: &BlockDevice) {
    let Some(disk) = usr.disk().filter(|disk| disk.device.name == disks::disk_of(root)) else { return };
    let name = &disk.device.name;
    match disk.mend() {
        Ok(false) => {}
        Ok(true) => notice!("{name}: the partition table was repaired from its backup"),
        Err(failure) => warning!("{name}: the partition table cannot be repaired: {}", failure.reason),
    }
}

/// Checks that the mounted file system was made to be the root on this partition, as far as it says so.
fn belongs_here(at: &Path, device: &BlockDevice, partition: Option<&Partition>) -> Result<(), Failure> {
    let place = Place { mount_point: "/", partition };
    for constraint in Constraint::ALL {
        let value = mount::attribute(at, constraint.attribute())
            .or_fail(|| format!("{}: cannot read {}", device.name, constraint.attribute()))?;
        if let Some(Err(reason)) = value.map(|value| constraint.admits(&value, &place)) {
            let line = format!("{}: its file system belongs elsewhere: {reason}", device.name);
            return Err(Failure::new(line + "; was the partition table changed?"));
        }
    }
    Ok(())
}
