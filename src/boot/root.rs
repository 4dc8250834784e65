//! Stage "root": find, unlock, mount. The only way to a root, on the first boot and on every other (design, law 2).

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::mount::MountFlags;

use super::{
    crypt::Crypt,
    devices::{Devices, Look},
    disks::{self, Disk},
    failure::{Failure, OrFail},
    grow,
    key::Key,
    measure::Measurements,
    provision::Expectation,
    udev,
    unlock::Volume,
    usr::Usr,
    volatile,
};
use crate::{
    config::{Config, Mount, RootPolicy, RootSource, Uses, Volatile, VolumeOptions},
    disk::{
        partition::Partition,
        probe::Format,
        slot::select_root,
        validatefs::{Constraint, Place},
    },
    info,
    luks::{Flags, Header, VolumeKey},
    notice,
    sys::{
        block::{BlockDevice, Node},
        dm::Mapping,
        mount::{self, Options},
    },
    warning,
};

pub use super::unlock::limits;

/// Where root is mounted until the hand-over. Not below /run: that is moved into the root.
const MOUNT: &str = "/sysroot";

/// The name of its mapping, unless the command line gives it another.
const NAME: &str = "root";

/// The mounted root.
pub struct Root {
    path: PathBuf,
    mapping: Option<Mapping>,
    read_only: bool,
    new: bool,
    summary: String,
}

impl Root {
    /// Where it is mounted, until the hand-over.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The dm-crypt device below it, if there is one.
    pub fn mapping(&self) -> Option<&Mapping> {
        self.mapping.as_ref()
    }

    /// Whether it was mounted read-only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether it is an empty tmpfs, made by this boot for this boot.
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
pub fn open(
    config: &Config,
    usr: &Usr,
    expectation: &Expectation,
    key: &Key,
    measurements: &mut Measurements,
    devices: &mut Devices,
) -> Result<Root, Failure> {
    let path = PathBuf::from(MOUNT);
    fs::create_dir_all(&path)
        .or_fail(|| format!("cannot create {MOUNT}; a root that starts us by init= needs that directory"))?;
    if config.root_is_new() {
        // Options that were meant for a root on a disk are not for a tmpfs.
        let anything = Mount { read_write: true, ..Mount::default() };
        let wish = if config.root.source == RootSource::Tmpfs { &config.root.mount } else { &anything };
        volatile::tmpfs(wish, &path)?;
        volatile::record_origin(usr.data().number)?;
        let summary = "root new on a tmpfs".to_owned();
        info!("{summary}");
        return Ok(Root { path, mapping: None, read_only: !wish.read_write, new: true, summary });
    }
    let (device, partition) = find(config, usr, devices)?;
    let found = disks::superblock(&device.node()).or_fail(|| format!("cannot read {}", device.name))?;
    let outside = found.map(|superblock| superblock.format);
    admit(config, expectation, &device, outside)?;
    let mapping = match outside {
        Some(Format::Luks2) => Some(unlock(config, &device, key, measurements, devices)?),
        _ => None,
    };
    let (mapping, locked) = mapping.map_or((None, false), |(mapping, read_only)| (Some(mapping), read_only));
    let node = mapping.as_ref().map_or_else(|| device.node(), Mapping::node);
    let mount = &config.root.mount;
    let name =
        disks::file_system(&node, &[Format::Ext4, Format::Btrfs, Format::Xfs], mount.fstype.as_deref())?;
    devices.demand(&format!("fs-{name}"))?;
    let overlay = match config.volatile {
        Volatile::Overlay => Some(volatile::Overlay::new()?),
        _ => None,
    };
    let writable = mount.read_write && !locked && overlay.is_none();
    let read_only = if writable { MountFlags::empty() } else { MountFlags::RDONLY };
    let options = Options::parse(MountFlags::NODEV | read_only, &mount.options);
    let source = mapping.as_ref().map_or(node, Mapping::link);
    let target = overlay.as_ref().map_or(path.as_path(), volatile::Overlay::lower);
    mount::device(&source, name, target, options.flags, &options.data)
        .or_fail(|| format!("cannot mount {} as {name}", source.display()))?;
    if let Err(failure) = belongs_here(target, &device, partition.as_ref()) {
        // The reason is what counts; the machine is about to end.
        let _ = mount::unmount(target);
        return Err(failure);
    }
    if !options.flags.contains(MountFlags::RDONLY) {
        grow::root(name, expectation, usr, &device, &source, &path);
    }
    let how = if mapping.is_some() { "unlocked" } else { "plain" };
    let mut summary = format!("root {how} on {} ({name})", device.name);
    if let Some(overlay) = overlay {
        overlay.mount(&path, devices)?;
        let number = mapping.as_ref().map_or(device.number, |mapping| mapping.number);
        volatile::record_origin(number)?;
        summary.push_str(" below an overlay");
    }
    info!("{summary}");
    let read_only = options.flags.contains(MountFlags::RDONLY) && config.volatile != Volatile::Overlay;
    Ok(Root { path, mapping, read_only, new: false, summary })
}

/// The partition or device that holds the root, and what the table says of it.
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
                        let partition = disks::entry(&device, there);
                        Look::Found((device, partition))
                    }
                    None => Look::NotYet("no device answers to that".into()),
                })
            })
        }
        RootSource::Auto => {
            let Some(disk) = usr.disk() else {
                let reason = "/usr is on no disk with a GPT, so root cannot be discovered; name it by root=";
                return Err(Failure::new(reason));
            };
            let partition = select_root(disk.gpt.partitions()).ok_or_else(|| {
                let reason =
                    format!("{}: no root partition, and /usr's repart.d makes none", disk.device.name);
                Failure::new(reason + "; add a definition, or name the root by root=")
            })?;
            Ok((disk.partition(partition)?, Some(partition.clone())))
        }
        RootSource::Tmpfs => Err(Failure::new("root=tmpfs is on no device")),
    }
}

/// Refuses a root that is not what policy expects before anything else changes on its disk: a table that was written, a
/// partition that grew for it would be more than a refusal.
///
/// # Errors
/// As [`open`] refuses it.
pub fn admit_existing(config: &Config, expectation: &Expectation, disk: &Disk) -> Result<(), Failure> {
    let RootSource::Auto = config.root.source else { return Ok(()) };
    let Some(partition) = select_root(disk.gpt.partitions()) else { return Ok(()) };
    let device = disk.partition(partition)?;
    let found = disks::superblock(&device.node()).or_fail(|| format!("cannot read {}", device.name))?;
    admit(config, expectation, &device, found.map(|superblock| superblock.format))
}

/// Whether what is on the device may be the root: policy decides, not the disk (design, law 3).
fn admit(
    config: &Config,
    expectation: &Expectation,
    device: &BlockDevice,
    found: Option<Format>,
) -> Result<(), Failure> {
    let refuse = |reason: String| Err(Failure::new(format!("{}: {reason}", device.name)));
    match found {
        Some(Format::Luks1) => refuse("a LUKS1 header; convert it with cryptsetup convert --type luks2".into()),
        Some(Format::Luks2) if !config.image_policy.root.allows(Uses::ENCRYPTED) => {
            refuse("encrypted, which systemd.image_policy= does not allow for root".into())
        }
        Some(Format::Luks2) => Ok(()),
        _ if expectation.encrypted && config.hermetic.root_policy == RootPolicy::Strict => refuse(
            "not encrypted, but /usr's repart.d says it is: this disk was tampered with, or set hermetic.root-policy=existing"
                .into(),
        ),
        _ if !config.image_policy.root.allows(Uses::UNPROTECTED) => {
            refuse("not encrypted, which systemd.image_policy= does not allow for root".into())
        }
        _ => Ok(()),
    }
}

/// Whether the mounted file system was made to be the root on this partition, as far as it says so.
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

/// Opens the LUKS2 volume on `device` and maps it. A damaged copy of the header is mended once the volume has opened: before,
/// nothing says that it is ours.
fn unlock(
    config: &Config,
    device: &BlockDevice,
    key: &Key,
    measurements: &mut Measurements,
    devices: &mut Devices,
) -> Result<(Mapping, bool), Failure> {
    let node = Node::open(device.node()).or_fail(|| format!("cannot open {}", device.name))?;
    let header = Header::read(node.file()).or_fail(|| device.name.clone())?;
    let uuid = header.uuid();
    let name = config.luks.name(uuid).unwrap_or_else(|| NAME.into());
    let options = config.luks.options(uuid);
    let key_file = config.luks.key_file(uuid).map_or_else(|| key.path().to_owned(), PathBuf::from);
    let volume = Volume { device, node: &node, header: &header, name: &name, options: &options, key_file };
    let key = volume.unlock(devices)?;
    // Before anything on it is looked at: whoever exchanged the volume cannot have its key measured as ours.
    measurements.volume_key(&name, uuid, &key.key)?;
    if let Some(complaint) = header.complaint() {
        warning!("{}: {complaint}", device.name);
        if !options.read_only {
            repair(&header, device)?;
        }
    }
    let flags = with_options(header.flags(), &options);
    let read_only = options.read_only;
    let crypt = Crypt { header: &header, key: &key, device, node: &node, flags, read_only };
    let mapping = crypt.map(&name, devices)?;
    udev::link(&mapping).or_fail(|| format!("cannot link {}", mapping.link().display()))?;
    Ok((mapping, read_only))
}

/// Writes the damaged copy again. That it cannot be written is no reason not to boot from the good one.
fn repair(header: &Header, device: &BlockDevice) -> Result<(), Failure> {
    let mut seeded = Ok(());
    let plan = header.repair(&mut |bytes| {
        if let Err(error) = super::random(bytes) {
            seeded = Err(error);
        }
    });
    seeded.or_fail(|| "no random bytes from the kernel".into())?;
    let Some(plan) = plan.or_fail(|| device.name.clone())? else { return Ok(()) };
    let written = Node::open_exclusive(device.node()).and_then(|node| plan.apply(node.file()));
    match written {
        Ok(()) => notice!("{}: the LUKS2 header was repaired from its other copy", device.name),
        Err(error) => warning!("{}: the LUKS2 header cannot be repaired: {error}", device.name),
    }
    Ok(())
}

/// What the header asks for and what the command line adds.
fn with_options(flags: Flags, options: &VolumeOptions) -> Flags {
    Flags {
        allow_discards: flags.allow_discards || options.discard,
        same_cpu_crypt: flags.same_cpu_crypt || options.same_cpu_crypt,
        submit_from_crypt_cpus: flags.submit_from_crypt_cpus || options.submit_from_crypt_cpus,
        no_read_workqueue: flags.no_read_workqueue || options.no_read_workqueue,
        no_write_workqueue: flags.no_write_workqueue || options.no_write_workqueue,
        ..flags
    }
}

/// Maps the data segment of an unlocked volume as `name`, as its header asks for it.
///
/// # Errors
/// As [`Crypt::map`].
pub fn map(
    header: &Header,
    key: &VolumeKey,
    device: &BlockDevice,
    node: &Node,
    name: &str,
    devices: &mut Devices,
) -> Result<Mapping, Failure> {
    let flags = header.flags();
    Crypt { header, key, device, node, flags, read_only: false }.map(name, devices)
}
