//! The means that every stage goes by.

use super::{
    disks::Survey,
    machine::{borrowed::Borrowed, credentials::Imported, devices::Devices, measure::Measurements},
    volume::key_file::KeyFile,
};
use crate::{config::Config, image::NextInit};

/// The means that there are before the first driver is loaded.
pub struct Early {
    /// The command line.
    pub config: Config,
    /// The choices for the program that comes next.
    pub next: NextInit,
    /// The credentials of this boot.
    pub credentials: Imported,
    /// Settings of the kernel, to be given back.
    pub borrowed: Borrowed,
    /// The look at the disks, with readers that were there before any secret.
    pub survey: Survey,
}

/// The means of all stages from "usr" on.
pub struct Means {
    /// The command line.
    pub config: Config,
    /// The choices for the program that comes next.
    pub next: NextInit,
    /// The credentials of this boot, read on first use.
    pub credentials: Imported,
    /// The key file.
    pub key: KeyFile,
    /// The drivers, and the kernel's announcements.
    pub devices: Devices,
    /// The TPM, when this boot is measured.
    pub measurements: Measurements,
    /// Settings of the kernel, to be given back.
    pub borrowed: Borrowed,
}
