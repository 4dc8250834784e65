//! The settings of the kernel and the priority that are ours for the time of the initramfs.

use std::fs;

use rustix::process::{getpriority_process, setpriority_process};

use crate::{debug, warning};

/// The borrowed settings, with their old values.
pub struct Borrowed {
    sysctls: Vec<(&'static str, String)>,
    nice: Option<i32>,
}

/// The settings: every line of this program reaches the log, and a missing module fails at once instead of making the
/// kernel look for a program that does not exist.
const SYSCTLS: [(&str, &str); 2] =
    [("/proc/sys/kernel/printk_devkmsg", "on\n"), ("/proc/sys/kernel/modprobe", "\n")];

/// The highest priority, setpriority(2). Every algorithm that a module brings is tested by a thread of the kernel
/// (`cryptomgr_test`), also when nobody waits for it: on one processor half of the boot would be theirs. What is waited for is
/// tested before it is used, as ever.
const URGENT: i32 = -20;

impl Borrowed {
    /// Sets them.
    pub fn take() -> Self {
        let mut sysctls = Vec::new();
        for (path, value) in SYSCTLS {
            // A kernel without the setting needs no change.
            if let Ok(before) = fs::read_to_string(path)
                && fs::write(path, value).is_ok()
            {
                sysctls.push((path, before));
            }
        }
        // Of this thread alone, and of those that it starts.
        let nice = getpriority_process(None).ok().filter(|_| {
            let raised = setpriority_process(None, URGENT);
            raised.inspect_err(|errno| debug!("the priority of PID 1 stays: {errno}")).is_ok()
        });
        Self { sysctls, nice }
    }

    /// Gives them back: what is executed after us has the priority that the kernel gave us.
    pub fn give_back(self) {
        if let Some(nice) = self.nice
            && let Err(errno) = setpriority_process(None, nice)
        {
            warning!("cannot restore the priority {nice}: {errno}; all of the system has {URGENT}");
        }
        for (path, value) in self.sysctls {
            if let Err(error) = fs::write(path, &value) {
                warning!("cannot restore {path} to {}: {error}", value.trim_end());
            }
        }
    }
}
