//! `hermetic luks`: LUKS2 volumes on build machines and in tests, with the engine that opens them in the boot. Options
//! are named as cryptsetup names its own.
//!
//! | file | content |
//! |---|---|
//! | [`key`] | keys of a volume: key files, recovery keys, derivations |
//! | [`volume`] | the file or device, locked as cryptsetup locks it |
//! | [`dump`] | the header for people and for scripts |

mod dump;
mod key;
mod volume;

use std::{fmt, io, path::PathBuf};

use clap::Subcommand;
use hermetic_init::luks::{AddKeyslot, FormatParams, Header, LuksError, RecoveryKey, VolumeKey, format};
use uuid::Uuid;

use self::{
    key::{Derivation, KeyFile},
    volume::{Random, Volume},
};
use crate::wait;

/// The words of `hermetic luks`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make a new volume with one keyslot.
    Format {
        /// The device or image file.
        device: PathBuf,
        /// Also where something is already; it is lost.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        key: KeyFile,
        /// The volume's UUID [default: random].
        #[arg(long)]
        uuid: Option<Uuid>,
        /// Its label.
        #[arg(long, default_value = "")]
        label: String,
        /// Its subsystem label.
        #[arg(long, default_value = "")]
        subsystem: String,
        /// The unit of encryption in bytes: 512, 1024, 2048 or 4096.
        #[arg(long, default_value_t = 4096)]
        sector_size: u32,
        #[command(flatten)]
        derivation: Derivation,
    },
    /// Check that a key opens the volume, and say which keyslot it opens.
    OpenKey {
        /// The device or image file.
        device: PathBuf,
        #[command(flatten)]
        key: KeyFile,
        /// Try this keyslot alone, with any priority
        #[arg(long, short = 'S', value_name = "NUMBER")]
        key_slot: Option<u32>,
        /// Write the volume key to this file, for tests: it opens the volume without a passphrase.
        #[arg(long, value_name = "FILE")]
        volume_key_file: Option<PathBuf>,
    },
    /// Print the header.
    Dump {
        /// The device or image file.
        device: PathBuf,
        /// The JSON text as it stands on the disk.
        #[arg(long)]
        dump_json_metadata: bool,
    },
    /// Add a keyslot.
    AddKey {
        /// The device or image file.
        device: PathBuf,
        #[command(flatten)]
        key: KeyFile,
        /// The key of the new keyslot; `-` is standard input.
        #[arg(long, value_name = "FILE", required_unless_present = "recovery_key")]
        new_keyfile: Option<PathBuf>,
        /// Make a recovery key, with the token by which systemd knows it, and print it.
        #[arg(long, conflicts_with = "new_keyfile")]
        recovery_key: bool,
        /// The new keyslot's number [default: the lowest that is free].
        #[arg(long, value_name = "NUMBER")]
        new_key_slot: Option<u32>,
        #[command(flatten)]
        derivation: Derivation,
    },
    /// Remove a keyslot and overwrite its area. The last one stays.
    KillSlot {
        /// The device or image file.
        device: PathBuf,
        /// The keyslot.
        number: u32,
    },
    /// Write a damaged copy of the header again from its twin.
    Repair {
        /// The device or image file.
        device: PathBuf,
    },
}

/// The error that stopped `hermetic luks`. Nothing was written, unless it says that writing failed.
#[derive(Debug)]
pub enum Error {
    /// The file or device could not be used.
    Io {
        /// The step.
        what: String,
        /// The error of the system.
        error: io::Error,
    },
    /// An error of the volume on the device.
    Luks {
        /// Which device.
        device: PathBuf,
        /// The error.
        error: LuksError,
    },
    /// A key file that cannot be used.
    Key(String),
    /// A new volume goes to a file or a block device.
    Kind(PathBuf),
    /// The target holds something.
    Occupied {
        /// Which target.
        device: PathBuf,
        /// The content of the device, as blkid calls it.
        found: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, error } => write!(f, "{what}: {error}"),
            Self::Luks { device, error } => write!(f, "{}: {error}", device.display()),
            Self::Key(problem) => f.write_str(problem),
            Self::Kind(path) => {
                write!(f, "{} is neither a file nor a block device; name one", path.display())
            }
            Self::Occupied { device, found } => {
                write!(f, "{} holds {found} already; --force writes over it", device.display())
            }
        }
    }
}

impl std::error::Error for Error {}

/// Carries the words out.
///
/// # Errors
/// The error that stopped it.
pub fn run(args: &Args) -> Result<(), Error> {
    match &args.what {
        What::Format { device, force, key, uuid, label, subsystem, sector_size, derivation } => {
            let volume = Volume::open_to_format(device)?;
            if let Some(found) = volume.content()?.filter(|_| !force) {
                return Err(Error::Occupied { device: device.clone(), found });
            }
            let passphrase = key.read()?;
            let mut random = Random::default();
            let device_size = volume.size()?;
            let params = FormatParams {
                uuid: uuid.unwrap_or_else(|| random.uuid()),
                label,
                subsystem,
                sector_size: *sector_size,
                allow_discards: false,
                passphrase: &passphrase,
                kdf: derivation.choose(&passphrase),
                random: &mut |bytes| random.fill(bytes),
                device_size,
            };
            let (plan, _) = wait::during("deriving the key of the keyslot", || format(params))
                .map_err(|error| volume.luks(error))?;
            volume.apply(&plan, random)
        }
        What::OpenKey { device, key, key_slot, volume_key_file } => {
            let volume = Volume::open_to_read(device)?;
            let found = unlock(&volume, &volume.header()?, key, *key_slot)?;
            println!("keyslot {} opens the volume", found.keyslot);
            match volume_key_file {
                Some(path) => key::write_private(path, &found.key),
                None => Ok(()),
            }
        }
        What::Dump { device, dump_json_metadata } => {
            let volume = Volume::open_to_read(device)?;
            let header = volume.header()?;
            if *dump_json_metadata {
                println!("{}", header.document());
            } else {
                print!("{}", dump::text(&header));
            }
            Ok(())
        }
        What::AddKey { device, key, new_keyfile, recovery_key: _, new_key_slot, derivation } => {
            let volume = Volume::open_to_write(device)?;
            let header = volume.header()?;
            let opened = unlock(&volume, &header, key, None)?;
            let mut random = Random::default();
            let recovery = match new_keyfile {
                Some(_) => None,
                None => Some(RecoveryKey::random(&mut |bytes| random.fill(bytes))),
            };
            let typed = new_keyfile.as_deref().map(key::read).transpose()?;
            let passphrase = recovery.as_ref().map(RecoveryKey::passphrase).or(typed.as_ref());
            let Some(passphrase) = passphrase else {
                return Err(Error::Key("no new key; name one with --new-keyfile".into()));
            };
            let new = AddKeyslot {
                key: &opened,
                passphrase,
                kdf: derivation.choose(passphrase),
                number: *new_key_slot,
                token: recovery.as_ref().map(|_| RecoveryKey::token()),
            };
            let (plan, number) = header
                .add_keyslot(&new, &mut |bytes| random.fill(bytes))
                .map_err(|error| volume.luks(error))?;
            volume.apply(&plan, random)?;
            match &recovery {
                Some(key) => println!("{}", String::from_utf8_lossy(key.passphrase().expose())),
                None => println!("keyslot {number} added"),
            }
            Ok(())
        }
        What::KillSlot { device, number } => {
            let volume = Volume::open_to_write(device)?;
            let mut random = Random::default();
            let plan = volume.header()?.kill_keyslot(*number, &mut |bytes| random.fill(bytes));
            volume.apply(&plan.map_err(|error| volume.luks(error))?, random)
        }
        What::Repair { device } => {
            let volume = Volume::open_to_write(device)?;
            let header = volume.header()?;
            let mut random = Random::default();
            let plan = header.repair(&mut |bytes| random.fill(bytes)).map_err(|error| volume.luks(error))?;
            match (plan, header.complaint()) {
                (Some(plan), _) => volume.apply(&plan, random),
                (None, Some(complaint)) => Err(Error::Key(format!(
                    "{}: {complaint}; that is not repaired, because it may be right for a newer cryptsetup",
                    device.display()
                ))),
                (None, None) => Ok(()),
            }
        }
    }
}

/// Finds the volume key; keyslots that were skipped on the way are reported.
fn unlock(volume: &Volume, header: &Header, key: &KeyFile, keyslot: Option<u32>) -> Result<VolumeKey, Error> {
    let passphrase = key.read()?;
    let mut budget = key::budget();
    let found = match keyslot {
        Some(number) => header.unlock_keyslots(&[number], volume.file(), &passphrase, &mut budget),
        None => header.unlock(volume.file(), &passphrase, &mut budget),
    };
    let found = found.map_err(|error| volume.luks(error))?;
    for skipped in &found.skipped {
        eprintln!("keyslot {} was skipped: {}", skipped.keyslot, skipped.reason);
    }
    Ok(found)
}
