//! The options of hermetic-init alone, each declared once: its name, the kind of its value, its default, and its help.
//! The reading of the command line, the decided value and the table of docs/reference/options.md come from the row.
//!
//! Such an option exists only where systemd and the kernel have none. Words that begin with `hermetic.test.` belong to
//! the init of the tests and are ignored here.
//!
//! A new option is a row here, and is used as `config.hermetic.NAME`.

use core::{fmt::Write as _, time::Duration};
use std::prelude::v1::*;

use super::cmdline::Word;
use super::error::ConfigError;
use super::value::{Field, Or, choice};
use crate::level::Level;
use crate::tpm::PcrMask;

/// Declares the options. A row is its help, its field, the kind of its value, its name and its default.
macro_rules! options {
    ($($(#[doc = $help:literal])+ $vis:vis $field:ident: $kind:ty = $name:literal, $default:expr;)+) => {
        /// The options of our own, decided.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Hermetic { $($(#[doc = $help])+ $vis $field: $kind,)+ }

        /// The name of every option.
        pub const NAMES: &[&str] = &[$($name),+];

        impl Hermetic {
            /// The options by the last word of each, in the order of [`NAMES`], and the refusal of the first word that is
            /// invalid; such a word counts as missing.
            pub(super) fn decide(words: &[Option<Word>]) -> (Self, Option<ConfigError>) {
                let mut words = words.iter().map(Option::as_ref);
                let mut refusal = None;
                let decided =
                    Self { $($field: Field::decide($default, words.next().flatten(), &mut refusal),)+ };
                (decided, refusal)
            }
        }

        /// The table of the options as Markdown, for docs/reference/options.md.
        pub fn markdown() -> String {
            let (Hermetic { $($field),+ }, _) = Hermetic::decide(&[]);
            let mut text = String::from("| word | default | what it does |\n|---|---|---|\n");
            $(row(&mut text, $name, &$field, &[$($help),+]);)+
            text
        }
    };
}

fn row<F: Field>(text: &mut String, name: &str, default: &F, help: &[&str]) {
    let values = F::VALUES.join("\\|");
    let help = help.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| `{name}={values}` | {} | {help} |", default.print_default());
}

options! {
    /// The program of the real root that becomes PID 1.
    pub(super) init: Or<String> = "hermetic.init",
        Or::after("init=, then", SYSTEMD.into());

    /// strict: a root, or any other partition, that is less protected than /usr's repart.d asks is an attack and
    /// refused; existing: it is used (for a fleet whose old ones are plain).
    pub root_policy: RootPolicy = "hermetic.root-policy", RootPolicy::Strict;

    /// The strategy by which /etc comes from the factory. track: whole, and what nobody changed follows a new /usr; copy:
    /// what is missing, once for each /usr; symlink: by tmpfiles.d's L and C lines for /etc; none: only sysusers.d.
    pub etc: Strategy = "hermetic.etc", Strategy::Track;

    /// The file of the initramfs that unlocks the root, and locks it on the first boot.
    pub(super) key_file: Or<String> = "hermetic.key-file",
        Or::after("rd.luks.key=, then", "/hermetic/root.key".into());

    // Android gives its disks 10 s, which USB bridges and SCSI arrays miss; systemd gives 90 s, in which a boot loader's
    // other slot could have started three times.
    /// The time that a disk may take to appear before the boot has failed.
    pub device_timeout: Duration = "hermetic.device-timeout", Duration::from_secs(30);

    /// The time in which nothing goes on before a stage hangs, and the boot has failed; it ends before twice that has passed. A
    /// question, a wait for a disk have a time of their own. 0: never.
    pub stage_timeout: Duration = "hermetic.stage-timeout", Duration::from_secs(600);

    /// The end of a boot that has failed.
    pub(super) on_failure: Or<FailureAction> = "hermetic.on-failure",
        Or::after("rd.emergency=, then systemd.crash_action=, then", FailureAction::Reboot);

    // Long enough to take a photograph.
    /// The time that the reason stays on the screen before that; 8 s later at most it comes, whatever consoles and disks do. By
    /// default a reboot comes after 5 s while the boot loader has tries left, and later and later the more boots fail in a row.
    pub(super) failure_delay: Or<Duration> = "hermetic.failure-delay",
        Or::after("panic=, then", Duration::from_secs(30));

    /// The tries that are left after this boot, from a boot loader that counts and has no EFI variable LoaderBootCountPath.
    pub(super) tries: Option<u32> = "hermetic.tries", None;

    /// The messages that go to the kernel log; err: failures and warnings.
    pub(super) log: Or<Level> = "hermetic.log",
        Or::after("debug with `debug`, err with `quiet`, else", Level::Info);

    /// The measuring of the root, by its volume key or its kind, into PCR 15, and of the boot's phases into PCR 11. auto: the
    /// root where there is a TPM 2.0, the phases where sd-stub measured the kernel; yes: both, and without a TPM a failure; no:
    /// neither, and whatever root runs can unseal what the TPM keeps for the time before a root is opened.
    pub measure: Measure = "hermetic.measure", Measure::Auto;

    /// The PCRs that a new volume with Encrypt=tpm2 is sealed to, as --tpm2-pcrs= of systemd; nothing for none.
    pub(super) tpm2_pcrs: Or<PcrMask> = "hermetic.tpm2-pcrs",
        Or::after("TPM2PCRs=, then", PcrMask::SECURE_BOOT);

    /// yes: a new root with Encrypt=tpm2 is sealed to PCR 15 as it is before any root is opened, too; no: to hermetic.tpm2-pcrs=
    /// alone, and the TPM gives its key to a system on a stranger's root as well.
    pub tpm2_root_bond: RootBond = "hermetic.tpm2-root-bond", RootBond::Yes;

    /// show: new volumes with Encrypt=tpm2 also get a recovery key, which the first boot shows once on the console.
    pub recovery_key: Recovery = "hermetic.recovery-key", Recovery::Off;

    /// The lock of a new volume with Encrypt=tpm2 on a machine without a TPM 2.0. fail: it is not made; recovery: a
    /// recovery key, which is shown and then asked for; key-file: the key file's lock.
    pub no_tpm: NoTpm = "hermetic.no-tpm", NoTpm::Fail;
}

/// The program of the real root that becomes PID 1 by default.
pub const SYSTEMD: &str = "/usr/lib/systemd/systemd";

choice! {
    /// The fate of a partition that is weaker than /usr's repart.d asks for.
    pub enum RootPolicy {
        /// It is an attack.
        Strict = "strict",
        /// It is used: the fleet has old ones.
        Existing = "existing",
    }
}

choice! {
    /// The way in which the factory's files come to the root.
    pub enum Strategy {
        /// They are materialised, and follow the factory as long as they are unchanged.
        Track = "track",
        /// They are materialised where nothing is, and left alone from then on.
        Copy = "copy",
        /// For /etc: the L and C lines of tmpfiles.d for /etc are carried out. For a path: a link into the factory.
        Symlink = "symlink",
        /// Nothing is done.
        None = "none",
    }
}

choice! {
    /// The end of a boot that failed.
    pub enum FailureAction {
        /// Reboot: a boot loader that counts falls back to the other slot.
        Reboot = "reboot",
        /// Power off.
        Poweroff = "poweroff",
        /// Halt, power left on.
        Halt = "halt",
        /// Let the kernel panic: pstore keeps the log, `panic=` of the kernel decides the rest.
        Panic = "panic",
    }
}

choice! {
    /// The measuring of the boot's phases and the root into the TPM.
    pub enum Measure {
        /// The root where there is a TPM, phases when the boot loader measured the kernel.
        Auto = "auto",
        /// Always; a machine that cannot do it does not start.
        Yes = "yes",
        /// Never.
        No = "no",
    }
}

choice! {
    /// The bond of a root's key to the time before a root is opened.
    pub enum RootBond {
        /// It is sealed to PCR 15 of zeroes.
        Yes = "yes",
        /// It is not.
        No = "no",
    }
}

choice! {
    /// The recovery key of volumes that are sealed to the TPM.
    pub enum Recovery {
        /// They get one, and it is shown.
        Show = "show",
        /// They get no such key.
        Off = "off",
    }
}

choice! {
    /// The lock of a new volume that is to be sealed to a TPM where there is no TPM.
    pub enum NoTpm {
        /// It is not made, and the boot has failed.
        Fail = "fail",
        /// A recovery key, which is shown.
        Recovery = "recovery",
        /// The key file's lock.
        KeyFile = "key-file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Value;

    #[test]
    fn the_table_prints_one_line_an_option() {
        assert_eq!(markdown().lines().count(), 2 + NAMES.len());
        assert!(markdown().contains("| `hermetic.log=err\\|info\\|debug` |"));
    }

    #[test]
    fn what_is_printed_is_read_back() {
        fn all<T: Value + PartialEq + core::fmt::Debug>() {
            for word in T::WORDS {
                assert_eq!(T::parse(word).unwrap().print(), *word);
            }
        }
        all::<RootPolicy>();
        all::<Strategy>();
        all::<FailureAction>();
        all::<Level>();
        all::<Measure>();
        all::<RootBond>();
        all::<Recovery>();
        all::<NoTpm>();
    }

    #[test]
    fn names_are_ours_and_differ() {
        for (at, name) in NAMES.iter().enumerate() {
            assert!(name.starts_with("hermetic.") && !name.contains('_'), "{name}");
            assert!(!NAMES[..at].contains(name), "{name}");
        }
    }
}
