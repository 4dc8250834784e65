//! The lines of docs/getting-started.md as they stand there: a Debian tree, a disk made by systemd-repart, hermetic and ukify, a
//! machine with UEFI that starts it. A person logs in with the page's password and finds a system that runs, on the root that the
//! first boot made; the second boot finds that root.
//!
//! The lines run in the tool root, the first one on the host. Its archive is the host's, and words that an emulated machine on a busy
//! host needs are added to the kernel's; nothing else is changed.

use super::Context;
use crate::cargo;
use crate::command;
use crate::debian;
use anyhow::{Context as _, Result, bail, ensure};
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Firmware and a whole systemd, emulated.
const DEADLINE: Duration = Duration::from_secs(900);

/// The commands that are typed after the login.
const LOOK: &str = "systemctl is-system-running --wait; findmnt --noheadings --output SOURCE,FSTYPE /; \
                    findmnt --noheadings --output SOURCE,FSTYPE /usr; cat /var/lib/mark; echo was-here >/var/lib/mark; poweroff\n";

pub fn run(context: &Context<'_>) -> Result<()> {
    let lines = commands(&fs::read_to_string(cargo::repository().join("docs/getting-started.md"))?);
    let [tree, build @ .., machine] = lines.as_slice() else { bail!("the page has no lines") };
    let place = context.file("page");
    fs::create_dir(&place)?;
    for program in [&context.products.hermetic, &context.products.init] {
        fs::copy(program, place.join(program.file_name().context("a program without a name")?))?;
    }
    let tree = format!("exec {tree} {}", debian::archive()?);
    command::run(Command::new("sh").args(["-euc", &tree]).current_dir(&place))?;
    let build = format!("PATH=$PATH:/mnt\n{}\n", build.join("\n"));
    let build = build.replace("console=ttyS0", "console=ttyS0 no_timer_check tsc=unstable");
    command::run(context.bench.tools.inside(&place, "sh").args(["-euc", &build]))?;

    let first = boot(context, &place, machine).context("first boot")?;
    ensure!(!shows(&first, "was-here"), "the first boot finds a file of another:\n{first}");
    let second = boot(context, &place, machine).context("second boot")?;
    ensure!(shows(&second, "was-here"), "the second boot has not the first one's root:\n{second}");
    context.say(format!("{} lines", lines.len()));
    Ok(())
}

/// The lines of a page that stand in blocks of shell.
fn commands(page: &str) -> Vec<String> {
    let blocks = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// Starts the machine as the page does, logs in, looks around and switches it off. Returns what the screen showed.
fn boot(context: &Context<'_>, place: &Path, line: &str) -> Result<String> {
    let mut machine = context.bench.tools.inside(place, "sh");
    let mut screen = Screen::of(machine.args(["-euc", &format!("exec {line}")]))?;
    for (question, answer) in [("localhost login: ", "root\n"), ("Password: ", "secret\n"), ("# ", LOOK)] {
        screen.wait_for(question)?;
        screen.keyboard.write_all(answer.as_bytes())?;
    }
    let shown = screen.rest()?;
    for expected in ["running", "/dev/vda4 ext4", "/dev/mapper/usr erofs"] {
        ensure!(shows(&shown, expected), "the screen does not show `{expected}`:\n{shown}");
    }
    Ok(shown)
}

/// True when the screen has this line. A shell that edits its line returns to the beginning before what it runs is shown.
fn shows(screen: &str, line: &str) -> bool {
    screen.split(['\n', '\r']).any(|shown| shown == line)
}

/// A machine whose serial console is the terminal; it is killed when this value goes away.
struct Screen {
    machine: Child,
    keyboard: ChildStdin,
    output: Receiver<Vec<u8>>,
    shown: String,
    seen: usize,
    end: Instant,
}

impl Screen {
    fn of(command: &mut Command) -> Result<Self> {
        let mut machine =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let keyboard = machine.stdin.take().context("the machine has no input")?;
        let mut stdout = machine.stdout.take().context("the machine has no output")?;
        let (send, output) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut bytes) {
                let Some(part) = bytes.get(..length) else { return };
                if send.send(part.to_vec()).is_err() {
                    return;
                }
            }
        });
        let end = Instant::now() + DEADLINE;
        Ok(Self { machine, keyboard, output, shown: String::new(), seen: 0, end })
    }

    /// Waits until this is shown behind what was waited for before.
    fn wait_for(&mut self, text: &str) -> Result<()> {
        loop {
            if let Some(at) = self.shown.get(self.seen..).and_then(|new| new.find(text)) {
                self.seen += at + text.len();
                return Ok(());
            }
            let left = self.end.saturating_duration_since(Instant::now());
            let part = self.output.recv_timeout(left);
            let part =
                part.with_context(|| format!("`{text}` is not shown:\n{}", command::tail(&self.shown)))?;
            self.shown += &String::from_utf8_lossy(&part);
        }
    }

    /// Waits for the end of the machine. Returns all that was shown.
    fn rest(mut self) -> Result<String> {
        while let Ok(part) = self.output.recv_timeout(self.end.saturating_duration_since(Instant::now())) {
            self.shown += &String::from_utf8_lossy(&part);
        }
        ensure!(self.machine.wait()?.success(), "QEMU fails:\n{}", command::tail(&self.shown));
        Ok(std::mem::take(&mut self.shown))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // It has ended by itself, or is of no use any more.
        drop(self.machine.kill());
        drop(self.machine.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_few_lines_and_every_step() {
        let page = fs::read_to_string(cargo::repository().join("docs/getting-started.md")).unwrap();
        let lines = commands(&page);
        assert!(lines.len() <= 16, "{} lines", lines.len());
        let words = ["mmdebstrap", "hermetic initramfs", "systemd-repart", "ukify", "qemu-system-x86_64"];
        let places = words.map(|word| lines.iter().position(|line| line.contains(word)));
        assert!(
            places.is_sorted() && places[0] == Some(0) && places[4] == Some(lines.len() - 1),
            "{places:?}"
        );
    }
}
