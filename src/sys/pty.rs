//! Terminals for tests: one end is ours, the other is that of somebody who stops it or never reads.

use std::{
    ffi::c_int,
    os::fd::{AsFd, OwnedFd},
    sync::mpsc,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl, open},
    io::Errno,
    ioctl::{Getter, Opcode, Setter, ioctl},
};

/// The time after which a test that waits has failed.
const DEADLINE: Duration = Duration::from_secs(60);

/// A pseudoterminal (pty(7)).
pub struct Pty {
    /// The end of somebody.
    pub master: OwnedFd,
    /// The terminal.
    pub terminal: OwnedFd,
    /// Its name below /dev.
    pub name: String,
}

impl Pty {
    /// Makes one.
    pub fn new() -> Self {
        const TIOCSPTLCK: Opcode = linux_raw_sys::ioctl::TIOCSPTLCK as Opcode;
        const TIOCGPTN: Opcode = linux_raw_sys::ioctl::TIOCGPTN as Opcode;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = open("/dev/ptmx", flags, Mode::empty()).unwrap();
        // SAFETY: TIOCSPTLCK reads an int.
        unsafe { ioctl(&master, Setter::<TIOCSPTLCK, c_int>::new(0)) }.unwrap();
        // SAFETY: TIOCGPTN writes an unsigned int.
        let number = unsafe { ioctl(&master, Getter::<TIOCGPTN, u32>::new()) }.unwrap();
        let name = format!("pts/{number}");
        let terminal = open(format!("/dev/{name}"), flags, Mode::empty()).unwrap();
        Self { master, terminal, name }
    }

    /// Sends XOFF, and waits until it has stopped the output.
    pub fn stop(&self) {
        self.types("\x13");
        in_turns(|| !self.takes_output());
    }

    /// Writes to the terminal until it takes no more.
    pub fn fill(&self) {
        let flags = fcntl_getfl(&self.terminal).unwrap();
        fcntl_setfl(&self.terminal, flags | OFlags::NONBLOCK).unwrap();
        in_turns(|| match rustix::io::write(&self.terminal, &[b'x'; 4096]) {
            Ok(_) => false,
            Err(errno) => {
                assert_eq!(errno, Errno::AGAIN);
                !self.takes_output()
            }
        });
        fcntl_setfl(&self.terminal, flags).unwrap();
    }

    /// Types at the other end.
    pub fn types(&self, text: &str) {
        assert_eq!(rustix::io::write(&self.master, text.as_bytes()), Ok(text.len()));
    }

    /// The text of this length that comes next at the other end.
    pub fn reads(&self, length: usize) -> String {
        let mut text = Vec::new();
        while text.len() < length {
            assert!(
                ready(&self.master, PollFlags::IN, DEADLINE),
                "only {:?}",
                String::from_utf8_lossy(&text)
            );
            let mut some = vec![0; length - text.len()];
            let read = rustix::io::read(&self.master, &mut some).unwrap();
            text.extend_from_slice(&some[..read]);
        }
        String::from_utf8(text).unwrap()
    }

    /// The text that comes next at the other end, up to these words.
    pub fn reads_up_to(&self, words: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(words) {
            text += &self.reads(1);
        }
        text
    }

    /// True when the terminal takes output now.
    pub fn takes_output(&self) -> bool {
        ready(&self.terminal, PollFlags::OUT, Duration::ZERO)
    }

    /// Waits until something was typed; false when it does not come.
    pub fn wait_for_input(&self) -> bool {
        ready(&self.terminal, PollFlags::IN, DEADLINE)
    }
}

fn ready(file: impl AsFd, flags: PollFlags, timeout: Duration) -> bool {
    let timeout = Timespec::try_from(timeout).unwrap();
    poll(&mut [PollFd::new(&file, flags)], Some(&timeout)).unwrap() > 0
}

/// Asks until the answer is yes: the kernel's own worker carries characters from one end to the other.
fn in_turns(mut done: impl FnMut() -> bool) {
    let deadline = super::clock::Deadline::after(DEADLINE);
    while !done() {
        assert!(deadline.left().is_some(), "the terminal does not come to that");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Does what may wait for ever, and fails when it does.
pub fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || drop(sender.send(work())));
    receiver.recv_timeout(DEADLINE).expect("an end of the wait")
}
