//! The failure policy: the end of a boot that cannot go on, and the time before it.

use std::{sync::OnceLock, time::Duration};

use rustix::io::Errno;

use crate::{
    config::{FailureAction, FailurePolicy, Past, Tries},
    sys::{
        power::{End, end, end_now},
        watchdog,
    },
};

/// The time before a restart with tries left: the next attempt may be the one that comes up, and the last one leads to another slot.
const WITH_TRIES: Duration = Duration::from_secs(5);

/// The time for everything beside the delay: showing the reason, and writing dirty data. When it is over the machine is ended
/// without either.
const BOUND: Duration = Duration::from_secs(8);

static POLICY: OnceLock<FailurePolicy> = OnceLock::new();

/// Sets the policy, once it is known from the command line. Later calls change nothing.
pub fn set_policy(policy: FailurePolicy) {
    // There is no source of a second policy: the command line is read once.
    let _first_one_stays = POLICY.set(policy);
}

/// The policy, applied to a failure.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Course {
    /// The last thing that is done.
    action: FailureAction,
    /// The time before it; None for ever.
    pub delay: Option<Duration>,
    /// The count that led to it, in words; nothing where nobody counts.
    count: String,
}

impl Course {
    /// The course by the policy that was set; before that, by the one of an empty command line.
    pub fn of(tries: Option<Tries>, failures: Option<&Past>) -> Self {
        let policy = POLICY.get().copied();
        Self::by(policy.unwrap_or_else(|| FailurePolicy::from_refused_cmdline("")), tries, failures)
    }

    /// The course of a failure, by the tries of the boot loader and the failures in a row, this one among them, as far as they are
    /// known. A restart without tries comes later and later: what no restart has mended is not mended by hammering.
    pub fn by(policy: FailurePolicy, tries: Option<Tries>, failures: Option<&Past>) -> Self {
        let FailurePolicy { action, mut delay, delay_is_said, .. } = policy;
        let tries = policy.tries.or(tries);
        if !delay_is_said && action == FailureAction::Reboot {
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
        Self { action, delay, count }
    }

    /// Arms the end of the machine. From here on it comes, 8 s after the delay at most, whatever the caller waits for: from a
    /// thread that neither prints nor syncs. A course that waits for ever has no end to arm.
    pub fn arm(&self) {
        let (action, Some(delay)) = (self.action, self.delay) else { return };
        let end = move || {
            std::thread::sleep(delay.saturating_add(BOUND));
            carry_out(action, end_now);
        };
        // Without a thread the end is as near as the consoles and the disks let the caller come.
        drop(std::thread::Builder::new().spawn(end));
    }

    /// Carries it out now, and returns only when the kernel refused.
    pub fn end(&self) -> Errno {
        carry_out(self.action, end)
    }

    /// One line about it.
    pub fn announced(&self) -> String {
        let count = &self.count;
        match (self.action, self.delay.map(|delay| delay.as_secs())) {
            (_, None) => "Waiting for somebody to look (panic=0).".to_owned(),
            (FailureAction::Reboot, Some(delay)) => format!("Rebooting in {delay} s{count}."),
            (FailureAction::Poweroff, Some(delay)) => format!("Powering off in {delay} s{count}."),
            (FailureAction::Halt, Some(delay)) => format!("Halting in {delay} s{count}."),
            (FailureAction::Panic, Some(delay)) => format!("Panicking in {delay} s{count}."),
        }
    }
}

/// Carries an action out, and returns only when the kernel refused.
fn carry_out(action: FailureAction, end: fn(End) -> Errno) -> Errno {
    match action {
        FailureAction::Reboot => end(End::Reboot),
        FailureAction::Poweroff => end(End::PowerOff),
        FailureAction::Halt => {
            // It would start again what is to stand still.
            watchdog::stop();
            end(End::Halt)
        }
        // pstore and kdump keep the evidence. When sysrq is compiled out, exiting makes the same panic by another road.
        FailureAction::Panic => {
            drop(std::fs::write("/proc/sysrq-trigger", "c"));
            std::process::exit(1);
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
        let default = FailurePolicy::from_refused_cmdline("");
        let said = FailurePolicy { delay_is_said: true, ..default };
        let off = FailurePolicy { action: FailureAction::Poweroff, ..default };
        let counted = FailurePolicy { tries: Some(Tries { left: 1, done: None }), ..default };
        for (policy, tries, failures, announced) in [
            (default, None, None, "Rebooting in 30 s."),
            (default, tries(1, 2), failures(2), "Rebooting in 5 s (attempt 2 of 3)."),
            (default, tries(0, 3), None, "Rebooting in 30 s (attempt 3 of 3)."),
            (default, tries(0, 3), failures(3), "Rebooting in 30 s (attempt 3 of 3)."),
            (default, tries(0, 4), failures(4), "Rebooting in 60 s (attempt 4 of 4)."),
            (default, None, failures(1), "Rebooting in 30 s."),
            (default, None, failures(4), "Rebooting in 60 s (4 boots have failed in a row)."),
            (said, tries(1, 2), failures(4), "Rebooting in 30 s (attempt 2 of 3)."),
            (off, tries(1, 2), failures(4), "Powering off in 30 s (attempt 2 of 3)."),
            (counted, None, None, "Rebooting in 5 s (1 try left)."),
        ] {
            assert_eq!(Course::by(policy, tries, failures.as_ref()).announced(), announced);
        }
        let ever = FailurePolicy { delay: None, ..said };
        assert_eq!(Course::by(ever, tries(1, 2), failures(9).as_ref()).delay, None);
    }
}
