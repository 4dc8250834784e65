//! Another program in place of this one: execve(2). std's `Command` comes with pipes, a fork and a map of the environment,
//! 18 kB that PID 1 has no other use for.

use std::{
    ffi::{CStr, CString},
    io, ptr,
};

/// Becomes the program at `path`, which gets its own path as the first of its arguments. Signals are as a kernel gives
/// them to its first program: std has SIGPIPE ignored, and no signal is blocked. Returns only the error.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let end = || std::iter::once(ptr::null());
    let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
    let arguments: Vec<_> = std::iter::once(path.as_ptr()).chain(pointers(arguments)).chain(end()).collect();
    let environment: Vec<_> = pointers(environment).into_iter().chain(end()).collect();
    // SAFETY: the set is filled before it is read; both lists end in a null pointer, and all texts live as long as they.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
    }
    io::Error::last_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Set in the process that becomes a shell.
    const CHILD: &str = "HERMETIC_TEST_EXEC";

    #[test]
    fn a_shell_has_its_words_its_environment_and_no_signal_of_ours() {
        if std::env::var_os(CHILD).is_some() {
            // SAFETY: the set is filled before it is read.
            unsafe {
                let mut all = std::mem::zeroed();
                libc::sigfillset(&raw mut all);
                libc::sigprocmask(libc::SIG_BLOCK, &raw const all, ptr::null_mut());
            }
            let script = c"echo \"$0|$1|$A|$B|$HOME\"; grep -E '^Sig(Ign|Blk)' /proc/self/status";
            let words = [c"-c", script, c"zero", c"one two"].map(CStr::to_owned);
            panic!("{}", execute(c"/bin/sh", &words, &[c"A=a b", c"B=\xff"].map(CStr::to_owned)));
        }
        let name = concat!(module_path!(), "::a_shell_has_its_words_its_environment_and_no_signal_of_ours");
        let name = name.split_once("::").unwrap().1;
        let mut command = Command::new(std::env::current_exe().unwrap());
        let output = command.args(["--exact", name, "--nocapture"]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let at = said.find("zero|").unwrap_or_else(|| panic!("{said}"));
        // Signals that this process was started with are passed on, but for SIGPIPE.
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
        let ignored = u64::from_str_radix(ignored.trim(), 16).unwrap() & !(1 << (libc::SIGPIPE - 1));
        let expected = format!("zero|one two|a b|\u{fffd}|\nSigBlk:\t{:016x}\nSigIgn:\t{ignored:016x}\n", 0);
        assert_eq!(said[at..], expected);
        let error = execute(c"/dev/null/none", &[], &[]);
        assert_eq!(error.raw_os_error(), Some(libc::ENOTDIR));
    }
}
