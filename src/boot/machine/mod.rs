//! The machine around the disks: its drivers, its TPM, what it was given and what it is called, and what the systemd that
//! comes after us finds.

pub mod credentials;
pub mod devices;
pub mod facts;
pub mod id;
pub mod measure;
pub mod next_init;
pub mod run;
pub mod stub;
pub mod sysctl;
pub mod tpm;
pub mod udev;
