//! Stage "root": find, unlock, mount. The only way to a root, on the first boot and on every other (design, law 2).

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::mount::MountFlags;

use super::{
    devices::{Devices, Look},
    disks,
    failure::{Failure, OrFail},
    grow,
    key::Key,
    measure::Measurements,
    provision::Expectation,
    udev,
    usr::Usr,
    volatile,
};
use crate::{
    config::{Config, Mount, RootPolicy, RootSource, Uses, Volatile},
    disk::{probe::Format, slot::select_root},
    info,
    luks::{self, Header, Limits},
    secret::Secret,
    sys::{
        block::{BlockDevice, Node},
        dm::{Mapper, Mapping, Target},
        keyring::LogonKey,
        mount::{self, Options},
    },
    units::Bytes,
};

const STAGE: &str = "root";

/// Where root is mounted until the hand-over. Not below /run: that is moved into the root.
const MOUNT: &str = "/sysroot";

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
    fs::create_dir_all(&path).or_fail(STAGE, || {
        format!("cannot create {MOUNT}; a root that starts us by init= needs that directory")
    })?;
    if config.root_is_new() {
        // Options that were meant for a root on a disk are not for a tmpfs.
        let anything = Mount { read_write: true, ..Mount::default() };
        let wish = if config.root.source == RootSource::Tmpfs { &config.root.mount } else { &anything };
        volatile::tmpfs(STAGE, wish, &path)?;
        volatile::record_origin(STAGE, usr.number())?;
        let summary = "root new on a tmpfs".to_owned();
        info!("{summary}");
        return Ok(Root { path, mapping: None, read_only: !wish.read_write, new: true, summary });
    }
    let device = find(config, usr, devices)?;
    let found =
        disks::superblock(&device.node()).or_fail(STAGE, || format!("cannot read {}", device.name))?;
    let outside = found.map(|superblock| superblock.format);
    admit(config, expectation, &device, outside)?;
    let mapping = match outside {
        Some(Format::Luks2) => Some(unlock(&device, &key.read(STAGE)?, measurements, devices)?),
        _ => None,
    };
    let node = mapping.as_ref().map_or_else(|| device.node(), Mapping::node);
    let mount = &config.root.mount;
    let name = disks::file_system(
        STAGE,
        &node,
        &[Format::Ext4, Format::Btrfs, Format::Xfs],
        mount.fstype.as_deref(),
    )?;
    devices.demand(&format!("fs-{name}"))?;
    let overlay = match config.volatile {
        Volatile::Overlay => Some(volatile::Overlay::new(STAGE)?),
        _ => None,
    };
    let writable = mount.read_write && overlay.is_none();
    let read_only = if writable { MountFlags::empty() } else { MountFlags::RDONLY };
    let options = Options::parse(MountFlags::NODEV | read_only, &mount.options);
    let source = mapping.as_ref().map_or(node, Mapping::link);
    let target = overlay.as_ref().map_or(path.as_path(), volatile::Overlay::lower);
    mount::device(&source, name, target, options.flags, &options.data)
        .or_fail(STAGE, || format!("cannot mount {} as {name}", source.display()))?;
    if name == "ext4" && !options.flags.contains(MountFlags::RDONLY) {
        grow::ext4(expectation, usr, &device, &source, &path);
    }
    let how = if mapping.is_some() { "unlocked" } else { "plain" };
    let mut summary = format!("root {how} on {} ({name})", device.name);
    if let Some(overlay) = overlay {
        overlay.mount(STAGE, &path, devices)?;
        let number = mapping.as_ref().map_or(device.number, |mapping| mapping.number);
        volatile::record_origin(STAGE, number)?;
        summary.push_str(" below an overlay");
    }
    info!("{summary}");
    let read_only = options.flags.contains(MountFlags::RDONLY) && config.volatile != Volatile::Overlay;
    Ok(Root { path, mapping, read_only, new: false, summary })
}

/// The partition or device that holds the root.
fn find(config: &Config, usr: &Usr, devices: &mut Devices) -> Result<BlockDevice, Failure> {
    match &config.root.source {
        RootSource::Device(spec) => {
            let preferred = usr.disk().map(|disk| disk.device.name.clone());
            devices.wait(STAGE, &format!("root={spec}"), |there| {
                Ok(match disks::resolve(STAGE, spec, there, preferred.as_deref())? {
                    Some(device) => Look::Found(device),
                    None => Look::NotYet("no device answers to that".into()),
                })
            })
        }
        RootSource::Auto => {
            let Some(disk) = usr.disk() else {
                let reason = "/usr is on no disk with a GPT, so root cannot be discovered; name it by root=";
                return Err(Failure::new(STAGE, reason));
            };
            let partition = select_root(disk.gpt.partitions()).ok_or_else(|| {
                let reason =
                    format!("{}: no root partition, and /usr's repart.d makes none", disk.device.name);
                Failure::new(STAGE, reason + "; add a definition, or name the root by root=")
            })?;
            disk.partition(STAGE, partition)
        }
        RootSource::Tmpfs => Err(Failure::new(STAGE, "root=tmpfs is on no device")),
    }
}

/// Whether what is on the device may be the root: policy decides, not the disk (design, law 3).
fn admit(
    config: &Config,
    expectation: &Expectation,
    device: &BlockDevice,
    found: Option<Format>,
) -> Result<(), Failure> {
    let refuse = |reason: String| Err(Failure::new(STAGE, format!("{}: {reason}", device.name)));
    match found {
        Some(Format::Luks1) => refuse("a LUKS1 header; convert it with cryptsetup convert --type luks2".into()),
        Some(Format::Luks2) if !config.image_policy.root.allows(Uses::ENCRYPTED) => {
            refuse("encrypted, which systemd.image_policy= does not allow for root".into())
        }
        Some(Format::Luks2) => Ok(()),
        _ if expectation.encrypted && config.root_policy == RootPolicy::Strict => refuse(
            "not encrypted, but /usr's repart.d says it is: this disk was tampered with, or set hermetic.root-policy=existing"
                .into(),
        ),
        _ if !config.image_policy.root.allows(Uses::UNPROTECTED) => {
            refuse("not encrypted, which systemd.image_policy= does not allow for root".into())
        }
        _ => Ok(()),
    }
}

/// Opens the LUKS2 volume on `device` with the key file and maps it as `root`.
fn unlock(
    device: &BlockDevice,
    passphrase: &Secret,
    measurements: &mut Measurements,
    devices: &mut Devices,
) -> Result<Mapping, Failure> {
    let node = Node::open(device.node()).or_fail(STAGE, || format!("cannot open {}", device.name))?;
    let header = Header::read(node.file()).or_fail(STAGE, || device.name.clone())?;
    let key = header
        .unlock(node.file(), passphrase, limits())
        .or_fail(STAGE, || format!("{} with the key file", device.name))?;
    // Before anything on it is looked at: whoever exchanged the volume cannot have its key measured as ours.
    measurements.volume_key("root", header.uuid(), &key.key)?;
    let mapping = map(STAGE, &header, &key, device, &node, "root", devices)?;
    udev::link(&mapping).or_fail(STAGE, || format!("cannot link {}", mapping.link().display()))?;
    Ok(mapping)
}

/// What an unlock may cost here: half of the memory there is, as cryptsetup does, so that the rest of the boot has some.
pub fn limits() -> Limits {
    let info = rustix::system::sysinfo();
    let bytes = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    Limits::with_memory(u32::try_from(bytes / 2 / Bytes::KIB).unwrap_or(u32::MAX))
}

/// Maps the data segment of an unlocked volume as `name`. The key goes through the thread's keyring, never through the
/// table.
///
/// # Errors
/// A segment that does not fit the device, a kernel without dm-crypt or the cipher.
pub fn map(
    stage: &'static str,
    header: &Header,
    key: &luks::VolumeKey,
    device: &BlockDevice,
    node: &Node,
    name: &str,
    devices: &mut Devices,
) -> Result<Mapping, Failure> {
    devices.demand("dm-crypt")?;
    let size: Bytes = node.size().or_fail(stage, || format!("cannot measure {}", device.name))?;
    let segment = header.segment().or_fail(stage, || device.name.clone())?;
    let length = segment.sectors(size).or_fail(stage, || device.name.clone())?;
    let description = luks::key_description(header.uuid(), key.digest);
    let logon = LogonKey::add(&description, &key.key)
        .or_fail(stage, || "cannot add the volume key to the kernel's keyring".into())?;
    let params =
        segment.table_params(key.key.expose().len(), logon.description(), device.number, &header.flags());
    let target = Target { kind: "crypt", params: &params, length, read_only: false };
    Mapper::open()
        .and_then(|mapper| mapper.create(name, &luks::dm_uuid(header.uuid(), name), &target))
        .or_fail(stage, || format!("{} as {name}", device.name))
}
