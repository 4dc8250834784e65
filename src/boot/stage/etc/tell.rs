//! What others must know of what was done to /etc: people, by the log and a list below /run; SELinux, by a list of what is
//! not labelled yet.

use std::{fmt::Write as _, fs, os::fd::BorrowedFd};

use rustix::{
    fs::{AtFlags, Dir, statat},
    io::Errno,
};

use crate::sort;
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::run::OURS,
    },
    etc::{Deviation, Plan, Step, Strategy},
    notice,
};

/// So many deviations go to the log; all of them are in the list.
const LOGGED: usize = 20;

/// Lists of paths that systemd relabels when it has loaded the policy, each with all that is below it (systemd:
/// src/shared/mount-setup.c).
const RELABEL: &str = "/run/systemd/relabel-extra.d";

/// Leaves the list of what does not follow the factory in /run/hermetic-init/etc, and the first of it in the log.
pub(super) fn deviations(plan: &Plan) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for (path, deviation) in &plan.deviations {
        let path = printable(path);
        lines.push(match deviation {
            Deviation::Changed => format!("/etc/{path}: changed here, stays"),
            Deviation::ChangedOnBothSides => format!("/etc/{path}: changed here and in /usr, stays"),
            Deviation::ChangedAndDropped => {
                format!("/etc/{path}: changed here, /usr has none any more, stays")
            }
            Deviation::Removed => format!("/etc/{path}: removed here, stays removed"),
            Deviation::Occupied => format!("/etc/{path}: new in /usr, but there is one here, which stays"),
            Deviation::Beside(beside) => {
                format!("/etc/{path}: conflict, stays; that of /usr is /etc/{}", printable(beside))
            }
        });
    }
    for kept in &plan.kept_users {
        lines.push(format!("/etc/{}: {} {}", kept.file, printable(&kept.name), kept.why.text()));
    }
    for line in lines.iter().take(LOGGED) {
        notice!("{line}");
    }
    if lines.len() > LOGGED {
        notice!("and {} more, see {OURS}/etc", lines.len() - LOGGED);
    }
    let text = lines.iter().fold(String::new(), |text, line| text + line + "\n");
    fs::write(format!("{OURS}/etc"), text).or_fail(|| format!("cannot write {OURS}/etc"))
}

/// A path as one printable word of a line.
fn printable(path: &[u8]) -> String {
    path.iter().fold(String::new(), |mut text, &byte| {
        match byte {
            b' '..=b'~' if byte != b'\\' => text.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(text, "\\x{byte:02x}")),
        }
        text
    })
}

/// What is mounted over, or by systemd, and labelled without us.
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

/// What an update made is without a label.
pub(super) fn relabel(root: BorrowedFd<'_>, plan: &Plan, strategy: Strategy) -> Result<(), Failure> {
    if !has_selinux(root) {
        return Ok(());
    }
    if strategy == Strategy::Symlink {
        // What tmpfiles.d made there is in no plan.
        return list("/etc\n/var/lib/hermetic-init\n".to_owned());
    }
    // The user databases may have been written by sysusers.d as well.
    let mut text = String::from("/var/lib/hermetic-init\n");
    for name in ["passwd", "group", "shadow", "gshadow"] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "/etc/{name}\n/etc/{name}-");
    }
    for step in &plan.steps {
        if let Step::Put { path, .. } | Step::Adjust { path, .. } = step
            && let Ok(path) = std::str::from_utf8(path)
            && !path.contains('\n')
        {
            let _ = writeln!(text, "/etc/{path}");
        }
    }
    list(text)
}

/// Whether systemd will load a policy from this root. What cannot be looked at, systemd will look at.
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
    fn a_path_is_one_word_of_a_line() {
        assert_eq!(printable(b"a b\n\\\xff"), "a b\\x0a\\x5c\\xff");
    }

    #[test]
    fn all_but_mounts_is_labelled() {
        let names = [".", "..", "var", "usr", "etc", "run", "bin", "a\nb", "home", "proc"];
        assert_eq!(all(names.map(|name| name.as_bytes().to_vec()).to_vec()), "/bin\n/etc\n/home\n/var\n");
    }
}
