//! The names that `hermetic` answers to beside its own: each mirror has the words, the messages and the exit codes of the tool that
//! it stands in for, so it is dispatched before clap sees anything, either by its subcommand or by the name that the program was
//! called under.

use std::{ffi::OsString, path::Path, process::ExitCode};

/// A tool of systemd that one of our engines stands in for.
pub struct Mirror {
    /// The subcommand of `hermetic`.
    pub subcommand: &'static str,
    /// The name of the original: a link to `hermetic` under it behaves as the original.
    pub original: &'static str,
    /// The text of its help.
    pub help: &'static str,
    /// Runs it. The first word is the name that its messages call it by.
    pub run: fn(Vec<OsString>) -> ExitCode,
}

/// All of them.
pub const ALL: &[Mirror] = &[
    Mirror {
        subcommand: "repart",
        original: "systemd-repart",
        help: crate::repart::HELP,
        run: crate::repart::run,
    },
    Mirror {
        subcommand: "sysusers",
        original: "systemd-sysusers",
        help: crate::sysusers::HELP,
        run: crate::sysusers::run,
    },
    Mirror {
        subcommand: "tmpfiles",
        original: "systemd-tmpfiles",
        help: crate::tmpfiles::HELP,
        run: crate::tmpfiles::run,
    },
];

/// The lines that `hermetic --help` says of them at its end.
pub const HELP: &str = "\
Also, with the words, messages and exit codes of the original, and under its name:
  repart     systemd-repart: partitions of repart.d(5)
  sysusers   systemd-sysusers: users and groups of sysusers.d(5)
  tmpfiles   systemd-tmpfiles: files and directories of tmpfiles.d(5)";

/// Runs the mirror that the words of this process ask for, if they do: `hermetic sysusers …`, or `…/systemd-sysusers …`.
pub fn dispatch(words: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let (mirror, words) = choose(ALL, words.collect())?;
    Some((mirror.run)(words))
}

fn choose(all: &[Mirror], mut words: Vec<OsString>) -> Option<(&Mirror, Vec<OsString>)> {
    let called = words.first().and_then(|name| Path::new(name).file_name()?.to_str().map(str::to_owned))?;
    if let Some(mirror) = all.iter().find(|mirror| called == mirror.original) {
        *words.first_mut()? = called.into();
        return Some((mirror, words));
    }
    let mirror = all.iter().find(|mirror| words.get(1).is_some_and(|word| word == mirror.subcommand))?;
    words.remove(0);
    *words.first_mut()? = format!("hermetic {}", mirror.subcommand).into();
    Some((mirror, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(words: &[&str]) -> Option<(&'static str, Vec<String>)> {
        let words = words.iter().map(OsString::from).collect();
        let (mirror, words) = choose(ALL, words)?;
        Some((mirror.original, words.into_iter().map(|word| word.into_string().unwrap()).collect()))
    }

    #[test]
    fn by_name_or_by_subcommand() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            chosen(&["/x/systemd-sysusers", "sysusers", "--root=/"]),
            Some(("systemd-sysusers", words(&["systemd-sysusers", "sysusers", "--root=/"])))
        );
        assert_eq!(
            chosen(&["./hermetic", "sysusers", "-"]),
            Some(("systemd-sysusers", words(&["hermetic sysusers", "-"])))
        );
        for other in [&["hermetic", "initramfs"][..], &["hermetic"], &["hermetic", "--root", "sysusers"], &[]]
        {
            assert_eq!(chosen(other), None, "{other:?}");
        }
    }

    #[test]
    fn help_names_every_mirror() {
        for mirror in ALL {
            assert!(HELP.contains(&format!("  {} ", mirror.subcommand)) && HELP.contains(mirror.original));
        }
    }
}
