//! The facts about this machine and its /usr that a root is furnished by.

use std::os::fd::BorrowedFd;

use crate::{
    config::Config,
    etc::{follow, machine_id::MachineId, manifest::Head},
    fragments::{Facts, facts, usr::os_release},
    furnish::Identity,
    os_release::OsRelease,
    sys::attribute,
};

/// This machine, with the factory of this /usr.
pub fn identity(config: &Config, usr: BorrowedFd<'_>, machine: MachineId) -> Identity {
    Identity { machine: Some(machine), head: head(config, usr) }
}

/// The name of this /usr, and the use of its factory.
pub fn head(config: &Config, usr: BorrowedFd<'_>) -> Head {
    let root_hash = config.usr.verity.as_ref().map(|verity| &verity.root_hash);
    Head { usr: follow::identity(root_hash, os_release(usr).ok().as_deref()), strategy: config.hermetic.etc }
}

/// The values of specifiers in the definitions of `usr` on this machine. There is no machine id among them.
pub fn facts_of(usr: BorrowedFd<'_>) -> Facts {
    let uname = rustix::system::uname();
    Facts {
        machine_id: None,
        boot_id: attribute("/proc/sys/kernel/random/boot_id").map(|id| id.replace('-', "")),
        kernel_release: uname.release().to_str().ok().map(Into::into),
        hostname: None,
        pretty_hostname: None,
        architecture: Some(facts::architecture(std::env::consts::ARCH).into()),
        os_release: os_release(usr).ok().as_deref().map(OsRelease::parse),
    }
}
