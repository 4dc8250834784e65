//! dm-crypt over the data segment of an unlocked volume. The key goes through the thread's keyring, never through the table.

use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::devices::Devices,
    },
    luks::{self, Flags, Header, VolumeKey},
    sys::{
        block::{BlockDevice, Node},
        dm::{Mapper, Mapping, Target},
        keyring::LogonKey,
    },
};

/// An unlocked volume that is to be mapped.
pub struct Crypt<'a> {
    /// Its header, read once.
    pub header: &'a Header,
    /// Its key.
    pub key: &'a VolumeKey,
    /// The device that holds it.
    pub device: &'a BlockDevice,
    /// Its node.
    pub node: &'a Node,
    /// Options of dm-crypt.
    pub flags: Flags,
    /// True when the mapping refuses writes.
    pub read_only: bool,
}

impl Crypt<'_> {
    /// Maps the data segment as `name`.
    ///
    /// # Errors
    /// A segment that does not fit the device, a kernel without dm-crypt or the cipher.
    pub fn map(&self, name: &str, devices: &mut Devices) -> Result<Mapping, Failure> {
        let Self { header, key, device, .. } = *self;
        devices.demand("dm-crypt")?;
        let size = self.node.size().or_fail(|| format!("cannot measure {}", device.name))?;
        let segment = header.segment().or_fail(|| device.name.clone())?;
        let length = segment.sectors(size).or_fail(|| device.name.clone())?;
        let description = luks::key_description(header.uuid(), key.digest);
        let logon = LogonKey::add(&description, &key.key)
            .or_fail(|| "cannot add the volume key to the kernel's keyring".into())?;
        let params =
            segment.table_params(key.key.expose().len(), logon.description(), device.number, &self.flags);
        let target = Target { kind: "crypt", params: &params, length, read_only: self.read_only };
        Mapper::open()
            .and_then(|mapper| mapper.create(name, &luks::dm_uuid(header.uuid(), name), &target))
            .or_fail(|| format!("cannot map {} with dm-crypt as {name}", device.name))
    }
}
