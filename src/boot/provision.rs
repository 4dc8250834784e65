//! Stage "provision": what /usr's repart.d asks for and the disk lacks. Nothing, on most boots.
//!
//! The first boot is a transaction (design, law 1): the kernel is told of a partition that no table names yet; it is
//! formatted and filled through its own node, unmounted, unmapped and flushed; only then is the table written. Cut
//! the power anywhere: the next boot starts over, or finds everything.

use std::{
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use rustix::mount::MountFlags;

use super::{
    devices::Devices,
    disks::{Disk, range},
    early::OURS,
    etc,
    failure::{Failure, OrFail},
    key::Key,
    machine, root,
    usr::Usr,
};
use crate::{
    config::{Config, Uses},
    disk::{
        gpt,
        types::{self, Role},
    },
    etc::machine_id::MachineId,
    info,
    luks::{self, FormatParams, Header, NewKdf},
    mkfs::ext4,
    notice,
    repart::{self, Definition, Definitions, Encrypt, Maker, Reading, Search},
    secret::Secret,
    sys::{
        block::{BlockDevice, Node},
        clock,
        dm::{Mapper, Mapping},
        mount,
    },
    units::Bytes,
    warning,
    writes::Writes,
};

const STAGE: &str = "provision";

/// The name of the mapping while a root is made; the finished one is opened as `root` like on every boot.
const STAGING: &str = "root-staging";

/// What policy says about the root that the next stage is going to open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expectation {
    /// A definition asks for encryption.
    pub encrypted: bool,
}

/// Makes the partitions that are missing and returns what is to be expected of the root.
///
/// # Errors
/// A definition that we do not understand, too little space, a missing key file, any write that fails. The disk's table
/// is then as it was.
pub fn provision(
    config: &Config,
    usr: &mut Usr,
    key: &Key,
    devices: &mut Devices,
) -> Result<Expectation, Failure> {
    let above = File::open(usr.tree()).or_fail(STAGE, || format!("cannot open {}", usr.tree().display()))?;
    let tree = usr.open(STAGE)?;
    let facts = etc::facts_of(tree.as_fd(), None);
    let definitions = Definitions::read(above.as_fd(), &Search::standard(), Reading::new(&facts))
        .or_fail(STAGE, || "/usr's repart.d".into())?;
    for warning in &definitions.warnings {
        warning!("repart.d: {warning}");
    }
    let definitions = definitions.list;
    let expectation = Expectation { encrypted: definitions.iter().any(asks_for_encrypted_root) };
    if !config.repart {
        notice!("systemd-repart.service is masked: the partition table stays as it is");
        return Ok(expectation);
    }
    let Some(disk) = usr.disk_mut() else {
        if !definitions.is_empty() {
            notice!("/usr is on no disk with a GPT: repart.d is not applied");
        }
        return Ok(expectation);
    };
    let name = disk.device.name.clone();
    let known = repart::plan(&definitions, &disk.gpt.layout(), uuid::Uuid::nil());
    if let Ok(plan) = &known {
        for adopted in &plan.adopted {
            info!("{name}: {adopted}");
        }
        for dropped in &plan.dropped {
            notice!("{name}: {dropped}");
        }
    }
    if known.is_ok_and(|plan| plan.new.is_empty()) {
        return Ok(expectation);
    }
    let id = machine::choose(config.machine_id.as_ref()).or_fail(STAGE, || "machine id".into())?;
    let seed = uuid::Uuid::from_bytes(id.bytes());
    let plan =
        repart::plan(&definitions, &disk.gpt.layout(), seed).or_fail(STAGE, || disk.device.name.clone())?;
    for new in &plan.new {
        repart::refuse(&new.definition, Maker::Boot).or_fail(STAGE, || name.clone())?;
        permitted(config, new)?;
    }
    for new in &plan.new {
        create(disk, new, id, key, &tree, devices)?;
    }
    Ok(expectation)
}

fn asks_for_encrypted_root(definition: &Definition) -> bool {
    definition.encrypt != Encrypt::Off && types::role(definition.type_guid) == Some(Role::Root)
}

/// Whether the image policy lets us make this partition: a root may be made where it may be absent, and must be made as
/// it has to be found afterwards.
fn permitted(config: &Config, new: &repart::NewPartition) -> Result<(), Failure> {
    let (needed, word) = match new.definition.encrypt {
        Encrypt::Off => (Uses::UNPROTECTED, "unprotected"),
        Encrypt::KeyFile | Encrypt::Tpm2 | Encrypt::KeyFileTpm2 => (Uses::ENCRYPTED, "encrypted"),
    };
    for (use_, word) in [(Uses::ABSENT, "absent"), (needed, word)] {
        if !config.image_policy.root.allows(use_) {
            let reason = format!(
                "{}: systemd.image_policy= does not allow root to be {word}, so it may not be made; change one of them",
                new.definition.file
            );
            return Err(Failure::new(STAGE, reason));
        }
    }
    Ok(())
}

/// Makes one partition, from free space to a committed table.
fn create(
    disk: &mut Disk,
    new: &repart::NewPartition,
    id: MachineId,
    key: &Key,
    usr: &std::os::fd::OwnedFd,
    devices: &mut Devices,
) -> Result<(), Failure> {
    let passphrase = match new.definition.encrypt {
        Encrypt::Off => None,
        // What a TPM opens was refused before.
        Encrypt::KeyFile | Encrypt::Tpm2 | Encrypt::KeyFileTpm2 => Some(key.read(STAGE)?),
    };
    let name = disk.device.name.clone();
    info!("{name}: making partition {} ({}), {}", new.number, new.label, range(new.offset, new.length));

    // Everything that can be refused is refused before the first write.
    let mut gpt = disk.gpt.clone();
    let entry = gpt::NewPartition {
        type_guid: new.type_guid,
        guid: new.guid,
        first: new.first,
        last: new.last,
        attributes: new.attributes,
        label: new.label.clone(),
    };
    gpt.add(Some(new.number), entry).or_fail(STAGE, || name.clone())?;
    let commit = gpt.commit().or_fail(STAGE, || name.clone())?;

    let whole =
        Node::open_shared(disk.device.node()).or_fail(STAGE, || format!("cannot open {name} for writing"))?;
    // A backup that differs could name the range that is about to be written: bring it in line first.
    if !disk.gpt.backup_is_current() || !disk.gpt.primary_is_current() {
        notice!("{name}: repairing the partition table");
        let repair = disk.gpt.repair().or_fail(STAGE, || name.clone())?;
        apply(&repair, &whole)?;
    }
    let staged = Staged::add(disk, &whole, new)?;
    fill(&staged.device, new, id, passphrase.as_ref(), usr, devices)?;
    apply(&commit, &whole)?;
    staged.keep();
    disk.gpt = gpt;
    notice!("{name}: partition {} ({}) is complete", new.number, new.label);
    Ok(())
}

fn apply(plan: &Writes, node: &Node) -> Result<(), Failure> {
    plan.apply(node.file())
        .and_then(|()| node.sync())
        .or_fail(STAGE, || format!("cannot write {}; check the disk", node.path().display()))
}

/// A partition that only the kernel knows. Unless it is kept, the kernel forgets it again.
struct Staged<'a> {
    disk: &'a Node,
    device: BlockDevice,
    new: &'a repart::NewPartition,
    kept: bool,
}

impl<'a> Staged<'a> {
    fn add(disk: &Disk, node: &'a Node, new: &'a repart::NewPartition) -> Result<Self, Failure> {
        let device = disk.add(STAGE, new.number, new.offset, new.length)?;
        Ok(Self { disk: node, device, new, kept: false })
    }

    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.disk.delete_partition(self.new.number)
        {
            warning!("{}: the kernel keeps the unfinished partition: {error}", self.device.name);
        }
    }
}

/// Formats and populates the partition, then lets go of it: nothing is mounted or mapped and everything is on the
/// medium when this returns.
fn fill(
    device: &BlockDevice,
    new: &repart::NewPartition,
    id: MachineId,
    passphrase: Option<&Secret>,
    usr: &std::os::fd::OwnedFd,
    devices: &mut Devices,
) -> Result<(), Failure> {
    let mapping = match passphrase {
        Some(passphrase) => Some(encrypt(device, new, passphrase, devices)?),
        None => None,
    };
    let node = mapping.as_ref().map_or_else(|| device.node(), Mapping::node);
    let result = format(&node, new).and_then(|()| furnish(&node, id, usr, devices));
    // Also after a failure: a mapping that stays would hold the partition that is to go.
    let removed = match &mapping {
        Some(mapping) => {
            Mapper::open().and_then(|mapper| mapper.remove(mapping)).or_fail(STAGE, || "staging".into())
        }
        None => Ok(()),
    };
    result.and(removed)?;
    let node = Node::open(device.node()).or_fail(STAGE, || format!("cannot open {}", device.name))?;
    // What the next stage reads comes from the medium, not from what we believe we wrote.
    node.sync().and_then(|()| node.flush_cache()).or_fail(STAGE, || format!("cannot flush {}", device.name))
}

/// Writes a LUKS2 header and maps the volume through the same code that opens it on every boot.
fn encrypt(
    device: &BlockDevice,
    new: &repart::NewPartition,
    passphrase: &Secret,
    devices: &mut Devices,
) -> Result<Mapping, Failure> {
    let node =
        Node::open_exclusive(device.node()).or_fail(STAGE, || format!("cannot open {}", device.name))?;
    let size = node.size().or_fail(STAGE, || format!("cannot measure {}", device.name))?;
    let mut seeded = Ok(());
    let params = FormatParams {
        uuid: new.luks_uuid,
        label: &new.label,
        subsystem: "",
        sector_size: 4096,
        passphrase,
        kdf: NewKdf::for_key_file(passphrase.expose().len()),
        device_size: size,
        random: &mut |bytes| {
            if let Err(error) = super::random(bytes) {
                seeded = Err(error);
            }
        },
    };
    let (plan, _) = luks::format(params).or_fail(STAGE, || device.name.clone())?;
    // Key material from a generator that failed must not reach the disk.
    seeded.or_fail(STAGE, || "no random bytes from the kernel".into())?;
    apply(&plan, &node)?;
    let header = Header::read(node.file()).or_fail(STAGE, || device.name.clone())?;
    let key =
        header.unlock(node.file(), passphrase, root::limits()).or_fail(STAGE, || device.name.clone())?;
    drop(node);
    let node = Node::open(device.node()).or_fail(STAGE, || format!("cannot open {}", device.name))?;
    root::map(STAGE, &header, &key, device, &node, STAGING, devices)
}

/// Writes an empty file system.
fn format(node: &Path, new: &repart::NewPartition) -> Result<(), Failure> {
    let node = Node::open_exclusive(node).or_fail(STAGE, || format!("cannot open {}", node.display()))?;
    let size: Bytes = node.size().or_fail(STAGE, || format!("cannot measure {}", node.path().display()))?;
    let mut hash_seed = [0; 16];
    super::random(&mut hash_seed).or_fail(STAGE, || "no random bytes from the kernel".into())?;
    let plan = ext4::plan(&ext4::Params {
        size,
        uuid: new.fs_uuid,
        label: &new.label,
        hash_seed: uuid::Builder::from_random_bytes(hash_seed).into_uuid(),
        now: clock::unix_seconds(),
        block_size: ext4::BlockSize::B4096,
    })
    .or_fail(STAGE, || new.label.clone())?;
    apply(&plan, &node)
}

/// Mounts the new file system, fills it and unmounts it.
fn furnish(
    node: &Path,
    id: MachineId,
    usr: &std::os::fd::OwnedFd,
    devices: &mut Devices,
) -> Result<(), Failure> {
    let target = PathBuf::from(OURS).join("staging");
    devices.demand("fs-ext4")?;
    fs::create_dir_all(&target).or_fail(STAGE, || format!("cannot create {}", target.display()))?;
    // The kernel's lazy initialisation would write behind our back while the partition is not committed yet.
    mount::device(node, "ext4", &target, MountFlags::NODEV | MountFlags::NOATIME, "noinit_itable")
        .or_fail(STAGE, || format!("cannot mount the new file system on {}", node.display()))?;
    let result = File::open(&target)
        .or_fail(STAGE, || format!("cannot open {}", target.display()))
        .and_then(|root| etc::populate(STAGE, root.as_fd(), usr.as_fd(), id));
    let unmounted = mount::unmount(&target).or_fail(STAGE, || format!("cannot unmount {}", target.display()));
    result.and(unmounted)?;
    fs::remove_dir(&target).or_fail(STAGE, || format!("cannot remove {}", target.display()))
}
