//! Measurements into the TPM: the start of the initrd, the key of root, the end of the initrd; each with its record in
//! systemd's log. The order matters: a secret that is sealed to the initrd's phase can be unsealed only in it
//! (systemd-pcrphase.service(8)), and one that is sealed to a PCR 15 of zeroes only before a root is opened.
//!
//! Phases are measured as by systemd, where sd-stub measured the kernel. PCR 15 is extended by every boot on a machine with a TPM
//! 2.0, whatever started it: what a stranger's root may not have hangs on it.

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

/// The end of the line when a boot ends because its TPM was not told.
const UNTOLD: &str = "; after this boot it would release what it must not, so the boot ends here; hermetic.measure=no tells it nothing";

/// The machine's TPM, as far as it is told of this boot.
pub struct Measurements {
    wish: Measure,
    /// The boot's phases are measured.
    phases: bool,
    tpm: Option<(Device, Vec<Bank>)>,
    /// A TPM that the firmware announces was waited for.
    awaited: bool,
    /// This system has keys in the TPM.
    needed: bool,
    /// The first measurement that failed, while it was not known that the system has keys in the TPM.
    untold: Option<Failure>,
}

impl Measurements {
    /// Measures the phase `enter-initrd`, when phases are measured.
    ///
    /// # Errors
    /// `hermetic.measure=yes`, and there is no TPM 2.0, or it does not answer.
    pub fn begin(config: &Config, devices: &mut Devices) -> Result<Self, Failure> {
        let wish = config.hermetic.measure;
        let needed = wish == Measure::Yes;
        let phases = needed || (wish == Measure::Auto && kernel_was_measured()?);
        let mut begun = Self { wish, phases, tpm: None, awaited: false, needed, untold: None };
        if phases {
            let reached = begun.reach(devices);
            begun.judge(reached)?;
            begun.phase("enter-initrd")?;
        }
        Ok(begun)
    }

    /// Notes that this system has keys in the TPM, or is to have some: then it must be told.
    ///
    /// # Errors
    /// Something that it had to be told has failed before.
    pub fn require(&mut self) -> Result<(), Failure> {
        self.needed = true;
        match self.untold.take() {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    /// The bank of PCRs that a key is sealed to on this machine; None when its TPM is told nothing, or is not there.
    pub fn bank(&self) -> Option<Bank> {
        self.tpm.as_ref().and_then(|(_, banks)| tpm::preferred(banks))
    }

    /// Measures the start of a phase of the boot.
    ///
    /// # Errors
    /// The TPM refuses: a secret that is sealed to other phases could then be unsealed in this one.
    pub fn phase(&mut self, word: &str) -> Result<(), Failure> {
        if !self.phases {
            return Ok(());
        }
        self.tell(&|banks| Measurement::phase(banks, word))
    }

    /// Measures that a root without a volume key is opened, before anything of it is looked at; `kind` as
    /// [`Measurement::root`].
    ///
    /// # Errors
    /// The TPM refuses: what is sealed to the time before a root is opened could be unsealed afterwards.
    pub fn root(&mut self, kind: &str, devices: &mut Devices) -> Result<(), Failure> {
        self.identity(devices, &|banks| Measurement::root(banks, kind))
    }

    /// Measures which key a volume has, before its content is looked at.
    ///
    /// # Errors
    /// As [`Measurements::root`].
    pub fn volume_key(
        &mut self,
        volume: &str,
        uuid: Uuid,
        key: &Secret,
        devices: &mut Devices,
    ) -> Result<(), Failure> {
        self.identity(devices, &|banks| Measurement::volume_key(banks, volume, uuid, key))
    }

    /// Measures something into PCR 15.
    fn identity(
        &mut self,
        devices: &mut Devices,
        measurement: &dyn Fn(&[Bank]) -> Measurement,
    ) -> Result<(), Failure> {
        // A TPM may have come after the phase began.
        let reached = self.reach(devices);
        self.judge(reached)?;
        self.tell(measurement)
    }

    /// Finds the TPM, unless it was found before.
    fn reach(&mut self, devices: &mut Devices) -> Result<(), Failure> {
        if self.wish == Measure::No || self.tpm.is_some() {
            return Ok(());
        }
        // Nobody waits for a TPM that nothing hangs on.
        let waits = (self.needed || self.phases) && !self.awaited;
        self.awaited |= waits;
        let found = if waits { tpm::open(devices)? } else { tpm::open_now()? };
        let Some(mut device) = found else {
            if self.wish == Measure::Yes {
                let reason =
                    format!("the boot is to be measured, but {}; say hermetic.measure=no", tpm::missing());
                return Err(Failure::new(reason));
            }
            if tpm::is_announced() {
                warning!("nothing is measured: {}", tpm::missing());
            }
            return Ok(());
        };
        let banks = Tpm::new(&mut device, &mut unused)
            .banks()
            .or_fail(|| "cannot ask the TPM for its banks of PCRs".into())?;
        if banks.is_empty() {
            return Err(Failure::new(tpm::NO_BANK));
        }
        self.tpm = Some((device, banks));
        Ok(())
    }

    /// Extends a PCR of the TPM that was found.
    fn tell(&mut self, measurement: &dyn Fn(&[Bank]) -> Measurement) -> Result<(), Failure> {
        let told = match &mut self.tpm {
            None => Ok(()),
            Some((device, banks)) => extend(device, &measurement(banks)),
        };
        self.judge(told)
    }

    /// Takes a failure for the end of the boot when this system has keys in the TPM. Otherwise it is a warning, and is kept: the
    /// system may turn out to have some.
    fn judge(&mut self, done: Result<(), Failure>) -> Result<(), Failure> {
        let Err(failure) = done else { return Ok(()) };
        if self.wish == Measure::Yes {
            return Err(failure);
        }
        let ends = Failure::new(failure.reason.clone() + UNTOLD);
        if self.needed {
            return Err(ends);
        }
        warning!(
            "{}; nothing here says that the TPM has keys of this system, so the boot goes on",
            failure.reason
        );
        self.untold.get_or_insert(ends);
        Ok(())
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
