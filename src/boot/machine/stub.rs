//! Files that sd-stub puts beside the initramfs, in /.extra (systemd-stub(7)): the sections of the UKI about PCRs and
//! about the system. The real system looks for them below /run, where systemd's tmpfiles.d/20-systemd-stub.conf puts
//! them.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use crate::{
    debug,
    tree::read::{self, Limit},
    warning,
};

/// The directory in which sd-stub lays them.
const EXTRA: &str = "/.extra";

/// The files that are handed over, and to where.
const HANDED_OVER: [(&str, &str); 4] = [
    (PCR_SIGNATURES, "/run/systemd"),
    (PCR_PUBLIC_KEY, "/run/systemd"),
    ("profile", "/run/systemd/stub"),
    ("os-release", "/run/systemd/stub"),
];

/// Signatures for PCRs as they will be (systemd-measure(1)).
pub const PCR_SIGNATURES: &str = "tpm2-pcr-signature.json";

/// The key that they are checked with.
pub const PCR_PUBLIC_KEY: &str = "tpm2-pcr-public-key.pem";

/// The directories in which systemd's tools look for both, in this order; in an initrd also in [`EXTRA`].
const PLACES: [&str; 5] =
    ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd", EXTRA];

/// None of these files is larger.
const MAX_SIZE: Limit = Limit::mebibytes(1);

/// Copies the files that the real system wants. A file that exists at its place stays.
pub fn hand_over() {
    for (name, directory) in HANDED_OVER {
        let (from, to) = (Path::new(EXTRA).join(name), Path::new(directory).join(name));
        if to.exists() {
            continue;
        }
        let copied = match read(&from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => Err(error),
            Ok(content) => fs::create_dir_all(directory)
                .and_then(|()| fs::write(&to, content))
                .and_then(|()| fs::set_permissions(&to, fs::Permissions::from_mode(0o444))),
        };
        match copied {
            Ok(()) => debug!("{} is at {}", from.display(), to.display()),
            // The boot itself does without it.
            Err(error) => warning!("{} cannot be handed over: {error}", from.display()),
        }
    }
}

/// The file of this name in any of the directories, and its path; None when it is in none.
///
/// # Errors
/// It cannot be read, or is too large; with its path.
pub fn find(name: &str) -> Result<Option<(Vec<u8>, String)>, String> {
    for place in PLACES {
        let path = Path::new(place).join(name);
        match read(&path) {
            Ok(content) => return Ok(Some((content, path.display().to_string()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(None)
}

/// The file at this explicit path, and the path.
///
/// # Errors
/// As [`find`]; also when it is missing.
pub fn named(path: &str) -> Result<(Vec<u8>, String), String> {
    read(Path::new(path))
        .map(|content| (content, path.to_owned()))
        .map_err(|error| format!("{path}: {error}"))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    Ok(read::whole(File::open(path)?, MAX_SIZE)?)
}
