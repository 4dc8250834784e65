//! The watch over the boot, a thread that sleeps: a boot in which nothing goes on ends like one that failed, and as long as
//! something goes on the hardware watchdog is fed.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{Builder, Thread, park_timeout},
    time::Duration,
};

use super::failure::{Failure, act};
use crate::{
    config::{Config, Watchdog},
    info,
    progress::steps,
    sys::{clock::monotonic, requests::Requests, watchdog},
    warning,
};

/// The thread.
static WATCH: OnceLock<Thread> = OnceLock::new();

/// The time within which the hardware watchdog wants to be fed, in seconds; 0 without one.
static FED_WITHIN: AtomicU64 = AtomicU64::new(0);

/// Begins to watch: from here on a hanging boot ends, at the latest when twice the time of `hermetic.stage-timeout=` has passed.
pub fn begin(config: &Config) {
    let bound = config.hermetic.stage_timeout;
    let bound = if bound.is_zero() { Duration::MAX } else { bound };
    // A driver may take as long for its disks without a step of ours: that is no reason for a reset.
    let patience = config.hermetic.device_timeout;
    match Builder::new().spawn(move || watch(bound, patience)) {
        Ok(watch) => drop(WATCH.set(watch.thread().clone())),
        Err(error) => warning!("a stage that hangs will not be ended: {error}"),
    }
}

/// Opens the hardware watchdog when the command line asks for it, and has it fed.
pub fn feed(config: &Config) {
    let (Some(Watchdog { device, time }), Some(watch)) = (&config.watchdog, WATCH.get()) else { return };
    match watchdog::open(device.as_deref(), *time) {
        Ok(time) => {
            info!("the watchdog resets this machine after {} s without progress", time.as_secs());
            FED_WITHIN.store(time.as_secs(), Relaxed);
            watch.unpark();
        }
        Err(error) => warning!("no watchdog before systemd's: {error}; add its driver to the initramfs"),
    }
}

fn watch(bound: Duration, patience: Duration) {
    let mut seen = (steps(), Requests::now().completed);
    let mut since = monotonic();
    loop {
        let left = bound.saturating_sub(monotonic().saturating_sub(since));
        let fed_within = Duration::from_secs(FED_WITHIN.load(Relaxed));
        // systemd feeds it twice in its time as well.
        park_timeout(if fed_within.is_zero() { left } else { left.min(fed_within / 2) });
        let requests = Requests::now();
        let now = (steps(), requests.completed);
        if now != seen {
            seen = now;
            since = monotonic();
        }
        let idle = monotonic().saturating_sub(since);
        if idle < patience.max(fed_within) {
            watchdog::feed();
        }
        if idle >= bound {
            since = monotonic();
            let failure = Failure::new(hangs(bound, &requests.unanswered));
            // This thread still feeds the watchdog while the reason is shown.
            let shown = Builder::new().spawn(move || act(&failure));
            if shown.is_err() {
                act(&Failure::new(hangs(bound, &requests.unanswered)));
            }
        }
    }
}

fn hangs(bound: Duration, unanswered: &str) -> String {
    let seconds = bound.as_secs();
    match unanswered {
        "" => format!("nothing has gone on for {seconds} s; hermetic.stage-timeout= gives it more time"),
        disks => format!(
            "nothing has gone on for {seconds} s: no answer to requests from{disks}; check the disk and its cable"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;
    use crate::{
        boot::failure::{
            set_policy,
            tests::{AT_ONCE, as_pid_1, end_of, restarts},
        },
        progress::{Bounded, step},
        sys::pty::Pty,
    };

    fn begin(words: &str) {
        set_policy(AT_ONCE);
        super::begin(&Config::from_cmdline(words, None).unwrap().0);
    }

    #[test]
    fn a_boot_in_which_nothing_goes_on_ends() {
        let console = Pty::new();
        let Some(child) = as_pid_1("watch::tests::a_boot_in_which_nothing_goes_on_ends", &console) else {
            begin("hermetic.stage-timeout=1");
            sleep(Duration::MAX);
            return;
        };
        restarts(child);
        let said = console.reads_up_to("Rebooting in 0 s.");
        assert!(
            said.contains(
                "  reason  nothing has gone on for 1 s; hermetic.stage-timeout= gives it more time"
            )
        );
    }

    #[test]
    fn a_boot_in_which_something_goes_on_does_not_end() {
        const WELL: i32 = 7;
        let console = Pty::new();
        let test = "watch::tests::a_boot_in_which_something_goes_on_does_not_end";
        let Some(child) = as_pid_1(test, &console) else {
            begin("hermetic.stage-timeout=2");
            for _ in 0..50 {
                step();
                sleep(Duration::from_millis(100));
            }
            let question = Bounded::begin();
            sleep(Duration::from_secs(5));
            drop(question);
            std::process::exit(WELL);
        };
        assert_eq!(end_of(child).code(), Some(WELL));
    }

    #[test]
    fn disks_that_do_not_answer_are_named() {
        assert!(
            hangs(Duration::from_secs(600), " vda vda2")
                .contains("for 600 s: no answer to requests from vda vda2; ")
        );
    }
}
