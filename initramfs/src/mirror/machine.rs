//! Facts of this machine: the values of specifiers, the credentials of this process.

use std::{collections::BTreeMap, env, fs};

use hermetic_init::{
    fragments::{Facts, facts},
    os_release::OsRelease,
    tree::read::{self, Limit},
};

use super::root::Root;

/// The largest file of the root that is read for it.
const MAX_SIZE: Limit = Limit::mebibytes(1);

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
    read::text(file, MAX_SIZE).ok()
}

/// The credentials that `$CREDENTIALS_DIRECTORY` holds. One that cannot be read is left out, as by the originals.
pub fn credentials() -> BTreeMap<String, Vec<u8>> {
    let directory = env::var_os("CREDENTIALS_DIRECTORY").and_then(|place| fs::read_dir(place).ok());
    let entries = directory.into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, fs::read(entry.path()).ok()?)))
        .collect()
}

/// The name of a credential in messages.
pub fn label(credential: &str) -> String {
    format!("{}/{credential}", env::var("CREDENTIALS_DIRECTORY").unwrap_or_default().trim_end_matches('/'))
}
