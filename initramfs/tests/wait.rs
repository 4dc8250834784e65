//! A work of more than a second says so to a person, and to nobody else.

mod common;

use std::{fs, process::Command};

use common::{Scratch, skip};

#[test]
fn a_line_turns_on_a_terminal_and_nowhere_else() {
    if !Command::new("script").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return skip("script (a terminal)");
    }
    let scratch = Scratch::here("wait");
    let key = scratch.host("key");
    fs::write(&key, "a passphrase").unwrap();
    // A derivation that no machine makes within a second.
    let words = format!(
        "{} luks format {} --force --key-file {} --pbkdf argon2id --pbkdf-memory 65536 --pbkdf-force-iterations 40 --pbkdf-parallel 1",
        env!("CARGO_BIN_EXE_hermetic"),
        scratch.host("root.img").display(),
        key.display()
    );
    let format = |shell: &mut Command| {
        fs::File::create(scratch.host("root.img")).unwrap().set_len(64 << 20).unwrap();
        let output = shell.env("TERM", "xterm-256color").env("NO_COLOR", "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
    };
    let shown =
        format(Command::new("script").args(["--quiet", "--return", "--command", &words, "/dev/null"]));
    assert!(shown.contains("deriving the key of the keyslot, "), "{shown:?}");
    // Colours begin so; moving the cursor and clearing the line do not end in m.
    let colours = shown.split("\u{1b}[").skip(1).filter(|rest| {
        rest.trim_start_matches(|sign: char| sign.is_ascii_digit() || sign == ';').starts_with('m')
    });
    assert_eq!(colours.count(), 0, "{shown:?}");
    assert_eq!(format(Command::new("sh").args(["-c", &words])), "");
}
