//! Facts of processes: the arguments of PID 1, and the other processes.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde_json::{Value, json};

use crate::machine::text;

/// The flag of the kernel's own threads (`PF_KTHREAD`, include/linux/sched.h).
const PF_KTHREAD: u64 = 0x0020_0000;

/// Our arguments, from the kernel: without Rust's own start std does not know them.
pub fn argv() -> Vec<String> {
    text("/proc/self/cmdline").split_terminator('\0').map(String::from).collect()
}

/// Our environment.
pub fn environ() -> BTreeMap<String, String> {
    let entries = text("/proc/self/environ");
    let entries = entries.split_terminator('\0');
    entries.map(|entry| entry.split_once('=').unwrap_or((entry, ""))).map(owned).collect()
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_string(), value.to_string())
}

/// The open descriptors and their targets, without the one that this function opens.
pub fn open_fds() -> BTreeMap<u32, String> {
    fds_of(Path::new("/proc/self"))
}

fn fds_of(process: &Path) -> BTreeMap<u32, String> {
    let Ok(list) = std::fs::read_dir(process.join("fd")) else { return BTreeMap::new() };
    list.flatten()
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?;
            let ours = target.starts_with("/proc") && target.ends_with("fd");
            let number = entry.file_name().to_str()?.parse().ok()?;
            (!ours).then(|| (number, target.to_string_lossy().into_owned()))
        })
        .collect()
}

/// The priority: field 19 of /proc/self/stat, behind a name without blanks.
pub fn own_nice() -> Option<i64> {
    text("/proc/self/stat").split_ascii_whitespace().nth(18)?.parse().ok()
}

/// Signals, umask, capabilities: the lines of /proc/self/status, by name.
pub fn own_status() -> BTreeMap<String, String> {
    fields(&text("/proc/self/status"))
}

fn fields(status: &str) -> BTreeMap<String, String> {
    status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| owned((name, value.trim())))
        .collect()
}

/// Soft and hard limits by name, as /proc/self/limits prints them.
pub fn limits() -> BTreeMap<String, [String; 2]> {
    text("/proc/self/limits")
        .lines()
        .skip(1)
        .filter_map(|line| {
            // The name is padded to 26 columns and may contain blanks.
            let (name, values) = line.split_at_checked(26)?;
            let mut values = values.split_whitespace();
            Some((name.trim().to_string(), [values.next()?.to_string(), values.next()?.to_string()]))
        })
        .collect()
}

/// The working directory.
pub fn cwd() -> Option<String> {
    Some(std::env::current_dir().ok()?.to_string_lossy().into_owned())
}

/// Every process with its name and arguments, and the number of kernel threads.
pub fn all() -> Value {
    let mut user = Vec::new();
    let mut kernel_threads = 0;
    let numbers = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in numbers {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = text(entry.path().join("stat"));
        // PID (COMM) STATE PPID PGRP SESSION TTY TPGID FLAGS; COMM may contain parentheses and blanks.
        let after = stat.rsplit_once(')').map(|(_, after)| after).unwrap_or_default();
        let field =
            |index| after.split_whitespace().nth(index).and_then(|field: &str| field.parse::<u64>().ok());
        if field(6).is_some_and(|flags| flags & PF_KTHREAD != 0) {
            kernel_threads += 1;
            continue;
        }
        let cmdline = text(entry.path().join("cmdline"));
        user.push(json!({
            "pid": pid,
            "ppid": field(1),
            "comm": text(entry.path().join("comm")).trim_end(),
            "cmdline": cmdline.split_terminator('\0').collect::<Vec<_>>(),
            "exe": link(&entry.path().join("exe")),
            "fds": fds_of(&entry.path()),
        }));
    }
    json!({ "user": user, "kernel_threads": kernel_threads })
}

fn link(path: &Path) -> Option<String> {
    Some(String::from_utf8_lossy(std::fs::read_link(path).ok()?.as_os_str().as_bytes()).into_owned())
}
