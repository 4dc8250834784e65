//! A machine under QEMU: its parts, its start, and its end.

use crate::accel::Accelerator;
use crate::console::{Console, Line};
use crate::disk::Disk;
use crate::qmp::{self, Qmp};
use crate::toolroot::ToolRoot;
use crate::tpm::Tpm;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

/// The options that make Debian's systemd come up without questions, and a dead kernel end the machine.  A host that is
/// busy at the wrong moment makes an emulated timer look broken to the kernel, which then panics: it need not look.
pub const CMDLINE: &str = "console=ttyS0 no_timer_check systemd.firstboot=off panic=-1";

/// On a busy host the kernel measures the translator's time stamp counter against a timer that comes late, and its clock
/// may run fourteen times too fast for a minute: timeouts pass before anything could happen. It then keeps to the HPET.
const SLOW_CLOCK: &str = "tsc=unstable";

/// A machine that can be started, again and again with the same disks.
#[derive(Clone, Debug)]
pub struct Machine {
    /// None: the firmware starts what it finds on a disk.
    kernel: Option<PathBuf>,
    initramfs: Option<PathBuf>,
    cmdline: String,
    disks: Vec<Disk>,
    variables: Option<PathBuf>,
    secure: bool,
    tpm: Option<PathBuf>,
    memory: u32,
    processors: u32,
    icount: bool,
    deadline: Duration,
    echo: bool,
    extra: Vec<String>,
}

impl Machine {
    /// One processor, 512 MiB, no disk, a deadline of two minutes.
    #[must_use]
    pub fn new(kernel: &Path) -> Self {
        Self {
            kernel: Some(kernel.to_owned()),
            initramfs: None,
            cmdline: CMDLINE.to_owned(),
            disks: Vec::new(),
            variables: None,
            secure: false,
            tpm: None,
            memory: 512,
            processors: 1,
            icount: false,
            deadline: Duration::from_secs(120),
            echo: false,
            extra: Vec::new(),
        }
    }

    /// The initramfs that QEMU puts into memory.
    #[must_use]
    pub fn initramfs(mut self, path: &Path) -> Self {
        self.initramfs = Some(path.to_owned());
        self
    }

    /// Appends words to the command line.
    #[must_use]
    pub fn cmdline(mut self, words: &str) -> Self {
        self.cmdline = format!("{} {words}", self.cmdline);
        self
    }

    /// The whole command line, instead of [`CMDLINE`].
    #[must_use]
    pub fn whole_cmdline(mut self, words: &str) -> Self {
        words.clone_into(&mut self.cmdline);
        self
    }

    /// The whole command line.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.cmdline
    }

    /// True when it has a TPM 2.0.
    #[must_use]
    pub fn has_tpm(&self) -> bool {
        self.tpm.is_some()
    }

    /// The whole command line, with the words that the kernel needs under this accelerator.
    #[must_use]
    pub fn command_line(&self, accelerator: Accelerator) -> String {
        match accelerator {
            Accelerator::Tcg if !self.icount => format!("{} {SLOW_CLOCK}", self.cmdline),
            _ => self.cmdline.clone(),
        }
    }

    /// Adds a disk; the kernel sees them in this order.
    #[must_use]
    pub fn disk(mut self, disk: Disk) -> Self {
        self.disks.push(disk);
        self
    }

    /// UEFI firmware; its variables are in this file, made from OVMF's when it is not there, and stay in it.
    #[must_use]
    pub fn firmware(mut self, variables: &Path) -> Self {
        self.variables = Some(variables.to_owned());
        self
    }

    /// UEFI firmware that can have Secure Boot on, with a copy of the variables of [`crate::firmware::variables`]; it starts the
    /// boot loader of a disk. No kernel, initramfs or command line is handed to it: [`Machine::command_line`] goes into the image.
    #[must_use]
    pub fn secure_firmware(mut self, variables: &Path) -> Self {
        (self.kernel, self.initramfs) = (None, None);
        (self.variables, self.secure) = (Some(variables.to_owned()), true);
        self
    }

    /// A TPM 2.0, which keeps its persistent state in this directory. A new directory is a new TPM.
    #[must_use]
    pub fn tpm(mut self, state: &Path) -> Self {
        self.tpm = Some(state.to_owned());
        self
    }

    /// MiB of memory.
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = mebibytes;
        self
    }

    /// Number of processors.
    #[must_use]
    pub fn processors(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// Time in the machine counts instructions: the same on every host. TCG and one processor.
    #[must_use]
    pub fn icount(mut self) -> Self {
        self.icount = true;
        self
    }

    /// When the machine is killed, from its start.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Repeats the console on standard output.
    #[must_use]
    pub fn echo(mut self) -> Self {
        self.echo = true;
        self
    }

    /// Appends words to QEMU's own command line.
    #[must_use]
    pub fn qemu(mut self, words: &[&str]) -> Self {
        self.extra.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    /// Starts the machine and returns while it runs. The console goes to `log` as well, each line with its time.
    ///
    /// # Errors
    /// QEMU cannot be started.
    pub fn start(&self, tools: &ToolRoot, accelerator: Accelerator, log: &Path) -> Result<Running> {
        let accelerator = if self.icount { Accelerator::Tcg } else { accelerator };
        if self.icount && self.processors != 1 {
            bail!("counting instructions works with one processor, not with {}", self.processors);
        }
        let mut qemu = tools.leashed("qemu-system-x86_64")?;
        qemu.arg("-L").arg(tools.file("usr/share/qemu")).arg("-L").arg(tools.file("usr/share/seabios"));
        qemu.env("QEMU_MODULE_DIR", tools.file("usr/lib/x86_64-linux-gnu/qemu"));
        qemu.args([
            "-machine",
            if self.secure { "q35,smm=on" } else { "q35" },
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-serial",
            "stdio",
        ]);
        qemu.args(["-action", "reboot=shutdown,shutdown=poweroff,panic=shutdown"]);
        qemu.args(accelerator.arguments(self.processors));
        if self.icount {
            qemu.args(["-icount", "shift=0,sleep=off"]);
        }
        qemu.args(["-m", &self.memory.to_string(), "-smp", &self.processors.to_string()]);
        if let Some(variables) = &self.variables {
            qemu.args(firmware(tools, variables, self.secure)?);
        }
        if let Some(kernel) = &self.kernel {
            qemu.arg("-kernel").arg(kernel).args(["-append", &self.command_line(accelerator)]);
        }
        if let Some(initramfs) = &self.initramfs {
            qemu.arg("-initrd").arg(initramfs);
        }
        for (number, disk) in self.disks.iter().enumerate() {
            qemu.args(disk.arguments(number));
        }
        let tpm = self.tpm.as_ref().map(|state| Tpm::start(tools, state)).transpose()?;
        if let Some(tpm) = &tpm {
            qemu.args(tpm.arguments());
        }
        let line = qmp::Line::listen()?;
        qemu.args(line.arguments()).args(&self.extra);

        let start = Instant::now();
        let mut child = qemu
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start QEMU")?;
        let keyboard = child.stdin.take().context("QEMU has no input")?;
        let stdout = child.stdout.take().context("QEMU has no output")?;
        let console = Console::read(stdout, start, log, self.echo)?;
        let mut running = Running {
            child,
            keyboard,
            console,
            control: line.answer(),
            end: start + self.deadline,
            deadline: self.deadline,
            killed: false,
            tpm,
        };
        if let Err(error) = running.control.connect() {
            running.control.hang_up();
            let said = running.complaint();
            return Err(error).with_context(|| format!("QEMU does not start: {said}"));
        }
        Ok(running)
    }

    /// Starts the machine and waits until it has ended, by itself or at its deadline.
    ///
    /// # Errors
    /// QEMU cannot be started or watched.
    pub fn run(&self, tools: &ToolRoot, accelerator: Accelerator, log: &Path) -> Result<Outcome> {
        self.start(tools, accelerator, log)?.finish()
    }
}

fn firmware(tools: &ToolRoot, variables: &Path, secure: bool) -> Result<Vec<String>> {
    let code = if secure { "OVMF_CODE_4M.secboot.fd" } else { "OVMF_CODE_4M.fd" };
    let code = tools.file(&format!("usr/share/OVMF/{code}"));
    if !variables.exists() {
        std::fs::copy(tools.file("usr/share/OVMF/OVMF_VARS_4M.fd"), variables)
            .with_context(|| format!("cannot make the firmware's variables {}", variables.display()))?;
    }
    let mut words = vec![
        "-drive".to_owned(),
        format!("if=pflash,format=raw,readonly=on,file={}", code.display()),
        "-drive".to_owned(),
        format!("if=pflash,format=raw,file={}", variables.display()),
    ];
    if secure {
        // Only the firmware itself writes its variables, in system management mode.
        words.extend(["-global", "driver=cfi.pflash01,property=secure,value=on"].map(str::to_owned));
    }
    Ok(words)
}

/// A machine that runs. It is killed when this value goes away.
#[derive(Debug)]
pub struct Running {
    child: Child,
    keyboard: ChildStdin,
    console: Console,
    control: Qmp,
    end: Instant,
    deadline: Duration,
    killed: bool,
    /// Ends with the machine.
    tpm: Option<Tpm>,
}

impl Running {
    /// Waits for a console line that contains `pattern`, at most until the machine's own deadline.
    ///
    /// # Errors
    /// It did not come in time, or the machine ended before.
    pub fn wait_for(&mut self, subject: &str, pattern: &str, deadline: Duration) -> Result<Line> {
        let left = self.end.saturating_duration_since(Instant::now());
        self.console.wait_for(subject, pattern, deadline.min(left))
    }

    /// The console so far: the lines that the last wait has seen, and perhaps more.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        self.console.lines()
    }

    /// Types into the console.
    ///
    /// # Errors
    /// The machine is gone.
    pub fn type_in(&mut self, text: &str) -> Result<()> {
        self.keyboard.write_all(text.as_bytes()).context("cannot type into the console")
    }

    /// QEMU's control channel.
    pub fn control(&mut self) -> &mut Qmp {
        &mut self.control
    }

    /// Ends the TPM: the machine still has one, which answers every command with a failure.
    pub fn break_tpm(&mut self) {
        self.tpm = None;
    }

    /// Cuts the power.
    ///
    /// # Errors
    /// QEMU cannot be killed.
    pub fn cut_power(&mut self) -> Result<()> {
        self.killed = true;
        self.child.kill().context("cannot kill QEMU")
    }

    /// Waits until the machine has ended; at the deadline it is killed.
    ///
    /// # Errors
    /// QEMU cannot be watched.
    pub fn finish(mut self) -> Result<Outcome> {
        let mut late = false;
        if !self.console.drain(self.end)? {
            late = true;
            self.child.kill().context("cannot kill QEMU at its deadline")?;
            self.console.drain(Instant::now() + Duration::from_secs(10))?;
        }
        let status = self.child.wait().context("cannot wait for QEMU")?;
        let reason = self.control.reason();
        let panicked =
            self.console.lines().iter().any(|line| line.text.contains("Kernel panic - not syncing"));
        let exit = if late {
            Exit::Deadline(self.deadline)
        } else if self.killed {
            Exit::PowerCut
        } else if !status.success() {
            Exit::Crash(format!("{status}: {}", self.complaint()))
        } else {
            match reason.as_deref() {
                Some("guest-shutdown") => Exit::PowerOff,
                Some("guest-reset" | "guest-panic") if panicked => Exit::Panic,
                Some("guest-reset") => Exit::Reboot,
                other => Exit::Crash(format!("QEMU ended for the reason {other:?}: {}", self.complaint())),
            }
        };
        Ok(Outcome { exit, lines: self.console.lines().to_vec() })
    }

    /// The messages of QEMU itself; waits for its end.
    fn complaint(&mut self) -> String {
        // It ends by itself when it has failed, and is of no use otherwise.
        let _ = self.child.kill();
        let mut said = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // A message that cannot be read is not worth a second error.
            let _ = stderr.read_to_string(&mut said);
        }
        said.trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended, which is intended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It switched itself off.
    PowerOff,
    /// It asked for a reset, and not because of a panic.
    Reboot,
    /// The kernel panicked.
    Panic,
    /// It still ran at its deadline.
    Deadline(Duration),
    /// [`Running::cut_power`].
    PowerCut,
    /// QEMU failed.
    Crash(String),
}

/// The results of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The end of the machine.
    pub exit: Exit,
    /// The whole console.
    pub lines: Vec<Line>,
}

/// The lines between which the test init prints the state.
const STATE: [&str; 2] = ["HERMETIC-STATE-BEGIN", "HERMETIC-STATE-END"];

/// The prefix of each line of the state; kernel messages in between do not have it.
const STATE_PREFIX: &str = "@@";

impl Outcome {
    /// Fails with the end of the machine when it was not this one.
    ///
    /// # Errors
    /// It ended in another way.
    pub fn expect(&self, exit: &Exit) -> Result<&Self> {
        if &self.exit != exit {
            bail!("the machine ended by {:?} instead of {exit:?}; last lines:\n{}", self.exit, self.tail());
        }
        Ok(self)
    }

    /// The first line that contains `pattern`.
    ///
    /// # Errors
    /// There is no such line.
    pub fn line(&self, pattern: &str) -> Result<&Line> {
        self.lines
            .iter()
            .find(|line| line.text.contains(pattern))
            .with_context(|| format!("no line of the console says `{pattern}`; last lines:\n{}", self.tail()))
    }

    /// Fails when a line contains `pattern`.
    ///
    /// # Errors
    /// There is such a line.
    pub fn without(&self, pattern: &str) -> Result<&Self> {
        match self.lines.iter().find(|line| line.text.contains(pattern)) {
            Some(line) => bail!("the console says `{}`, which must not be", line.text),
            None => Ok(self),
        }
    }

    /// The last state of the machine that the test init printed.
    ///
    /// # Errors
    /// It printed nothing, not everything, or invalid JSON.
    pub fn state(&self) -> Result<Value> {
        let texts = self.lines.iter().map(|line| line.text.as_str());
        state(texts).with_context(|| format!("last lines:\n{}", self.tail()))
    }

    /// The last lines of the console.
    #[must_use]
    pub fn tail(&self) -> String {
        let skipped = self.lines.len().saturating_sub(30);
        self.lines.iter().skip(skipped).map(|line| format!("    {}\n", line.text)).collect()
    }
}

fn state<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Value> {
    let [begin, end] = STATE;
    let mut open: Option<String> = None;
    let mut complete = None;
    for line in lines {
        if line.contains(begin) {
            open = Some(String::new());
        } else if line.contains(end) {
            complete = open.take();
        } else if let (Some(text), Some(part)) = (open.as_mut(), line.strip_prefix(STATE_PREFIX)) {
            text.push_str(part);
        }
    }
    let text = complete.context("the test init printed no complete state")?;
    serde_json::from_str(&text).with_context(|| format!("the state is no JSON: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_put_together_from_its_lines() {
        let lines = [
            "boot",
            "HERMETIC-STATE-BEGIN",
            "@@{\"a\":",
            "[    1.2] noise",
            "@@ [1, 2]}",
            "HERMETIC-STATE-END",
        ];
        assert_eq!(state(lines.into_iter()).unwrap(), serde_json::json!({ "a": [1, 2] }));
    }

    #[test]
    fn state_must_be_complete() {
        for lines in [&["HERMETIC-STATE-BEGIN", "@@{}"][..], &["@@{}", "HERMETIC-STATE-END"], &[]] {
            assert!(state(lines.iter().copied()).is_err());
        }
    }
}
