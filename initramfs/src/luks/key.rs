//! The keys that open a volume.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use hermetic_init::{
    luks::{Budget, NewKdf},
    secret::Secret,
};

use super::Error;

/// The longest key file that cryptsetup takes by default (DEFAULT_KEYFILE_SIZE_MAXKB).
const MAX_LENGTH: u64 = 8 << 20;

/// The key file that opens the volume.
#[derive(clap::Args)]
pub struct KeyFile {
    /// The file whose content is the key, every byte of it; `-` is standard input.
    #[arg(long, short = 'd', value_name = "FILE")]
    key_file: PathBuf,
}

impl KeyFile {
    /// Its content.
    ///
    /// # Errors
    /// As [`read`].
    pub fn read(&self) -> Result<Secret, Error> {
        read(&self.key_file)
    }
}

/// The key derivation of a new keyslot.
#[derive(clap::Args)]
pub struct Derivation {
    /// The function [default: pbkdf2 for keys of 32 bytes and more, else argon2id].
    #[arg(long, value_enum)]
    pbkdf: Option<Pbkdf>,
    /// Iterations of pbkdf2, passes of argon2id.
    #[arg(long, value_name = "NUMBER", requires = "pbkdf")]
    pbkdf_force_iterations: Option<u32>,
    /// Memory of argon2id in KiB.
    #[arg(long, value_name = "KIB", requires = "pbkdf")]
    pbkdf_memory: Option<u32>,
    /// Lanes of argon2id.
    #[arg(long, value_name = "NUMBER", requires = "pbkdf")]
    pbkdf_parallel: Option<u32>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Pbkdf {
    Pbkdf2,
    Argon2id,
}

impl Derivation {
    /// The one for this key.
    pub fn choose(&self, key: &Secret) -> NewKdf {
        let kdf = match self.pbkdf {
            None => NewKdf::for_key_file(key.expose().len()),
            Some(Pbkdf::Pbkdf2) => NewKdf::MACHINE,
            Some(Pbkdf::Argon2id) => NewKdf::for_key_file(0),
        };
        match kdf {
            NewKdf::Pbkdf2Sha512 { iterations } => NewKdf::Pbkdf2Sha512 {
                iterations: self.pbkdf_force_iterations.unwrap_or(iterations).max(1000),
            },
            NewKdf::Argon2id { memory, time, cpus } => NewKdf::Argon2id {
                memory: self.pbkdf_memory.unwrap_or(memory),
                time: self.pbkdf_force_iterations.unwrap_or(time),
                cpus: self.pbkdf_parallel.unwrap_or(cpus),
            },
        }
    }
}

/// The content of a key file.
///
/// # Errors
/// It cannot be read, is empty, or longer than cryptsetup would take.
pub fn read(path: &Path) -> Result<Secret, Error> {
    let fail = |error| Error::Io { what: format!("cannot read key file {}", path.display()), error };
    let (mut source, length): (Box<dyn io::Read>, u64) = match path.to_str() {
        Some("-") => (Box::new(io::stdin()), MAX_LENGTH),
        _ => {
            let file = File::open(path).map_err(fail)?;
            let metadata = file.metadata().map_err(fail)?;
            let length = if metadata.is_file() { metadata.len().min(MAX_LENGTH) } else { MAX_LENGTH };
            (Box::new(file), length)
        }
    };
    // Sized before it is filled: a buffer that grows would leave copies behind.
    let mut bytes = Vec::with_capacity(length as usize + 1);
    source.by_ref().take(length + 1).read_to_end(&mut bytes).map_err(fail)?;
    match bytes.len() as u64 {
        0 => Err(Error::Key(format!("key file {} is empty", path.display()))),
        read if read <= length => Ok(Secret::new(bytes)),
        _ => Err(Error::Key(format!("key file {} is longer than 8 MiB", path.display()))),
    }
}

/// Writes a key into a new file that only its owner reads.
///
/// # Errors
/// It exists, or cannot be written.
pub fn write_private(path: &Path, key: &Secret) -> Result<(), Error> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(key.expose()))
        .map_err(|error| Error::Io { what: format!("cannot write {}", path.display()), error })
}

/// The memory and the work that an unlock may cost on this machine.
pub fn budget() -> Budget {
    Budget::from_meminfo(&std::fs::read_to_string("/proc/meminfo").unwrap_or_default())
}
