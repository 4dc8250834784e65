//! The target of a file system: a file or a block device, examined before it is written.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use hermetic_init::{
    disk::probe::{self, probe},
    units::Bytes,
    writes::Writes,
};
use rustix::fs::{OFlags, ioctl_blksszget};

use super::Error;

/// A file or a block device of known size. A file that is not there yet is made by the first write.
pub struct Target {
    path: PathBuf,
    there: Option<File>,
    device: bool,
    size: Bytes,
}

impl Target {
    /// Opens the target. `size` is the requested size: a part of a device or a file, or a file that is larger than now.
    pub fn look(path: &Path, size: Option<Bytes>) -> Result<Self, Error> {
        let failed = |step| move |error| Error::Target { step, path: path.to_owned(), error };
        let kind = match path.metadata() {
            Ok(metadata) => metadata.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let size = size.ok_or_else(|| Error::NoSize(path.to_owned()))?;
                return Ok(Self { path: path.to_owned(), there: None, device: false, size });
            }
            Err(error) => return Err(failed("look at")(error)),
        };
        let device = kind.is_block_device();
        if !device && !kind.is_file() {
            return Err(Error::Kind(path.to_owned()));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        if device {
            // Refused while it is mounted or mapped.
            options.custom_flags(OFlags::EXCL.bits().cast_signed());
        }
        let mut file = options.open(path).map_err(failed("open"))?;
        let whole = Bytes(file.seek(SeekFrom::End(0)).map_err(failed("measure"))?);
        let size = size.unwrap_or(whole);
        if device && size > whole {
            return Err(Error::Beyond { path: path.to_owned(), size, whole });
        }
        Ok(Self { path: path.to_owned(), there: Some(file), device, size })
    }

    /// The size that the file system gets.
    pub fn size(&self) -> Bytes {
        self.size
    }

    /// A device's logical sector in bytes; None for a file.
    pub fn sector_size(&self) -> Option<u32> {
        self.there.as_ref().filter(|_| self.device).and_then(|device| ioctl_blksszget(device).ok())
    }

    /// Returns the content that is there already, as blkid calls it.
    pub fn content(&self) -> Result<Option<String>, Error> {
        let Some(mut file) = self.there.as_ref() else { return Ok(None) };
        let mut start = Vec::new();
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.take(probe::LENGTH as u64).read_to_end(&mut start))
            .map_err(|error| Error::Target { step: "read", path: self.path.clone(), error })?;
        Ok(probe(&start).map(|found| found.format.to_string()))
    }

    /// Carries out a plan. A missing file is made for it, one that is too short becomes longer.
    pub fn write(&self, plan: &Writes) -> Result<(), Error> {
        let failed = |step| move |error| Error::Target { step, path: self.path.clone(), error };
        let made;
        let file = match &self.there {
            Some(file) => file,
            None => {
                let create = OpenOptions::new().read(true).write(true).create_new(true).open(&self.path);
                made = create.map_err(failed("create"))?;
                &made
            }
        };
        if !self.device && file.metadata().map_err(failed("measure"))?.len() < self.size.0 {
            file.set_len(self.size.0).map_err(failed("lengthen"))?;
        }
        plan.apply(file).map_err(failed("write"))
    }
}
