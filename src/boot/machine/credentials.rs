//! Credentials of this boot: where they come from, and how the real systemd gets those that only an initramfs sees
//! (systemd.system-credentials(7), systemd-stub(7)). Nothing is taken away; it imports all others again.

use std::{
    cell::LazyCell,
    fs::{self, DirBuilder, File},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::host;
use crate::{
    config::credentials::{Credentials, MAX_SIZE, are_wanted},
    info, notice,
    secret::Secret,
    sort, warning,
};

/// The firmware's structures, which need no module.
const SMBIOS: &str = "/sys/firmware/dmi/tables/DMI";
/// The directory of what QEMU passes with `-fw_cfg`; needs the module qemu_fw_cfg.
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials";
/// The directories in which sd-stub unpacks the credentials that lie beside the UKI, and those of the whole ESP. They
/// are encrypted, and anybody can write the ESP: only a program that can decrypt and authenticate them may use them.
const SEALED: [&str; 2] = ["/.extra/credentials", "/.extra/global_credentials"];
/// The directory of those that are a part of the initramfs, in clear: systemd-vmspawn(1) of systemd 262 appends them for a confidential
/// guest, whose launch measurement covers them.
const OF_INITRAMFS: [&str; 1] = ["/.extra/system_credentials"];
/// The directory from which the real system's systemd takes what an initramfs adds to its own (systemd: src/core/import-creds.c). Those that
/// it finds elsewhere under the same name come first.
const FOR_SYSTEMD: &str = "/run/credentials/@initrd";
/// The size of the largest table that is read, in bytes: SMBIOS 2.1 counts it with 16 bits, SMBIOS 3 has no limit that
/// matters.
const MAX_TABLE_SIZE: usize = 4 * MAX_SIZE;

/// The credentials of this boot, read once: on first use.
pub struct Imported {
    /// The word `systemd.import_credentials=no` is not there.
    are_wanted: bool,
    all: LazyCell<Credentials, Box<dyn FnOnce() -> Credentials>>,
}

impl Imported {
    /// The credentials of the machine that was started with this command line.
    pub fn of(command_line: &str) -> Self {
        let words = command_line.to_owned();
        Self::by(are_wanted(command_line), Box::new(move || import(&words)))
    }

    /// Those that `import` finds, if they are wanted.
    pub fn by(are_wanted: bool, import: Box<dyn FnOnce() -> Credentials>) -> Self {
        let refuse = || {
            notice!("systemd.import_credentials=no: no credentials are imported");
            Credentials::new()
        };
        Self { are_wanted, all: LazyCell::new(if are_wanted { import } else { Box::new(refuse) }) }
    }

    /// All of them; none where the command line does not want any.
    pub fn all(&self) -> &Credentials {
        &self.all
    }
}

/// Imports all that this machine was given, in systemd's order: fw_cfg, SMBIOS, command line, initramfs. Of several with one name the
/// first counts.
fn import(command_line: &str) -> Credentials {
    let mut credentials = Credentials::new();
    if host::is_distrusted() {
        info!("this may be a confidential guest: its host's credentials (SMBIOS, fw_cfg) are not read");
    } else {
        if let Err(error) = add_fw_cfg(&mut credentials) {
            warning!("cannot read credentials from {FW_CFG}: {error}");
        }
        match read(Path::new(SMBIOS), MAX_TABLE_SIZE) {
            Ok(table) => credentials.add_smbios(table.expose()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warning!("cannot read credentials from {SMBIOS}: {error}"),
        }
    }
    credentials.add_command_line(command_line);
    add_files(&mut credentials, &OF_INITRAMFS);
    name_problems(&credentials);
    let names: Vec<&str> = credentials.names().collect();
    if !names.is_empty() {
        info!("credentials: {}", names.join(", "));
    }
    credentials
}

fn add_fw_cfg(credentials: &mut Credentials) -> io::Result<()> {
    let mut entries = match fs::read_dir(FW_CFG) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?.collect::<io::Result<Vec<_>>>()?,
    };
    sort::by_key(&mut entries, fs::DirEntry::file_name);
    for entry in entries {
        match (entry.file_name().to_str(), read(&entry.path().join("raw"), MAX_SIZE)) {
            (Some(name), Ok(value)) => credentials.add(name, value),
            (name, Err(error)) => warning!("cannot read the credential {}: {error}", name.unwrap_or("?")),
            (None, Ok(_)) => warning!("a credential of {FW_CFG} has no valid name"),
        }
    }
    Ok(())
}

/// Reads a file of sysfs, whose size says nothing. The buffer has its whole size before it is filled, so that no copies stay behind.
fn read(path: &Path, limit: usize) -> io::Result<Secret> {
    let file = File::open(path)?;
    let mut buffer = Secret::zeroed(64 << 10);
    loop {
        let mut length = 0;
        while let Some(rest) = buffer.expose_mut().get_mut(length..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, length as u64)? {
                0 => return Ok(Secret::new(buffer.expose().get(..length).unwrap_or_default().to_vec())),
                read => length += read,
            }
        }
        if length >= limit {
            return Err(io::Error::other(format!("it has more than {limit} bytes")));
        }
        buffer = Secret::zeroed(length * 4);
    }
}

/// The paths in a directory that may be missing.
fn paths_in(place: &str) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.map(|entry| Ok(entry?.path())).collect(),
    }
}

/// Names what was no credential in the log.
fn name_problems(credentials: &Credentials) {
    for problem in credentials.problems() {
        warning!("{problem}");
    }
}

/// Adds those in these directories, by the names of their files without `.cred`, the first directory's first.
fn add_files(credentials: &mut Credentials, places: &[&str]) {
    for place in places {
        let mut paths = match paths_in(place) {
            Ok(paths) => paths,
            Err(error) => {
                warning!("cannot read credentials from {place}: {error}");
                continue;
            }
        };
        sort::slice(&mut paths);
        for path in paths {
            let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".cred"));
            match (name, read(&path, MAX_SIZE)) {
                (None, _) => {}
                (Some(name), Ok(value)) => credentials.add(name, value),
                (Some(_), Err(error)) => warning!("cannot read the credential {}: {error}", path.display()),
            }
        }
    }
}

impl Imported {
    /// Leaves the credentials of the initramfs and the encrypted ones where the real system takes them from. Returns the variables for
    /// the environment of its systemd: none without encrypted credentials. The directory of encrypted credentials is
    /// named together with that of the others, because systemd then imports nothing by itself (systemd:
    /// src/core/import-creds.c).
    ///
    /// # Errors
    /// /run cannot be written.
    pub fn hand_over(&self) -> io::Result<Vec<(&'static str, &'static str)>> {
        if !self.are_wanted {
            return Ok(Vec::new());
        }
        let mut sealed = Credentials::new();
        add_files(&mut sealed, &SEALED);
        name_problems(&sealed);
        if sealed.names().next().is_none() {
            let mut added = Credentials::new();
            add_files(&mut added, &OF_INITRAMFS);
            if added.names().next().is_some() {
                leave(Path::new(FOR_SYSTEMD), &added)?;
            }
            return Ok(Vec::new());
        }
        let (encrypted, system) = ("/run/credentials/@encrypted", "/run/credentials/@system");
        leave(Path::new(encrypted), &sealed)?;
        leave(Path::new(system), self.all())?;
        info!("encrypted credentials: {}", sealed.names().collect::<Vec<_>>().join(", "));
        Ok(vec![("ENCRYPTED_CREDENTIALS_DIRECTORY", encrypted), ("CREDENTIALS_DIRECTORY", system)])
    }
}

/// Writes each as a file that only root can read.
fn leave(place: &Path, credentials: &Credentials) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(place.parent().unwrap_or(place))?;
    DirBuilder::new().mode(0o700).create(place)?;
    for name in credentials.names() {
        let Some(value) = credentials.get(name) else { continue };
        let mut file = File::options().write(true).create_new(true).mode(0o400).open(place.join(name))?;
        file.write_all(value.expose())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_not_wanted_is_not_read() {
        let read = || -> Credentials { panic!("read") };
        assert_eq!(Imported::by(false, Box::new(read)).all().names().next(), None);
    }

    #[test]
    fn what_is_left_is_roots_alone() {
        let above = std::env::temp_dir().join(format!("hermetic-credentials-{}", std::process::id()));
        let place = above.join("@system");
        let mut credentials = Credentials::new();
        credentials.add("a", Secret::new(b"1\0".to_vec()));
        credentials.add("b.c", Secret::new(Vec::new()));
        leave(&place, &credentials).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&above), mode(&place), mode(&place.join("a"))), (0o755, 0o700, 0o400));
        assert_eq!(
            (fs::read(place.join("a")).unwrap(), fs::read(place.join("b.c")).unwrap()),
            (b"1\0".to_vec(), vec![])
        );
        fs::remove_dir_all(above).unwrap();
    }
}
