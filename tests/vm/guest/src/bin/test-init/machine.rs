//! The kernel's side of the machine: mounts, root, log, modules, keys, memory.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{OFlags, major, minor};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// A file of /proc or /sys, or nothing when it cannot be read.
pub fn text(path: impl AsRef<Path>) -> String {
    std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The lines of a file; None when it is not there.
pub fn lines(path: &str) -> Option<Vec<String>> {
    Some(std::fs::read_to_string(path).ok()?.lines().map(String::from).collect())
}

/// The PCRs of the TPM's SHA-256 bank by number, in hexadecimal digits; none without a TPM.
pub fn pcrs() -> BTreeMap<String, String> {
    let Ok(directory) = std::fs::read_dir("/sys/class/tpm/tpm0/pcr-sha256") else { return BTreeMap::new() };
    let pcr = |entry: std::fs::DirEntry| {
        let value = text(entry.path()).trim().to_ascii_lowercase();
        (entry.file_name().to_string_lossy().into_owned(), value)
    };
    directory.flatten().map(pcr).collect()
}

/// The kernel command line.
pub fn cmdline() -> String {
    text("/proc/cmdline").trim_end().to_string()
}

/// The time since the kernel started, in microseconds.
pub fn uptime_usec() -> i64 {
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec * 1_000_000 + now.tv_nsec / 1000
}

/// The root: the device, the inode, the file system's magic number and its bytes (statfs(2)).
pub fn root() -> Value {
    let stat = std::fs::metadata("/").ok();
    let statfs = rustix::fs::statfs("/").ok();
    json!({
        "device": stat.as_ref().map(|stat| format!("{}:{}", major(stat.dev()), minor(stat.dev()))),
        "inode": stat.as_ref().map(MetadataExt::ino),
        "magic": statfs.as_ref().map(|statfs| format!("{:#x}", statfs.f_type)),
        "size": statfs.as_ref().and_then(|statfs| statfs.f_blocks.checked_mul(statfs.f_bsize.try_into().ok()?)),
    })
}

/// The mounts, in the kernel's order (proc_pid_mountinfo(5)).
pub fn mounts() -> Vec<Value> {
    text("/proc/self/mountinfo").lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Value> {
    // Between the mount's own fields and those of the file system stand none to many optional ones and a dash.
    let (own, of_fs) = line.split_once(" - ")?;
    let mut own = own.split(' ');
    let (id, parent, device) = (own.next()?, own.next()?, own.next()?);
    let (root, mountpoint, options) = (own.next()?, own.next()?, own.next()?);
    let mut of_fs = of_fs.splitn(3, ' ');
    let (fstype, source, super_options) = (of_fs.next()?, of_fs.next()?, of_fs.next()?);
    Some(json!({
        "id": id.parse::<u32>().ok()?,
        "parent": parent.parse::<u32>().ok()?,
        "device": device,
        "root": unescaped(root),
        "mountpoint": unescaped(mountpoint),
        "options": options.split(',').collect::<Vec<_>>(),
        "propagation": own.collect::<Vec<_>>(),
        "fstype": fstype,
        "source": unescaped(source),
        "super_options": super_options.split(',').collect::<Vec<_>>(),
    }))
}

/// Blanks, tabs, newlines and backslashes are written in octal.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_string(), |text, (escape, plain)| text.replace(escape, plain))
}

/// The modules that are loaded.
pub fn modules() -> Vec<String> {
    text("/proc/modules").lines().filter_map(|line| line.split(' ').next()).map(String::from).collect()
}

/// The parameters of the loaded modules that can be read, `MODULE.NAME`.
pub fn parameters() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for module in modules() {
        let directory = format!("/sys/module/{module}/parameters");
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            all.insert(format!("{module}.{name}"), text(entry.path()).trim_end().to_owned());
        }
    }
    all
}

/// /proc/meminfo by name, in KiB.
pub fn meminfo() -> BTreeMap<String, u64> {
    text("/proc/meminfo")
        .lines()
        .filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_string(), value.trim().trim_end_matches(" kB").parse().ok()?))
        })
        .collect()
}

/// The settings of the kernel that an init may have touched.
pub fn sysctl() -> BTreeMap<&'static str, String> {
    ["printk", "printk_devkmsg", "modprobe", "hotplug", "hostname", "ctrl-alt-del", "random/boot_id"]
        .into_iter()
        .map(|name| (name, text(format!("/proc/sys/kernel/{name}")).trim_end().to_string()))
        .collect()
}

/// The messages of hermetic-init in the kernel's log.
pub fn log() -> Vec<Value> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let opened = std::fs::OpenOptions::new().read(true).custom_flags(nonblocking).open("/dev/kmsg");
    let Ok(mut log) = opened else { return Vec::new() };
    let mut records = Vec::new();
    let mut buffer = vec![0; 8192];
    loop {
        match log.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                let record = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
                records.extend(record.contains("hermetic-init").then(|| message(&record)).flatten());
            }
            // The oldest record was overwritten while we read: the next one is still there.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
            Err(_) => break,
        }
    }
    records
}

/// `PRIORITY,SEQUENCE,MICROSECONDS,FLAGS;TEXT`, see Documentation/ABI/testing/dev-kmsg.
fn message(record: &str) -> Option<Value> {
    let (head, text) = record.split_once(';')?;
    let mut head = head.split(',');
    let priority = head.next()?.parse::<u32>().ok()?;
    let usec = head.nth(1)?.parse::<u64>().ok()?;
    Some(json!({ "priority": priority & 7, "usec": usec, "text": text.lines().next()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_mountinfo() {
        let line = r"36 35 98:0 /mnt1 /mnt\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = mount(line).unwrap();
        assert_eq!((&mount["mountpoint"], &mount["propagation"]), (&json!("/mnt 2"), &json!(["master:1"])));
        assert_eq!(
            (&mount["fstype"], &mount["super_options"][1]),
            (&json!("ext3"), &json!("errors=continue"))
        );
    }

    #[test]
    fn a_record_of_the_log() {
        let record = "30,1234,5678901,-;hermetic-init: mounted\n SUBSYSTEM=x\n";
        assert_eq!(
            message(record),
            Some(json!({ "priority": 6, "usec": 5678901, "text": "hermetic-init: mounted" }))
        );
    }
}
