//! The observer of PID 1: counts how often its threads go to sleep. The kernel starts it (`rdinit=/observer`); it leaves a child
//! behind and becomes /init.
//!
//! The child waits until the log says that the drivers of present devices are loaded, and a little longer, then counts for
//! twenty seconds and writes one line into the log: `observer: N voluntary switches of M threads in 20 s`.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// The line after which a boot without a disk only waits (with `hermetic.log=debug`).
const WAITS: &str = "modules loaded";

/// Records that are already on their way may still wake it.
const SETTLED: Duration = Duration::from_secs(3);

fn main() -> std::io::Result<()> {
    if std::process::id() == 1 {
        Command::new("/observer").spawn()?;
        return Err(Command::new("/init").exec());
    }
    // /dev comes with PID 1.
    let mut log = loop {
        match File::options().read(true).write(true).open("/dev/kmsg") {
            Ok(log) => break log,
            Err(_) => sleep(Duration::from_millis(100)),
        }
    };
    let mut record = [0; 8192];
    // One read is one record; one that was overwritten before it was read is an error like any other.
    while !log
        .read(&mut record)
        .is_ok_and(|length| String::from_utf8_lossy(record.get(..length).unwrap_or_default()).contains(WAITS))
    {
    }
    sleep(SETTLED);
    let (before, _) = switches()?;
    sleep(Duration::from_secs(20));
    let (after, threads) = switches()?;
    let line = format!("<3>observer: {} voluntary switches of {threads} threads in 20 s\n", after - before);
    // One write is one record.
    log.write_all(line.as_bytes())
}

/// The voluntary context switches of all threads of PID 1, and the number of threads (proc_pid_status(5)).
fn switches() -> std::io::Result<(u64, usize)> {
    let (mut sum, mut threads) = (0, 0);
    for task in fs::read_dir("/proc/1/task")? {
        let status = fs::read_to_string(task?.path().join("status"))?;
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        sum += count.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or_default();
        threads += 1;
    }
    Ok((sum, threads))
}
