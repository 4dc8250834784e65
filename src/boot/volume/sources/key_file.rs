//! Key files of the initramfs and of /run.

use std::{io, path::PathBuf};

use crate::{
    boot::{
        failure::Failure,
        volume::{
            key_file::{BY_NAME, read},
            locked::Volume,
            source::{Outcome, Source, Trial},
        },
    },
    notice,
};

/// The directories in which key files for a volume are looked for by its name.
const DIRECTORIES: [&str; 2] = [BY_NAME, "/run/cryptsetup-keys.d"];

/// Source of keys: every key file that may be for the volume.
pub struct KeyFiles;

impl Source for KeyFiles {
    fn name(&self) -> &'static str {
        "a key file"
    }

    fn open(&self, trial: &mut Trial<'_>) -> Result<Outcome, Failure> {
        let Volume { device, options, key_file, .. } = trial.volume;
        for path in paths(trial.volume) {
            let shown = format!("key file {}", path.display());
            match read(&path, options.key_file_offset, options.key_file_size) {
                Ok(secret) => {
                    if let Some(key) = trial.attempt(&shown, &secret)? {
                        return Ok(Outcome::Opened(key));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    if path == *key_file {
                        trial.tried.note(format!("{shown} is missing; build the initramfs with --key-file"));
                    }
                }
                Err(error) => {
                    notice!("{}: {shown}: {error}", device.name);
                    trial.tried.note(format!("{shown}: {error}"));
                }
            }
        }
        Ok(Outcome::InVain)
    }
}

/// The key files that may be for a volume.
fn paths(volume: &Volume<'_>) -> Vec<PathBuf> {
    let by_name =
        DIRECTORIES.iter().map(|directory| PathBuf::from(format!("{directory}/{}.key", volume.name)));
    std::iter::once(volume.key_file.clone()).chain(by_name).collect()
}
