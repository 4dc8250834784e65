//! Device-mapper, through the devicemapper crate.
//!
//! The crate is used call by call: its `shared::device_create` ignores the read-only flag and leaks the device when the
//! resume fails, and its `device_remove` sleeps 200 ms a retry, so devices are removed only once they are unused. It
//! neither wipes its buffers nor keeps tables out of its traces, so a table never contains a key.

use std::{fmt, io, path::PathBuf};

use devicemapper::{DM, DevId, DmError, DmFlags, DmName, DmOptions, DmUuid};

use crate::units::{DeviceNumber, Sector512};

/// The target of a mapped device: one target over its whole length.
pub struct Target<'a> {
    /// `verity`, `crypt`, ...
    pub kind: &'a str,
    /// The target's parameters.
    pub params: &'a str,
    /// Its length.
    pub length: Sector512,
    /// True when the device refuses writes.
    pub read_only: bool,
}

/// The request that device-mapper refused.
#[derive(Debug)]
pub struct MapperError {
    step: &'static str,
    name: String,
    detail: String,
}

impl fmt::Display for MapperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device-mapper: {} of {}: {}", self.step, self.name, self.detail)
    }
}

/// A device that we mapped. Dropping the value leaves the device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// Its device-mapper name.
    pub name: String,
    /// Its device-mapper UUID.
    pub uuid: String,
    /// Its number.
    pub number: DeviceNumber,
}

impl Mapping {
    /// The kernel's name of the device: `dm-N`.
    pub fn kernel_name(&self) -> String {
        format!("dm-{}", self.number.minor)
    }

    /// The node that devtmpfs makes.
    pub fn node(&self) -> PathBuf {
        PathBuf::from(format!("/dev/{}", self.kernel_name()))
    }

    /// The link that people and systemd use.
    pub fn link(&self) -> PathBuf {
        PathBuf::from(format!("/dev/mapper/{}", self.name))
    }
}

/// The control device.
pub struct Mapper(DM);

impl Mapper {
    /// Opens /dev/mapper/control.
    ///
    /// # Errors
    /// The kernel has no device-mapper.
    pub fn open() -> Result<Self, MapperError> {
        DM::new().map(Self).map_err(|error| MapperError {
            step: "open",
            name: "/dev/mapper/control".into(),
            detail: format!("{}; is dm-mod in the initramfs?", detail(&error)),
        })
    }

    /// Returns true when the kernel has a target of this kind (`crypt`).
    ///
    /// # Errors
    /// The kernel does not list its targets.
    pub fn has(&self, kind: &str) -> Result<bool, MapperError> {
        let all = self.0.list_versions().map_err(|error| MapperError {
            step: "list targets",
            name: kind.into(),
            detail: detail(&error),
        })?;
        Ok(all.iter().any(|(name, ..)| name == kind))
    }

    /// Creates a device, loads its table and brings it up. On failure nothing is left behind.
    ///
    /// # Errors
    /// A device of that name or UUID exists; the target is unknown or refuses its parameters.
    pub fn create(&self, name: &str, uuid: &str, target: &Target<'_>) -> Result<Mapping, MapperError> {
        let failed = |step, error: &DmError| MapperError { step, name: name.into(), detail: detail(error) };
        let dm_name = DmName::new(name).map_err(|e| failed("name", &e))?;
        let dm_uuid = DmUuid::new(uuid).map_err(|e| failed("uuid", &e))?;
        let options = read_only(target.read_only);
        let device =
            self.0.device_create(dm_name, Some(dm_uuid), options).map_err(|e| failed("create", &e))?.device();
        let mapping = Mapping {
            name: name.into(),
            uuid: uuid.into(),
            number: DeviceNumber { major: device.major, minor: device.minor },
        };
        match self.load(&mapping, target) {
            Ok(()) => Ok(mapping),
            Err(error) => match self.remove(&mapping) {
                Ok(()) => Err(error),
                Err(also) => Err(MapperError { detail: format!("{}; {also}", error.detail), ..error }),
            },
        }
    }

    /// Replaces the table of a device.
    ///
    /// # Errors
    /// The target is unknown or refuses its parameters; the old table then stays.
    pub fn load(&self, mapping: &Mapping, target: &Target<'_>) -> Result<(), MapperError> {
        let failed =
            |step, error: &DmError| MapperError { step, name: mapping.name.clone(), detail: detail(error) };
        let name = DmName::new(&mapping.name).map_err(|e| failed("name", &e))?;
        let id = DevId::Name(name);
        let table = [(0, target.length.0, target.kind.to_owned(), target.params.to_owned())];
        self.0.table_load(&id, &table, read_only(target.read_only)).map_err(|e| failed("table load", &e))?;
        self.0.device_suspend(&id, DmOptions::default()).map_err(|e| failed("resume", &e))?;
        Ok(())
    }

    /// The status words of a device's target (`V` for a dm-verity device that has met no corruption).
    ///
    /// # Errors
    /// There is no such device.
    pub fn status(&self, mapping: &Mapping) -> Result<String, MapperError> {
        let failed = |error: &DmError| MapperError {
            step: "status",
            name: mapping.name.clone(),
            detail: detail(error),
        };
        let name = DmName::new(&mapping.name).map_err(|e| failed(&e))?;
        let (_, targets) =
            self.0.table_status(&DevId::Name(name), DmOptions::default()).map_err(|e| failed(&e))?;
        Ok(targets.into_iter().next().map(|(_, _, _, status)| status).unwrap_or_default())
    }

    /// Removes a device that nothing holds.
    ///
    /// # Errors
    /// It is in use, or gone.
    pub fn remove(&self, mapping: &Mapping) -> Result<(), MapperError> {
        let failed = |error: &DmError| MapperError {
            step: "remove",
            name: mapping.name.clone(),
            detail: detail(error),
        };
        let name = DmName::new(&mapping.name).map_err(|e| failed(&e))?;
        self.0.device_remove(&DevId::Name(name), DmOptions::default()).map(drop).map_err(|e| failed(&e))
    }
}

fn read_only(read_only: bool) -> DmOptions {
    DmOptions::default().set_flags(if read_only { DmFlags::DM_READONLY } else { DmFlags::empty() })
}

/// The errno's name where there is one: the crate prints whole structures.
fn detail(error: &DmError) -> String {
    match error {
        DmError::Core(devicemapper::errors::Error::Ioctl(_, _, _, errno)) => {
            io::Error::from_raw_os_error(**errno as i32).to_string()
        }
        other => other.to_string(),
    }
}
