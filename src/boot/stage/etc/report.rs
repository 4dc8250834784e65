//! The report of changes to /etc: for people in the log and in a list below /run, for SELinux in a list of the files
//! without a label.

use std::{fs, os::fd::BorrowedFd};

use rustix::{
    fs::{AtFlags, statat},
    io::Errno,
};

use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::run::OURS,
    },
    furnish::Deviation,
    notice, warning,
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

/// Everything that a first boot makes on a root is without a label: its top directory, and what repart.d put there as well.
/// systemd labels what is below a path on the same mount, and so leaves out whatever is mounted there.
pub(super) fn relabel_all(root: BorrowedFd<'_>) -> Result<(), Failure> {
    if !has_selinux(root) {
        return Ok(());
    }
    list("/\n".to_owned())
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
