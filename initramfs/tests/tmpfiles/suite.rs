//! systemd 257's own suites, with our tool in the place of theirs: over a private copy of the tool root.

use std::{
    env,
    path::PathBuf,
    process::{Command, Output},
};

use crate::common::{skip, tool};

/// TEST-22-TMPFILES without .11, .12 and .18, which clean up and purge.
const UNITS: [&str; 18] = [
    "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "13", "14", "15", "16", "17", "19", "20",
    "21",
];

/// Makes an overlay of the tool root ($1), puts a program ($2) into it as systemd-tmpfiles and systemd's tests ($3) as /test, and runs
/// the words that follow in it. Everything is gone with the mount namespace.
const INSIDE: &str = r#"
set -e
tools=$1 program=$2 tests=$3
shift 3
mount -t tmpfs -o mode=0755 tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
cp "$program" /mnt/program
root=/mnt/root
mount -t overlay -o "lowerdir=$tools,upperdir=/mnt/upper,workdir=/mnt/work" overlay $root
mount -t proc proc $root/proc
mount --bind /dev $root/dev
mount -t tmpfs -o mode=1777 tmpfs $root/tmp
mount -t tmpfs -o mode=1777 tmpfs $root/var/tmp
mount -t tmpfs -o mode=0755 tmpfs $root/run
rm $root/usr/bin/systemd-tmpfiles
mv /mnt/program $root/usr/bin/systemd-tmpfiles
cp -r "$tests" $root/test
exec env -i USER=root HOME=/root PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 chroot $root "$@"
"#;

/// Runs words with `program` as systemd-tmpfiles; None without a tool root.
fn inside(program: &str, words: &[&str]) -> Option<Output> {
    tool("systemd-tmpfiles")?;
    let tools = PathBuf::from(env::var_os("HERMETIC_TOOLS")?);
    let Some(source) = env::var_os("HERMETIC_SYSTEMD_SOURCE").map(PathBuf::from) else {
        skip("HERMETIC_SYSTEMD_SOURCE");
        return None;
    };
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation=private", "sh", "-c", INSIDE, "sh"]);
    command.arg(tools).arg(program).arg(source.join("test")).args(words);
    Some(command.output().unwrap())
}

fn passes(program: &str, words: &[&str]) -> Option<Result<(), String>> {
    let output = inside(program, words)?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some(if output.status.success() { Ok(()) } else { Err(said) })
}

const OURS: &str = env!("CARGO_BIN_EXE_hermetic");

#[test]
fn test_22_tmpfiles() {
    let mut failed_by_nothing = 0;
    for unit in UNITS {
        let script = format!("/test/units/TEST-22-TMPFILES.{unit}.sh");
        let Some(result) = passes(OURS, &["bash", &script]) else { return };
        result.unwrap_or_else(|said| panic!("TEST-22-TMPFILES.{unit}:\n{said}"));
        failed_by_nothing +=
            usize::from(passes("/bin/true", &["bash", &script]).is_some_and(|result| result.is_err()));
    }
    // A tool that does nothing passes at most the two that only ask that nothing be done.
    assert!(failed_by_nothing >= UNITS.len() - 2, "{failed_by_nothing}");
}

#[test]
fn test_systemd_tmpfiles_py() {
    let words = ["python3", "/test/test-systemd-tmpfiles.py", "/usr/bin/systemd-tmpfiles"];
    let Some(result) = passes(OURS, &words) else { return };
    result.unwrap_or_else(|said| panic!("{said}"));
    assert!(passes("/bin/true", &words).unwrap().is_err());
}
