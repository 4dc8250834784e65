//! The kernel, thinly: each file is one interface, each function one or a few system calls with typed arguments.
//! All the unsafe code of the project lives here, each use with its reason.
#![allow(unsafe_code)]

pub mod block;
pub mod clock;
pub mod console;
pub mod dm;
pub mod efi;
pub mod ext4;
pub mod keyring;
pub mod kmsg;
pub mod module;
pub mod mount;
pub mod power;
pub mod rootfs;
pub mod uevent;
#[cfg(all(target_env = "musl", panic = "abort", not(test)))]
mod unwind;

use std::{fs, path::Path};

/// Reads a small text file of procfs or sysfs and cuts the trailing newline. None when it is not there or not text:
/// attributes come and go with their devices, so absence is an answer.
pub fn attribute(path: impl AsRef<Path>) -> Option<String> {
    let mut text = fs::read_to_string(path).ok()?;
    text.truncate(text.trim_end().len());
    Some(text)
}
