//! The machine that will boot, as far as it is told: what is not is taken for granted.

use hermetic_init::{
    file_system::FileSystem,
    repart::{NewPartition, RepartError, Surroundings, Unsealed},
    tpm::NO_TPM,
};

/// The machine that will boot.
#[derive(Clone, Copy)]
pub struct Machine<'a> {
    /// The name of its disk, for refusals; None leaves it out.
    pub disk: Option<&'a str>,
    /// It has a TPM 2.0.
    pub has_tpm: bool,
}

impl Surroundings for Machine<'_> {
    /// The line of the boot.
    type Error = String;

    fn refused(&self, error: RepartError) -> String {
        match self.disk {
            Some(disk) => format!("{disk}: {error}"),
            None => error.to_string(),
        }
    }

    fn mounts(&mut self, _: FileSystem) -> Result<bool, String> {
        Ok(true)
    }

    fn maps(&mut self) -> Result<bool, String> {
        Ok(true)
    }

    fn lacks_tpm(&mut self, _: &NewPartition) -> Result<Option<Unsealed>, String> {
        Ok((!self.has_tpm).then_some(Unsealed::NoTpm(NO_TPM)))
    }

    fn key_file(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn populates(&mut self, _: &NewPartition) -> Result<(), String> {
        Ok(())
    }

    /// A plan that is shown keeps nothing secret.
    fn random(&mut self, _: &NewPartition) -> Result<[u8; 16], String> {
        Ok([0; 16])
    }
}
