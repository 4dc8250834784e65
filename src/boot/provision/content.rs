//! The content of a new partition: LUKS2, a file system, what belongs into it.

use std::{
    fs::{self, File},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::mount::MountFlags;

use super::{
    super::{
        devices::Devices,
        early::OURS,
        etc,
        failure::{Failure, OrFail},
        random, root,
    },
    STAGE, apply,
};
use crate::{
    luks::{self, FormatParams, Header, NewKdf},
    mkfs::ext4,
    repart,
    secret::Secret,
    sys::{
        block::{BlockDevice, Node},
        clock,
        dm::{Mapper, Mapping},
        mount,
    },
    units::Bytes,
};

/// The name of the mapping while a root is made; the finished one is opened as `root` like on every boot.
const STAGING: &str = "root-staging";

/// Formats and populates the partition, then lets go of it: nothing is mounted or mapped and everything is on the
/// medium when this returns.
///
/// # Errors
/// Anything that could not be written; what was mounted and mapped is gone all the same.
pub fn fill(
    device: &BlockDevice,
    new: &repart::NewPartition,
    identity: &etc::Identity,
    passphrase: Option<&Secret>,
    usr: &OwnedFd,
    devices: &mut Devices,
) -> Result<(), Failure> {
    let mapping = match passphrase {
        Some(passphrase) => Some(encrypt(device, new, passphrase, devices)?),
        None => None,
    };
    let node = mapping.as_ref().map_or_else(|| device.node(), Mapping::node);
    let result = format(&node, new).and_then(|()| furnish(&node, identity, usr, devices));
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
            if let Err(error) = random(bytes) {
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
    random(&mut hash_seed).or_fail(STAGE, || "no random bytes from the kernel".into())?;
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
    identity: &etc::Identity,
    usr: &OwnedFd,
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
        .and_then(|root| etc::populate(STAGE, root.as_fd(), usr.as_fd(), identity));
    let unmounted = mount::unmount(&target).or_fail(STAGE, || format!("cannot unmount {}", target.display()));
    result.and(unmounted)?;
    fs::remove_dir(&target).or_fail(STAGE, || format!("cannot remove {}", target.display()))
}
