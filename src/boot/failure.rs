//! The end of a boot that cannot go on: one line that says why, then the failure policy.

use std::{fmt, sync::OnceLock, time::Duration};

use rustix::io::Errno;

use super::story;
use crate::{
    level::Level,
    printable,
    progress::Bounded,
    sys::{
        console, kmsg,
        power::{End, end, end_now},
        watchdog,
    },
};

/// The reason why the boot stopped. The stage that it stopped in is the one that is running (see `boot::story`).
pub struct Failure {
    /// One line: the step, its object, the result, and the remedy.
    pub reason: String,
    /// The first words on the screen.
    headline: &'static str,
}

impl Failure {
    /// A failure with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), headline: "cannot start this system." }
    }

    /// No failure, but the end of this boot all the same: the machine was reset and must come up again by another way. It
    /// ends as failures do.
    pub fn reset(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), headline: "has reset this system." }
    }
}

/// Turns a low-level error into a [`Failure`] that names the step.
pub trait OrFail<T> {
    /// `what` names the attempt and its object; the error's own text is appended.
    ///
    /// # Errors
    /// The failure made of both, when there was one.
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: fmt::Display> OrFail<T> for Result<T, E> {
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(format!("{}: {error}", what())))
    }
}

/// The last thing that is done, once the reason has been shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// End the machine.
    End(End),
    /// Crash the kernel: pstore and kdump keep the evidence, `panic=` decides the rest.
    Panic,
}

/// The failure policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The last thing that is done.
    pub action: Action,
    /// The time that the reason stays on the screen first; None for ever.
    pub delay: Option<Duration>,
}

/// Thirty seconds to read, then a reboot: a disk that came late comes the next time, and a boot loader that counts falls
/// back to the other slot.
const DEFAULT: Policy = Policy { action: Action::End(End::Reboot), delay: Some(Duration::from_secs(30)) };

/// The time for everything beside the delay: showing the reason, and writing dirty data. When it is over the machine is ended
/// without either.
const BOUND: Duration = Duration::from_secs(8);

impl Policy {
    /// Arms the end of the machine. From here on it comes, 8 s after the delay at most, whatever the caller waits for: from a
    /// thread that neither prints nor syncs. A policy that waits for ever has no end to arm.
    pub fn arm(self) {
        let Some(delay) = self.delay else { return };
        let end = move || {
            std::thread::sleep(delay.saturating_add(BOUND));
            self.action.carry_out(end_now);
        };
        // Without a thread the end is as near as the consoles and the disks let the caller come.
        drop(std::thread::Builder::new().spawn(end));
    }
}

impl Action {
    /// Carries it out, and returns only when the kernel refused.
    fn carry_out(self, end: fn(End) -> Errno) -> Errno {
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

static POLICY: OnceLock<Policy> = OnceLock::new();

/// Sets the policy, once it is known from the command line. Later calls change nothing.
pub fn set_policy(policy: Policy) {
    // There is no source of a second policy: the command line is read once.
    let _first_one_stays = POLICY.set(policy);
}

/// Shows the reason and carries out the policy. PID 1 must not return from here: that would be an unwanted kernel
/// panic.
pub fn act(failure: &Failure) -> ! {
    let policy = *POLICY.get().unwrap_or(&DEFAULT);
    policy.arm();
    // No stage runs any more: its time is over, and the reason has a time of its own.
    let shown = Bounded::begin();
    // A panic may come before the first stage.
    let stage = story::running().unwrap_or("panic");
    kmsg::log(Level::Error, format_args!("{stage}: {}", failure.reason));
    let next = match (policy.action, policy.delay) {
        (_, None) => "Waiting for somebody to look (panic=0).".to_owned(),
        (Action::End(End::Reboot), Some(delay)) => format!("Rebooting in {} s.", delay.as_secs()),
        (Action::End(End::PowerOff), Some(delay)) => format!("Powering off in {} s.", delay.as_secs()),
        (Action::End(End::Halt), Some(delay)) => format!("Halting in {} s.", delay.as_secs()),
        (Action::Panic, Some(delay)) => format!("Panicking in {} s.", delay.as_secs()),
    };
    console::print(&format!(
        "\r\nhermetic-init {} {}\r\n  stage   {stage}\r\n  reason  {}\r\n{next}\r\n",
        story::VERSION,
        failure.headline,
        printable::line(&failure.reason),
    ));
    match policy.delay {
        Some(delay) => std::thread::sleep(delay),
        None => wait_for_ever(),
    }
    drop(shown);
    let errno = policy.action.carry_out(end);
    console::print(&format!("hermetic-init: the kernel refuses to end the machine: {errno}\r\n"));
    wait_for_ever()
}

fn wait_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Sends Rust panics down the same road: an aborting PID 1 would be a kernel panic without a reason.
pub fn catch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|l| format!("{}:{}", l.file(), l.line())).unwrap_or_default();
        let text = info.payload_as_str().unwrap_or("no message");
        act(&Failure::new(format!(
            "panicked: {text} at {place}; this is a bug of hermetic-init, please report it"
        )));
    }));
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        os::unix::process::ExitStatusExt as _,
        process::{Child, Command, ExitStatus, Stdio},
    };

    use super::*;
    use crate::sys::{clock::Deadline, pty::Pty};

    /// Set in the child that is PID 1, of a namespace: there reboot(2) ends the namespace, by SIGHUP for a restart
    /// (pid_namespaces(7)).
    const CHILD: &str = "HERMETIC_TEST_ENDS";
    const RESTART: i32 = 1;

    /// The disks of the host are not those of a machine.
    const WITHOUT_DISKS: &str = "mount --bind /dev/null /proc/diskstats && exec \"$0\" \"$@\"";

    /// Runs a test of the boot again as PID 1 with this console; None in there.
    pub fn as_pid_1(test: &str, console: &Pty) -> Option<Child> {
        if std::env::var_os(CHILD).is_some() {
            assert_eq!(std::process::id(), 1, "reboot(2) would end the machine");
            return None;
        }
        let mut command = Command::new("unshare");
        command.args(["--pid", "--mount", "--fork", "--kill-child", "sh", "-c", WITHOUT_DISKS]);
        command.arg(std::env::current_exe().unwrap()).env(CHILD, "1");
        command.args(["--exact", &format!("boot::{test}"), "--nocapture"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(console.terminal.try_clone().unwrap());
        Some(command.spawn().unwrap())
    }

    /// The status of the child's end, within a minute.
    pub fn end_of(mut child: Child) -> ExitStatus {
        let deadline = Deadline::after(Duration::from_secs(60));
        let ended = loop {
            match child.try_wait().unwrap() {
                None if deadline.left().is_some() => std::thread::sleep(Duration::from_millis(50)),
                ended => break ended,
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        ended.expect("an end of the machine")
    }

    pub fn restarts(child: Child) {
        assert_eq!(end_of(child).signal(), Some(RESTART));
    }

    pub const AT_ONCE: Policy = Policy { action: Action::End(End::Reboot), delay: Some(Duration::ZERO) };

    #[test]
    fn a_stopped_console_does_not_keep_the_machine() {
        let console = Pty::new();
        console.stop();
        let Some(child) = as_pid_1("failure::tests::a_stopped_console_does_not_keep_the_machine", &console)
        else {
            set_policy(AT_ONCE);
            act(&Failure::new("the disk is gone"))
        };
        restarts(child);
        assert!(console.reads_up_to("Rebooting in 0 s.").contains("  reason  the disk is gone"));
    }

    #[test]
    fn a_console_that_nobody_reads_does_not_keep_the_machine() {
        let console = Pty::new();
        console.fill();
        let Some(child) =
            as_pid_1("failure::tests::a_console_that_nobody_reads_does_not_keep_the_machine", &console)
        else {
            set_policy(AT_ONCE);
            act(&Failure::new("the disk is gone"))
        };
        restarts(child);
    }

    #[test]
    fn an_armed_machine_ends_whatever_is_waited_for() {
        let console = Pty::new();
        let Some(child) = as_pid_1("failure::tests::an_armed_machine_ends_whatever_is_waited_for", &console)
        else {
            AT_ONCE.arm();
            wait_for_ever()
        };
        restarts(child);
    }
}
