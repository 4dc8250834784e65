//! Measurements into the TPM: the start of the initrd, the key of root, the end of the initrd; each with its record in
//! systemd's log. The order matters: a secret that is sealed to the initrd's phase can be unsealed only in it
//! (systemd-pcrphase.service(8)).

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
};

use rustix::fs::{FlockOperation, flock};
use uuid::Uuid;

use super::{devices::Devices, tpm};
use crate::{
    boot::failure::{Failure, OrFail as _},
    config::{Config, Measure},
    info,
    secret::Secret,
    sys::{attribute, clock, efi, tpm::Device},
    tpm::{Bank, Tpm, measure::Measurement},
    warning,
};

/// The variable in which sd-stub says into which PCR it measured the kernel (systemd-stub(7)).
const MEASURED_KERNEL: &str = "StubPcrKernelImage";
const DIRECTORY: &str = "/run/log/systemd";
/// The log in which systemd keeps its measurements (systemd: src/shared/tpm2-util.c).
const LOG: &str = "/run/log/systemd/tpm2-measure.log";
const MODE: u32 = 0o600;
/// The sticky bit says that a record is missing: it is set while the TPM knows more than the log.
const INCOMPLETE: u32 = 0o1600;

/// The TPM of a machine whose boot is measured; of any other machine nothing.
pub struct Measurements(Option<(Device, Vec<Bank>)>);

impl Measurements {
    /// Opens the TPM when this boot is to be measured.
    ///
    /// # Errors
    /// It is, but there is no TPM 2.0, or the TPM does not answer.
    pub fn begin(config: &Config, devices: &mut Devices) -> Result<Self, Failure> {
        let wanted = match config.hermetic.measure {
            Measure::No => false,
            Measure::Yes => true,
            Measure::Auto => kernel_was_measured()?,
        };
        if !wanted {
            return Ok(Self(None));
        }
        let Some(mut device) = tpm::open(devices)? else {
            let reason =
                format!("the boot is to be measured, but {}; say hermetic.measure=no", tpm::missing());
            return Err(Failure::new(reason));
        };
        let banks = Tpm::new(&mut device, &mut unused)
            .banks()
            .or_fail(|| "cannot ask the TPM for its banks of PCRs".into())?;
        if banks.is_empty() {
            let reason =
                "the TPM has no active bank of PCRs that we can compute; activate sha256 in the firmware";
            return Err(Failure::new(reason));
        }
        Ok(Self(Some((device, banks))))
    }

    /// Measures the start of a phase of the boot.
    ///
    /// # Errors
    /// The TPM refuses: a secret that is sealed to other phases could then be unsealed in this one.
    pub fn phase(&mut self, word: &str) -> Result<(), Failure> {
        match &mut self.0 {
            None => Ok(()),
            Some((device, banks)) => extend(device, &Measurement::phase(banks, word)),
        }
    }

    /// Measures which key a volume has.
    ///
    /// # Errors
    /// The TPM refuses.
    pub fn volume_key(&mut self, volume: &str, uuid: Uuid, key: &Secret) -> Result<(), Failure> {
        match &mut self.0 {
            None => Ok(()),
            Some((device, banks)) => extend(device, &Measurement::volume_key(banks, volume, uuid, key)),
        }
    }
}

/// True when sd-stub measured the kernel into the PCR of phases.
fn kernel_was_measured() -> Result<bool, Failure> {
    if !efi::is_available() {
        return Ok(false);
    }
    let pcr = efi::text(MEASURED_KERNEL, efi::LOADER)
        .or_fail(|| format!("cannot read the EFI variable {MEASURED_KERNEL}"))?;
    Ok(pcr.is_some_and(|pcr| pcr == crate::tpm::measure::PHASE_PCR.to_string()))
}

/// Extending needs no randomness.
fn unused(_: &mut [u8]) {}

/// Extends the PCR, with the record of it in the log. The measurement counts; a log that cannot be written is reported,
/// and marked as incomplete as far as that is possible.
fn extend(device: &mut Device, measurement: &Measurement) -> Result<(), Failure> {
    let log = open_log().unwrap_or_else(|error| {
        warning!("{LOG}: {error}; measurements are not recorded");
        None
    });
    let extended = Tpm::new(device, &mut unused).extend(measurement.pcr, &measurement.digests);
    extended.or_fail(|| format!("cannot extend PCR {}", measurement.pcr))?;
    info!("{} measured into PCR {}", measurement.what(), measurement.pcr);
    if let Some(mut log) = log {
        let boot_id = attribute("/proc/sys/kernel/random/boot_id").unwrap_or_default().replace('-', "");
        let usec = u64::try_from(clock::boottime().as_micros()).unwrap_or(u64::MAX);
        let written = log
            .write_all(measurement.record(&boot_id, usec).as_bytes())
            .and_then(|()| log.sync_all())
            .and_then(|()| log.set_permissions(Permissions::from_mode(MODE)));
        if let Err(error) = written {
            warning!("{LOG}: {error}; it stays marked as incomplete");
        }
    }
    Ok(())
}

/// The log, locked and marked as incomplete until its record is in; None when it is incomplete already.
fn open_log() -> io::Result<Option<File>> {
    fs::create_dir_all(DIRECTORY)?;
    let log = OpenOptions::new().append(true).create(true).mode(MODE).open(LOG)?;
    flock(&log, FlockOperation::LockExclusive)?;
    if log.metadata()?.permissions().mode() & 0o1000 != 0 {
        return Ok(None);
    }
    log.set_permissions(Permissions::from_mode(INCOMPLETE))?;
    Ok(Some(log))
}
