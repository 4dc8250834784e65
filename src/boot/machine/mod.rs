//! The machine around the disks: its drivers, its TPM, its credentials and its name, and the state for the systemd that
//! follows.

pub mod borrowed;
pub mod credentials;
pub mod devices;
pub mod facts;
mod host;
pub mod id;
pub mod measure;
pub mod next_init;
pub mod run;
pub mod stub;
pub mod tpm;
pub mod udev;
