//! A file or device with a LUKS2 header, locked while it is looked at or changed, in the way of libcryptsetup 2: a file is
//! locked itself, a device by a file of its number in /run/cryptsetup.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use hermetic_init::{
    disk::probe::{self, probe},
    luks::{Header, LuksError},
    units::Bytes,
    writes::Writes,
};
use rustix::{
    fs::{FlockOperation, OFlags, flock, major, minor},
    rand::{GetRandomFlags, getrandom},
};
use uuid::Uuid;

use super::Error;

/// The directory in which libcryptsetup keeps its locks for devices.
const LOCKS: &str = "/run/cryptsetup";

/// A volume, locked as long as this lives.
pub struct Volume {
    path: PathBuf,
    file: File,
    /// Locked, for a device.
    _lock: Option<File>,
}

impl Volume {
    /// Opens and locks it for reading.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_to_read(path: &Path) -> Result<Self, Error> {
        Self::open(path, OpenOptions::new().read(true), FlockOperation::LockShared)
    }

    /// Opens and locks it for a change of its header. A device may be in use: the open volume does not look at it any more.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open_to_write(path: &Path) -> Result<Self, Error> {
        Self::open(path, OpenOptions::new().read(true).write(true), FlockOperation::LockExclusive)
    }

    /// Opens and locks it for a new volume. A device must not be in use.
    ///
    /// # Errors
    /// It cannot be opened, is in use, or neither a file nor a block device.
    pub fn open_to_format(path: &Path) -> Result<Self, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let kind = path.metadata().map(|metadata| metadata.file_type());
        let kind =
            kind.map_err(|error| Error::Io { what: format!("cannot open {}", path.display()), error })?;
        if kind.is_block_device() {
            // Refused while it is mounted or mapped.
            options.custom_flags(OFlags::EXCL.bits().cast_signed());
        } else if !kind.is_file() {
            return Err(Error::Kind(path.to_owned()));
        }
        Self::open(path, &options, FlockOperation::LockExclusive)
    }

    /// Returns the content that is there already, as blkid calls it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn content(&self) -> Result<Option<String>, Error> {
        let mut start = Vec::new();
        let mut file = &self.file;
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.take(probe::LENGTH as u64).read_to_end(&mut start))
            .map_err(|error| Error::Io { what: format!("cannot read {}", self.path.display()), error })?;
        Ok(probe(&start).map(|found| found.format.to_string()))
    }

    fn open(path: &Path, options: &OpenOptions, how: FlockOperation) -> Result<Self, Error> {
        let opened = options.open(path).and_then(|file| {
            let lock = lock(&file, how)?;
            Ok((file, lock))
        });
        let (file, lock) =
            opened.map_err(|error| Error::Io { what: format!("cannot open {}", path.display()), error })?;
        Ok(Self { path: path.to_owned(), file, _lock: lock })
    }

    /// The file, to be read.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its size.
    ///
    /// # Errors
    /// It cannot be measured.
    pub fn size(&self) -> Result<Bytes, Error> {
        (&self.file)
            .seek(SeekFrom::End(0))
            .map(Bytes)
            .map_err(|error| Error::Io { what: format!("cannot measure {}", self.path.display()), error })
    }

    /// Reads its header.
    ///
    /// # Errors
    /// It has no header that can be used.
    pub fn header(&self) -> Result<Header, Error> {
        Header::read(&self.file).map_err(|error| self.luks(error))
    }

    /// An error about it.
    pub fn luks(&self, error: LuksError) -> Error {
        Error::Luks { device: self.path.clone(), error }
    }

    /// Carries out a plan that was made with `random`.
    ///
    /// # Errors
    /// There were no random bytes, and then nothing was written; or a write failed.
    pub fn apply(&self, plan: &Writes, random: Random) -> Result<(), Error> {
        random
            .check()
            .map_err(|error| Error::Io { what: "no random bytes from the kernel".into(), error })?;
        plan.apply(&self.file)
            .map_err(|error| Error::Io { what: format!("cannot write {}", self.path.display()), error })
    }
}

fn lock(file: &File, how: FlockOperation) -> io::Result<Option<File>> {
    let metadata = file.metadata()?;
    if !metadata.file_type().is_block_device() {
        flock(file, how)?;
        return Ok(None);
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(LOCKS)?;
    let device = metadata.rdev();
    let name = format!("{LOCKS}/L_{}:{}", major(device), minor(device));
    let lock =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(name)?;
    flock(&lock, how)?;
    Ok(Some(lock))
}

/// Random bytes of the kernel. A failure is kept until it is asked for, because plans are made without errors.
#[derive(Default)]
pub struct Random(Option<io::Error>);

impl Random {
    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match getrandom(rest, GetRandomFlags::empty()) {
                Ok(count) => filled += count,
                Err(errno) => {
                    self.0 = Some(errno.into());
                    return;
                }
            }
        }
    }

    /// A random UUID.
    pub fn uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        uuid::Builder::from_random_bytes(bytes).into_uuid()
    }

    fn check(self) -> io::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
