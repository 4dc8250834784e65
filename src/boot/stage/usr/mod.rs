//! Stage "usr": the disk, the slot, dm-verity, the mount. From here on there is verified policy.

mod boot_disk;
mod epoch;
mod proof;
mod signature;
mod verity;

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::mount::MountFlags;

use crate::{
    boot::{
        disks::{self, Disk},
        failure::{Failure, OrFail as _},
        machine::{
            devices::{Devices, Look},
            run::OURS,
        },
        means::Means,
    },
    config::{Config, DeviceSpec, UsrSource, Verity},
    disk::slot::{self, Slot},
    file_system::FileSystem,
    image, info,
    sys::{
        block::{BlockDevice, Node},
        dm::Mapping,
        mount,
    },
    units::PartitionNumber,
    warning,
};
use proof::Proof;
use verity::Wish;

/// The mounted /usr. Only this stage makes one: a stage that has it has verified policy.
pub struct Usr {
    /// A directory that holds nothing but the mount, named `usr`.
    tree: PathBuf,
    mapping: Option<Mapping>,
    disk: Option<Disk>,
    data: BlockDevice,
    hash: Option<BlockDevice>,
    signature: Option<BlockDevice>,
    summary: String,
}

impl Usr {
    /// The directory whose `usr` is /usr.
    pub fn tree(&self) -> &Path {
        &self.tree
    }

    /// The mount.
    pub fn path(&self) -> PathBuf {
        self.tree.join("usr")
    }

    /// The mount, as a descriptor to look things up from.
    ///
    /// # Errors
    /// The mount cannot be opened.
    pub fn open(&self) -> Result<OwnedFd, Failure> {
        let path = self.path();
        File::open(&path).map(OwnedFd::from).or_fail(|| format!("cannot open {}", path.display()))
    }

    /// The dm-verity device below it, if there is one.
    pub fn mapping(&self) -> Option<&Mapping> {
        self.mapping.as_ref()
    }

    /// The disk it is on, if that has a partition table; to be changed by provisioning.
    pub fn disk_mut(&mut self) -> Option<&mut Disk> {
        self.disk.as_mut()
    }

    /// The disk it is on, if that has a partition table.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// The partition that holds it, below dm-verity.
    pub fn data(&self) -> &BlockDevice {
        &self.data
    }

    /// The partition with its hash tree; None when it is not verified.
    pub fn hash(&self) -> Option<&BlockDevice> {
        self.hash.as_ref()
    }

    /// The partition with the signature of its root hash; None when none was looked for, or it is elsewhere.
    pub fn signature(&self) -> Option<&BlockDevice> {
        self.signature.as_ref()
    }

    /// One line about it.
    pub fn summary(&self) -> &str {
        &self.summary
    }
}

/// The devices that were found: that of /usr, and those that are to vouch for it.
struct Found {
    disk: Option<Disk>,
    data: BlockDevice,
    /// The partition with the hash tree.
    hash: Option<BlockDevice>,
    /// Partitions that may hold the signature of its root hash.
    signatures: Vec<PartitionNumber>,
}

/// Finds /usr, sets up dm-verity when a root hash is known, and mounts it read-only.
///
/// # Errors
/// Nothing that matches within the deadline, two disks that do, a root hash that does not fit, a signature that nobody
/// vouches for where one is demanded, a file system that we do not mount, a tree without systemd.
pub fn open(means: &mut Means) -> Result<Usr, Failure> {
    let Means { config, next, devices, .. } = means;
    let found = find(config, devices)?;
    let proof = Proof::find(config, &found)?;
    let root_hash = proof.root_hash(config);
    let (mapping, voucher) = match (&found.hash, &root_hash) {
        (Some(hash), Some(root_hash)) => {
            let wish = Wish {
                data: &found.data,
                hash,
                root_hash,
                signature: proof.signed.as_ref().map(|signed| &signed.signature),
                signed: proof.demanded,
                optional: config.usr.verity.is_none() && proof.demanded.is_none(),
                config: &config.usr,
            };
            verity::verify(devices, &wish)?
                .map_or((None, None), |(mapping, voucher)| (Some(mapping), voucher))
        }
        _ => (None, None),
    };
    let name = &found.data.name;
    let what = match (&voucher, &config.usr.verity) {
        (Some(voucher), _) => format!("/usr verified on {name}, signed: {voucher} vouches for it"),
        (None, Some(_)) => format!("/usr verified on {name}"),
        (None, None) => format!("/usr unverified on {name}"),
    };
    let node = mapping.as_ref().map_or_else(|| found.data.node(), Mapping::node);
    // From here on it is the root hash of this boot: /etc follows it.
    if config.usr.verity.is_none() && mapping.is_some() {
        config.usr.verity = root_hash.map(|root_hash| Verity { root_hash, data: None, hash: None });
    }
    let tree = PathBuf::from(OURS).join("sysusr");
    let explain = |failure| verity::explain(mapping.as_ref(), failure);
    let fstype = mount_at(config, devices, &node, mapping.as_ref(), &tree.join("usr")).map_err(explain)?;
    let directory = File::open(&tree).or_fail(|| format!("cannot open {}", tree.display()))?;
    epoch::apply(directory.as_fd());
    next.find(directory.as_fd()).map_err(|none| explain(Failure::new(none.on(&found.data.name))))?;
    let summary = format!("{what} ({fstype})");
    info!("{summary}");
    let signature = proof.signed.and_then(|signed| signed.partition);
    let hash = found.hash.filter(|_| mapping.is_some());
    Ok(Usr { tree, mapping, data: found.data, hash, signature, disk: found.disk, summary })
}

/// Finds the devices of /usr. Explicit devices are taken as named; otherwise the boot disk's table decides.
fn find(config: &Config, devices: &mut Devices) -> Result<Found, Failure> {
    image::permit_usr(config).map_err(Failure::new)?;
    let Some(verity) = &config.usr.verity else {
        return match &config.usr.source {
            UsrSource::Device(spec) => {
                let data = wait_for(devices, spec)?;
                Ok(Found { disk: disk_of(&data), data, hash: None, signatures: Vec::new() })
            }
            UsrSource::Auto => {
                let (disk, slot) = boot_disk::choose(devices, None, &config.image_filter)?;
                from_slot(disk, slot, false)
            }
        };
    };
    match (&verity.data, &verity.hash) {
        (None, None) => {
            let (disk, slot) = boot_disk::choose(devices, Some(&verity.root_hash), &config.image_filter)?;
            from_slot(disk, slot, true)
        }
        // A device that is not named is the partition that the root hash names.
        (data, hash) => {
            let named = |spec: &Option<DeviceSpec>, guid: uuid::Uuid| {
                spec.clone().unwrap_or_else(|| DeviceSpec::PartUuid(guid.to_string()))
            };
            let data = wait_for(devices, &named(data, verity.root_hash.data_guid()))?;
            let hash = wait_for(devices, &named(hash, verity.root_hash.verity_guid()))?;
            let disk = disk_of(&data);
            let partitions = disk.as_ref().map(|disk| disk.gpt.partitions()).unwrap_or_default();
            let signatures = slot::signatures(partitions, "", &config.image_filter);
            let signatures = signatures.map(|(_, number)| number).collect();
            Ok(Found { disk, data, hash: Some(hash), signatures })
        }
    }
}

/// The devices of a slot. A tree is there when a root hash named it.
fn from_slot(disk: Disk, slot: Slot, verified: bool) -> Result<Found, Failure> {
    let name = &disk.device.name;
    let device = |number| match disk.gpt.partition(number) {
        Some(partition) => disk.partition(partition),
        None => Err(Failure::new(format!("{name}: partition {number} is not in the table"))),
    };
    let data = device(slot.data)?;
    let hash = match (verified, slot.verity) {
        (true, None) => {
            return Err(Failure::new(format!("{name}: no usr-verity partition for the root hash")));
        }
        (true, Some(hash)) => Some(device(hash)?),
        // Nobody may need it.
        (false, hash) => hash.map(device).and_then(|found| {
            found.inspect_err(|failure| warning!("{}; its hash tree is left out", failure.reason)).ok()
        }),
    };
    Ok(Found { disk: Some(disk), data, hash, signatures: slot.signatures })
}

fn wait_for(devices: &mut Devices, spec: &DeviceSpec) -> Result<BlockDevice, Failure> {
    devices.wait(&spec.to_string(), |there| {
        Ok(match disks::resolve(spec, there, None)? {
            Some(device) => Look::Found(device),
            None => Look::NotYet("no device answers to that".into()),
        })
    })
}

/// The disk that a partition is on, when it has a GPT.
fn disk_of(partition: &BlockDevice) -> Option<Disk> {
    Disk::below(partition).unwrap_or_else(|error| {
        warning!("{error}; going on without the table");
        None
    })
}

/// Returns true, with a line in the log, when a /usr that is asked for writing is on a disk that takes no writes.
fn is_read_only(node: &Path) -> Result<bool, Failure> {
    let read_only = Node::open(node).and_then(|node| node.is_read_only());
    let read_only = read_only.or_fail(|| format!("cannot learn if {} is read-only", node.display()))?;
    if read_only {
        warning!("{}: the disk is read-only: /usr is mounted read-only", node.display());
    }
    Ok(read_only)
}

/// Mounts the file system on `node` and returns the name of its type.
fn mount_at(
    config: &Config,
    devices: &mut Devices,
    node: &Path,
    mapping: Option<&Mapping>,
    target: &Path,
) -> Result<&'static str, Failure> {
    let system = disks::file_system(
        node,
        FileSystem::mounts_as_usr,
        config.image_policy.usr,
        config.usr.mount.fstype.as_deref(),
    )?;
    let name = system.name();
    devices.demand(&format!("fs-{name}"))?;
    let asked = config.usr.mount.read_write && mapping.is_none();
    let read_write = asked && !is_read_only(node)?;
    let read_only = if read_write { MountFlags::empty() } else { MountFlags::RDONLY };
    let mut options = mount::Options::parse(MountFlags::NODEV | read_only, &config.usr.mount.options);
    // A journal cannot be replayed through dm-verity, and must not be on a partition that is read-only.
    match system.options_unwritten() {
        "" => {}
        _ if read_write => {}
        words => options.add(words),
    }
    fs::create_dir_all(target).or_fail(|| format!("cannot create {}", target.display()))?;
    // mountinfo shows the name that systemd's units bind to.
    let source = mapping.map_or_else(|| node.to_owned(), Mapping::link);
    mount::device(&source, name, target, options.flags, &options.data)
        .or_fail(|| format!("cannot mount {} as {name}", source.display()))?;
    Ok(name)
}
