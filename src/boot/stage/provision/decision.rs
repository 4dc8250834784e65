//! The decision of what is made on a disk ([`Decision`]), asked for this machine: before the first write, and by a factory reset of the
//! disk as it would leave it, before it erases anything.

use super::locks::{Locks, bond};
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::tpm,
        means::Means,
        random::random,
    },
    disk::gpt::Gpt,
    file_system::FileSystem,
    repart::{Decision, NewPartition, Plan, RepartError, Surroundings, Terms, Unsealed},
    secret::Secret,
    sys::{clock, dm::Mapper, tpm::Device},
    tpm::ROOT_WAS_OPENED,
    warning,
};

/// Decides to carry out `plan` on the disk `name` with this table, and makes the keys of the partitions that are
/// encrypted.
///
/// # Errors
/// As [`Decision::make`] and [`Locks::make`].
pub fn decide<'p>(
    means: &mut Means,
    name: &str,
    gpt: &Gpt,
    plan: &'p Plan,
) -> Result<(Decision<'p>, Locks), Failure> {
    let terms = Terms::of_boot(&means.config, rustix::param::page_size() as u32, clock::unix_seconds());
    let mut machine = Machine { means, name, key_file: None, asked: false, tpm: None };
    let decision = Decision::make(plan, gpt, &terms, &mut machine)?;
    let Machine { key_file, tpm, .. } = machine;
    let locks = Locks::make(&means.config, &decision.creations, key_file, tpm)?;
    Ok((decision, locks))
}

/// The machine while it is asked, and its answers.
struct Machine<'a> {
    means: &'a mut Means,
    name: &'a str,
    key_file: Option<Secret>,
    /// The TPM was looked for.
    asked: bool,
    tpm: Option<Device>,
}

impl Surroundings for Machine<'_> {
    type Error = Failure;

    fn refused(&self, error: RepartError) -> Failure {
        Failure::new(format!("{}: {error}", self.name))
    }

    fn mounts(&mut self, system: FileSystem) -> Result<bool, Failure> {
        self.means.devices.can_mount(system.name())
    }

    fn maps(&mut self) -> Result<bool, Failure> {
        self.means.devices.demand("dm-crypt")?;
        let has = Mapper::open().and_then(|mapper| mapper.has("crypt"));
        has.or_fail(|| "the kernel's device-mapper cannot be asked for dm-crypt".into())
    }

    fn lacks_tpm(&mut self, new: &NewPartition) -> Result<Option<Unsealed>, Failure> {
        if !self.asked {
            self.asked = true;
            self.tpm = tpm::open(&mut self.means.devices)?;
        }
        let Some(device) = &mut self.tpm else { return Ok(Some(Unsealed::NoTpm(tpm::missing()))) };
        let zeroes = bond(&self.means.config, new);
        let bank = tpm::bank(device)?;
        let values = tpm::ask(device, |tpm| tpm.read_pcrs(bank, zeroes))?;
        let values = values.or_fail(|| format!("cannot read PCR {zeroes} of the TPM"))?;
        if values.concat().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        warning!("{}: not sealed: {ROOT_WAS_OPENED}, or say hermetic.tpm2-root-bond=no", new.label);
        Ok(Some(Unsealed::NotNow(ROOT_WAS_OPENED)))
    }

    fn key_file(&mut self) -> Result<(), Failure> {
        self.key_file = Some(self.means.key.read()?);
        Ok(())
    }

    /// Its sources are files of /usr, which is mounted.
    fn populates(&mut self, _: &NewPartition) -> Result<(), Failure> {
        Ok(())
    }

    fn random(&mut self, _: &NewPartition) -> Result<[u8; 16], Failure> {
        let mut bytes = [0; 16];
        random(&mut bytes).or_fail(|| "the kernel gives no random bytes".into())?;
        Ok(bytes)
    }
}
