//! The machine that the tool runs on, as a decision asks for it: what it cannot know of the machine that will boot, it takes for
//! granted.

use std::{fs::File, path::Path};

use hermetic_init::{
    file_system::FileSystem,
    repart::{NewPartition, RepartError, Surroundings, Unsealed},
};

use super::{Failure, args::Choices, identity};
use crate::{
    clock::Clock,
    populate::{can_mount, can_populate},
};

/// The machine on which `hermetic repart` makes partitions.
pub struct Host<'a> {
    /// The command line.
    pub choices: &'a Choices,
    /// The disk.
    pub disk: &'a Path,
    /// The clock.
    pub clock: Clock,
}

impl Host<'_> {
    /// The tree that files are copied from.
    pub fn tree(&self) -> Result<File, Failure> {
        let root = self.choices.copy_source.as_deref().or(self.choices.root.as_deref());
        let root = root.unwrap_or(Path::new("/"));
        File::open(root).map_err(|error| Failure::new(format!("{}: {error}", root.display())))
    }
}

impl Surroundings for Host<'_> {
    type Error = Failure;

    fn refused(&self, error: RepartError) -> Failure {
        match error {
            RepartError::Table(error) => Failure::new(format!("{}: {error}", self.disk.display())),
            error => error.into(),
        }
    }

    fn mounts(&mut self, system: FileSystem) -> Result<bool, Failure> {
        Ok(can_mount(system))
    }

    /// Nothing is mapped: the tool encrypts by itself.
    fn maps(&mut self) -> Result<bool, Failure> {
        Ok(true)
    }

    fn lacks_tpm(&mut self, _: &NewPartition) -> Result<Option<Unsealed>, Failure> {
        Ok(None)
    }

    /// Without a key file the key is empty, as in systemd-repart.
    fn key_file(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    fn populates(&mut self, new: &NewPartition) -> Result<(), Failure> {
        let refuse = |error: &dyn std::fmt::Display| {
            Failure::new(format!("{}: {error}; nothing was changed", new.definition.file))
        };
        can_populate().map_err(|error| refuse(&error))?;
        self.tree().map(drop).map_err(|error| refuse(&error))
    }

    /// With a fixed time everything follows from the seed: here they are the file system's UUID, as the hash seed is in
    /// systemd 260.
    fn random(&mut self, new: &NewPartition) -> Result<[u8; 16], Failure> {
        match self.clock.epoch() {
            Some(_) => Ok(new.fs_uuid.into_bytes()),
            None => identity::random(),
        }
    }
}
