//! What this machine says: specifiers' values, credentials of this process, name services.

use std::{env, fs, io::Read as _, path::PathBuf};

use hermetic_init::{
    config::credentials,
    fragments::{Facts, facts},
    secret::Secret,
    sysusers::allocate,
};
use nix::unistd::{Gid, Group, Uid, User};

use super::Root;

/// The values of specifiers. As the original: the root says who it is and what runs in it, the machine the rest.
pub(super) fn facts(root: &Root) -> Facts {
    let in_root = |path: &str| {
        let mut text = String::new();
        let file = root.tree().open_read(path).ok()?;
        fs::File::from(file).take(1 << 20).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let here = |path: &str| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    let os_release = in_root("/etc/os-release").or_else(|| in_root("/usr/lib/os-release"));
    let is_id = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uname = rustix::system::uname();
    let machine_info = fs::read_to_string("/etc/machine-info").ok();
    let pretty = machine_info.and_then(|text| facts::parse_os_release(&text).remove("PRETTY_HOSTNAME"));
    Facts {
        machine_id: in_root("/etc/machine-id").map(|id| id.trim().to_ascii_lowercase()).filter(is_id),
        boot_id: here("/proc/sys/kernel/random/boot_id").map(|id| id.replace('-', "")),
        kernel_release: uname.release().to_str().ok().map(Into::into),
        hostname: uname.nodename().to_str().ok().map(Into::into),
        pretty_hostname: pretty.filter(|name| !name.is_empty()),
        architecture: Some(facts::architecture(env::consts::ARCH).to_owned()),
        os_release: os_release.as_deref().map(facts::parse_os_release),
    }
}

/// Credentials of this process.
pub(super) struct Credentials {
    place: PathBuf,
    /// Names and contents.
    pub room: credentials::Credentials,
}

impl Credentials {
    /// A credential and the path that messages call it by.
    pub fn file(&self, name: &str) -> Option<(String, &[u8])> {
        let content = self.room.get(name)?;
        Some((self.place.join(name).display().to_string(), content.expose()))
    }
}

/// The credentials that `$CREDENTIALS_DIRECTORY` holds; None without that.
///
/// # Errors
/// It is no absolute path without `..`.
pub(super) fn credentials() -> Result<Option<Credentials>, String> {
    let Some(place) = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) else { return Ok(None) };
    if !place.is_absolute() || place.components().any(|part| part.as_os_str() == "..") {
        return Err("Failed to get credentials directory: Invalid argument".to_owned());
    }
    let mut room = credentials::Credentials::new();
    // As for the original, a directory or a file that cannot be read holds no credential.
    for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
        let (name, content) = (entry.file_name(), fs::read(entry.path()));
        if let (Some(name), Ok(content)) = (name.to_str(), content) {
            room.add(name, Secret::new(content));
        }
    }
    Ok(Some(Credentials { place, room }))
}

/// The C library's name services: files, LDAP, systemd's dynamic users. What cannot be asked is taken to know nobody.
pub(super) struct NameService;

impl allocate::NameService for NameService {
    fn uid_of(&self, name: &str) -> Option<u32> {
        User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
    }

    fn gid_of(&self, name: &str) -> Option<u32> {
        Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw())
    }

    fn has_uid(&self, uid: u32) -> bool {
        User::from_uid(Uid::from_raw(uid)).is_ok_and(|user| user.is_some())
    }

    fn group_of(&self, gid: u32) -> Option<String> {
        Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name)
    }
}
