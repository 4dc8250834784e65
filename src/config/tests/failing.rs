//! The words about a boot that fails or hangs.

use super::*;

#[test]
fn a_refused_command_line_still_says_how_to_fail() {
    use FailureAction::{Halt, Poweroff, Reboot};
    for (text, action, delay) in [
        ("hermetic.on-failure=halt hermetic.unknown=1 panic=3", Halt, 3),
        ("hermetic.on-failure=explode rd.emergency=poweroff hermetic.failure-delay=0", Poweroff, 0),
        ("hermetic.failure-delay=soon roothash=00", Reboot, 30),
    ] {
        refusal(text);
        let delay_is_said = delay != 30;
        let delay = Some(Duration::from_secs(delay));
        let expected = FailurePolicy { action, delay, delay_is_said, tries: None };
        assert_eq!(FailurePolicy::from_refused_cmdline(text), expected, "{text}");
    }
}

#[test]
fn how_a_failed_boot_ends() {
    use FailureAction::{Halt, Panic, Poweroff, Reboot};
    for (text, action, delay) in [
        ("", Reboot, Some(30)),
        ("panic=5", Reboot, Some(5)),
        ("panic=0", Reboot, None),
        ("panic=-1", Reboot, Some(0)),
        ("panic=5 panic=0", Reboot, None),
        ("rd.emergency=poweroff", Poweroff, Some(30)),
        ("rd.emergency=halt systemd.crash_action=poweroff", Halt, Some(30)),
        ("systemd.crash_action=poweroff", Poweroff, Some(30)),
        ("systemd.crash_action=freeze", Halt, None),
        ("systemd.crash-action=freeze panic=3", Halt, Some(3)),
        ("systemd.crash_action=freeze rd.emergency=reboot", Reboot, Some(30)),
        ("hermetic.on-failure=panic rd.emergency=poweroff panic=7", Panic, Some(7)),
        ("hermetic.on_failure=halt hermetic.failure-delay=1 panic=0", Halt, Some(1)),
    ] {
        let failure = config(text).failure;
        assert_eq!((failure.action, failure.delay), (action, delay.map(Duration::from_secs)), "{text}");
        assert_eq!(failure.delay_is_said, delay != Some(30), "{text}");
    }
    let tries = |text: &str| config(text).failure.tries;
    assert_eq!(tries("hermetic.tries=2"), Some(Tries { left: 2, done: None }));
    assert_eq!(tries(""), None);
    assert!(Config::from_cmdline("hermetic.tries=two", None).is_err());
}

#[test]
fn the_watchdog_is_that_of_systemd() {
    let seconds = |seconds| Some(Watchdog { time: Some(Duration::from_secs(seconds)), device: None });
    let own = Some(Watchdog { time: None, device: None });
    for (text, expected) in [
        ("systemd.watchdog_device=/dev/watchdog1", None),
        ("systemd.watchdog_sec=off", None),
        ("systemd.watchdog_sec=0", None),
        ("systemd.watchdog_sec=default", own.clone()),
        ("systemd.watchdog_sec=infinity", own),
        ("systemd.watchdog_sec=30", seconds(30)),
        ("rd.systemd.watchdog-sec=1min", seconds(60)),
        ("systemd.watchdog_sec=30 systemd.watchdog_sec=off", None),
        (
            "systemd.watchdog_sec=default systemd.watchdog_device=/dev/watchdog1",
            Some(Watchdog { time: None, device: Some("/dev/watchdog1".into()) }),
        ),
    ] {
        assert_eq!(config(text).watchdog, expected, "{text}");
    }
    let (config, warnings) = Config::from_cmdline("systemd.watchdog_sec=soon", None).unwrap();
    assert_eq!((config.watchdog, warnings.len()), (None, 1));
}
