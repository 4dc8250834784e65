//! Output on terminals. A terminal may take nothing: it was stopped (XOFF, Scroll Lock), or nobody reads at the other end.
//! Nobody waits for ever here.
//!
//! References: termios(3), ioctl_tty(2).

use std::{os::fd::AsFd, time::Duration};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    termios::{Action, InputModes, OptionalActions, tcflow, tcgetattr, tcsetattr},
};

use super::clock::Deadline;

/// The time for a text, however slow the line is.
const WHOLE: Duration = Duration::from_secs(3);
/// The time for the next characters of it. A serial line at 9600 baud sends a thousand meanwhile.
const NEXT: Duration = Duration::from_secs(1);
/// The time that a serial line at 9600 baud needs for some characters.
pub(super) const CHARACTERS: Duration = Duration::from_millis(5);

/// Prints a text on a terminal that is open with `O_NONBLOCK`, stopped or not; what it does not take in time is dropped.
pub fn print(terminal: impl AsFd, text: &str) {
    let terminal = terminal.as_fd();
    resume(terminal);
    let deadline = Deadline::after(WHOLE);
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(terminal, rest) {
            Ok(taken) if taken > 0 => rest = rest.get(taken..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Ok(_) | Err(Errno::AGAIN) if takes_more(terminal, deadline) => {}
            // A failure of the console cannot be reported on it.
            _ => return,
        }
    }
}

/// Starts the output of a terminal that was stopped, by whatever stopped it, and lets no character stop it again.
pub fn resume(terminal: impl AsFd) {
    // A file that is no terminal cannot be stopped.
    let Ok(mut modes) = tcgetattr(&terminal) else { return };
    if modes.input_modes.contains(InputModes::IXON) {
        modes.input_modes.remove(InputModes::IXON);
        let _printing_is_tried_all_the_same = tcsetattr(&terminal, OptionalActions::Now, &modes);
    }
    // On alone only undoes an off (kernel: drivers/tty/tty_ioctl.c, TCXONC).
    let _printing_is_tried_all_the_same =
        tcflow(&terminal, Action::OOff).and_then(|()| tcflow(&terminal, Action::OOn));
}

/// Waits for room; false when there is none in time.
fn takes_more(terminal: impl AsFd, deadline: Deadline) -> bool {
    let Some(left) = deadline.left() else { return false };
    // poll tells of room for one character where a line's end needs two.
    std::thread::sleep(CHARACTERS);
    let Ok(left) = Timespec::try_from(left.min(NEXT)) else { return false };
    let mut polled = [PollFd::new(&terminal, PollFlags::OUT)];
    match poll(&mut polled, Some(&left)) {
        Ok(ready) => ready > 0,
        Err(errno) => errno == Errno::INTR,
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    use super::*;
    use crate::sys::pty::{Pty, in_time};

    fn unblocked() -> Pty {
        let pty = Pty::new();
        fcntl_setfl(&pty.terminal, fcntl_getfl(&pty.terminal).unwrap() | OFlags::NONBLOCK).unwrap();
        pty
    }

    #[test]
    fn a_stopped_terminal_is_started() {
        let stops: [fn(&Pty); 2] = [Pty::stop, |pty| tcflow(&pty.terminal, Action::OOff).unwrap()];
        for stop in stops {
            let pty = unblocked();
            stop(&pty);
            assert!(!pty.takes_output());
            let pty = in_time(move || {
                print(&pty.terminal, "the reason");
                pty
            });
            assert_eq!(pty.reads(10), "the reason");
            // Nor does it stop again.
            pty.types("\x13\n");
            assert!(pty.wait_for_input() && pty.takes_output());
        }
    }

    #[test]
    fn a_terminal_that_nobody_reads_is_given_up() {
        let pty = unblocked();
        pty.fill();
        assert!(!pty.takes_output());
        in_time(move || print(&pty.terminal, &"never read\n".repeat(10)));
    }

    #[test]
    fn a_text_that_is_longer_than_the_buffer_is_printed_whole() {
        let pty = unblocked();
        let text = "0123456789".repeat(3_000);
        let writes = pty.terminal.try_clone().unwrap();
        let printed = text.clone();
        let writer = std::thread::spawn(move || print(&writes, &printed));
        assert!(pty.reads(text.len()) == text);
        writer.join().unwrap();
    }
}
