//! The identity of the root directory: the machine id that UUIDs follow from, and the values of specifiers.

use std::{fs, path::Path};

use hermetic_init::{
    fragments::{Facts, facts},
    os_release::OsRelease,
};
use rustix::rand::{GetRandomFlags, getrandom};
use uuid::{Builder, Uuid};

use super::{
    Failure,
    args::{Choices, Seed},
};
use crate::mirror::log::{Level, Log};

/// Random bytes from the kernel.
pub fn random() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    // A request of up to 256 bytes is answered in one piece (getrandom(2)).
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|errno| Failure::new(format!("Failed to generate randomized seed: {errno}")))?;
    Ok(bytes)
}

fn machine_id(root: &Path) -> Option<Uuid> {
    let text = fs::read_to_string(root.join("etc/machine-id")).ok()?;
    let id = text.trim_end();
    Uuid::try_parse(id).ok().filter(|uuid| id.len() == 32 && !uuid.is_nil())
}

/// The seed that UUIDs follow from.
pub fn seed(choices: &Choices, log: Log) -> Result<Uuid, Failure> {
    let root = choices.root.as_deref().unwrap_or(Path::new("/"));
    match choices.seed {
        Seed::Fixed(seed) if !seed.is_nil() => return Ok(seed),
        Seed::Random => {}
        Seed::Fixed(_) | Seed::Machine => {
            if choices.image.is_some() {
                return Err(Failure::new(
                    "The file systems of an image are not opened here, nor is its machine ID read: say --seed=ID or --seed=random with --image=.",
                ));
            }
            if let Some(id) = machine_id(root) {
                return Ok(id);
            }
            log.say(Level::Info, "No machine ID set, using randomized partition UUIDs.");
        }
    }
    Ok(Builder::from_random_bytes(random()?).into_uuid())
}

/// The values of specifiers in definitions. The machine that builds an image is not the one that boots it: of an image
/// the architecture alone is known.
pub fn known(choices: &Choices) -> Facts {
    let architecture = Some(facts::architecture(std::env::consts::ARCH).into());
    if choices.image.is_some() {
        return Facts { architecture, ..Facts::default() };
    }
    let root = choices.root.as_deref().unwrap_or(Path::new("/"));
    let read = |path: &str| fs::read_to_string(root.join(path)).ok();
    let os_release = read("etc/os-release").or_else(|| read("usr/lib/os-release"));
    let uname = rustix::system::uname();
    let own = |text: &std::ffi::CStr| text.to_str().ok().map(str::to_owned);
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
    Facts {
        machine_id: machine_id(root).map(|id| id.simple().to_string()),
        boot_id: boot_id.map(|id| id.trim_end().replace('-', "")),
        kernel_release: own(uname.release()),
        hostname: own(uname.nodename()),
        pretty_hostname: None,
        architecture,
        os_release: os_release.as_deref().map(OsRelease::parse),
    }
}
