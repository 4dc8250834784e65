//! The cost of unlocking: `hermetic luks open-key`, the engine that PID 1 runs, side by side with `cryptsetup open
//! --test-passphrase` on the same header, in time and in CPU time. Runs are interleaved and the shortest of each
//! counts: the load of a busy host is in the others, and there are more of them as long as ours takes longer than is
//! claimed.

use crate::bench::Bench;
use crate::cargo::Products;
use crate::claim::{Claim, ratio};
use crate::command;
use crate::report::Verdict;
use anyhow::{Context as _, Result};
use std::fmt;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A key derivation: its name, cryptsetup's options for it, and the claim about our time in terms of cryptsetup's.
struct Derivation {
    name: &'static str,
    options: &'static [&'static str],
    claim: Claim,
}

/// The derivation that cryptsetup 2.7 chooses on a machine with four processors and enough memory comes first.
const DERIVATIONS: [Derivation; 4] = [
    Derivation {
        name: "argon2id 1 GiB",
        options: &[
            "--pbkdf=argon2id",
            "--pbkdf-memory=1048576",
            "--pbkdf-parallel=4",
            "--pbkdf-force-iterations=4",
        ],
        claim: Claim::AtMost(1.1, 1.6),
    },
    Derivation {
        name: "argon2id 64 MiB",
        options: &[
            "--pbkdf=argon2id",
            "--pbkdf-memory=65536",
            "--pbkdf-parallel=4",
            "--pbkdf-force-iterations=4",
        ],
        claim: Claim::AtMost(1.1, 1.6),
    },
    Derivation {
        name: "pbkdf2-sha256",
        options: &["--pbkdf=pbkdf2", "--hash=sha256", "--pbkdf-force-iterations=1000000"],
        claim: Claim::AtMost(1.5, 2.1),
    },
    Derivation {
        name: "pbkdf2-sha512",
        options: &["--pbkdf=pbkdf2", "--hash=sha512", "--pbkdf-force-iterations=1000000"],
        claim: Claim::AtMost(1.5, 2.1),
    },
];

/// A machine's key takes no more of a processor than cryptsetup does with it.
const MACHINE_KEY: Claim = Claim::AtMost(1.0, 1.4);

/// Each is timed so often at least, and so often at most.
const ROUNDS: std::ops::Range<usize> = 3..10;

/// The number of derivations of a machine's key that are timed together.
const REPEATED: u32 = 50;

/// Compares both.
///
/// # Errors
/// One of them does not open a volume, or we take much longer than is claimed.
pub fn compare(bench: &Bench, products: &Products) -> Result<Verdict> {
    let work = bench.cache.scratch("unlock")?;
    let (key, volume) = (work.join("key"), work.join("volume"));
    fs::write(&key, "thirty-two bytes of random, say.")?;
    let theirs = || -> Result<Command> {
        let mut command = bench.tools.tool("cryptsetup")?;
        command.args(["open", "--test-passphrase", "--key-file"]).arg(&key).arg(&volume);
        Ok(command)
    };
    let ours = |word: &str| {
        let mut command = Command::new(&products.hermetic);
        command.args(["luks", word]).arg(&volume);
        if word == "open-key" {
            command.arg("--key-file").arg(&key);
        }
        command
    };

    let mut said = Vec::new();
    for Derivation { name, options, claim } in DERIVATIONS {
        format(bench, &volume, &key, options)?;
        let (mut mine, mut yours) = (Cost::MAX, Cost::MAX);
        for round in 0..ROUNDS.end {
            if round >= ROUNDS.start && claim.is_met(mine.times(&yours)) {
                break;
            }
            yours = yours.least(Cost::of(&mut theirs()?)?);
            mine = mine.least(Cost::of(&mut ours("open-key"))?);
        }
        let line = format!("{name} {mine} against {yours}");
        let measured =
            claim.check(mine.times(&yours)).with_context(|| format!("ours is much slower: {line}"))?;
        said.push(format!("{line}, {measured}"));
    }

    // A volume of our own: cryptsetup makes the check of the volume key, too, as expensive as it finds right on the
    // machine that formats.
    File::create(&volume)?.set_len(20 << 20)?;
    command::output(ours("format").arg("--key-file").arg(&key))?;
    let (mut adds, mut whole, mut yours) = (Duration::MAX, Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS.start {
        // All other work of the program is done by `dump` as well.
        let (with, without) =
            (processor_time(|| Ok(ours("open-key")))?, processor_time(|| Ok(ours("dump")))?);
        (adds, whole) = (adds.min(with.saturating_sub(without)), whole.min(with));
        yours = yours.min(processor_time(theirs)?);
    }
    said.push(format!("a machine's key adds {} us of CPU", adds.as_micros()));
    // The speed of the processor does not matter here; wasted work does.
    let line = format!("the whole program {whole:?} against {yours:?}");
    let measured = MACHINE_KEY
        .check(ratio(whole, yours))
        .with_context(|| format!("ours is much slower: {}; {line}", said.join("; ")))?;
    said.push(format!("{line}, {measured}"));
    Ok(Verdict::Passed(said.join("; ")))
}

/// Makes a volume that this key opens.
fn format(bench: &Bench, volume: &Path, key: &Path, options: &[&str]) -> Result<()> {
    File::create(volume)?.set_len(20 << 20)?;
    let mut format = bench.tools.tool("cryptsetup")?;
    format.args(["luksFormat", "--batch-mode", "--type=luks2", "--key-file"]).arg(key);
    command::run(format.args(options).arg(volume))
}

/// The cost of a program.
struct Cost {
    time: Duration,
    processors: Duration,
}

impl Cost {
    const MAX: Self = Self { time: Duration::MAX, processors: Duration::MAX };

    fn of(command: &mut Command) -> Result<Self> {
        let (start, before) = (Instant::now(), children()?);
        command::output(command)?;
        Ok(Self { time: start.elapsed(), processors: children()?.saturating_sub(before) })
    }

    fn least(self, other: Self) -> Self {
        Self { time: self.time.min(other.time), processors: self.processors.min(other.processors) }
    }

    /// This cost in terms of the other: in time or in processors, whichever is worse.
    fn times(&self, other: &Self) -> f64 {
        ratio(self.time, other.time).max(ratio(self.processors, other.processors))
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms (CPU {} ms)", self.time.as_millis(), self.processors.as_millis())
    }
}

/// The CPU time of a run, from so many of them.
fn processor_time(command: impl Fn() -> Result<Command>) -> Result<Duration> {
    let before = children()?;
    for _ in 0..REPEATED {
        command::output(&mut command()?)?;
    }
    Ok(children()?.saturating_sub(before) / REPEATED)
}

/// The CPU time of all children that have ended (proc_pid_stat(5): cutime and cstime, in hundredths of a second).
///
/// # Errors
/// /proc is not mounted.
pub fn children() -> Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(13));
    let ticks: u64 =
        fields.context("no fields in /proc/self/stat")?.take(2).flat_map(str::parse::<u64>).sum();
    Ok(Duration::from_millis(ticks * 10))
}
