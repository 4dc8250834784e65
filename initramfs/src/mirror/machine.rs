//! Facts of this machine: the values of specifiers, the credentials of this process.

use std::{
    env,
    fs::{self, DirEntry, File},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use hermetic_init::{
    config::credentials::{Credentials, MAX_SIZE, is_name},
    fragments::{Facts, facts},
    os_release::OsRelease,
    secret::Secret,
    tree::read::{self, Limit},
};
use rustix::fs::OFlags;

use super::{
    log::{Level, Log},
    root::Root,
};

/// The largest file of the root that is read for it.
const MAX_FILE_SIZE: Limit = Limit::mebibytes(1);

/// The values of specifiers. As in the originals: identity and system come from the root, the rest from the machine.
pub fn facts(root: &Root) -> Facts {
    let here = |path: &str| Some(fs::read_to_string(path).ok()?.trim().to_owned());
    let os_release = text(root, "/etc/os-release").or_else(|| text(root, "/usr/lib/os-release"));
    let is_id = |id: &String| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uname = rustix::system::uname();
    let machine_info = fs::read_to_string("/etc/machine-info").ok();
    let pretty = machine_info.as_deref().map(OsRelease::parse);
    Facts {
        machine_id: text(root, "/etc/machine-id").map(|id| id.trim().to_ascii_lowercase()).filter(is_id),
        boot_id: here("/proc/sys/kernel/random/boot_id").map(|id| id.replace('-', "")),
        kernel_release: uname.release().to_str().ok().map(Into::into),
        hostname: uname.nodename().to_str().ok().map(Into::into),
        pretty_hostname: pretty.and_then(|info| Some(info.get("PRETTY_HOSTNAME")?.to_owned())),
        architecture: Some(facts::architecture(env::consts::ARCH).to_owned()),
        os_release: os_release.as_deref().map(OsRelease::parse),
    }
}

/// A small file of the root.
pub fn text(root: &Root, path: &str) -> Option<String> {
    let file = root.tree().open_read(path).ok()?;
    read::text(file, MAX_FILE_SIZE).ok()
}

/// The credentials that `$CREDENTIALS_DIRECTORY` holds. One that cannot be read is left out, as by the originals; one that is too
/// large, alone or with those before it, is named in a warning.
pub fn credentials(log: Log) -> Credentials {
    let place = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    let credentials = place.map(|place| credentials_in(&place)).unwrap_or_default();
    for problem in credentials.problems() {
        log.say(Level::Warning, problem);
    }
    credentials
}

fn credentials_in(place: &Path) -> Credentials {
    let mut entries: Vec<_> = fs::read_dir(place).into_iter().flatten().flatten().collect();
    entries.sort_by_key(DirEntry::file_name);
    let mut credentials = Credentials::new();
    for entry in entries {
        // Nobody asks for a name that is not one.
        let Some(name) = entry.file_name().into_string().ok().filter(|name| is_name(name)) else { continue };
        // The directory is the caller's, who may have linked files into it. A FIFO is not waited for.
        let file =
            File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(entry.path());
        if let Some(value) = file.ok().and_then(|file| read::start(file, Limit::bytes(MAX_SIZE + 1)).ok()) {
            credentials.add(&name, Secret::new(value));
        }
    }
    credentials
}

/// The name of a credential in messages.
pub fn label(credential: &str) -> String {
    format!("{}/{credential}", env::var("CREDENTIALS_DIRECTORY").unwrap_or_default().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_bounded_and_nothing_else_is_read() {
        let place = env::temp_dir().join(format!("hermetic-credentials-{}", std::process::id()));
        fs::create_dir_all(place.join("directory")).unwrap();
        fs::write(place.join("a"), "1\0").unwrap();
        fs::write(place.join("b"), vec![b'b'; MAX_SIZE - 2]).unwrap();
        fs::write(place.join("c"), "x").unwrap();
        fs::write(place.join("d"), vec![b'd'; MAX_SIZE + 2]).unwrap();
        fs::write(place.join("not:a name"), "x").unwrap();
        std::os::unix::fs::symlink("/dev/zero", place.join("endless")).unwrap();
        std::os::unix::fs::symlink("e", place.join("link")).unwrap();
        fs::write(place.join("e"), "").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .unwrap();
        let read = credentials_in(&place);
        assert_eq!(read.names().collect::<Vec<_>>(), ["a", "b", "e", "link"]);
        assert_eq!(read.get("a").unwrap().expose(), b"1\0");
        let too_large = |name| format!("credentials are larger than 1 MiB: '{name}' is passed over");
        assert_eq!(read.problems(), ["c", "d"].map(too_large));
        fs::remove_dir_all(place).unwrap();
    }
}
