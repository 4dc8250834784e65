//! The console: the descriptors 0 to 2 of PID 1, and the screen that a failure is shown on.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt as _};

use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    stdio::stderr,
};

use super::output;

/// Makes /dev/console the descriptors 0, 1 and 2.
///
/// # Errors
/// No console: the kernel has none (`console=` empty, no driver) or devtmpfs is not mounted.
pub fn open() -> io::Result<()> {
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NOCTTY.bits() as i32)
        .open("/dev/console")?;
    rustix::stdio::dup2_stdin(&console)?;
    rustix::stdio::dup2_stdout(&console)?;
    rustix::stdio::dup2_stderr(&console)?;
    Ok(())
}

/// Prints a text straight on the console, with any log level of the kernel. A console that does not take it is not waited for.
pub fn print(text: &str) {
    let console = stderr();
    // A failure of the console cannot be reported on it.
    let Ok(flags) = fcntl_getfl(console) else { return };
    if fcntl_setfl(console, flags | OFlags::NONBLOCK).is_ok() {
        output::print(console, text);
        let _was_set_before = fcntl_setfl(console, flags);
    }
}
