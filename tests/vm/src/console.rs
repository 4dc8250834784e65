//! The serial console of a machine: every line with the time it came, waits with a deadline and a named subject.

use anyhow::{Result, bail};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// Lines that an error about the console repeats.
const REPEATED: usize = 30;

/// A line of the console, without control sequences.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When it was complete, from the start of QEMU.
    pub at: Duration,
    /// The text.
    pub text: String,
}

/// The bytes of one read of the stream, and their time.
type Chunk = (Duration, Vec<u8>);

/// The console of one run. Everything is kept, and written to a log file as it comes.
#[derive(Debug)]
pub struct Console {
    chunks: Receiver<Chunk>,
    lines: Vec<Line>,
    /// Bytes after the last line feed: a prompt perhaps.
    partial: Vec<u8>,
    /// Lines before this one were seen by an earlier wait.
    seen: usize,
    ended: bool,
    log: File,
    echo: bool,
}

impl Console {
    /// Reads a stream in a separate thread. `echo` repeats each line on standard output.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn read(stream: impl Read + Send + 'static, start: Instant, log: &Path, echo: bool) -> Result<Self> {
        let (sender, chunks) = channel();
        let log = File::create(log)?;
        std::thread::spawn(move || forward(stream, start, &sender));
        Ok(Self { chunks, lines: Vec::new(), partial: Vec::new(), seen: 0, ended: false, log, echo })
    }

    /// Waits for a line that contains `pattern`, also an unfinished one, among those that no earlier wait has passed.
    ///
    /// # Errors
    /// The deadline passed, or the console ended before; both errors name the subject and the last line.
    pub fn wait_for(&mut self, subject: &str, pattern: &str, deadline: Duration) -> Result<Line> {
        let end = Instant::now() + deadline;
        loop {
            let unseen = self.lines.iter().enumerate().skip(self.seen);
            if let Some((index, line)) = unseen.into_iter().find(|(_, line)| line.text.contains(pattern)) {
                let line = line.clone();
                self.seen = index + 1;
                return Ok(line);
            }
            let partial = plain(&self.partial);
            if partial.contains(pattern) {
                let at = self.lines.last().map_or(Duration::ZERO, |line| line.at);
                return Ok(Line { at, text: partial });
            }
            self.seen = self.lines.len();
            if self.ended {
                bail!(
                    "the console ended while waiting for {subject} (`{pattern}`); last lines:\n{}",
                    self.tail()
                );
            }
            if !self.receive(end)? {
                bail!(
                    "{deadline:?} passed while waiting for {subject} (`{pattern}`); last lines:\n{}",
                    self.tail()
                );
            }
        }
    }

    /// Reads until the stream ends. Returns false when the deadline passed before.
    ///
    /// # Errors
    /// The log cannot be written.
    pub fn drain(&mut self, end: Instant) -> Result<bool> {
        while !self.ended {
            if !self.receive(end)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Everything that came so far.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The last lines, for an error.
    #[must_use]
    pub fn tail(&self) -> String {
        let skipped = self.lines.len().saturating_sub(REPEATED);
        let mut text: String =
            self.lines.iter().skip(skipped).map(|line| format!("    {}\n", line.text)).collect();
        if !self.partial.is_empty() {
            text += &format!("    {}\n", plain(&self.partial));
        }
        text
    }

    /// Takes one chunk. False: nothing came until `end`.
    fn receive(&mut self, end: Instant) -> Result<bool> {
        match self.chunks.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok((at, bytes)) => self.take(at, &bytes)?,
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                if !self.partial.is_empty() {
                    let at = self.lines.last().map_or(Duration::ZERO, |line| line.at);
                    self.take(at, b"\n")?;
                }
            }
            Err(RecvTimeoutError::Timeout) => return Ok(false),
        }
        Ok(true)
    }

    fn take(&mut self, at: Duration, bytes: &[u8]) -> Result<()> {
        for byte in bytes {
            if *byte != b'\n' {
                self.partial.push(*byte);
                continue;
            }
            let text = plain(&self.partial);
            self.partial.clear();
            writeln!(self.log, "{:10.6} {text}", at.as_secs_f64())?;
            if self.echo {
                println!("{text}");
            }
            self.lines.push(Line { at, text });
        }
        Ok(())
    }
}

fn forward(mut stream: impl Read, start: Instant, sender: &Sender<Chunk>) {
    let mut buffer = [0; 4096];
    // An error of the pipe is its end; the exit of the machine tells the rest.
    while let Ok(count) = stream.read(&mut buffer) {
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        if sender.send((start.elapsed(), bytes.to_vec())).is_err() {
            break;
        }
    }
}

/// Text without carriage returns and escape sequences (ECMA-48 §5.4 control sequences, ESC and one byte else).
fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut result = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => match characters.next() {
                // Ends with the first byte from 0x40 to 0x7e.
                Some('[') => while characters.next().is_some_and(|next| !('@'..='~').contains(&next)) {},
                // An operating system command ends with BEL or ESC \.
                Some(']') => while characters.next().is_some_and(|next| !matches!(next, '\x07' | '\\')) {},
                _ => {}
            },
            '\t' => result.push(character),
            _ if character.is_control() => {}
            _ => result.push(character),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(bytes: &'static [u8], name: &str) -> Console {
        let log = std::env::temp_dir().join(format!("hermetic-console-{}-{name}", std::process::id()));
        let console = Console::read(bytes, Instant::now(), &log, false).unwrap();
        std::fs::remove_file(log).unwrap();
        console
    }

    #[test]
    fn plain_text_has_no_control_sequences() {
        let cases: [(&[u8], &str); 5] = [
            (b"plain\r", "plain"),
            (b"\x1b[0;1;32m OK \x1b[0m done", " OK  done"),
            (b"\x1b]3008;start=1\x1b\\text", "text"),
            (b"\x1bcafter reset", "after reset"),
            (b"cut \x1b[", "cut "),
        ];
        for (bytes, expected) in cases {
            assert_eq!(plain(bytes), expected);
        }
    }

    #[test]
    fn waits_see_each_line_once_and_prompts_too() {
        let mut console = console(b"one\ntwo\ntwo\nlogin: ", "once");
        let second = Duration::from_secs(1);
        console.wait_for("the first", "two", second).unwrap();
        console.wait_for("the second", "two", second).unwrap();
        assert_eq!(console.wait_for("the prompt", "login:", second).unwrap().text, "login: ");
        let error = console.wait_for("a third", "two", second).unwrap_err().to_string();
        assert!(error.starts_with("the console ended while waiting for a third (`two`)"), "{error}");
    }

    #[test]
    fn deadline_names_the_subject() {
        let (_keeps_open, stream) = std::os::unix::net::UnixStream::pair().unwrap();
        let log = std::env::temp_dir().join(format!("hermetic-console-{}-deadline", std::process::id()));
        let mut console = Console::read(stream, Instant::now(), &log, false).unwrap();
        let error = console.wait_for("a word", "word", Duration::from_millis(10)).unwrap_err().to_string();
        assert!(error.contains("passed while waiting for a word (`word`)"), "{error}");
        std::fs::remove_file(log).unwrap();
    }
}
