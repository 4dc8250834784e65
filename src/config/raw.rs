//! The first of two stages: the last word of every kind wins. Nothing is judged here but the names of words, because a word that a later
//! one overrides must not be able to fail the boot.

use std::prelude::v1::*;

use super::cmdline::{Word, words};
use super::error::Warning;
use super::luks;
use super::options;

/// The last word of every kind, and all of those that add up.
#[derive(Clone, Default, Debug)]
pub(super) struct Raw {
    pub root: Option<Word>,
    pub rootfstype: Option<Word>,
    pub rootflags: Vec<String>,
    /// The last of the bare words `ro` and `rw`: true for `rw`.
    pub rw: Option<bool>,
    pub usr: Option<Word>,
    pub usrfstype: Option<Word>,
    pub usrflags: Vec<String>,
    pub roothash: Option<Word>,
    pub usrhash: Option<Word>,
    pub verity: Option<Word>,
    pub verity_usr_data: Option<Word>,
    pub verity_usr_hash: Option<Word>,
    pub verity_usr_options: Option<Word>,
    pub allow_userspace_verity: Option<Word>,
    pub gpt_auto: Option<Word>,
    pub image_policy: Option<Word>,
    pub image_filter: Option<Word>,
    pub volatile: Option<Word>,
    pub factory_reset: Option<Word>,
    pub machine_id: Option<Word>,
    pub panic: Option<Word>,
    pub emergency: Option<Word>,
    pub crash_action: Option<Word>,
    pub watchdog_sec: Option<Word>,
    pub watchdog_device: Option<Word>,
    pub init: Option<Word>,
    pub luks: Option<Word>,
    pub luks_data: Option<Word>,
    pub luks_volumes: luks::Words,
    pub initrd_unit: Option<Word>,
    pub initrd_mount: Option<Word>,
    pub masks: Vec<String>,
    pub modules_load: Vec<String>,
    pub modules_blocked: Vec<String>,
    /// A module, `-` folded to `_`, and the `PARAMETER=VALUE` that it gets, as the kernel parses it.
    pub module_parameters: Vec<(String, String)>,
    /// The last of `quiet`, `debug`, `loglevel=` and `systemd.log_level=`.
    pub verbosity: Option<Word>,
    /// The last word for every option of our own, in the order of [`options::NAMES`].
    pub hermetic: [Option<Word>; options::NAMES.len()],
    /// The first word with our prefix that is not an option.
    pub unknown: Option<Word>,
}

impl Raw {
    /// Reads one text after the other: a later word wins over an earlier one.
    pub fn read(texts: &[&str], warnings: &mut Vec<Warning>) -> Self {
        let mut raw = Self::default();
        for text in texts {
            for word in words(text) {
                raw.take(word, warnings);
            }
        }
        raw
    }

    /// Drops the words that the kernel carried out itself when it mounted `root=`.
    pub fn without_root(self) -> Self {
        Self { root: None, rootfstype: None, rootflags: Vec::new(), rw: None, ..self }
    }

    fn take(&mut self, word: Word, warnings: &mut Vec<Warning>) {
        let key = word.folded();
        if key.starts_with("hermetic.") {
            return self.take_hermetic(word, &key);
        }
        // A word that becomes another one by `rd.` is listed so; everywhere else it is the same word.
        match (word.rd, key.as_str()) {
            (_, "root") => needs_value(&mut self.root, word, warnings),
            (_, "rootfstype") => needs_value(&mut self.rootfstype, word, warnings),
            (_, "rootflags") => adds(&mut self.rootflags, word, ','),
            (_, "ro" | "rw") if word.value.is_none() => self.rw = Some(key == "rw"),
            (_, "mount.usr") => needs_value(&mut self.usr, word, warnings),
            (_, "mount.usrfstype") => needs_value(&mut self.usrfstype, word, warnings),
            (_, "mount.usrflags") => adds(&mut self.usrflags, word, ','),
            (_, "roothash") => self.roothash = Some(word),
            (_, "usrhash") => self.usrhash = Some(word),
            (_, "systemd.verity") => self.verity = Some(word),
            (_, "systemd.verity_usr_data") => self.verity_usr_data = Some(word),
            (_, "systemd.verity_usr_hash") => self.verity_usr_hash = Some(word),
            (_, "systemd.verity_usr_options") => self.verity_usr_options = Some(word),
            (_, "systemd.allow_userspace_verity") => self.allow_userspace_verity = Some(word),
            (_, "systemd.gpt_auto") => self.gpt_auto = Some(word),
            (_, "systemd.image_policy") => self.image_policy = Some(word),
            (_, "systemd.image_filter") => self.image_filter = Some(word),
            (_, "systemd.volatile") => self.volatile = Some(word),
            (_, "systemd.factory_reset") => self.factory_reset = Some(word),
            (_, "systemd.machine_id") => needs_value(&mut self.machine_id, word, warnings),
            (false, "panic") => needs_value(&mut self.panic, word, warnings),
            (true, "emergency" | "rescue") => self.emergency = Some(word),
            (true, "break" | "systemd.break" | "systemd.debug_shell") => {
                warnings.push(Warning::new(&word, "ignored: there is no shell in this initramfs"));
            }
            (_, "systemd.crash_action") => needs_value(&mut self.crash_action, word, warnings),
            (_, "systemd.watchdog_sec") => needs_value(&mut self.watchdog_sec, word, warnings),
            (_, "systemd.watchdog_device") => needs_value(&mut self.watchdog_device, word, warnings),
            (false, "init") => needs_value(&mut self.init, word, warnings),
            (_, "luks") => self.luks = Some(word),
            (_, "luks.key") => self.luks_volumes.key.push(word),
            (_, "luks.options") => self.luks_volumes.options.push(word),
            (_, "luks.uuid") => self.luks_volumes.uuid.push(word),
            (_, "luks.name") => self.luks_volumes.name.push(word),
            (_, "luks.data") => self.luks_data = Some(word),
            // Without `rd.` these are for the real system and not for us.
            (true, "systemd.unit") => self.initrd_unit = Some(word),
            (true, "systemd.mount_extra" | "systemd.swap_extra") => self.initrd_mount = Some(word),
            (true, "systemd.mask") => self.masks.extend(word.value),
            (_, "modules_load") => adds(&mut self.modules_load, word, ','),
            (_, "module_blacklist" | "modprobe.blacklist" | "driver.blacklist") => {
                adds(&mut self.modules_blocked, word, ',');
            }
            (_, "quiet" | "debug") if word.value.is_none() => self.verbosity = Some(word),
            (_, "loglevel" | "systemd.log_level") => needs_value(&mut self.verbosity, word, warnings),
            // Everything else belongs to the kernel, to systemd or to no program. A word in the form of a module's
            // parameter is kept for the case that there is a module of that name.
            (false, _) => self.module_parameters.extend(parameter(&word)),
            (true, _) => {}
        }
    }

    fn take_hermetic(&mut self, word: Word, key: &str) {
        if key.starts_with("hermetic.test.") {
            return;
        }
        let mut slots = options::NAMES.iter().zip(&mut self.hermetic);
        match slots.find(|(name, _)| name.replace('-', "_") == key) {
            Some((_, slot)) => *slot = Some(word),
            None => {
                self.unknown.get_or_insert(word);
            }
        }
    }
}

/// `MODULE.PARAMETER[=VALUE]`: the module's name and the rest. The kernel gives these words to built-in code; a module
/// gets them from the program that loads it (kernel-parameters.rst; modprobe does the same).
fn parameter(word: &Word) -> Option<(String, String)> {
    let (module, name) = word.key.split_once('.')?;
    // systemd's own words look alike.
    if module.is_empty() || name.is_empty() || module == "systemd" {
        return None;
    }
    let value = match &word.value {
        None => String::new(),
        Some(value) if value.contains(char::is_whitespace) => format!("=\"{value}\""),
        Some(value) => format!("={value}"),
    };
    Some((module.replace('-', "_"), format!("{name}{value}")))
}

/// A word that says nothing without a value is left out with a warning, as in systemd.
fn needs_value(slot: &mut Option<Word>, word: Word, warnings: &mut Vec<Warning>) {
    match word.value {
        Some(_) => *slot = Some(word),
        None => warnings.push(Warning::new(&word, "ignored: it needs a value")),
    }
}

/// A word whose values add up.
fn adds(list: &mut Vec<String>, word: Word, separator: char) {
    let value = word.value.unwrap_or_default();
    list.extend(value.split(separator).map(str::trim).filter(|part| !part.is_empty()).map(String::from));
}
