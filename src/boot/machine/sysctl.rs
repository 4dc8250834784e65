//! Settings of the kernel that are ours for the time of the initramfs.

use std::fs;

use crate::warning;

/// The borrowed settings, with their old values.
pub struct Borrowed(Vec<(&'static str, String)>);

/// The settings: every line of this program reaches the log, and a missing module fails at once instead of making the
/// kernel look for a program that does not exist.
const SYSCTLS: [(&str, &str); 2] =
    [("/proc/sys/kernel/printk_devkmsg", "on\n"), ("/proc/sys/kernel/modprobe", "\n")];

impl Borrowed {
    /// Sets them.
    pub fn take() -> Self {
        let mut old = Vec::new();
        for (path, value) in SYSCTLS {
            // A kernel without the setting needs no change.
            if let Ok(before) = fs::read_to_string(path)
                && fs::write(path, value).is_ok()
            {
                old.push((path, before));
            }
        }
        Self(old)
    }

    /// Gives them back.
    pub fn give_back(self) {
        for (path, value) in self.0 {
            if let Err(error) = fs::write(path, &value) {
                warning!("cannot restore {path} to {}: {error}", value.trim_end());
            }
        }
    }
}
