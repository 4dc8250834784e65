//! The cost of making a file system: `hermetic mkfs`, whose plan is the one that PID 1 carries out, side by side with
//! the tool of the format, at sizes from small to large. Both get a new sparse file each time. Bytes are those of the
//! calls that write to it, zeroes that the kernel makes on request included; time is that of the whole process, the
//! shortest of interleaved runs. `hermetic mkfs` may never write more, and is claimed never to be slower.

use super::{shortest, timed};
use crate::bench::Bench;
use crate::cargo::Products;
use crate::claim::{Claim, ratio};
use crate::command;
use crate::report::Verdict;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

/// The number of runs of each at each size.
const ROUNDS: usize = 5;

/// As long as ours is slower, both are timed again up to so often: on a busy host five rounds may all be spoilt, but a
/// slower program stays slower.
const MOST_ROUNDS: usize = 20;

/// Of the tool's time ours takes so many times. What is written is held exactly; the time of writing a gigabyte is the host's, and
/// beside a build it was seen at 1.6.
const TIMES: Claim = Claim::AtMost(1.0, 2.5);

/// The sizes that are compared, in bytes, and their names.
const SIZES: [(u64, &str); 4] =
    [(256 << 20, "256 MiB"), (8 << 30, "8 GiB"), (64 << 30, "64 GiB"), (1 << 40, "1 TiB")];

/// The calls that write to a file. A tool that finds another way would be seen to write less, so all of them are here.
const CALLS: &str = "trace=write,writev,pwrite64,pwritev,pwritev2,sendfile,copy_file_range,fallocate";

/// A format and the tool that makes it.
#[derive(Debug)]
pub struct Format {
    /// The name of the check.
    pub check: &'static str,
    /// The name that `hermetic mkfs` and blkid use.
    name: &'static str,
    tool: &'static str,
    /// The arguments that systemd-repart 257 gives to the tool. Nothing is discarded: a discarded range is not written,
    /// but looks so here.
    words: &'static [&'static str],
}

/// Every format that is compared.
pub const FORMATS: &[Format] = &[
    Format {
        check: "cost of mkfs btrfs beside mkfs.btrfs",
        name: "btrfs",
        tool: "mkfs.btrfs",
        words: &["-q", "--nodiscard"],
    },
    Format {
        check: "cost of mkfs ext4 beside mkfs.ext4",
        name: "ext4",
        tool: "mkfs.ext4",
        words: &[
            "-q",
            "-I",
            "256",
            "-m",
            "0",
            "-E",
            "nodiscard,lazy_itable_init=1",
            "-b",
            "4096",
            "-T",
            "default",
        ],
    },
];

impl Format {
    /// Compares both.
    ///
    /// # Errors
    /// A tool fails, or ours writes more or takes much longer.
    pub fn compare(&self, bench: &Bench, products: &Products) -> Result<Verdict> {
        let work = bench.cache.scratch("mkfs")?;
        let (ours, theirs) = (work.join("ours"), work.join("theirs"));
        let hermetic = || {
            let mut command = Command::new(&products.hermetic);
            command.args(["mkfs", self.name]).arg(&ours);
            command
        };
        let tool = || -> Result<Command> {
            let mut command = bench.tools.tool(self.tool)?;
            command.args(self.words).arg(&theirs);
            Ok(command)
        };
        let mut said = Vec::new();
        for (size, name) in SIZES {
            let sparse = |path: &Path| -> Result<()> {
                if path.exists() {
                    fs::remove_file(path)?;
                }
                Ok(File::create(path)?.set_len(size)?)
            };
            let (mut mine, mut yours) = (Vec::new(), Vec::new());
            for round in 0..MOST_ROUNDS {
                if round >= ROUNDS && TIMES.is_met(ratio(shortest(&mine), shortest(&yours))) {
                    break;
                }
                sparse(&ours)?;
                mine.push(timed(vec![hermetic()])?);
                sparse(&theirs)?;
                yours.push(timed(vec![tool()?])?);
            }
            let times @ [time_of_ours, time_of_theirs] = [shortest(&mine), shortest(&yours)];
            let mut bytes = [0; 2];
            let traced = [(&ours, hermetic()), (&theirs, tool()?)];
            for (bytes, (path, command)) in bytes.iter_mut().zip(traced) {
                sparse(path)?;
                *bytes = written(bench, &command, path, &work.join("trace"))?;
                let mut blkid = bench.tools.tool("blkid")?;
                let kind = command::output(blkid.args(["-p", "-o", "value", "-s", "TYPE"]).arg(path))?;
                ensure!(kind.trim() == self.name, "{} is `{}`", path.display(), kind.trim());
            }
            let [mine, yours] = bytes;
            let [[time, their_time], [kib, their_kib]] =
                [times.map(|time| time.as_micros()), bytes.map(|bytes| u128::from(bytes / 1024))];
            let line = format!("{name}: {kib} KiB in {time} us against {their_kib} KiB in {their_time} us");
            ensure!(mine > 0 && mine <= yours, "ours writes more, or nothing: {line}");
            let claim = TIMES.check(ratio(time_of_ours, time_of_theirs));
            let claim = claim.with_context(|| format!("ours is much slower: {line}"))?;
            said.push(format!("{line}, {claim}"));
        }
        Ok(Verdict::Passed(said.join("; ")))
    }
}

/// The number of bytes that this command writes to the file.
fn written(bench: &Bench, command: &Command, file: &Path, trace: &Path) -> Result<u64> {
    let mut strace = bench.tools.tool("strace")?;
    strace.args(["-f", "-qq", "-s", "0", "-e", CALLS, "-e", "signal=none", "-P"]).arg(file);
    strace.arg("-o").arg(trace).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    command::run(&mut strace)?;
    let text = fs::read_to_string(trace)?;
    let calls = text.lines().filter(|line| !line.ends_with("<unfinished ...>"));
    calls.map(|line| bytes(line).with_context(|| format!("strace said `{line}`"))).sum()
}

/// The bytes that one call wrote, by a line of strace: its result, and for fallocate its argument.
fn bytes(line: &str) -> Result<u64> {
    let (call, result) = line.rsplit_once(" = ").context("no result")?;
    let result = result.split(' ').next().unwrap_or_default();
    if !call.contains("fallocate") {
        // A call that failed wrote nothing.
        return Ok(result.parse::<i64>()?.max(0).unsigned_abs());
    }
    let arguments =
        call.split_once("fallocate(").context("a call in two pieces")?.1.trim_end_matches([')', ' ']);
    let arguments: Vec<&str> = arguments.split(", ").collect();
    match (arguments.as_slice(), result) {
        ([_, mode, _, length], "0") if mode.contains("PUNCH_HOLE") || mode.contains("ZERO_RANGE") => {
            Ok(length.parse()?)
        }
        // Space that is only set aside, or a medium that cannot.
        ([_, _, _, _], _) => Ok(0),
        _ => bail!("not four arguments"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_that_were_written() {
        for (line, expected) in [
            (r#"12 pwrite64(3, ""..., 2097152, 0)      = 2097152"#, Some(2_097_152)),
            (r#"12 pwrite64(3, ""..., 8192, 0) = -1 ENOSPC (No space left on device)"#, Some(0)),
            ("12 <... pwrite64 resumed>) = 4096", Some(4096)),
            ("12 fallocate(3, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 0, 1048576) = 0", Some(1 << 20)),
            (
                "12 fallocate(3, FALLOC_FL_KEEP_SIZE|FALLOC_FL_ZERO_RANGE, 0, 512) = -1 EOPNOTSUPP (no)",
                Some(0),
            ),
            ("12 fallocate(3, 0, 0, 4096) = 0", Some(0)),
            ("12 <... fallocate resumed>) = 0", None),
            ("12 pwrite64(3", None),
        ] {
            assert_eq!(bytes(line).ok(), expected, "{line}");
        }
    }
}
