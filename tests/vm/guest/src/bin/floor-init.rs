//! The yardstick: the same job as a later boot's, done by a program that knows everything already.
//!
//! It mounts /dev, /proc, /sys and /run, loads the modules that `/floor/modules` lists (absolute paths, one a line, in
//! order, uncompressed), makes the devices of `/floor/devices` (lines `dm=NAME LENGTH TARGET TABLE`, in order, the volume key
//! in the table) and mounts those of its lines `root=/dev/dm-1 ext4` and `usr=/dev/dm-0 erofs`, moves everything into the root
//! and executes systemd. It discovers, derives, checks and frees nothing, and its only answer to a failure is a line and a
//! reboot.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use devicemapper::{DM, DevId, DmFlags, DmName, DmOptions};
use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::system::{RebootCommand, finit_module, reboot};

type Result<T> = std::result::Result<T, String>;

const SYSTEMD: &str = "/usr/lib/systemd/systemd";

fn main() {
    if let Err(why) = boot() {
        eprintln!("floor-init: {why}");
    }
    // Only as PID 1 is this ours to do; elsewhere it was started by mistake.
    if std::process::id() == 1 {
        let failed = reboot(RebootCommand::Restart);
        eprintln!("floor-init: {failed:?}");
    }
}

fn boot() -> Result<()> {
    if std::process::id() != 1 {
        return Err("not PID 1".into());
    }
    attach("devtmpfs", "/dev", "devtmpfs", MountFlags::NOSUID, "mode=0755")?;
    attach("proc", "/proc", "proc", MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV, "")?;
    attach("sysfs", "/sys", "sysfs", MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV, "")?;
    attach("tmpfs", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, "mode=0755")?;

    for path in read("/floor/modules")?.lines() {
        let file = File::open(path).map_err(|error| format!("{path}: {error}"))?;
        finit_module(&file, c"", 0).map_err(|error| format!("{path}: {error}"))?;
    }

    let devices = read("/floor/devices")?;
    let named = |name: &str| {
        let line = devices.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.and_then(|line| line.split_once(' ')).ok_or_else(|| format!("/floor/devices: no {name}"))
    };
    for line in devices.lines().filter_map(|line| line.strip_prefix("dm=")) {
        map(line)?;
    }
    let (root, root_type) = named("root")?;
    let (usr, usr_type) = named("usr")?;
    wait_for(root)?;
    wait_for(usr)?;
    attach(root, "/sysroot", root_type, MountFlags::empty(), "")?;
    attach(usr, "/sysroot/usr", usr_type, MountFlags::RDONLY, "")?;

    for at in ["/dev", "/proc", "/sys", "/run"] {
        mount_move(at, format!("/sysroot{at}")).map_err(|error| format!("moving {at}: {error}"))?;
    }
    let moved = |error| format!("moving /sysroot: {error}");
    rustix::process::chdir("/sysroot").map_err(moved)?;
    mount_move(".", "/").map_err(moved)?;
    rustix::process::chroot(".").map_err(moved)?;
    rustix::process::chdir("/").map_err(moved)?;
    // The line at which the time of the job ends.
    fs::write("/dev/kmsg", format!("<5>floor-init: starting {SYSTEMD}\n"))
        .map_err(|error| format!("/dev/kmsg: {error}"))?;
    Err(format!("{SYSTEMD}: {}", Command::new(SYSTEMD).args(std::env::args_os().skip(1)).exec()))
}

/// Makes the device that `NAME LENGTH TARGET TABLE` describes, after the disks of its table are there. Only verity's may not be
/// written.
fn map(line: &str) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| format!("mapping {line}: {error}");
    let mut words = line.splitn(4, ' ');
    let (Some(name), Some(length), Some(target), Some(table)) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(failed(&"not four words"));
    };
    for disk in table.split(' ').filter(|word| word.starts_with("/dev/")) {
        wait_for(disk)?;
    }
    let length = length.parse().map_err(|error| failed(&error))?;
    let flags = if target == "verity" { DmFlags::DM_READONLY } else { DmFlags::empty() };
    let options = DmOptions::default().set_flags(flags);
    let dm = DM::new().map_err(|error| failed(&error))?;
    let name = DmName::new(name).map_err(|error| failed(&error))?;
    let id = DevId::Name(name);
    dm.device_create(name, None, options).map_err(|error| failed(&error))?;
    dm.table_load(&id, &[(0, length, target.to_owned(), table.to_owned())], options)
        .map_err(|error| failed(&error))?;
    dm.device_suspend(&id, DmOptions::default()).map_err(|error| failed(&error))?;
    Ok(())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn attach(source: &str, at: &str, fstype: &str, flags: MountFlags, data: &str) -> Result<()> {
    // The directory may be missing; if it cannot be made, the mount reports that.
    let _ = fs::create_dir_all(at);
    let data = CString::new(data).map_err(|error| error.to_string())?;
    mount(source, at, fstype, flags, data.as_c_str())
        .map_err(|error| format!("mounting {source} on {at}: {error}"))
}

/// Waits until devtmpfs has the node. The watch comes before the look, so that no node is missed between the two.
fn wait_for(device: &str) -> Result<()> {
    let failed = |error: rustix::io::Errno| format!("waiting for {device}: {error}");
    let watch = init(CreateFlags::CLOEXEC).map_err(failed)?;
    add_watch(&watch, "/dev", WatchFlags::CREATE).map_err(failed)?;
    let mut events = File::from(watch);
    while !Path::new(device).exists() {
        events.read(&mut [0; 4096]).map_err(|error| format!("waiting for {device}: {error}"))?;
    }
    Ok(())
}
