//! Asks for a passphrase on every console that the kernel has, until a line comes from one of them or the time is over.
//! Drivers for a keyboard that is plugged in meanwhile are loaded.

use std::{io, os::fd::AsFd as _};

use crate::{
    boot::{failure::Failure, machine::devices::Devices},
    printable,
    secret::Secret,
    sys::{
        clock::Deadline,
        tty::{self, Tty},
    },
};

/// The outcome of a question.
pub enum Answer {
    /// This was typed.
    Typed(Secret),
    /// The time is over.
    Nothing,
    /// No console can be asked on.
    Nobody,
}

/// Asks `question` on every console. The echo is off: neither the answer nor its length can be seen.
///
/// # Errors
/// Waiting fails.
pub fn ask(question: &str, deadline: Option<Deadline>, devices: &mut Devices) -> Result<Answer, Failure> {
    let consoles = Tty::consoles();
    if consoles.is_empty() {
        return Ok(Answer::Nobody);
    }
    let question = printable::line(question);
    for console in &consoles {
        console.print(&format!("\r\n{question}: "));
    }
    let answer = answer(&consoles, deadline, devices);
    for console in &consoles {
        console.print("\r\n");
    }
    answer.map_err(|error| Failure::new(format!("cannot wait for an answer: {error}")))
}

fn answer(consoles: &[Tty], deadline: Option<Deadline>, devices: &mut Devices) -> io::Result<Answer> {
    let mut there: Vec<&Tty> = consoles.iter().collect();
    loop {
        let left = match deadline.map(Deadline::left) {
            Some(None) => return Ok(Answer::Nothing),
            Some(left) => left,
            None => None,
        };
        let ready = {
            let events = devices.announcements();
            let files: Vec<_> = std::iter::once(events).chain(there.iter().map(|tty| tty.as_fd())).collect();
            tty::wait(&files, left)?
        };
        match ready {
            None => {}
            Some(0) => drop(devices.attend()?),
            Some(number) => match there.get(number - 1).map(|console| console.line()) {
                Some(Ok(Some(line))) => return Ok(Answer::Typed(line)),
                Some(Ok(None)) | None => {}
                // Hung up: this console is gone, but an answer may come from another.
                Some(Err(_)) => {
                    there.remove(number - 1);
                    if there.is_empty() {
                        return Ok(Answer::Nobody);
                    }
                }
            },
        }
    }
}
