//! A process that was forked before there was any secret, and forks again for each request: what may wait for ever waits there,
//! and holds neither a secret nor a descriptor of the process that asked.
//!
//! A thread would not do. The kernel ends all threads when a program is executed, and waits for the one that waits for a device
//! (`de_thread` of fs/exec.c); a process of its own it leaves alone. Nobody kills it: it would wait on where it closes the device,
//! and there it has the device's lock, for which every sync(2) of the machine would wait (`bdev_release` and `sync_bdevs` of
//! block/bdev.c). It ends by itself once the device answers or fails, for then nobody listens.
//!
//! References: fork(2), `SOCK_SEQPACKET` of unix(7).

use std::{
    cell::Cell,
    ffi::CStr,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair},
    process::{Pid, WaitOptions, wait, waitpid},
    thread::set_name,
};

/// The work of a process: it gets the bytes of the request, and returns those of the answer or the text of an error. It runs
/// without any descriptor of the process that asked, so it must not log.
pub type Work = fn(&[u8]) -> Result<Vec<u8>, String>;

/// The longest request, and the longest message that is a part of an answer, in bytes. A message has a head of [`HEAD`] bytes.
const REQUEST: usize = 4096;
const PART: usize = 32 << 10;

/// The number of the request, and the kind of the message.
const HEAD: usize = 5;

/// Kinds of messages: a part of an answer; its last part; the text of an error instead; the text of the reason why there is no process.
const MORE: u8 = 0;
const END: u8 = 1;
const FAILED: u8 = 2;
const UNBORN: u8 = 3;

/// A message from a process.
pub enum Message {
    /// Bytes of an answer, behind those that came before.
    More(Vec<u8>),
    /// Those at the end of an answer.
    End(Vec<u8>),
    /// There is no answer, and why.
    Failed(String),
}

/// The server. It ends with this value.
pub struct ForkServer {
    socket: OwnedFd,
    process: Pid,
    /// The processes that have said their last word.
    over: Cell<usize>,
}

impl ForkServer {
    /// Forks the server, under this name. The caller has no other thread, and no secret.
    ///
    /// # Errors
    /// The error of socketpair(2) or fork(2).
    pub fn start(name: &CStr, work: Work) -> io::Result<Self> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        match fork()? {
            Some(process) => Ok(Self { socket: ours, process, over: Cell::new(0) }),
            None => {
                // A panic is the end of the process, not of the machine.
                drop(std::panic::take_hook());
                drop(ours);
                let prepared = close_others(&theirs).and_then(|()| Ok(set_name(name)?));
                let _killed_at_shutdown = be_spared();
                serve(&theirs, work, prepared);
                exit()
            }
        }
    }

    /// The server's own process.
    #[cfg(test)]
    pub fn process(&self) -> Pid {
        self.process
    }

    /// Has a process work on a request. Its messages have this number. Returns false when the server has too many to take another
    /// now.
    ///
    /// # Errors
    /// The server is gone.
    pub fn ask(&self, number: u32, request: &[u8]) -> io::Result<bool> {
        match send(&self.socket, &message(number, MORE, request), SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The next message, with its number; None when there is none now.
    ///
    /// # Errors
    /// The server and all its processes are gone.
    pub fn hear(&self) -> io::Result<Option<(u32, Message)>> {
        let mut heard = vec![0; HEAD + PART];
        let length = match recv(&self.socket, &mut heard, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Errno::PIPE.into()),
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        heard.truncate(length);
        let Some(([a, b, c, d, kind], rest)) = heard.split_first_chunk::<HEAD>() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let text = || String::from_utf8_lossy(rest).into_owned();
        if matches!(*kind, END | FAILED) {
            self.over.set(self.over.get().saturating_add(1));
        }
        let message = match *kind {
            MORE => Message::More(rest.to_vec()),
            END => Message::End(rest.to_vec()),
            _ => Message::Failed(text()),
        };
        Ok(Some((u32::from_ne_bytes([*a, *b, *c, *d]), message)))
    }

    /// Ends the server. Processes that have said their last word are waited for. The others become children of this process, and
    /// end when their device lets them go.
    pub fn end(self) {
        drop(self.socket);
        // It waits for nothing but us.
        let _ended = waitpid(Some(self.process), WaitOptions::empty());
        for _ in 0..self.over.get() {
            if wait(WaitOptions::empty()).is_err() {
                return;
            }
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}

impl AsFd for ForkServer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A process for each request, until nobody can ask any more; none when the server itself is not `prepared`.
fn serve(socket: &OwnedFd, work: Work, prepared: io::Result<()>) {
    let mut request = [0; HEAD + REQUEST];
    loop {
        let length = match recv(socket, &mut request, RecvFlags::empty()) {
            Ok((0, _)) => return,
            Ok((length, _)) => length,
            Err(Errno::INTR) => continue,
            Err(_) => return,
        };
        let request = request.get(..length).unwrap_or_default();
        let Some(([a, b, c, d, _], request)) = request.split_first_chunk::<HEAD>() else { return };
        let number = u32::from_ne_bytes([*a, *b, *c, *d]);
        let refuse = |error: &io::Error| say(socket, number, UNBORN, error.to_string().as_bytes());
        if let Err(error) = &prepared {
            refuse(error);
            continue;
        }
        match fork() {
            Ok(Some(_)) => {}
            Ok(None) => return answer(socket, number, work, request),
            Err(error) => refuse(&error),
        }
    }
}

/// The life of a process.
fn answer(socket: &OwnedFd, number: u32, work: Work, request: &[u8]) {
    match work(request) {
        Ok(answer) => {
            let mut rest = answer.as_slice();
            while let Some((part, more)) = rest.split_at_checked(PART) {
                say(socket, number, MORE, part);
                rest = more;
            }
            say(socket, number, END, rest);
        }
        Err(error) => say(socket, number, FAILED, error.as_bytes()),
    }
}

/// Says something. When nobody listens any more, nobody misses it.
fn say(socket: &OwnedFd, number: u32, kind: u8, bytes: &[u8]) {
    let said = message(number, kind, bytes.get(..bytes.len().min(PART)).unwrap_or_default());
    let _nobody_listens = send(socket, &said, SendFlags::NOSIGNAL);
}

fn message(number: u32, kind: u8, bytes: &[u8]) -> Vec<u8> {
    let [a, b, c, d] = number.to_ne_bytes();
    [&[a, b, c, d, kind], bytes].concat()
}

/// The child; None in the child itself.
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the C library takes the locks of its allocator over the call, so that the child can allocate; of our own locks the
    // child takes none, for it neither logs nor has threads.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        child => Ok(Pid::from_raw(child)),
    }
}

/// Ends this process, and runs nothing that was meant for the end of another.
fn exit() -> ! {
    // SAFETY: it takes a number and does not return.
    unsafe { libc::_exit(0) }
}

/// Has systemd's shutdown spare this process and those that it forks: it kills all but those of root whose first argument begins with
/// `@` (systemd.io/ROOT_STORAGE_DAEMONS), and one that is killed beside a silent device would hold the shutdown up.
fn be_spared() -> io::Result<()> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which may hold anything but `)`, from the third field on; `arg_start` is field 48 (proc_pid_stat(5)).
    let place = stat.rsplit_once(')').and_then(|(_, fields)| fields.split_ascii_whitespace().nth(45));
    let place = place.and_then(|field| field.parse().ok()).ok_or(Errno::INVAL)?;
    fs::File::options().write(true).open("/proc/self/mem")?.write_all_at(b"@", place)
}

/// Closes every descriptor but this one.
fn close_others(kept: &OwnedFd) -> io::Result<()> {
    let kept = u32::try_from(kept.as_raw_fd()).unwrap_or_default();
    let below = kept.checked_sub(1).map(|below| (0, below));
    for (first, last) in below.into_iter().chain([(kept.saturating_add(1), u32::MAX)]) {
        // SAFETY: three numbers; the descriptors that are closed belong to values of the parent, which are never used nor dropped
        // here: this process ends by `_exit`.
        if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{process::Command, time::Duration};

    use rustix::process::{Signal, kill_process};

    use super::*;
    use crate::sys::tty;

    fn start(work: Work) -> ForkServer {
        ForkServer::start(c"test-reader", work).unwrap()
    }

    /// The next message, within a minute.
    fn next(server: &ForkServer) -> (u32, Message) {
        loop {
            assert_eq!(tty::wait(&[server.as_fd()], Some(Duration::from_secs(60))).unwrap(), Some(0));
            if let Some(heard) = server.hear().unwrap() {
                return heard;
            }
        }
    }

    fn whole(server: &ForkServer) -> (u32, Result<Vec<u8>, String>) {
        let mut answer = Vec::new();
        loop {
            match next(server) {
                (_, Message::More(more)) => answer.extend(more),
                (number, Message::End(rest)) => return (number, Ok([answer, rest].concat())),
                (number, Message::Failed(error)) => return (number, Err(error)),
            }
        }
    }

    #[test]
    fn an_answer_comes_whole_and_an_error_with_its_text() {
        let server = start(|request| match request {
            b"long" => Ok((0..100_000_u32).flat_map(u32::to_be_bytes).collect()),
            b"none" => Ok(Vec::new()),
            b"dies" => exit(),
            _ => Err("no such thing".into()),
        });
        assert!(server.ask(7, b"long").unwrap());
        assert_eq!(whole(&server), (7, Ok((0..100_000_u32).flat_map(u32::to_be_bytes).collect())));
        assert!(server.ask(8, b"dies").unwrap());
        assert!(server.ask(9, b"else").unwrap());
        assert_eq!(whole(&server), (9, Err("no such thing".into())));
        assert!(server.ask(u32::MAX, b"none").unwrap());
        assert_eq!(whole(&server), (u32::MAX, Ok(Vec::new())));
        assert!(server.hear().unwrap().is_none());
    }

    #[test]
    fn a_process_has_no_descriptor_but_that_of_its_answer() {
        let held = fs::File::open("/dev/null").unwrap();
        let server = start(|_| {
            // The directory itself is open while it is read.
            let open = fs::read_dir("/proc/self/fd").map_err(|error| error.to_string())?;
            let links = open.map(|entry| fs::read_link(entry.unwrap().path()).unwrap());
            let text = links.map(|link| link.display().to_string()).collect::<Vec<_>>().join("\n");
            let name = fs::read_to_string("/proc/self/comm").unwrap();
            let first = fs::read("/proc/self/cmdline").unwrap()[0];
            Ok(format!("{text}\n{}{}", char::from(first), name).into_bytes())
        });
        assert!(server.ask(0, b"").unwrap());
        let text = String::from_utf8(whole(&server).1.unwrap()).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("/proc/") && lines[2].starts_with("socket:"), "{text}");
        assert_eq!(lines[1], "@test-reader");
        drop(held);
    }

    /// Set in the process that has no children but those of the test.
    const CHILD: &str = "HERMETIC_TEST_FORK_SERVER";

    #[test]
    fn the_end_leaves_no_process_but_one_that_waits() {
        if std::env::var_os(CHILD).is_none() {
            let name = concat!(module_path!(), "::the_end_leaves_no_process_but_one_that_waits");
            let name = name.split_once("::").unwrap().1;
            // As PID 1, whose children the orphans are.
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--kill-child"]).arg(std::env::current_exe().unwrap());
            assert!(command.args(["--exact", name]).env(CHILD, "1").status().unwrap().success());
            return;
        }
        let server = start(|request| match request {
            b"silent" => loop {
                std::thread::park();
            },
            _ => Ok(request.to_vec()),
        });
        // The first one after the server.
        let silent = Pid::from_raw(server.process().as_raw_nonzero().get() + 1).unwrap();
        assert!(server.ask(0, b"silent").unwrap());
        for number in 1..40 {
            assert!(server.ask(number, b"answers").unwrap());
            assert_eq!(whole(&server), (number, Ok(b"answers".to_vec())));
        }
        server.end();
        // It is there, our child, and it is the only one.
        assert!(wait(WaitOptions::NOHANG).unwrap().is_none());
        kill_process(silent, Signal::KILL).unwrap();
        assert_eq!(wait(WaitOptions::empty()).unwrap().unwrap().0, silent);
        assert_eq!(wait(WaitOptions::empty()).err(), Some(Errno::CHILD));
    }
}
