//! Lines of the user databases that are none: libc passes over them, and so does everything that merges and adds.

use std::{fs, path::Path};

use super::states::{machine, named};

fn add_line(path: &Path, line: &[u8]) {
    let mut content = fs::read(path).unwrap();
    content.extend_from_slice(line);
    fs::write(path, content).unwrap();
}

/// Lines that libc passes over, behind the entries.
const LINES: [(&str, &[u8]); 12] = [
    ("passwd", b"foo\n"),
    ("passwd", b":x:7:7::/:/bin/sh\n"),
    ("passwd", b"empty:x:::::\n"),
    ("passwd", b"nfsnobody:x:-2:-2::/:/bin/false\n"),
    ("passwd", b"nul\0:x:8:8::/:\n"),
    ("passwd", b"<<<<<<< mine\n"),
    ("passwd", b"large:x:4294967296:1::/:\n"),
    ("group", b"foo\n"),
    ("group", b"nfsnobody:x:-2:\n"),
    ("group", b"=======\n"),
    ("shadow", b"foo\n"),
    ("gshadow", b"foo\n"),
];

#[test]
fn a_line_that_libc_passes_over_is_carried_along() {
    for (file, line) in LINES {
        let machine = machine("lines");
        let path = machine.etc().join(file);
        if !path.exists() {
            fs::write(&path, "root:*::\n").unwrap();
        }
        add_line(&path, line);
        let number = fs::read(&path).unwrap().iter().filter(|byte| **byte == b'\n').count();
        let shown = String::from_utf8_lossy(line).into_owned();
        let report = machine.follows("v2").unwrap().unwrap();
        assert_eq!(named(&report), [""; 0], "{shown}");
        let place = format!("/etc/{file}:{number}: ");
        assert!(report.messages.iter().any(|(_, message)| message.contains(&place)), "{shown}: {report:?}");
        let now = fs::read(&path).unwrap();
        assert!(now.windows(line.len()).any(|part| part == line), "{shown}");
        let passwd = String::from_utf8_lossy(&fs::read(machine.etc().join("passwd")).unwrap()).into_owned();
        for user in ["new:x:50:50:", "svc:x:401:401:"] {
            assert!(passwd.contains(user), "{shown}: {passwd}");
        }
        assert!(machine.follows("v2").unwrap().is_none(), "{shown}");
    }
}
