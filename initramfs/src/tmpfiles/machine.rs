//! The values of specifiers and names on this machine.

use std::{env, fs};

use hermetic_init::tmpfiles::Specifiers;

use crate::mirror::{
    machine::{facts, text},
    root::Root,
};

/// The values of specifiers. As in the original: identity and system come from the root, the rest from the machine.
pub(super) fn specifiers(root: &Root, is_user: bool) -> Specifiers {
    let tmp = temporary().filter(|_| root.is_own());
    let mut specifiers = Specifiers { home: home(), ..Specifiers::of_system(facts(root)) };
    if let Some(tmp) = tmp {
        specifiers.temporary.clone_from(&tmp);
        specifiers.large_temporary = tmp;
    }
    if is_user {
        let uid = rustix::process::getuid().as_raw();
        let gid = rustix::process::getgid().as_raw();
        let in_home = |variable: &str, below: &str| {
            directory(variable).or_else(|| home().map(|home| format!("{home}/{below}")))
        };
        let state = in_home("XDG_STATE_HOME", ".local/state");
        specifiers.user = name_of(root, "/etc/passwd", uid);
        specifiers.group = name_of(root, "/etc/group", gid);
        specifiers.uid = uid;
        specifiers.gid = gid;
        specifiers.cache = in_home("XDG_CACHE_HOME", ".cache");
        specifiers.logs = state.as_ref().map(|state| format!("{state}/log"));
        specifiers.state = state;
        specifiers.runtime = directory("XDG_RUNTIME_DIR");
    }
    specifiers
}

/// The name of an id in a database; without one the id itself.
fn name_of(root: &Root, path: &str, id: u32) -> Option<String> {
    let database = text(root, path).unwrap_or_default();
    let entry =
        database.lines().find(|line| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(id));
    let name = entry.and_then(|line| line.split(':').next()).filter(|name| !name.is_empty());
    Some(name.map_or_else(|| id.to_string(), str::to_owned))
}

/// An absolute path that a variable of the environment names.
pub(super) fn directory(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|path| path.starts_with('/'))
}

/// The home directory: the environment's, else that of the user (systemd: `get_home_dir`).
pub(super) fn home() -> Option<String> {
    let uid = rustix::process::getuid().as_raw();
    directory("HOME").or_else(|| (uid == 0).then(|| "/root".to_owned())).or_else(|| {
        let database = fs::read_to_string("/etc/passwd").ok()?;
        let entry = database.lines().find(|line| line.split(':').nth(2) == Some(uid.to_string().as_str()))?;
        entry.split(':').nth(5).map(str::to_owned)
    })
}

/// The directory for temporary files by the environment (systemd: `tmp_dir`).
fn temporary() -> Option<String> {
    let named = ["TMPDIR", "TEMP", "TMP"].iter().find_map(|name| env::var(name).ok());
    named.filter(|path| path.starts_with('/') && fs::metadata(path).is_ok_and(|found| found.is_dir()))
}
