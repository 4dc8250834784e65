//! The end of a boot that cannot go on: one line that says why, then the failure policy.

pub mod history;
mod policy;

use std::fmt;

use super::story;
use crate::{
    level::Level,
    printable,
    progress::Bounded,
    sys::{clock, console, kmsg},
};
use history::History;
use policy::Course;
pub use policy::set_policy;

/// The reason why the boot stopped. The stage that it stopped in is the one that is running (see `boot::story`).
pub struct Failure {
    /// One line: the step, its object, the result, and the remedy.
    pub reason: String,
    /// True for a failure: one that is kept for the next boot, and counted.
    counts: bool,
}

impl Failure {
    /// A failure with this reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), counts: true }
    }

    /// No failure, but the end of this boot all the same: the machine was reset and must come up again by another way. It
    /// ends as failures do.
    pub fn reset(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), counts: false }
    }

    /// The first words on the screen.
    fn headline(&self) -> &'static str {
        if self.counts { "cannot start this system." } else { "has reset this system." }
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

/// Shows the reason, keeps it for the next boot, and carries out the policy. PID 1 must not return from here: that would be an
/// unwanted kernel panic.
pub fn act(failure: &Failure) -> ! {
    // A panic may come before the first stage.
    let stage = story::running().unwrap_or("panic");
    // The end of a reset is no failed try.
    let history = History::get().filter(|_| failure.counts);
    let failures = history.map(|history| history.with(stage, &failure.reason));
    let course = Course::of(history.and_then(|history| history.tries), failures.as_ref());
    course.arm();
    // No stage runs any more: its time is over, and the reason has a time of its own.
    let shown = Bounded::begin();
    let since = clock::monotonic();
    kmsg::log(Level::Error, format_args!("{stage}: {}", failure.reason));
    console::print(&format!(
        "\r\nhermetic-init {} {}\r\n  stage   {stage}\r\n  reason  {}\r\n{}\r\n",
        story::VERSION,
        failure.headline(),
        printable::line(&failure.reason),
        course.announced(),
    ));
    if let Some(failures) = &failures {
        // A firmware may take its time, and that is a part of the delay.
        history::keep(failures);
    }
    match course.delay {
        Some(delay) => std::thread::sleep(delay.saturating_sub(clock::monotonic().saturating_sub(since))),
        None => wait_for_ever(),
    }
    drop(shown);
    let errno = course.end();
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
        time::Duration,
    };

    use super::*;
    use crate::{
        config::{FailureAction, FailurePolicy},
        sys::{clock::Deadline, pty::Pty},
    };

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

    pub const AT_ONCE: FailurePolicy = FailurePolicy::said(FailureAction::Reboot, Some(Duration::ZERO));

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
            Course::by(AT_ONCE, None, None).arm();
            wait_for_ever()
        };
        restarts(child);
    }
}
