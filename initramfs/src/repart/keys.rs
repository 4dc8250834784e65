//! The keys of encrypted partitions: `--key-file=` for all of them, else `KeyFile=` of each definition, else the empty key.

use std::{collections::BTreeMap, path::Path};

use hermetic_init::{
    repart::{Definition, Encrypt},
    secret::Secret,
};

use super::{Failure, args::Choices};

/// The keys.
pub struct Keys {
    common: Secret,
    /// By the place of the definition.
    own: BTreeMap<usize, Secret>,
}

impl Keys {
    /// The same key for all.
    pub fn same(common: Secret) -> Self {
        Self { common, own: BTreeMap::new() }
    }

    /// Reads the key files that count.
    pub fn read(choices: &Choices, definitions: &[Definition]) -> Result<Self, Failure> {
        if let Some(path) = &choices.key_file {
            return read(path).map(Self::same);
        }
        let mut keys = Self::same(Secret::new(Vec::new()));
        for (position, definition) in definitions.iter().enumerate() {
            if let (Some(path), Encrypt::KeyFile | Encrypt::KeyFileTpm2) =
                (&definition.key_file, definition.encrypt)
            {
                keys.own.insert(position, read(Path::new(path))?);
            }
        }
        Ok(keys)
    }

    /// The key of the partition of the definition at this place.
    pub fn of(&self, position: usize) -> &Secret {
        self.own.get(&position).unwrap_or(&self.common)
    }
}

fn read(path: &Path) -> Result<Secret, Failure> {
    std::fs::read(path)
        .map(Secret::new)
        .map_err(|error| Failure::new(format!("Failed to read key file '{}': {error}", path.display())))
}
