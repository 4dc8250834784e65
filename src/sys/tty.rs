//! Terminals on which a secret may be typed: the kernel's consoles.
//!
//! A terminal stays in its line mode with the echo off: in that mode, and only in it, the kernel wipes a line out of
//! its own buffers when it is read (`zero_buffer` in drivers/tty/n_tty.c), and it handles the erase keys itself.
//!
//! References: termios(3), Documentation/ABI/testing/sysfs-tty.

use std::{
    ffi::c_int,
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt as _,
    },
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
    io::Errno,
    ioctl::{Getter, Opcode, ioctl},
    termios::{
        InputModes, LocalModes, OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr,
    },
};

use super::{
    attribute,
    clock::Deadline,
    output::{self, CHARACTERS},
};
use crate::{progress::Bounded, secret::Secret};

/// The longest line: what cryptsetup takes as an interactive passphrase (DEFAULT_PASSPHRASE_SIZE_MAX).
const LINE: usize = 512;

const TIOCOUTQ: Opcode = linux_raw_sys::ioctl::TIOCOUTQ as Opcode;

/// The time for output that is left when a terminal is closed: the kernel itself would wait half a minute for a line that takes
/// nothing (`closing_wait` in drivers/tty/tty_port.c).
const LAST: Duration = Duration::from_secs(1);

/// The keys that erase: a serial terminal may send either, and the kernel knows only the first.
const ERASE: [u8; 2] = [0x7f, 0x08];

/// XON and XOFF. They stop nothing here, and are no part of what somebody types: noise on a line sends them, and a terminal that
/// cannot follow.
const FLOW: [u8; 2] = [0x11, 0x13];

/// A terminal with its echo off. It gets its old settings back when it is dropped, and typed characters that were not
/// read are discarded.
pub struct Tty {
    file: File,
    name: String,
    before: Termios,
}

impl Tty {
    /// The kernel's consoles (`console=`) that can be typed on. One that is not connected is left out.
    pub fn consoles() -> Vec<Self> {
        let names = attribute("/sys/class/tty/console/active").unwrap_or_default();
        names.split_whitespace().filter_map(|name| Self::open(name).ok()).collect()
    }

    /// Opens a terminal and switches its echo off; earlier typed characters are discarded. Its output is started when it was
    /// stopped, and not waited for.
    ///
    /// # Errors
    /// There is no file of that name, or it is not a terminal.
    fn open(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags((OFlags::NOCTTY | OFlags::NONBLOCK).bits() as i32)
            .open(format!("/dev/{name}"))?;
        let before = tcgetattr(&file)?;
        output::resume(&file);
        let mut silent = before.clone();
        silent.input_modes.remove(InputModes::IXON);
        silent.local_modes.remove(
            LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ECHOK | LocalModes::ECHONL | LocalModes::ISIG,
        );
        silent.local_modes.insert(LocalModes::ICANON);
        silent.input_modes.insert(InputModes::ICRNL | InputModes::IUTF8);
        tcsetattr(&file, OptionalActions::Now, &silent)?;
        tcflush(&file, QueueSelector::IFlush)?;
        Ok(Self { file, name: name.into(), before })
    }

    /// The kernel's name of it (`ttyS0`, `tty0`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Prints a text. A terminal that takes no more output is ignored.
    pub fn print(&self, text: &str) {
        output::print(&self.file, text);
    }

    /// Waits until the output is out, or until the deadline: then false, for a stopped terminal takes no more. The kernel
    /// announces a buffer with room in it, but not an empty one, so the state is polled.
    pub fn drain(&self, deadline: Deadline) -> bool {
        // SAFETY: TIOCOUTQ takes a pointer to an int and writes the number of bytes that are left.
        let left = || unsafe { ioctl(&self.file, Getter::<TIOCOUTQ, c_int>::new()) };
        while left().is_ok_and(|left| left > 0) {
            if deadline.left().is_none() {
                return false;
            }
            std::thread::sleep(CHARACTERS);
        }
        true
    }

    /// The line that was typed, without its end; None when there is no whole line yet.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn line(&self) -> io::Result<Option<Secret>> {
        let mut buffer = Secret::zeroed(LINE);
        match rustix::io::read(&self.file, buffer.expose_mut()) {
            Ok(length) => {
                let line = buffer.expose_mut().get_mut(..length).unwrap_or_default();
                let length = erased(line);
                let mut typed = Secret::zeroed(length);
                typed.expose_mut().copy_from_slice(line.get(..length).unwrap_or_default());
                Ok(Some(typed))
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Tty {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Tty {
    fn drop(&mut self) {
        let queue = match self.drain(Deadline::after(LAST)) {
            true => QueueSelector::IFlush,
            false => QueueSelector::IOFlush,
        };
        // A terminal that is gone needs no settings.
        let _ = tcflush(&self.file, queue);
        let _ = tcsetattr(&self.file, OptionalActions::Now, &self.before);
    }
}

/// Waits until one of `files` can be read; None when `timeout` passed (no `timeout`: for ever).
///
/// # Errors
/// The error of poll(2).
pub fn wait(files: &[BorrowedFd<'_>], timeout: Option<Duration>) -> io::Result<Option<usize>> {
    let mut polled: Vec<_> =
        files.iter().map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN)).collect();
    // The person has a time of its own.
    let _ends_in_time = Bounded::begin();
    let timeout = timeout.map(Timespec::try_from).transpose().map_err(|_| Errno::INVAL)?;
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) => Ok(polled.iter().position(|file| !file.revents().is_empty())),
        Err(Errno::INTR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Carries out the erase keys that are still in a line, drops its end and flow control, and returns how long it is then. A
/// character of several bytes is erased whole.
fn erased(line: &mut [u8]) -> usize {
    let mut length = 0;
    for at in 0..line.len() {
        let byte = line.get(at).copied().unwrap_or_default();
        if ERASE.contains(&byte) {
            let continues = |byte: Option<&u8>| byte.is_some_and(|byte| byte & 0xc0 == 0x80);
            while length > 0 && continues(line.get(length - 1)) {
                length -= 1;
            }
            length = length.saturating_sub(1);
        } else if !matches!(byte, b'\n' | b'\r') && !FLOW.contains(&byte) {
            if let Some(place) = line.get_mut(length) {
                *place = byte;
            }
            length += 1;
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sys::pty::{Pty, in_time};

    #[test]
    fn erase_keys_erase() {
        for (typed, kept) in [
            ("word\n", "word"),
            ("worx\x08d\n", "word"),
            ("x\x7f\x7f\x7fword\r\n", "word"),
            ("wört\x08\x08\x08\x08word\n", "word"),
            ("", ""),
            ("\n", ""),
            ("wo\x13\x11rd\x13\n", "word"),
        ] {
            let mut line = typed.as_bytes().to_vec();
            let length = erased(&mut line);
            assert_eq!(&line[..length], kept.as_bytes(), "{typed:?}");
        }
    }

    /// As the serial line of a machine with noise on it, and with nobody at the other end.
    #[test]
    fn a_stopped_terminal_is_asked_on() {
        let pty = Pty::new();
        rustix::io::write(&pty.terminal, b"output that never gets out").unwrap();
        assert_eq!(pty.reads(26), "output that never gets out");
        pty.stop();
        assert!(!pty.takes_output());
        let pty = in_time(move || {
            let tty = Tty::open(&pty.name).unwrap();
            tty.print("passphrase: ");
            assert_eq!(pty.reads(12), "passphrase: ");
            pty.types("wo\x13rd\n");
            assert_eq!(wait(&[tty.as_fd()], None).unwrap(), Some(0));
            assert_eq!(tty.line().unwrap().unwrap().expose(), b"word");
            tty.print("thanks");
            drop(tty);
            pty
        });
        assert_eq!(pty.reads(6), "thanks");
        assert!(tcgetattr(&pty.terminal).unwrap().input_modes.contains(InputModes::IXON));
    }

    #[test]
    fn a_terminal_that_nobody_reads_is_asked_on() {
        let pty = Pty::new();
        pty.fill();
        in_time(move || {
            let tty = Tty::open(&pty.name).unwrap();
            tty.print("passphrase: ");
            pty.types("word\n");
            assert_eq!(wait(&[tty.as_fd()], None).unwrap(), Some(0));
            assert_eq!(tty.line().unwrap().unwrap().expose(), b"word");
        });
    }

    proptest! {
        #[test]
        fn any_line_is_edited(mut line: Vec<u8>) {
            let before = line.len();
            prop_assert!(erased(&mut line) <= before);
        }
    }
}
