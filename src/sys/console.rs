//! The console: the descriptors 0 to 2 of PID 1, and the screen that a failure is shown on.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
};

use rustix::fs::OFlags;

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

/// Writes text straight to the console, with any log level of the kernel.
pub fn print(text: &str) {
    // A failure of the console cannot be reported on it.
    drop(io::stderr().write_all(text.as_bytes()));
}
