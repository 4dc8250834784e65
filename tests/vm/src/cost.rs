//! What filling /etc costs: `hermetic etc follow`, the engine that PID 1 runs, side by side with systemd-sysusers and
//! systemd-tmpfiles, which have one C line for each name at the top of the same factory. On an empty root, and again on the
//! one that was made, as later boots look at it. System calls are counted by strace; time is that of whole processes, the
//! shortest of interleaved runs: what a busy host adds is in the others.
//!
//! What file systems cost is compared in [`mkfs`].

pub mod mkfs;

use crate::bench::Bench;
use crate::cargo::Products;
use crate::command;
use crate::report::Verdict;
use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// How often each is timed.
const ROUNDS: usize = 9;

/// systemd's tools make at least so many times the system calls.
const TIMES: u64 = 5;

/// Compares both.
///
/// # Errors
/// A tool fails, /etc is another one, or the system calls are more than a fifth.
pub fn compare(bench: &Bench, products: &Products) -> Result<Verdict> {
    let work = bench.cache.scratch("cost")?;
    let usr = work.join("usr");
    let appliance = bench.appliance.usr();
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
    fs::write(usr.join("lib/tmpfiles.d/00-factory.conf"), lines)?;

    let (ours, theirs) = (work.join("ours"), work.join("theirs"));
    let hermetic = || {
        let mut command = Command::new(&products.hermetic);
        command.args(["etc", "follow"]).arg(&ours).arg(&usr);
        vec![command]
    };
    // Its tools look for /usr inside the root.
    let systemd = || -> Result<Vec<Command>> {
        let root = format!("--root={}", theirs.display());
        let mut sysusers = bench.tools.tool("systemd-sysusers")?;
        sysusers.arg(&root);
        let mut tmpfiles = bench.tools.tool("systemd-tmpfiles")?;
        tmpfiles.args([&root, "--create", "--boot", "--prefix=/etc"]);
        // Its order on the first boot is sysusers, tmpfiles; the factory's users must come first to be kept.
        Ok(vec![tmpfiles, sysusers])
    };
    let empty = || -> Result<()> {
        for root in [&ours, &theirs] {
            if root.exists() {
                fs::remove_dir_all(root)?;
            }
            fs::create_dir(root)?;
        }
        command::run(Command::new("cp").args(["--archive", "--link"]).arg(&usr).arg(theirs.join("usr")))
    };
    let trace = work.join("trace");
    let (mut first, mut later) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..ROUNDS {
        empty()?;
        for times in [&mut first, &mut later] {
            let [mine, yours] = times;
            mine.push(timed(hermetic())?);
            yours.push(timed(systemd()?)?);
        }
    }
    same_names(&ours.join("etc"), &theirs.join("etc"))?;
    empty()?;
    let mut said = Vec::new();
    for (what, times) in [("first boot", &first), ("later boots", &later)] {
        let mine = calls(bench, hermetic(), &trace)?;
        let yours = calls(bench, systemd()?, &trace)?;
        let [ours, theirs] = times.each_ref().map(|times| shortest(times));
        let micros = |time: Duration| time.as_micros();
        said.push(format!(
            "{what} {mine} calls {} us against {yours} calls {} us",
            micros(ours),
            micros(theirs)
        ));
        ensure!(mine * TIMES <= yours, "{what}: {mine} system calls against {yours} of systemd's tools");
    }
    Ok(Verdict::Passed(said.join("; ")))
}

fn timed(commands: Vec<Command>) -> Result<Duration> {
    let start = Instant::now();
    for mut command in commands {
        quietly(&mut command)?;
    }
    Ok(start.elapsed())
}

/// Runs a command; systemd-tmpfiles may say that a line was one too many.
fn quietly(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    match output.status.code() {
        Some(0 | 65 | 73) => Ok(()),
        _ => bail!("{command:?} failed: {}", command::tail(&String::from_utf8_lossy(&output.stderr))),
    }
}

/// How many system calls these commands make.
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

/// Both filled /etc with the same names; what systemd's other lines add is its own.
fn same_names(ours: &Path, theirs: &Path) -> Result<()> {
    let mut directories = vec![ours.to_owned()];
    let mut count = 0;
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let name = path.strip_prefix(ours)?;
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
