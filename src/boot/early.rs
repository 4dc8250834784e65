//! Stage "early": the API file systems, the log, the console, the command line.

use std::{fs, path::Path};

use super::{
    failure::{self, Action, Failure, OrFail, Policy},
    handover,
    init::Wish,
    stub,
};
use crate::{
    config::{self, Config, FailureAction},
    info,
    sys::{console, kmsg, mount, power::End, rootfs::OldRoot},
    warning,
};

/// Ours below /run: the stages' mount points while they last, and what we tell the real system.
pub const OURS: &str = "/run/hermetic-init";

/// There once we have handed over. Found at our start, it says that the real root's `init=` named us again.
const GUARD: &str = "/run/hermetic-init/handed-over";

/// Settings of the kernel that are ours for the time of the initramfs, with what they were before.
pub struct Borrowed(Vec<(&'static str, String)>);

/// Sysctls we change: every line of ours reaches the log, and a module that is missing fails at once instead of making
/// the kernel look for a program that is not there.
const SYSCTLS: [(&str, &str); 2] =
    [("/proc/sys/kernel/printk_devkmsg", "on\n"), ("/proc/sys/kernel/modprobe", "\n")];

impl Borrowed {
    fn take() -> Self {
        let mut old = Vec::new();
        for (path, value) in SYSCTLS {
            // A kernel without the setting needs no change of it.
            if let Ok(before) = fs::read_to_string(path)
                && fs::write(path, value).is_ok()
            {
                old.push((path, before));
            }
        }
        Self(old)
    }

    /// Gives the settings back.
    pub fn give_back(self) {
        for (path, value) in self.0 {
            if let Err(error) = fs::write(path, &value) {
                warning!("cannot restore {path} to {}: {error}", value.trim_end());
            }
        }
    }
}

/// Prepares what every boot needs. When this boot was handed over before, nothing is left to do: then the next init is
/// started at once.
///
/// # Errors
/// As [`start`]; the next init of a second start cannot be executed.
pub fn prepare() -> Result<(Config, Wish, Borrowed), Failure> {
    let (config, borrowed) = start()?;
    let wish = Wish { ours: config.init.clone(), kernel: config.kernel_init.clone() };
    if is_second_start() {
        borrowed.give_back();
        return Err(handover::pass_through(&wish));
    }
    info!("{} starts", super::VERSION);
    stub::hand_over();
    Ok((config, wish, borrowed))
}

/// Mounts the API file systems, opens log and console, reads the command line and sets the failure policy by it.
///
/// # Errors
/// An API file system that will not mount; a word of the command line that we do not understand.
fn start() -> Result<(Config, Borrowed), Failure> {
    for fs in &mount::API {
        if !mount::is_mount_point(fs.target) {
            mount::api(fs).or_fail(|| format!("cannot mount {} on {}", fs.fstype, fs.target))?;
        }
    }
    kmsg::open();
    if let Err(error) = console::open() {
        warning!("no console: {error}");
    }
    let borrowed = Borrowed::take();
    fs::create_dir_all(OURS).or_fail(|| format!("cannot create {OURS}"))?;

    // A word that is no text is none of those that we know; it must not take the others' effect away.
    let words = fs::read("/proc/cmdline").or_fail(|| "cannot read /proc/cmdline".into())?;
    let words = String::from_utf8_lossy(&words);
    let in_initramfs = OldRoot::is_temporary().or_fail(|| "cannot look at /".into())?;
    let read = if in_initramfs {
        Config::from_cmdline(&words, None)
    } else {
        Config::from_cmdline_below_root(&words)
    };
    let (config, warnings) = read.map_err(|error| {
        follow(config::Failure::from_refused_cmdline(&words));
        Failure::new(error.to_string())
    })?;
    kmsg::set_level(config.log);
    for warning in warnings {
        warning!("{warning}");
    }
    follow(config.failure);
    Ok((config, borrowed))
}

/// From here on a failure ends as the command line wishes.
fn follow(wish: config::Failure) {
    failure::set_policy(Policy {
        action: match wish.action {
            FailureAction::Reboot => Action::End(End::Reboot),
            FailureAction::Poweroff => Action::End(End::PowerOff),
            FailureAction::Halt => Action::End(End::Halt),
            FailureAction::Panic => Action::Panic,
        },
        delay: wish.delay,
    });
}

/// Leaves the mark by which a second start of ours in the same boot knows itself.
///
/// # Errors
/// /run cannot be written.
pub fn set_guard() -> std::io::Result<()> {
    fs::write(GUARD, format!("{}\n", super::VERSION))
}

/// True when this boot has been handed over before: `init=` of the real root named us again.
fn is_second_start() -> bool {
    Path::new(GUARD).exists()
}
