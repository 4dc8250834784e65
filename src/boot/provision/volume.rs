//! A new LUKS2 volume for a partition that no table names yet.

use super::{
    super::{
        devices::Devices,
        failure::{Failure, OrFail},
        random, root,
    },
    STAGE, apply,
};
use crate::{
    luks::{self, FormatParams, Header, NewKdf},
    repart,
    secret::Secret,
    sys::{
        block::{BlockDevice, Node},
        dm::Mapping,
    },
};

/// The name of the mapping meanwhile; the finished root is opened as `root` like on every boot.
const STAGING: &str = "staging";

/// The most bytes of a label that a LUKS2 header keeps.
const LABEL: usize = 47;

/// The unit of encryption, in bytes.
pub const SECTOR: u32 = 4096;

/// Writes a LUKS2 header and maps the volume through the same code that opens it on every boot.
///
/// # Errors
/// No randomness, a device that cannot be written, a kernel without dm-crypt.
pub fn encrypt(
    device: &BlockDevice,
    new: &repart::NewPartition,
    passphrase: &Secret,
    devices: &mut Devices,
) -> Result<Mapping, Failure> {
    let node =
        Node::open_exclusive(device.node()).or_fail(STAGE, || format!("cannot open {}", device.name))?;
    let size = node.size().or_fail(STAGE, || format!("cannot measure {}", device.name))?;
    let mut seeded = Ok(());
    let label = new.label.get(..new.label.floor_char_boundary(LABEL)).unwrap_or_default();
    let params = FormatParams {
        uuid: new.luks_uuid,
        label,
        subsystem: "",
        sector_size: SECTOR,
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
