//! The log: one line, one write to /dev/kmsg, with its priority. journald imports the ring buffer, so these lines are
//! read on the appliance with `journalctl -t hermetic-init`.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::Write as _,
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

use super::console;
use crate::{level::Level, printable};

/// The facility "daemon", shifted as the kernel wants it.
const DAEMON: u8 = 3 << 3;

static KMSG: OnceLock<File> = OnceLock::new();
static LIMIT: AtomicU8 = AtomicU8::new(Level::Info as u8);

/// Opens /dev/kmsg. Lines logged before this are lost; without the device (no devtmpfs) they go to stderr.
pub fn open() {
    if let Ok(file) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // A second call finds the cell full and the first descriptor still good.
        drop(KMSG.set(file));
    }
}

/// Drops lines that matter less than `level`.
pub fn set_level(level: Level) {
    LIMIT.store(level as u8, Ordering::Relaxed);
}

/// Logs one line, as printable text: the kernel cuts a record at a newline, and its consoles get the rest as it is.
pub fn log(level: Level, text: fmt::Arguments<'_>) {
    if level as u8 > LIMIT.load(Ordering::Relaxed) {
        return;
    }
    let line = record(level, &text.to_string());
    // A failure of the log itself cannot be reported.
    match KMSG.get() {
        Some(mut file) => drop(file.write_all(line.as_bytes())),
        None => console::print(&line),
    }
}

/// The kernel refuses a record of more than 1024 bytes (PRINTKRB_RECORD_MAX, kernel/printk/printk.c), prefix and end included.
const MAX_LENGTH: usize = 1000;

fn record(level: Level, text: &str) -> String {
    let text = printable::line(text);
    let mut line = format!("<{}>hermetic-init[{}]: {text}", DAEMON | level as u8, std::process::id());
    if line.len() > MAX_LENGTH {
        line.truncate(line.floor_char_boundary(MAX_LENGTH));
        line.push('…');
    }
    line.push('\n');
    line
}

/// Logs what was done.
#[macro_export]
macro_rules! info { ($($a:tt)*) => { $crate::sys::kmsg::log($crate::level::Level::Info, format_args!($($a)*)) } }
/// Logs how it was done.
#[macro_export]
macro_rules! debug { ($($a:tt)*) => { $crate::sys::kmsg::log($crate::level::Level::Debug, format_args!($($a)*)) } }
/// Logs a problem that does not stop the boot.
#[macro_export]
macro_rules! warning { ($($a:tt)*) => { $crate::sys::kmsg::log($crate::level::Level::Warning, format_args!($($a)*)) } }
/// Logs a fact that is worth a line on every boot.
#[macro_export]
macro_rules! notice { ($($a:tt)*) => { $crate::sys::kmsg::log($crate::level::Level::Notice, format_args!($($a)*)) } }
/// Logs why the boot cannot go on.
#[macro_export]
macro_rules! error { ($($a:tt)*) => { $crate::sys::kmsg::log($crate::level::Level::Error, format_args!($($a)*)) } }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_and_never_longer_than_the_kernel_takes() {
        assert!(record(Level::Error, "a\nb").ends_with("]: a | b\n"));
        for length in 900..1100 {
            let line = record(Level::Info, &format!("{}é", "x".repeat(length)));
            assert!(line.len() <= 1024 && line.ends_with('\n'), "{} bytes", line.len());
        }
        assert!(record(Level::Info, &"x".repeat(5000)).ends_with("x…\n"));
    }
}
