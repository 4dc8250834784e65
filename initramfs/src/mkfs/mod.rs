//! `hermetic mkfs`: an empty file system in a file or on a block device, the same that hermetic-init makes at boot.
//!
//! Everything that can be refused is refused before the first write: the format, the size, a device in use, a target that
//! holds something already.

mod error;
mod size;
mod target;

use std::{
    io::Write as _,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use hermetic_init::{
    mkfs::{FileSystem, Params},
    units::Bytes,
};
use rustix::rand::{GetRandomFlags, getrandom};
use uuid::{Builder, Uuid};

use error::Error;
use target::Target;

/// The arguments of `hermetic mkfs`.
#[derive(clap::Args)]
pub struct Args {
    /// What to make: ext4, vfat or swap
    format: String,
    /// A file, made if it is not there, or a block device
    target: PathBuf,
    /// Label; what is longer than the format allows is cut
    #[arg(long, short = 'L', default_value = "")]
    label: String,
    /// UUID; random unless given
    #[arg(long, short = 'U')]
    uuid: Option<Uuid>,
    /// Bytes, with K, M, G or T behind the number; the whole target unless given
    #[arg(long, short, value_parser = size::parse)]
    size: Option<Bytes>,
    /// Bytes in a sector of the disk on which the file will lie; a device's own
    #[arg(long, default_value_t = 512)]
    sector_size: u32,
    /// Also over something that is there already
    #[arg(long, short)]
    force: bool,
}

/// Makes the file system.
pub fn run(args: &Args) -> Result<(), Error> {
    let system = FileSystem::named(&args.format).ok_or_else(|| Error::Format(args.format.clone()))?;
    let target = Target::look(&args.target, args.size)?;
    if let Some(found) = target.content()?.filter(|_| !args.force) {
        return Err(Error::Occupied { path: args.target.clone(), found });
    }
    let uuid = match args.uuid {
        Some(uuid) => uuid,
        None => Builder::from_random_bytes(random()?).into_uuid(),
    };
    // A clock before 1970 says nothing better than 1970.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let params = Params {
        size: target.size(),
        sector_size: target.sector_size().unwrap_or(args.sector_size),
        page_size: 4096,
        uuid,
        label: &args.label,
        random: random()?,
        now,
    };
    let plan = system.plan(&params).map_err(Error::Mkfs)?;
    target.write(&plan)?;
    // Who has closed our output knows already what was made.
    let _closed = writeln!(
        std::io::stdout(),
        "{}: {system} of {}, uuid {uuid}, {} written",
        args.target.display(),
        target.size(),
        plan.volume()
    );
    Ok(())
}

/// Random bytes from the kernel.
fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    // A request of up to 256 bytes is answered in one piece (getrandom(2)).
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(Error::Random)?;
    Ok(bytes)
}
