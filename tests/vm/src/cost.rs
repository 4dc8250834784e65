//! The cost of filling /etc: the engine of PID 1, built as PID 1 is, side by side with systemd-sysusers and
//! systemd-tmpfiles, which have one C line for each name at the top of the same factory. On an empty root, and again on
//! the one that was made, as later boots look at it.
//!
//! System calls are counted by strace; time is the processor time of whole processes, their start included (the
//! scheduler's own account), the shortest of interleaved runs: it hardly depends on the load of the host. The roots are
//! on a tmpfs, as with `root=tmpfs` at each boot, where making a file costs next to nothing and only the programs are
//! compared. On a file system of a disk the kernel takes longer to make 190 inodes, the longer the more others write,
//! for either of them; that is printed, not judged: five times at best, one and a half on a busy disk.
//!
//! System calls are held exactly, times are a [`Claim`].
//!
//! The cost of file systems is compared in [`mkfs`].

pub mod budget;
pub mod mkfs;
pub mod unlock;

use crate::bench::Bench;
use crate::cargo::Products;
use crate::claim::{Claim, ratio};
use crate::command;
use crate::report::Verdict;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The number of runs of each: the shortest of fewer still differ by some hundredths.
const ROUNDS: usize = 31;

/// systemd's tools make at least so many times the system calls.
const CALLS: u64 = 5;

/// They take so many times the time. From 4.8 on machines where starting a process is dear; see docs/reference/numbers.md for the range.
const TIMES: Claim = Claim::AtLeast(5.0, 3.5);

/// The mount point of a tmpfs.
const MEMORY: &str = "/dev/shm";

/// The longest time that a process that closed its outputs may take to end.
const END: Duration = Duration::from_secs(30);

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn in_memory() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/mounts")?;
        let is_tmpfs = |line: &str| line.split(' ').skip(1).take(2).eq([MEMORY, "tmpfs"]);
        ensure!(mounts.lines().any(is_tmpfs), "needs a tmpfs at {MEMORY}");
        let path = Path::new(MEMORY).join(format!("hermetic-cost-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0.display());
        }
    }
}

/// The commands of both programs, with one root each.
struct Pair<'a> {
    bench: &'a Bench,
    products: &'a Products,
    work: &'a Path,
    usr: &'a Path,
}

/// The times, first and later.
type Times = [[Vec<Duration>; 2]; 2];

impl Pair<'_> {
    fn ours(&self) -> PathBuf {
        self.work.join("ours")
    }

    fn theirs(&self) -> PathBuf {
        self.work.join("theirs")
    }

    fn populate(&self) -> Vec<Command> {
        let mut command = Command::new(&self.products.populate);
        command.arg(self.ours()).arg(self.usr);
        vec![command]
    }

    /// Their order on the first boot is sysusers, tmpfiles; the factory's users must come first to be kept.
    fn systemd(&self) -> Result<Vec<Command>> {
        let root = format!("--root={}", self.theirs().display());
        let mut sysusers = self.bench.tools.tool("systemd-sysusers")?;
        sysusers.arg(&root);
        let mut tmpfiles = self.bench.tools.tool("systemd-tmpfiles")?;
        tmpfiles.args([&root, "--create", "--boot", "--prefix=/etc"]);
        Ok(vec![tmpfiles, sysusers])
    }

    /// Both roots anew. systemd's tools look for /usr inside the root.
    fn empty(&self) -> Result<()> {
        for root in [self.ours(), self.theirs()] {
            if root.exists() {
                fs::remove_dir_all(&root)?;
            }
            fs::create_dir(root)?;
        }
        command::run(Command::new("cp").arg("--archive").arg(self.usr).arg(self.theirs().join("usr")))
    }

    /// The first program pays for work that the kernel deferred from the removal of the old roots: the order
    /// alternates.
    fn times(&self) -> Result<Times> {
        let mut all = Times::default();
        for round in 0..ROUNDS {
            self.empty()?;
            for [mine, yours] in &mut all {
                if round % 2 == 1 {
                    yours.push(processor_time(self.systemd()?)?);
                }
                mine.push(processor_time(self.populate())?);
                if round % 2 == 0 {
                    yours.push(processor_time(self.systemd()?)?);
                }
            }
        }
        Ok(all)
    }
}

/// Compares both.
///
/// # Errors
/// A tool fails, /etc is another one, the system calls are more than a fifth, or the time is well above it.
pub fn compare(bench: &Bench, products: &Products) -> Result<Verdict> {
    let memory = Scratch::in_memory()?;
    let usr = memory.0.join("usr");
    factory(&bench.appliance.usr(), &usr)?;
    let pair = Pair { bench, products, work: &memory.0, usr: &usr };
    let times = pair.times()?;
    same_names(&pair.ours().join("etc"), &pair.theirs().join("etc"))?;
    pair.empty()?;
    let trace = memory.0.join("trace");
    let mut said = Vec::new();
    for (what, times) in ["first boot", "later boots"].into_iter().zip(&times) {
        let mine = calls(bench, pair.populate(), &trace)?;
        let yours = calls(bench, pair.systemd()?, &trace)?;
        let [ours, theirs] = times.each_ref().map(|times| shortest(times));
        said.push(format!(
            "{what} {mine} calls {} us against {yours} calls {} us",
            ours.as_micros(),
            theirs.as_micros()
        ));
        let all = said.join("; ");
        ensure!(mine * CALLS <= yours, "{what}: more than a fifth of systemd's system calls: {all}");
        let claim = TIMES.check(ratio(theirs, ours));
        said.push(claim.with_context(|| format!("{what}: much more than a fifth of systemd's time: {all}"))?);
    }
    let disk = bench.cache.scratch("cost")?;
    let [first, _] = Pair { work: disk.path(), ..pair }.times()?;
    let [ours, theirs] = first.map(|times| shortest(&times).as_micros());
    said.push(format!("first boot on a disk {ours} us against {theirs} us"));
    Ok(Verdict::Passed(said.join("; ")))
}

/// Makes a /usr with the factory and what both read.
fn factory(appliance: &Path, usr: &Path) -> Result<()> {
    for directory in ["lib", "share"] {
        fs::create_dir_all(usr.join(directory))?;
    }
    for (from, to) in [
        ("lib/sysusers.d", "lib"),
        ("lib/tmpfiles.d", "lib"),
        ("lib/os-release", "lib"),
        ("share/factory", "share"),
    ] {
        command::run(Command::new("cp").arg("--archive").arg(appliance.join(from)).arg(usr.join(to)))?;
    }
    let mut lines = String::new();
    for entry in fs::read_dir(usr.join("share/factory/etc"))? {
        writeln!(lines, "C /etc/{}", entry?.file_name().to_string_lossy())?;
    }
    Ok(fs::write(usr.join("lib/tmpfiles.d/00-factory.conf"), lines)?)
}

/// The time that these commands take.
fn timed(commands: Vec<Command>) -> Result<Duration> {
    let start = Instant::now();
    for mut command in commands {
        quietly(&mut command)?;
    }
    Ok(start.elapsed())
}

/// The processor time that these commands take.
fn processor_time(commands: Vec<Command>) -> Result<Duration> {
    commands.into_iter().map(processor_time_of).sum()
}

fn processor_time_of(mut command: Command) -> Result<Duration> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let mut said = String::new();
    // To the end: then it is about to be over.
    child.stderr.take().context("no stderr")?.read_to_string(&mut said)?;
    let place = PathBuf::from(format!("/proc/{}", child.id()));
    let start = Instant::now();
    // Its account is complete when it is over and kept until it is waited for.
    while !fs::read_to_string(place.join("stat"))?.contains(") Z ") {
        ensure!(start.elapsed() < END, "{command:?} does not end");
        std::thread::sleep(Duration::from_micros(200));
    }
    // Documentation/scheduler/sched-stats.rst: the first number is the time on a processor, in nanoseconds.
    let account =
        fs::read_to_string(place.join("schedstat")).context("the kernel keeps no CONFIG_SCHED_INFO")?;
    let nanoseconds = account.split(' ').next().and_then(|number| number.parse().ok());
    let status = child.wait()?.code();
    is_fine(&command, status, &said)?;
    Ok(Duration::from_nanos(nanoseconds.with_context(|| format!("schedstat says {account}"))?))
}

/// Runs a command.
fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    is_fine(command, output.status.code(), &String::from_utf8_lossy(&output.stderr))
}

/// systemd-tmpfiles may say that a line was one too many.
fn is_fine(command: &Command, status: Option<i32>, said: &str) -> Result<()> {
    match status {
        Some(0 | 65 | 73) => Ok(()),
        _ => bail!("{command:?} failed: {}", command::tail(said)),
    }
}

/// The number of system calls that these commands make.
fn calls(bench: &Bench, commands: Vec<Command>, trace: &Path) -> Result<u64> {
    let mut sum = 0;
    for command in commands {
        let mut strace = bench.tools.tool("strace")?;
        strace.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(trace);
        strace.arg(command.get_program()).args(command.get_args());
        quietly(&mut strace)?;
        let text = fs::read_to_string(trace)?;
        let total = text.lines().find_map(|line| line.trim().strip_suffix("total"));
        let total = total.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        sum += total.with_context(|| format!("strace counted nothing: {text}"))?;
    }
    Ok(sum)
}

/// The file that systemd's PID 1 makes, and none of its tools.
const OF_PID_1: &str = "machine-id";

/// Both filled /etc with the same names; what systemd's other lines add is its own.
fn same_names(ours: &Path, theirs: &Path) -> Result<()> {
    let mut directories = vec![ours.to_owned()];
    let mut count = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.strip_prefix(ours)?;
            if name == Path::new(OF_PID_1) {
                continue;
            }
            ensure!(theirs.join(name).symlink_metadata().is_ok(), "systemd's /etc lacks {}", name.display());
            count += 1;
            if path.symlink_metadata()?.is_dir() {
                directories.push(path);
            }
        }
    }
    ensure!(count > 100, "/etc has {count} files");
    Ok(())
}

fn shortest(times: &[Duration]) -> Duration {
    times.iter().min().copied().unwrap_or_default()
}
