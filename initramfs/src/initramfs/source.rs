//! Which kernel's modules: the release that the command line, a kernel image or the only directory there names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{Error, kernel};

/// No kernel image is larger than this.
const MAX_IMAGE_SIZE: u64 = 1 << 30;

/// The words of the command line about the kernel.
pub struct Source<'a> {
    /// `--root`
    pub root: Option<&'a Path>,
    /// `--modules-dir`, or that of `--modules-from-image`
    pub modules_dir: Option<&'a Path>,
    /// `--kernel-modules`
    pub kernel_modules: Option<&'a Path>,
    /// `--kernel-version`
    pub release: Option<&'a str>,
    /// `--kernel`
    pub image: Option<&'a Path>,
}

impl Source<'_> {
    /// The kernel's release and the directory of its modules.
    ///
    /// # Errors
    /// When no kernel or several are there and none is named, the one named has no modules there, or the words
    /// contradict each other.
    pub fn find(&self) -> Result<(String, PathBuf), Error> {
        let mut named = self.release.map(str::to_owned);
        if let Some(path) = self.image {
            let holds = image_release(path)?;
            if let Some(named) = named.filter(|named| *named != holds) {
                return Err(Error::Mismatch { path: path.into(), holds, named });
            }
            named = Some(holds);
        }
        if let Some(path) = self.kernel_modules {
            return alone(path, named);
        }
        let dir = self.dir();
        let mut there = releases(&dir)?;
        match named {
            Some(release) if there.contains(&release) => {
                let modules = dir.join(&release);
                Ok((release, modules))
            }
            None if there.len() == 1 => {
                let release = there.remove(0);
                let modules = dir.join(&release);
                Ok((release, modules))
            }
            release => Err(Error::NoKernel { dir, release, there }),
        }
    }

    fn dir(&self) -> PathBuf {
        let below = |path: &Path| match self.root {
            Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
            None => path.to_owned(),
        };
        match self.modules_dir {
            Some(path) => below(path),
            None => {
                // In a tree that is not mounted as /, an absolute link at /lib would lead out of it.
                let merged = below(Path::new("/usr/lib/modules"));
                if merged.is_dir() { merged } else { below(Path::new("/lib/modules")) }
            }
        }
    }
}

/// The directory of one kernel, with the release that was named, or else the directory's own name.
fn alone(path: &Path, named: Option<String>) -> Result<(String, PathBuf), Error> {
    let what = "the modules directory";
    let whole = fs::canonicalize(path).map_err(|error| Error::Read { what, path: path.into(), error })?;
    let own = || {
        whole.file_name().and_then(|name| name.to_str()).filter(|name| !name.contains(char::is_whitespace))
    };
    match named.or_else(|| own().map(str::to_owned)) {
        Some(release) => Ok((release, whole)),
        None => {
            let why = "its name is no kernel version: name one by --kernel-version or --kernel".into();
            Err(Error::Unusable { what, path: path.into(), why })
        }
    }
}

/// The kernels that have a directory in `dir`, sorted.
fn releases(dir: &Path) -> Result<Vec<String>, Error> {
    let read = |error| Error::Read { what: "the modules directory", path: dir.into(), error };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(read)? {
        let entry = entry.map_err(read)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A release has no space in it, and the tables of modules could not name a path with one.
        if entry.path().is_dir() && !name.contains(char::is_whitespace) {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

fn image_release(path: &Path) -> Result<String, Error> {
    let what = "the kernel";
    let read = |error| Error::Read { what, path: path.into(), error };
    let unusable = |why: &str| Error::Unusable { what, path: path.into(), why: why.into() };
    if fs::metadata(path).map_err(read)?.len() > MAX_IMAGE_SIZE {
        return Err(unusable("larger than 1 GiB: give a bzImage, an arm64 Image or a UKI"));
    }
    kernel::release(&fs::read(path).map_err(read)?).ok_or_else(|| {
        unusable("no kernel version in it: give a bzImage, an arm64 Image or a UKI, or use --kernel-version")
    })
}
