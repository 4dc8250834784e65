//! The ways a machine ends.

use rustix::system::{RebootCommand, reboot};

/// The actions of PID 1 on the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Start again through the firmware.
    Reboot,
    /// Switch off.
    PowerOff,
    /// Stop, power on.
    Halt,
}

/// Writes dirty data and ends the machine. Returns only when the kernel refused, with its reason.
pub fn end(how: End) -> rustix::io::Errno {
    rustix::fs::sync();
    end_now(how)
}

/// Ends the machine without a look at dirty data: writing it may wait for a disk that never answers. Returns only when the
/// kernel refused, with its reason.
pub fn end_now(how: End) -> rustix::io::Errno {
    let command = match how {
        End::Reboot => RebootCommand::Restart,
        End::PowerOff => RebootCommand::PowerOff,
        End::Halt => RebootCommand::Halt,
    };
    match reboot(command) {
        Ok(()) => rustix::io::Errno::CANCELED,
        Err(errno) => errno,
    }
}
