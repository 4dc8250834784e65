//! The failure policy: the end of a boot that cannot go on, and the time before it.

use std::{sync::OnceLock, time::Duration};

use rustix::io::Errno;

use crate::{
    config::{Past, Tries},
    sys::{
        power::{End, end_now},
        watchdog,
    },
};

/// The last thing that is done, once the reason has been shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// End the machine.
    End(End),
    /// Crash the kernel: pstore and kdump keep the evidence, `panic=` decides the rest.
    Panic,
}

/// The policy of the command line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The last thing that is done.
    pub action: Action,
    /// The time that the reason stays on the screen first; None for ever.
    pub delay: Option<Duration>,
    /// True when that time is the word of somebody, and not the default.
    pub delay_is_said: bool,
    /// The tries of the boot loader, by the command line.
    pub tries: Option<Tries>,
}

/// Thirty seconds to read, then a reboot: a disk that came late comes the next time, and a boot loader that counts falls
/// back to the other slot.
const DEFAULT: Policy = Policy {
    action: Action::End(End::Reboot),
    delay: Some(Duration::from_secs(30)),
    delay_is_said: false,
    tries: None,
};

/// The time before a restart with tries left: the next attempt may be the one that comes up, and the last one leads to another slot.
const WITH_TRIES: Duration = Duration::from_secs(5);

/// The time for everything beside the delay: showing the reason, and writing dirty data. When it is over the machine is ended
/// without either.
const BOUND: Duration = Duration::from_secs(8);

static POLICY: OnceLock<Policy> = OnceLock::new();

/// Sets the policy, once it is known from the command line. Later calls change nothing.
pub fn set_policy(policy: Policy) {
    // There is no source of a second policy: the command line is read once.
    let _first_one_stays = POLICY.set(policy);
}

/// The policy, applied to a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Course {
    /// The last thing that is done.
    pub action: Action,
    /// The time before it; None for ever.
    pub delay: Option<Duration>,
    /// The count that led to it, in words; nothing where nobody counts.
    count: String,
}

impl Policy {
    /// The policy of somebody who says both, whatever a boot loader counts.
    pub const fn said(action: Action, delay: Option<Duration>) -> Self {
        Self { action, delay, delay_is_said: true, tries: None }
    }

    /// The policy that was set, or the default before that.
    pub fn get() -> Self {
        *POLICY.get().unwrap_or(&DEFAULT)
    }

    /// The course of a failure, by the tries of the boot loader and the failures in a row, this one among them, as far as they are
    /// known. A restart without tries comes later and later: what no restart has mended is not mended by hammering.
    pub fn course(self, tries: Option<Tries>, failures: Option<&Past>) -> Course {
        let Self { action, mut delay, delay_is_said, .. } = self;
        let tries = self.tries.or(tries);
        if !delay_is_said && action == Action::End(End::Reboot) {
            delay = match (tries, failures) {
                (Some(Tries { left: 1.., .. }), _) => Some(WITH_TRIES),
                (_, Some(failures)) => Some(failures.delay()),
                (_, None) => delay,
            };
        }
        let count = match (tries, failures) {
            (Some(tries), _) => format!(" ({tries})"),
            (None, Some(failures)) if failures.count > 1 => {
                format!(" ({} boots have failed in a row)", failures.count)
            }
            _ => String::new(),
        };
        Course { action, delay, count }
    }
}

impl Course {
    /// Arms the end of the machine. From here on it comes, 8 s after the delay at most, whatever the caller waits for: from a
    /// thread that neither prints nor syncs. A course that waits for ever has no end to arm.
    pub fn arm(&self) {
        let (action, Some(delay)) = (self.action, self.delay) else { return };
        let end = move || {
            std::thread::sleep(delay.saturating_add(BOUND));
            action.carry_out(end_now);
        };
        // Without a thread the end is as near as the consoles and the disks let the caller come.
        drop(std::thread::Builder::new().spawn(end));
    }

    /// One line about it.
    pub fn announced(&self) -> String {
        let count = &self.count;
        match (self.action, self.delay.map(|delay| delay.as_secs())) {
            (_, None) => "Waiting for somebody to look (panic=0).".to_owned(),
            (Action::End(End::Reboot), Some(delay)) => format!("Rebooting in {delay} s{count}."),
            (Action::End(End::PowerOff), Some(delay)) => format!("Powering off in {delay} s{count}."),
            (Action::End(End::Halt), Some(delay)) => format!("Halting in {delay} s{count}."),
            (Action::Panic, Some(delay)) => format!("Panicking in {delay} s{count}."),
        }
    }
}

impl Action {
    /// Carries it out, and returns only when the kernel refused.
    pub fn carry_out(self, end: fn(End) -> Errno) -> Errno {
        match self {
            Self::End(how) => {
                if how == End::Halt {
                    // It would start again what is to stand still.
                    watchdog::stop();
                }
                end(how)
            }
            // When sysrq is compiled out, exiting makes the same panic by another road.
            Self::Panic => {
                drop(std::fs::write("/proc/sysrq-trigger", "c"));
                std::process::exit(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_waits_as_the_counts_say() {
        let tries = |left, done| Some(Tries { left, done: Some(done) });
        let failures = |count| Some(Past { count, reason: String::new() });
        let said = Policy { delay_is_said: true, ..DEFAULT };
        let off = Policy { action: Action::End(End::PowerOff), ..DEFAULT };
        let counted = Policy { tries: Some(Tries { left: 1, done: None }), ..DEFAULT };
        for (policy, tries, failures, announced) in [
            (DEFAULT, None, None, "Rebooting in 30 s."),
            (DEFAULT, tries(1, 2), failures(2), "Rebooting in 5 s (attempt 2 of 3)."),
            (DEFAULT, tries(0, 3), None, "Rebooting in 30 s (attempt 3 of 3)."),
            (DEFAULT, tries(0, 3), failures(3), "Rebooting in 30 s (attempt 3 of 3)."),
            (DEFAULT, tries(0, 4), failures(4), "Rebooting in 60 s (attempt 4 of 4)."),
            (DEFAULT, None, failures(1), "Rebooting in 30 s."),
            (DEFAULT, None, failures(4), "Rebooting in 60 s (4 boots have failed in a row)."),
            (said, tries(1, 2), failures(4), "Rebooting in 30 s (attempt 2 of 3)."),
            (off, tries(1, 2), failures(4), "Powering off in 30 s (attempt 2 of 3)."),
            (counted, None, None, "Rebooting in 5 s (1 try left)."),
        ] {
            assert_eq!(policy.course(tries, failures.as_ref()).announced(), announced);
        }
        let ever = Policy { delay: None, ..said };
        assert_eq!(ever.course(tries(1, 2), failures(9).as_ref()).delay, None);
    }
}
