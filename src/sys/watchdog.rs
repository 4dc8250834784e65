//! The hardware watchdog: it resets the machine unless it is fed. Opening it starts it, so it is opened on request only.
//!
//! References: Documentation/watchdog/watchdog-api.rst; src/shared/watchdog.c of systemd 257 opens it in the same way.

use std::{
    ffi::c_int,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    sync::OnceLock,
    time::Duration,
};

use rustix::{
    io::Errno,
    ioctl::{Getter, NoArg, Opcode, Setter, Updater, ioctl, opcode},
};

const WDIOC_SETOPTIONS: Opcode = linux_raw_sys::ioctl::WDIOC_SETOPTIONS as Opcode;
const WDIOC_KEEPALIVE: Opcode = linux_raw_sys::ioctl::WDIOC_KEEPALIVE as Opcode;
const WDIOC_SETTIMEOUT: Opcode = linux_raw_sys::ioctl::WDIOC_SETTIMEOUT as Opcode;
const WDIOC_GETTIMEOUT: Opcode = linux_raw_sys::ioctl::WDIOC_GETTIMEOUT as Opcode;
const WDIOS_DISABLECARD: c_int = 1;
const WDIOS_ENABLECARD: c_int = 2;

// The kernel's numbers hold the size of what it reads and writes.
const _: () = {
    assert!(WDIOC_SETOPTIONS == opcode::read::<c_int>(b'W', 4));
    assert!(WDIOC_KEEPALIVE == opcode::read::<c_int>(b'W', 5));
    assert!(WDIOC_SETTIMEOUT == opcode::read_write::<c_int>(b'W', 6));
    assert!(WDIOC_GETTIMEOUT == opcode::read::<c_int>(b'W', 7));
};

/// The machine has one for us: the first that was opened.
static OPEN: OnceLock<File> = OnceLock::new();

/// Opens a watchdog, starts it, and returns the time within which it wants to be fed. None asks for the time that it has.
///
/// # Errors
/// There is no such device, or it does not do what a watchdog does.
pub fn open(device: Option<&str>, time: Option<Duration>) -> io::Result<Duration> {
    let standard = ["/dev/watchdog0", "/dev/watchdog"];
    let device = device.filter(|device| !standard.contains(device));
    let open = |device: &str| OpenOptions::new().write(true).open(device);
    let file = match device {
        Some(device) => open(device)?,
        None => open(standard[0]).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => open(standard[1]),
            _ => Err(error),
        })?,
    };
    let file = OPEN.get_or_init(|| file);
    let mut seconds = time.map_or(0, |time| time.as_secs().clamp(1, 4_294_967)) as c_int;
    // A driver of one fixed time says so.
    let is_fixed = |errno| matches!(errno, Errno::NOTTY | Errno::OPNOTSUPP);
    let told = match time {
        // SAFETY: WDIOC_SETTIMEOUT reads and writes one int.
        Some(_) => unsafe { ioctl(file, Updater::<WDIOC_SETTIMEOUT, c_int>::new(&mut seconds)) },
        None => Err(Errno::NOTTY),
    };
    match told {
        Err(errno) if is_fixed(errno) => {
            // SAFETY: WDIOC_GETTIMEOUT writes one int.
            seconds = unsafe { ioctl(file, Getter::<WDIOC_GETTIMEOUT, c_int>::new()) }?;
        }
        told => told?,
    }
    match set(file, WDIOS_ENABLECARD) {
        // It cannot be stopped either.
        Err(errno) if is_fixed(errno) => {}
        started => started?,
    }
    feed();
    Ok(Duration::from_secs(seconds.max(1) as u64))
}

/// Feeds the open watchdog.
pub fn feed() {
    if let Some(file) = OPEN.get() {
        // SAFETY: WDIOC_KEEPALIVE takes no argument.
        let _it_resets_the_machine_then = unsafe { ioctl(file, NoArg::<WDIOC_KEEPALIVE>::new()) };
    }
}

/// Stops the open watchdog, now and when it is closed, as it is by the next program.
pub fn stop() {
    if let Some(mut file) = OPEN.get() {
        // One that cannot be stopped (`nowayout`) runs on for whoever opens it next.
        let _it_runs_on_then = set(file, WDIOS_DISABLECARD);
        let _it_runs_on_then = file.write_all(b"V");
    }
}

fn set(file: &File, option: c_int) -> rustix::io::Result<()> {
    // SAFETY: WDIOC_SETOPTIONS reads one int, whatever its number says.
    unsafe { ioctl(file, Setter::<WDIOC_SETOPTIONS, c_int>::new(option)) }
}
