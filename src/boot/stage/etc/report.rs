//! The report of changes to /etc: for people in the log and in a list below /run, for SELinux in a list of the files
//! without a label.

use std::{fs, os::fd::BorrowedFd};

use rustix::{
    fs::{AtFlags, Dir, statat},
    io::Errno,
};

use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::run::OURS,
    },
    furnish::Deviation,
    notice, sort, warning,
};

/// So many deviations go to the log; all of them are in the list.
const LOGGED: usize = 20;

/// Lists of paths that systemd relabels when it has loaded the policy, each with all that is below it (systemd:
/// src/shared/mount-setup.c).
const RELABEL: &str = "/run/systemd/relabel-extra.d";

/// Writes the list of entries that do not follow the factory to /run/hermetic-init/etc, and the first of them to the
/// log.
pub(super) fn deviations(deviations: &[Deviation]) -> Result<(), Failure> {
    for deviation in deviations.iter().take(LOGGED) {
        match deviation.is_failure() {
            true => warning!("{deviation}"),
            false => notice!("{deviation}"),
        }
    }
    if deviations.len() > LOGGED {
        notice!("and {} more, see {OURS}/etc", deviations.len() - LOGGED);
    }
    let text = deviations.iter().fold(String::new(), |text, deviation| text + &deviation.to_string() + "\n");
    fs::write(format!("{OURS}/etc"), text).or_fail(|| format!("cannot write {OURS}/etc"))
}

/// Directories that are mounted over, or by systemd, and labelled without us.
const MOUNTED: [&[u8]; 5] = [b"usr", b"proc", b"sys", b"dev", b"run"];

/// Everything that a first boot makes on a root is without a label: what repart.d put there as well.
pub(super) fn relabel_all(root: BorrowedFd<'_>) -> Result<(), Failure> {
    if !has_selinux(root) {
        return Ok(());
    }
    let unread = || "cannot read /".to_owned();
    let mut names = Vec::new();
    for entry in Dir::read_from(root).or_fail(unread)? {
        names.push(entry.or_fail(unread)?.file_name().to_bytes().to_vec());
    }
    list(all(names))
}

/// The lines for everything at the top of a root that has these names.
fn all(mut names: Vec<Vec<u8>>) -> String {
    sort::slice(&mut names);
    let wanted = names.iter().filter(|name| !MOUNTED.contains(&name.as_slice()) && !name.starts_with(b"."));
    let lines = wanted.filter_map(|name| std::str::from_utf8(name).ok()).filter(|name| !name.contains('\n'));
    lines.map(|name| format!("/{name}\n")).collect()
}

/// Writes a list of the files that an update made: they have no label.
pub(super) fn relabel(root: BorrowedFd<'_>, paths: &[String]) -> Result<(), Failure> {
    if !has_selinux(root) {
        return Ok(());
    }
    list(paths.iter().fold(String::new(), |text, path| text + path + "\n"))
}

/// True when systemd will load a policy from this root. A configuration that cannot be read counts as one: systemd will
/// read it.
fn has_selinux(root: BorrowedFd<'_>) -> bool {
    !matches!(
        statat(root, "etc/selinux/config", AtFlags::SYMLINK_NOFOLLOW),
        Err(Errno::NOENT | Errno::NOTDIR)
    )
}

fn list(text: String) -> Result<(), Failure> {
    let path = format!("{RELABEL}/hermetic-init.relabel");
    fs::create_dir_all(RELABEL)
        .and_then(|()| fs::write(&path, text))
        .or_fail(|| format!("cannot write {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_mounts_is_labelled() {
        let names = [".", "..", "var", "usr", "etc", "run", "bin", "a\nb", "home", "proc"];
        assert_eq!(all(names.map(|name| name.as_bytes().to_vec()).to_vec()), "/bin\n/etc\n/home\n/var\n");
    }
}
