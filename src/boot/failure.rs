//! The end of a boot that cannot go on: one line that says why, then the failure policy.

use std::{fmt, sync::OnceLock, time::Duration};

use super::story;
use crate::{
    level::Level,
    sys::{
        console, kmsg,
        power::{End, end},
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
        failure.reason,
    ));
    match policy.delay {
        Some(delay) => std::thread::sleep(delay),
        None => wait_for_ever(),
    }
    match policy.action {
        Action::End(how) => {
            let errno = end(how);
            console::print(&format!("hermetic-init: the kernel refuses to end the machine: {errno}\r\n"));
        }
        // When sysrq is compiled out, exiting makes the same panic by another road.
        Action::Panic => {
            drop(std::fs::write("/proc/sysrq-trigger", "c"));
            std::process::exit(1);
        }
    }
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
