//! The kernel, thinly: each file is one interface, each function one or a few system calls with typed arguments.
//! The host tool has block devices and btrfs, PID 1 all of it.
//!
//! All the unsafe code of the project lives here, each use with its reason.
#![allow(unsafe_code)]

pub mod block;
pub mod btrfs;
#[cfg(feature = "boot")]
pub mod clock;
#[cfg(feature = "boot")]
pub mod console;
#[cfg(all(feature = "boot", target_arch = "x86_64"))]
pub mod cpuid;
#[cfg(feature = "boot")]
pub mod dm;
#[cfg(feature = "boot")]
pub mod efi;
#[cfg(feature = "boot")]
pub mod exec;
#[cfg(feature = "boot")]
pub mod ext4;
#[cfg(feature = "boot")]
pub mod fork_server;
#[cfg(feature = "boot")]
pub mod keyring;
#[cfg(feature = "boot")]
pub mod kmsg;
#[cfg(feature = "boot")]
pub mod module;
#[cfg(feature = "boot")]
pub mod mount;
#[cfg(feature = "boot")]
pub mod output;
#[cfg(feature = "boot")]
pub mod power;
#[cfg(feature = "boot")]
#[cfg(test)]
pub(crate) mod pty;
#[cfg(feature = "boot")]
pub mod requests;
#[cfg(feature = "boot")]
pub mod rootfs;
#[cfg(all(feature = "boot", target_env = "musl", panic = "abort", not(test)))]
mod thread;
#[cfg(feature = "boot")]
pub mod tpm;
#[cfg(feature = "boot")]
pub mod tty;
#[cfg(feature = "boot")]
pub mod uevent;
#[cfg(all(feature = "boot", target_env = "musl", panic = "abort", not(test)))]
mod unwind;
#[cfg(feature = "boot")]
pub mod watchdog;

use std::{fs, path::Path};

/// Reads a small text file of procfs or sysfs and cuts the trailing newline. None when it is not there or not text:
/// attributes come and go with their devices, so absence is an answer.
pub fn attribute(path: impl AsRef<Path>) -> Option<String> {
    let mut text = fs::read_to_string(path).ok()?;
    text.truncate(text.trim_end().len());
    Some(text)
}
