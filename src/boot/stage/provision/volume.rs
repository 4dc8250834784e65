//! A new LUKS2 volume for a partition that no table names yet.

use super::locks::Lock;
use crate::{
    boot::{
        disks::apply,
        failure::{Failure, OrFail as _},
        machine::devices::Devices,
        random::Random,
        volume::{Crypt, budget},
    },
    luks::{self, AddKeyslot, FormatParams, Header},
    repart,
    sys::{
        block::{BlockDevice, Node},
        dm::Mapping,
    },
};

/// The name of the mapping meanwhile; the finished root is opened as `root` like on every boot.
const STAGING: &str = "staging";

/// Writes a LUKS2 header with a keyslot for each lock and maps the volume through the same code that opens it on every boot.
///
/// # Errors
/// No randomness, a device that cannot be written, a kernel without dm-crypt.
pub fn encrypt(
    device: &BlockDevice,
    creation: &repart::Creation<'_>,
    first: &Lock<'_>,
    further: &[Lock<'_>],
    devices: &mut Devices,
) -> Result<Mapping, Failure> {
    let node = Node::open_exclusive(device.node()).or_fail(|| format!("cannot open {}", device.name))?;
    let size = node.size().or_fail(|| format!("cannot measure {}", device.name))?;
    let new = creation.new;
    let mut random = Random::default();
    let params = FormatParams {
        uuid: new.luks_uuid,
        label: &new.volume_label(),
        subsystem: "",
        sector_size: creation.room.sector_size,
        // As systemd-repart without --discard=no.
        allow_discards: new.definition.discard.unwrap_or(true),
        passphrase: first.secret,
        kdf: first.kdf,
        device_size: size,
        random: &mut |bytes| random.fill(bytes),
    };
    let (plan, _) = luks::format(params).or_fail(|| device.name.clone())?;
    // Key material from a generator that failed must not reach the disk.
    random.check()?;
    apply(&plan, &node)?;
    let mut header = Header::read(node.file()).or_fail(|| device.name.clone())?;
    let key = header.unlock(node.file(), first.secret, &mut budget()).or_fail(|| device.name.clone())?;
    let token = first
        .token
        .as_ref()
        .map(|token| header.add_token(key.keyslot, token, &mut |bytes| random.fill(bytes)));
    if let Some(plan) = token.transpose().or_fail(|| device.name.clone())? {
        random.check()?;
        apply(&plan, &node)?;
        header = Header::read(node.file()).or_fail(|| device.name.clone())?;
    }
    for lock in further {
        let keyslot = AddKeyslot {
            key: &key,
            passphrase: lock.secret,
            kdf: lock.kdf,
            number: None,
            token: lock.token.clone(),
        };
        let added = header.add_keyslot(&keyslot, &mut |bytes| random.fill(bytes));
        let (plan, _) = added.or_fail(|| device.name.clone())?;
        random.check()?;
        apply(&plan, &node)?;
        header = Header::read(node.file()).or_fail(|| device.name.clone())?;
    }
    drop(node);
    let node = Node::open(device.node()).or_fail(|| format!("cannot open {}", device.name))?;
    let crypt =
        Crypt { header: &header, key: &key, device, node: &node, flags: header.flags(), read_only: false };
    crypt.map(STAGING, devices)
}
