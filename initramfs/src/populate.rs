//! Populating a file system inside an image: the kernel mounts it through a loop device, [`hermetic_init::populate`]
//! fills it. Without loop devices or the right to mount this is refused with a clear message. Subvolumes of a btrfs
//! exist already, writable; those that are to be read-only become so in the end. The attributes that name the place of
//! the file system (`AddValidateFS=`) are set here as well.

use std::{
    fmt,
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use hermetic_init::{
    file_system::FileSystem,
    populate::{Content, PopulateError, Report, constrain, populate},
    repart::Filling,
    sys::btrfs,
    units::Bytes,
};

/// The error that stopped it.
#[derive(Debug)]
pub enum Error {
    /// No loop device to mount it with.
    Loop(PathBuf, io::Error),
    /// No place to mount at.
    Place(PathBuf, io::Error),
    /// mount(8) is not there.
    NoMount(io::Error),
    /// The kernel does not mount it.
    Mount {
        /// The image.
        image: PathBuf,
        /// The message of mount(8).
        said: String,
    },
    /// umount(8) failed: written data may not be in the image.
    Unmount {
        /// The directory on which it is still mounted.
        place: PathBuf,
        /// The message of umount(8).
        said: String,
    },
    /// The content does not go in.
    Populate(PopulateError),
    /// The attributes that name the place of the file system cannot be set.
    Constrain(io::Error),
    /// A subvolume stays writable.
    ReadOnly(String, io::Error),
    /// The written data did not reach the image.
    Flush(PathBuf, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loop(path, error) => write!(
                f,
                "cannot fill a file system with files: {}: {error}; it needs root and loop devices",
                path.display()
            ),
            Self::Place(path, error) => write!(f, "cannot make {} to mount at: {error}", path.display()),
            Self::NoMount(error) => write!(f, "cannot run mount(8): {error}; install util-linux"),
            Self::Mount { image, said } => write!(
                f,
                "cannot mount the new file system in {}: {said}; filling it needs root and loop devices, and a kernel that knows it",
                image.display()
            ),
            Self::Unmount { place, said } => {
                write!(f, "cannot unmount {}: {said}; the image is not complete", place.display())
            }
            Self::Populate(error) => error.fmt(f),
            Self::Constrain(error) => {
                write!(f, "cannot set the attributes of AddValidateFS=: {error}; the image is not complete")
            }
            Self::ReadOnly(path, error) => {
                write!(f, "cannot make subvolume {path} read-only: {error}; the image is not complete")
            }
            Self::Flush(image, error) => write!(f, "cannot write {}: {error}", image.display()),
        }
    }
}

impl std::error::Error for Error {}

/// A file system in an image.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The image: a file, or a block device.
    pub image: &'a Path,
    /// The start of the file system in the image.
    pub offset: Bytes,
    /// Its length.
    pub length: Bytes,
    /// The file system, and what is done to it beside files.
    pub filling: &'a Filling<'a>,
}

/// Returns true when this machine mounts such a file system in an image: it has root, loop devices and a kernel that
/// knows it, or has a module that does.
pub fn can_mount(file_system: FileSystem) -> bool {
    let is_known = || {
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        known.lines().any(|line| line.split_whitespace().last() == Some(file_system.name()))
    };
    let load = || {
        let mut modprobe = Command::new("modprobe");
        let ended =
            modprobe.args(["--quiet", &format!("fs-{}", file_system.name())]).stderr(Stdio::null()).status();
        ended.is_ok_and(|status| status.success())
    };
    can_populate().is_ok() && (is_known() || load() && is_known())
}

/// Checks that [`populate_image`] can work at all, before anything is written.
///
/// # Errors
/// No loop devices, or no right to mount.
pub fn can_populate() -> Result<(), Error> {
    let control = Path::new("/dev/loop-control");
    let open = || File::options().read(true).write(true).open(control).map(drop);
    match rustix::process::geteuid().is_root() {
        true => open().map_err(|error| Error::Loop(control.to_owned(), error)),
        false => Err(Error::Loop(control.to_owned(), io::ErrorKind::PermissionDenied.into())),
    }
}

/// Mounts the file system, puts `content` of the tree `source` into it, and unmounts it.
///
/// # Errors
/// No loop device, no right to mount; what [`populate`] says.
pub fn populate_image(
    place: &Place<'_>,
    source: BorrowedFd<'_>,
    content: &Content<'_>,
) -> Result<Report, Error> {
    let mounted = Mounted::new(place)?;
    let result = File::open(&mounted.at)
        .map_err(|error| Error::Place(mounted.at.clone(), error))
        .and_then(|top| populate(top.as_fd(), source, content).map_err(Error::Populate))
        .and_then(|report| mounted.constrain(place).map(|()| report))
        .and_then(|report| mounted.make_read_only(&place.filling.read_only).map(|()| report));
    // Also after a failure: no mount is left behind.
    let unmounted = mounted.end();
    let report = result?;
    unmounted?;
    let image = File::open(place.image).and_then(|image| image.sync_all());
    image.map_err(|error| Error::Flush(place.image.to_owned(), error))?;
    Ok(report)
}

/// A file system that is mounted, until it is unmounted.
struct Mounted {
    at: PathBuf,
}

impl Mounted {
    fn new(place: &Place<'_>) -> Result<Self, Error> {
        let name = format!("hermetic-populate-{}-{}", std::process::id(), place.offset.0);
        let at = std::env::temp_dir().join(name);
        std::fs::create_dir(&at).map_err(|error| Error::Place(at.clone(), error))?;
        let mut options = format!(
            "loop,noatime,nodev,noexec,nosuid,offset={},sizelimit={}",
            place.offset.0, place.length.0
        );
        if !place.filling.options.is_empty() {
            options.push(',');
            options.push_str(&place.filling.options);
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", place.filling.system.name(), "-o", &options]).arg(place.image).arg(&at);
        let failure = match mount.output() {
            Ok(output) if output.status.success() => return Ok(Self { at }),
            Ok(output) => Error::Mount { image: place.image.to_owned(), said: first_line(&output.stderr) },
            Err(error) => Error::NoMount(error),
        };
        // Made by us a moment ago; the failure before says more than one to remove an empty directory.
        let _empty_directory = std::fs::remove_dir(&at);
        Err(failure)
    }

    /// Sets the attributes that name the place of the file system, at its top and where it is mounted later.
    fn constrain(&self, place: &Place<'_>) -> Result<(), Error> {
        [Some("/"), place.filling.default].into_iter().flatten().try_for_each(|path| {
            File::open(self.at.join(path.trim_start_matches('/')))
                .and_then(|top| constrain(top.as_fd(), &place.filling.constraints))
                .map_err(Error::Constrain)
        })
    }

    /// Makes these subvolumes read-only.
    fn make_read_only(&self, subvolumes: &[&str]) -> Result<(), Error> {
        subvolumes.iter().try_for_each(|path| {
            File::open(self.at.join(path.trim_start_matches('/')))
                .and_then(|subvolume| btrfs::make_read_only(&subvolume))
                .map_err(|error| Error::ReadOnly((*path).to_owned(), error))
        })
    }

    /// Unmounts, which also writes everything to the image.
    fn end(self) -> Result<(), Error> {
        let output = Command::new("umount").arg(&self.at).output().map_err(Error::NoMount)?;
        if !output.status.success() {
            return Err(Error::Unmount { place: self.at, said: first_line(&output.stderr) });
        }
        std::fs::remove_dir(&self.at).map_err(|error| Error::Place(self.at.clone(), error))
    }
}

/// The first line that a program has said.
pub fn first_line(said: &[u8]) -> String {
    String::from_utf8_lossy(said).lines().next().unwrap_or("it does not say why").to_owned()
}
