//! The init of the tests: prints the state that hermetic-init handed over, carries out the words of the command line,
//! powers off.
//!
//! It stands in /usr at /usr/lib/hermetic-test/test-init and is started by `hermetic.init=`. The state is one JSON text
//! between the lines `HERMETIC-STATE-BEGIN` and `HERMETIC-STATE-END` on /dev/console, cut into lines that begin with
//! `@@`, so that a message of the kernel between them does no harm. `test-init --print` prints it on any machine.
//!
//! Words of the kernel command line, carried out in their order after the state was taken (see [`words`]):
//! `hermetic.test.write=PATH:TEXT`, `hermetic.test.remove=PATH`, `hermetic.test.run=PROGRAM+ARGUMENT...`,
//! `hermetic.test.sync=`, `hermetic.test.efi=NAME-GUID:HEX`, `hermetic.test.kexec=DEVICE:LENGTH:LENGTH:WORDS`,
//! `hermetic.test.end=poweroff|reboot|halt|kexec`.

#![cfg_attr(not(test), no_main)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod block;
mod files;
mod machine;
mod process;
mod words;

use std::io::Write;

use rustix::mount::{MountFlags, mount, mount_remount};
use rustix::system::{RebootCommand, reboot};
use serde_json::{Value, json};

/// The longest piece of the state on one line: a terminal of any kind takes it.
const LINE: usize = 200;

/// The entry that the C library calls. Rust's own start would ignore SIGPIPE, catch SIGSEGV and SIGBUS and open missing
/// ones of the descriptors 0 to 2, and so hide how hermetic-init left them.
// SAFETY: the only other definition of this name would be Rust's, which `no_main` leaves out.
#[cfg(not(test))]
#[unsafe(no_mangle)]
extern "C" fn main() -> std::ffi::c_int {
    run();
    1
}

#[cfg_attr(test, allow(dead_code))]
fn run() {
    let missing = mount_what_is_missing();
    if process::argv().iter().any(|word| word == "--print") {
        println!("{}", state(&missing));
        std::process::exit(0);
    }
    if std::process::id() != 1 {
        eprintln!("test-init: not PID 1; test-init --print shows the state of this machine");
        std::process::exit(1);
    }
    let mut state = state(&missing);
    // From here on only emergencies of the kernel stand between our lines.
    let quiet = std::fs::write("/proc/sys/kernel/printk", "1\n");
    let (actions, runs) = words::carry_out(&machine::cmdline());
    if let Value::Object(members) = &mut state {
        members.insert("actions".into(), actions);
        members.insert("runs".into(), runs);
        members.insert("printk_silenced".into(), json!(quiet.is_ok()));
    }
    let printed = print(&state.to_string());
    rustix::fs::sync();
    // The root is left as an orderly shutdown leaves it, so that a check of the file system finds an empty journal.
    if let Err(error) = mount_remount("/", MountFlags::RDONLY, "") {
        eprintln!("test-init: the root stays dirty: {error}");
    }
    let end = match words::end(&machine::cmdline()) {
        // Without a console the reason cannot be read either, but the machine must not hang.
        _ if printed.is_err() => RebootCommand::Restart,
        end => end,
    };
    let failed = reboot(end);
    eprintln!("test-init: {failed:?}");
}

/// A test that boots us without hermetic-init has no /proc yet; that it was missing is a fact as well.
fn mount_what_is_missing() -> Vec<Value> {
    [("proc", "/proc", "self"), ("sysfs", "/sys", "class"), ("devtmpfs", "/dev", "null")]
        .into_iter()
        .filter(|(_, at, sign)| !std::path::Path::new(at).join(sign).exists())
        .map(|(fstype, at, _)| {
            let done = mount(fstype, at, fstype, MountFlags::empty(), None);
            json!({ "mountpoint": at, "error": done.err().map(|error| error.to_string()) })
        })
        .collect()
}

/// Everything that can be known about this machine.
fn state(missing: &[Value]) -> Value {
    json!({
        "argv": process::argv(),
        "environ": process::environ(),
        "fds": process::open_fds(),
        "status": process::own_status(),
        "nice": process::own_nice(),
        "limits": process::limits(),
        "cwd": process::cwd(),
        "was_missing": missing,
        "processes": process::all(),
        "cmdline": machine::cmdline(),
        "uptime_usec": machine::uptime_usec(),
        "root": machine::root(),
        "mounts": machine::mounts(),
        "swaps": machine::lines("/proc/swaps"),
        "keys": machine::lines("/proc/keys"),
        "key_users": machine::lines("/proc/key-users"),
        "modules": machine::modules(),
        "module_parameters": machine::parameters(),
        "meminfo": machine::meminfo(),
        "sysctl": machine::sysctl(),
        "log": machine::log(),
        "pcrs": machine::pcrs(),
        "measured": machine::text("/run/log/systemd/tpm2-measure.log"),
        "block": block::devices(),
        "dm_table": block::dm_tables(),
        "run": files::tree("/run", files::Contents::All),
        "etc": files::tree("/etc", files::Contents::Named(&files::ETC)),
        "var": files::tree("/var", files::Contents::None),
        "top": files::list("/"),
    })
}

/// Prints the state on the console, in lines that a test can put together again.
fn print(state: &str) -> std::io::Result<()> {
    let mut text = String::from("\nHERMETIC-STATE-BEGIN\n");
    let ascii = ascii(state);
    let mut rest = ascii.as_str();
    while !rest.is_empty() {
        let (mut line, _) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
        // A reader may cut off blanks at the end of a line, so no line ends with one that counts.
        if line.ends_with(' ') && !line.trim_end().is_empty() {
            line = line.trim_end();
        }
        text.push_str("@@");
        text.push_str(line);
        text.push('\n');
        rest = rest.strip_prefix(line).unwrap_or_default();
    }
    text.push_str("HERMETIC-STATE-END\n");
    let mut console = std::fs::OpenOptions::new().write(true).open("/dev/console")?;
    console.write_all(text.as_bytes())?;
    console.flush()?;
    // Power must not go before the last byte is out of the serial port.
    rustix::termios::tcdrain(&console)?;
    Ok(())
}

/// The same JSON in ASCII: other characters can only stand in a string, where `\u` has the same meaning.
fn ascii(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii() && c != '\x7f' {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_says_the_same() {
        let value = json!({ "ä😀": "a b\n\x7f\u{1}" });
        let text = ascii(&value.to_string());
        assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b)));
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
