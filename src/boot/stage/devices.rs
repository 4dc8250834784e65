//! Stage "devices": drivers for the hardware that is there; what the firmware remembers of boots before; the TPM learns that the initrd
//! begins.

use crate::boot::{
    failure::{Failure, history},
    machine::{devices::Devices, measure::Measurements},
    means::{Early, Means},
    volume::key_file::KeyFile,
    watch,
};

/// Loads the drivers, and measures the phase `enter-initrd` when this boot is measured.
///
/// # Errors
/// No netlink, a module that every boot needs and that does not load; a boot that is to be measured and cannot be.
pub fn start(early: Early) -> Result<Means, Failure> {
    let Early { config, next, credentials, borrowed, survey } = early;
    let mut devices = Devices::start(&config, survey)?;
    history::learn();
    watch::feed(&config);
    let measurements = Measurements::begin(&config, &mut devices)?;
    let key = KeyFile::new(&config);
    Ok(Means { config, next, credentials, key, devices, measurements, borrowed })
}
