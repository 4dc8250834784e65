//! `hermetic mkfs`: an empty file system in a file or on a block device, the same that hermetic-init makes at boot.
//!
//! Everything that can be refused is refused before the first write: the format, the size, a device in use, a target that
//! holds something already.

mod btrfs;
mod error;
mod size;
mod target;

use std::{
    fs::File,
    io::Write as _,
    os::{fd::AsFd as _, unix::fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use hermetic_init::{
    file_system::FileSystem,
    mkfs::{
        Params,
        btrfs::{Subvolume, SubvolumeFlags},
    },
    populate::{Content, CopyFiles},
    repart::Filling,
    units::Bytes,
};
use rustix::{
    fs::OFlags,
    rand::{GetRandomFlags, getrandom},
};
use uuid::{Builder, Uuid};

use crate::{
    clock::Clock,
    populate::{Place, populate_image},
    wait,
};
use error::Error;
use target::Target;

/// The arguments of `hermetic mkfs`.
#[derive(clap::Args)]
pub struct Args {
    /// The format to make: ext4, btrfs, vfat or swap
    format: String,
    /// A file, made if it is not there, or a block device
    target: PathBuf,
    /// Label; characters beyond the limit of the format are cut off
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
    /// A directory whose content goes into it; needs root and loop devices
    #[arg(long, short = 'd')]
    root: Option<PathBuf>,
    /// Also over something that is there already
    #[arg(long, short)]
    force: bool,
    #[command(flatten)]
    btrfs: btrfs::Args,
}

/// Makes the file system.
pub fn run(args: &Args) -> Result<(), Error> {
    let system = FileSystem::written()
        .find(|system| system.name() == args.format)
        .ok_or_else(|| Error::Format(args.format.clone()))?;
    let subvolumes = args.btrfs.subvolumes(system)?;
    let clock = Clock::read().map_err(Error::Epoch)?;
    let target = Target::look(&args.target, args.size)?;
    if let Some(found) = target.content()?.filter(|_| !args.force) {
        return Err(Error::Occupied { path: args.target.clone(), found });
    }
    let uuid = match args.uuid {
        Some(uuid) => uuid,
        None => Builder::from_random_bytes(random()?).into_uuid(),
    };
    let params = Params {
        size: target.size(),
        sector_size: target.sector_size().unwrap_or(args.sector_size),
        page_size: 4096,
        uuid,
        label: &args.label,
        // With a fixed time everything follows from the UUID.
        random: clock.epoch().map_or_else(random, |_| Ok(uuid.into_bytes()))?,
        is_unique: false,
        now: clock.now(),
    };
    // A subvolume that is filled stays writable until then.
    let is_filled = args.root.is_some();
    let new: Vec<_> = (subvolumes.iter())
        .map(|volume| {
            let flags = SubvolumeFlags { read_only: volume.flags.read_only && !is_filled, ..volume.flags };
            Subvolume { flags, ..*volume }
        })
        .collect();
    let recipe = system.recipe(&params, args.btrfs.choices(&new)).map_err(Error::Mkfs)?;
    let plan = recipe.writes().map_err(Error::Mkfs)?;
    // The source tree is opened before anything is written.
    let tree = args.root.as_deref().map(|root| open_tree(root, system)).transpose()?;
    target.write(&plan)?;
    let size = target.size();
    // A device is ours alone as long as the target is open: mounting it needs that to be over.
    drop(target);
    if let Some(tree) = tree {
        let read_only = subvolumes.iter().filter(|volume| volume.flags.read_only).map(|volume| volume.path);
        // No partition gives this file system a place.
        let filling = Filling { read_only: read_only.collect(), ..Filling::of(system) };
        let place = Place { image: &args.target, offset: Bytes(0), length: size, filling: &filling };
        let all = [CopyFiles { source: "/".into(), target: "/".into(), fs_verity: false }];
        let content = Content { copy_files: &all, epoch: clock.epoch(), ..Content::default() };
        let what = format!("copying {}", args.root.as_deref().unwrap_or(Path::new("")).display());
        let report = wait::during(&what, || populate_image(&place, tree.as_fd(), &content));
        let report = report.map_err(Error::Populate)?;
        for path in &report.skipped {
            eprintln!("warning: {path} is left out: {system} has no such thing");
        }
    }
    // A reader that has closed our output needs no report.
    let _closed = writeln!(
        std::io::stdout(),
        "{}: {system} of {}, uuid {uuid}, {} written",
        args.target.display(),
        size,
        plan.volume()
    );
    Ok(())
}

/// Opens the directory that is to be copied in.
fn open_tree(root: &Path, system: FileSystem) -> Result<File, Error> {
    if !system.holds_files() {
        return Err(Error::NoFiles(system));
    }
    let open = File::options().read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed()).open(root);
    open.map_err(|error| Error::Target { step: "open directory", path: root.to_owned(), error })
}

/// Random bytes from the kernel.
fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    // A request of up to 256 bytes is answered in one piece (getrandom(2)).
    getrandom(&mut bytes, GetRandomFlags::empty()).map_err(Error::Random)?;
    Ok(bytes)
}
