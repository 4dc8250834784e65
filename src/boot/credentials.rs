//! Credentials of this boot: where they come from (contract §8.4). Nothing is taken away; the real systemd imports them again.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use crate::{
    config::credentials::{Credentials, LARGEST, are_wanted},
    info, notice,
    secret::Secret,
    sys::attribute,
    warning,
};

/// The firmware's structures, which need no module.
const SMBIOS: &str = "/sys/firmware/dmi/tables/DMI";
/// What QEMU passes with `-fw_cfg`; needs the module qemu_fw_cfg.
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials";
/// Where sd-stub unpacks the credentials that lie beside the UKI, and those of the whole ESP. They are encrypted, and the ESP is
/// anybody's: only who can decrypt and authenticate them may use them.
const SEALED: [&str; 2] = ["/.extra/credentials", "/.extra/global_credentials"];
/// The largest table that is read: SMBIOS 2.1 counts it with 16 bits, SMBIOS 3 has no limit that matters.
const LARGEST_TABLE: usize = 4 * LARGEST;
/// Flags of a processor that encrypts a guest's memory (/proc/cpuinfo). In such a guest the host's word counts for nothing. AMD shows its
/// flag also to the guests of a host that could, which are distrusted without need.
const CONFIDENTIAL: [&str; 2] = ["sev", "tdx_guest"];

/// Imports all that this machine was given, in systemd's order: fw_cfg, SMBIOS, command line. Of several with one name the
/// first counts.
pub fn import() -> Credentials {
    let mut credentials = Credentials::new();
    let command_line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if !are_wanted(&command_line) {
        notice!("systemd.import_credentials=no: no credentials are imported");
        return credentials;
    }
    if !is_confidential() {
        if let Err(error) = add_fw_cfg(&mut credentials) {
            warning!("cannot read credentials from {FW_CFG}: {error}");
        }
        match read(Path::new(SMBIOS), LARGEST_TABLE) {
            Ok(table) => credentials.add_smbios(table.expose()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warning!("cannot read credentials from {SMBIOS}: {error}"),
        }
    }
    credentials.add_command_line(&command_line);
    for problem in credentials.problems() {
        warning!("{problem}");
    }
    let sealed = sealed();
    if !sealed.is_empty() {
        notice!("encrypted credentials are not used here: {}", sealed.join(", "));
    }
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
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        match (entry.file_name().to_str(), read(&entry.path().join("raw"), LARGEST)) {
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

/// The names of the encrypted ones.
fn sealed() -> Vec<String> {
    let entries = SEALED.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| Some(name.strip_suffix(".cred")?.to_owned())).collect()
}

fn is_confidential() -> bool {
    let text = attribute("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let has = |wanted: &str| flags.split_ascii_whitespace().any(|flag| flag == wanted);
    has("hypervisor") && CONFIDENTIAL.into_iter().any(has)
}
