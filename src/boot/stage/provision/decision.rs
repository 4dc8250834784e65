//! The decision of what is made on a disk ([`Decision`]), asked for this machine: before the first write, and by a factory reset of the
//! disk as it would leave it, before it erases anything.

use super::locks::Locks;
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::tpm,
        means::Means,
        random::random,
    },
    disk::gpt::Gpt,
    file_system::FileSystem,
    repart::{Decision, NewPartition, Plan, RepartError, Surroundings, Terms},
    secret::Secret,
    sys::{clock, dm::Mapper, tpm::Device},
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
    let mut machine = Machine { means, name, key_file: None, tpm: None };
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

    fn lacks_tpm(&mut self) -> Result<Option<&'static str>, Failure> {
        self.tpm = tpm::open(&mut self.means.devices)?;
        Ok(self.tpm.is_none().then(tpm::missing))
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
