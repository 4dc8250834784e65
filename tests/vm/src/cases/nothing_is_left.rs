//! The state that hermetic-init leaves to the next program: one process, its arguments, environment, limits, signals
//! and the kernel's settings as the kernel itself gives them to an init, no descriptor, no key, no file of the
//! initramfs, and in /run only the agreed files. The yardstick is the test init started by the kernel out of the same
//! initramfs.

use super::small::{DEADLINE, ENCRYPTED, KEY, Small};
use super::{Context, TEST_INIT};
use crate::disk::Disk;
use crate::initramfs::Initramfs;
use crate::machine::Exit;
use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use std::fs::File;

/// The size of useless data in the initramfs in bytes, to be missed from the memory.
const BALLAST: u64 = 24 << 20;

/// Words that mean nothing: the kernel gives them to init as argument and as environment.
const FOR_INIT: &str = "shibboleth greeting=hello";

pub fn run(context: &Context<'_>) -> Result<()> {
    let small = Small::new(context, ENCRYPTED)?;
    let ballast = context.file("ballast");
    File::create(&ballast)?.set_len(BALLAST)?;
    let initramfs = Initramfs::new("virtio").key(KEY).file(&ballast, "/ballast");
    let initramfs = context.initramfs(&initramfs.file(&context.products.test_init, "/probe"))?;
    let words = format!("{FOR_INIT} {} hermetic.init={TEST_INIT}", small.words());
    let machine = context.machine().initramfs(&initramfs).cmdline(&words).deadline(DEADLINE);

    let kernel = context.run(&machine.clone().cmdline("rdinit=/probe"))?.expect(&Exit::PowerOff)?.state()?;
    if volatile(&kernel)? < BALLAST / 1024 {
        bail!("the initramfs is not where this test looks for it: {:?}", kernel.get("meminfo"));
    }
    let machine = machine.disk(Disk::new(&small.disk));
    for boot in ["first", "second"] {
        let state = context.run(&machine)?.expect(&Exit::PowerOff)?.state()?;
        let left = compare(&kernel, &state).with_context(|| format!("on the {boot} boot"))?;
        context.say(format!("{boot} boot: {left} KiB in memory files"));
    }
    Ok(())
}

/// Returns the KiB that are left in tmpfs and ramfs.
fn compare(kernel: &Value, ours: &Value) -> Result<u64> {
    let at = |state: &Value, pointer: &str| state.pointer(pointer).cloned().unwrap_or_default();
    let same = |pointer: &str| equal(pointer, &at(ours, pointer), &at(kernel, pointer));
    for pointer in [
        "/environ",
        "/nice",
        "/limits",
        "/cwd",
        "/sysctl/printk",
        "/sysctl/printk_devkmsg",
        "/sysctl/modprobe",
    ] {
        same(pointer)?;
    }
    for field in [
        "PPid",
        "Threads",
        "SigQ",
        "SigPnd",
        "ShdPnd",
        "SigBlk",
        "SigIgn",
        "SigCgt",
        "CapInh",
        "CapPrm",
        "CapEff",
        "CapBnd",
        "CapAmb",
        "NoNewPrivs",
        "Seccomp",
        "Cpus_allowed",
        "Groups",
    ] {
        same(&format!("/status/{field}"))?;
    }
    // Files of the kernel's init are made with 0022; systemd begins with 0, and either is agreed.
    if !["0022", "0000"].contains(&at(ours, "/status/Umask").as_str().unwrap_or_default()) {
        bail!("umask {}", at(ours, "/status/Umask"));
    }
    equal("argv", &at(ours, "/argv"), &json!([TEST_INIT, "shibboleth"]))?;
    equal("was_missing", &at(ours, "/was_missing"), &json!([]))?;
    let console = "/dev/console";
    equal("fds", &at(ours, "/fds"), &json!({ "0": console, "1": console, "2": console }))?;
    let processes = at(ours, "/processes/user");
    equal("processes", &json!(processes.as_array().map(Vec::len)), &json!(1))?;

    let mounts = at(ours, "/mounts");
    let mut mounts = names(&mounts, "mountpoint")?;
    mounts.sort_unstable();
    equal("mounts", &json!(mounts), &json!(["/", "/dev", "/proc", "/run", "/sys", "/usr"]))?;
    let kibibytes = volatile(ours)?;
    // /run and devtmpfs hold some dozen small files; hermetic-init alone would be more than this.
    if kibibytes > 512 {
        bail!("{kibibytes} KiB are left of the initramfs, or in /run");
    }
    for name in names(&at(ours, "/top"), "path")? {
        if ["init", "hermetic", "sysroot", "ballast", "probe"].iter().any(|part| name.contains(part)) {
            bail!("{name} stands in the real root");
        }
    }
    let known = keys(&at(kernel, "/keys"))?;
    if let Some(key) = keys(&at(ours, "/keys"))?.into_iter().find(|key| !known.contains(key)) {
        bail!("a key is left: {key}");
    }
    run_holds_what_was_agreed(&at(ours, "/run"))?;
    Ok(kibibytes)
}

/// /run: our own directory, the machine id, and for udev an entry and a tag of each of the two mapped devices.
fn run_holds_what_was_agreed(run: &Value) -> Result<()> {
    // The kernel chooses the numbers behind the `b`.
    let number = |c: char| c.is_ascii_digit() || c == ':';
    let mut names: Vec<_> =
        names(run, "path")?.into_iter().map(|name| name.trim_end_matches(number)).collect();
    names.sort_unstable();
    let agreed = [
        "/run/hermetic-init",
        "/run/hermetic-init/handed-over",
        "/run/hermetic-init/timeline",
        "/run/machine-id",
        "/run/udev",
        "/run/udev/data",
        "/run/udev/data/b",
        "/run/udev/data/b",
        "/run/udev/tags",
        "/run/udev/tags/systemd",
        "/run/udev/tags/systemd/b",
        "/run/udev/tags/systemd/b",
    ];
    equal("/run", &json!(names), &json!(agreed))?;
    for entry in run.as_array().context("no /run")? {
        let path = entry.get("path").and_then(Value::as_str).unwrap_or_default();
        if path.starts_with("/run/udev/data/b") {
            // The sticky bit: `udevadm info --cleanup-db` of the real system's start leaves such entries alone.
            equal(path, entry.get("mode").unwrap_or(&Value::Null), &json!("1644"))?;
        }
    }
    Ok(())
}

/// Type and description of every key that is not a keyring. The kernel itself makes some.
fn keys(lines: &Value) -> Result<Vec<String>> {
    let lines = lines.as_array().context("no /proc/keys in the state")?;
    let keys = lines.iter().filter_map(Value::as_str).map(|line| {
        // ID, flags, usage, expiry, permissions, UID, GID, type, description (keyrings(7)).
        line.split_whitespace().skip(7).collect::<Vec<_>>().join(" ")
    });
    Ok(keys.filter(|key| !key.starts_with("keyring ")).collect())
}

/// KiB in tmpfs and ramfs.
fn volatile(state: &Value) -> Result<u64> {
    let number = |name: &str| {
        state
            .pointer(&format!("/meminfo/{name}"))
            .and_then(Value::as_u64)
            .with_context(|| format!("no {name}"))
    };
    Ok(number("Shmem")? + number("Unevictable")?)
}

/// This field of every object of a list.
fn names<'a>(list: &'a Value, field: &str) -> Result<Vec<&'a str>> {
    let list = list.as_array().with_context(|| format!("a list with {field} is missing"))?;
    list.iter().map(|entry| entry.get(field).and_then(Value::as_str).context("an entry has a name")).collect()
}

fn equal(what: &str, ours: &Value, expected: &Value) -> Result<()> {
    if ours != expected {
        bail!("{what} is {ours}, expected {expected}");
    }
    Ok(())
}
