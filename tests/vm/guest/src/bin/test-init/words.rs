//! The requests of a test on the kernel command line.
//!
//! Values contain no blanks: in `run`, `+` separates the arguments; everywhere `%XX` is the byte of that number, so
//! that blanks, plus signs, colons and binary data can be said.

use std::fs::{File, OpenOptions};
use std::io::{Error, Read, Result, Write};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{IFlags, ioctl_setflags};
use rustix::mount::{MountFlags, mount};
use rustix::system::RebootCommand;
use serde_json::{Value, json};

use crate::files::hex;

const EFIVARS: &str = "/sys/firmware/efi/efivars";

/// Carries out the words of this command line in their order: returns the results of the writes, and the output of the
/// programs.
pub fn carry_out(cmdline: &str) -> (Value, Value) {
    let (mut actions, mut runs) = (Vec::new(), Vec::new());
    for (name, value) in words(cmdline) {
        let done = match name {
            "write" => write(value),
            "remove" => std::fs::remove_file(PathBuf::from(string(decoded(value)))),
            "efi" => efi(value),
            "sync" => {
                rustix::fs::sync();
                Ok(())
            }
            "kexec" => kexec(value),
            "run" => {
                let program: Vec<_> =
                    value.split('+').map(|word| PathBuf::from(string(decoded(word)))).collect();
                runs.push(run(&program));
                continue;
            }
            "end" => continue,
            _ => Err(Error::other("no such word")),
        };
        actions.push(
            json!({ "word": format!("{name}={value}"), "error": done.err().map(|error| error.to_string()) }),
        );
    }
    (Value::Array(actions), Value::Array(runs))
}

/// The way in which the machine ends.
pub fn end(cmdline: &str) -> RebootCommand {
    match words(cmdline).filter(|(name, _)| *name == "end").last() {
        Some((_, "reboot")) => RebootCommand::Restart,
        Some((_, "halt")) => RebootCommand::Halt,
        Some((_, "kexec")) => RebootCommand::Kexec,
        _ => RebootCommand::PowerOff,
    }
}

fn words(cmdline: &str) -> impl Iterator<Item = (&str, &str)> {
    cmdline
        .split_ascii_whitespace()
        .map(|word| word.trim_matches('"'))
        .filter_map(|word| word.strip_prefix("hermetic.test.")?.split_once('='))
}

/// `PATH:TEXT`: the file holds that text, on the disk.
fn write(value: &str) -> Result<()> {
    let (path, text) = value.split_once(':').ok_or_else(|| Error::other("write=PATH:TEXT"))?;
    let path = PathBuf::from(string(decoded(path)));
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    let mut file = File::create(&path)?;
    file.write_all(&decoded(text))?;
    file.sync_all()
}

/// `NAME-GUID:HEX`: the EFI variable holds these bytes, for boot services and run time, kept over power loss.
fn efi(value: &str) -> Result<()> {
    let (name, digits) = value.split_once(':').ok_or_else(|| Error::other("efi=NAME-GUID:HEX"))?;
    if std::fs::read_dir(EFIVARS)?.next().is_none() {
        mount("efivarfs", EFIVARS, "efivarfs", MountFlags::empty(), None)?;
    }
    // NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS; the file begins with them, and is written at once or not at all.
    let mut bytes = 7u32.to_le_bytes().to_vec();
    for pair in digits.as_bytes().chunks(2) {
        let byte = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(byte.ok_or_else(|| Error::other("not hexadecimal"))?);
    }
    let path = Path::new(EFIVARS).join(name);
    if let Ok(old) = File::open(&path) {
        // efivarfs makes variables immutable, so that `rm -r` does not remove the firmware's.
        ioctl_setflags(&old, IFlags::empty())?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).open(&path)?.write_all(&bytes)
}

/// `DEVICE:LENGTH:LENGTH:WORDS`: the kernel and the initramfs of these lengths, one behind the other on the device, are what
/// `end=kexec` starts, with this command line (kexec_file_load(2)).
fn kexec(value: &str) -> Result<()> {
    let unreadable = || Error::other("kexec=DEVICE:LENGTH:LENGTH:WORDS");
    let mut parts = value.splitn(4, ':');
    let mut next = || parts.next().ok_or_else(unreadable);
    let mut device = File::open(next()?)?;
    let mut copy = |name: &str, length: &str| -> Result<File> {
        let length = length.parse().map_err(|_| unreadable())?;
        let mut file = File::create(name)?;
        std::io::copy(&mut (&mut device).take(length), &mut file)?;
        File::open(name)
    };
    // The kernel takes regular files alone.
    let (kernel, initramfs) = (copy("/run/kernel", next()?)?, copy("/run/initramfs", next()?)?);
    let mut words = decoded(next()?);
    words.push(0);
    // SAFETY: the descriptors are open, and the kernel reads no more of the text than its length.
    let done = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initramfs.as_raw_fd(),
            words.len(),
            words.as_ptr(),
            0,
        )
    };
    if done == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}

/// Runs a program of /usr and returns its result.
pub fn run(program: &[impl AsRef<Path>]) -> Value {
    let command: Vec<_> = program.iter().map(|word| word.as_ref().to_string_lossy().into_owned()).collect();
    let Some((path, arguments)) = program.split_first() else { return Value::Null };
    let output = Command::new(path.as_ref())
        .args(arguments.iter().map(AsRef::as_ref))
        .env("PATH", "/usr/sbin:/usr/bin")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .output();
    let text = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(error) => json!({ "hex": hex(error.as_bytes()) }),
    };
    match output {
        Ok(output) => json!({
            "command": command,
            // None: a signal ended it.
            "status": output.status.code(),
            "stdout": text(output.stdout),
            "stderr": text(output.stderr),
        }),
        Err(error) => json!({ "command": command, "error": error.to_string() }),
    }
}

fn string(bytes: Vec<u8>) -> std::ffi::OsString {
    std::ffi::OsString::from_vec(bytes)
}

/// `%XX` is a byte; a `%` that begins none stands for itself.
fn decoded(text: &str) -> Vec<u8> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                bytes.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_in_percent() {
        for (text, bytes) in [("a%20b", &b"a b"[..]), ("%00%ff", b"\0\xff"), ("50%", b"50%"), ("%zz", b"%zz")]
        {
            assert_eq!(decoded(text), bytes, "{text}");
        }
    }

    #[test]
    fn words_are_carried_out_in_order() {
        let path = std::env::temp_dir().join(format!("test-init-words-{}", std::process::id()));
        let shown = path.display();
        let text = format!(
            "ro hermetic.test.write={shown}:a%20b \"hermetic.test.run=/bin/cat+{shown}\" hermetic.test.x=1 \
             hermetic.test.end=reboot"
        );
        let (actions, runs) = carry_out(&text);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(actions[0]["error"], Value::Null);
        assert_eq!(actions[1], json!({ "word": "x=1", "error": "no such word" }));
        assert_eq!((&runs[0]["status"], &runs[0]["stdout"]), (&json!(0), &json!("a b")));
        assert_eq!(end(&text), RebootCommand::Restart);
        assert_eq!(end(""), RebootCommand::PowerOff);
    }
}
