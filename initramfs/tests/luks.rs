//! `hermetic luks` beside cryptsetup on the same file: what one makes, adds or removes, the other opens or does not
//! open any more. A refusal is one line, and leaves the file as it was.

mod common;

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use common::{Scratch, succeed, tool};
use serde_json::Value;

const KEY: &[u8] = b"thirty-two bytes of random, say.";
const WORD: &[u8] = b"a word";
const SIZE: u64 = 20 << 20;
/// The options that make cryptsetup's own keyslots cheap.
const CHEAP: [&str; 4] = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"];

/// A file for a volume, and two keys for it.
struct Volume(Scratch);

impl Volume {
    fn empty() -> Option<Self> {
        let scratch = Scratch::new("luks")?;
        fs::File::create(scratch.host("disk")).unwrap().set_len(SIZE).unwrap();
        fs::write(scratch.host("key"), KEY).unwrap();
        fs::write(scratch.host("word"), WORD).unwrap();
        Some(Self(scratch))
    }

    /// One that cryptsetup made with `key`.
    fn by_cryptsetup(kind: &str) -> Option<Self> {
        let volume = Self::empty()?;
        volume.cryptsetup(
            &[&["luksFormat", "--type", kind, "--key-file", "@key", "@disk"][..], &CHEAP].concat(),
        );
        Some(volume)
    }

    /// `hermetic luks` with these words, of which those with an @ are files.
    fn hermetic(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hermetic"));
        command.arg("luks").args(words.iter().map(|word| match word.strip_prefix('@') {
            Some(file) => self.0.host(file).into_os_string(),
            None => word.into(),
        }));
        command
    }

    /// The output; it must succeed without an error message.
    fn ours(&self, words: &[&str]) -> String {
        let output = succeed(&mut self.hermetic(words));
        assert!(output.stderr.is_empty(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The one line of a refusal, after which no byte of the file is another.
    fn refused(&self, words: &[&str]) -> String {
        let before = fs::read(self.0.host("disk")).unwrap();
        let output = self.hermetic(words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words:?}: {said}");
        assert!(output.stdout.is_empty(), "{words:?}");
        assert!(fs::read(self.0.host("disk")).unwrap() == before, "{words:?} changed the file");
        let line = said.strip_prefix("error: ").and_then(|said| said.strip_suffix('\n'));
        let line = line.filter(|line| !line.contains('\n')).unwrap_or_else(|| panic!("{words:?}: {said}"));
        line.replace(self.0.host("").to_str().unwrap(), "@")
    }

    fn run_cryptsetup(&self, words: &[&str]) -> Output {
        let mut command = tool("cryptsetup").unwrap();
        command.arg("--batch-mode").args(words.iter().map(|word| match word.strip_prefix('@') {
            Some(file) => self.0.inside(file),
            None => (*word).to_owned(),
        }));
        command.output().unwrap()
    }

    fn cryptsetup(&self, words: &[&str]) -> String {
        let output = self.run_cryptsetup(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Returns true when cryptsetup opens the volume with this key file.
    fn opens(&self, key: &str) -> bool {
        self.run_cryptsetup(&["open", "--test-passphrase", "--key-file", key, "@disk"]).status.success()
    }

    /// The keyslots, as cryptsetup lists them.
    fn keyslots(&self) -> Vec<String> {
        let document = self.cryptsetup(&["luksDump", "--dump-json-metadata", "@disk"]);
        let document: Value = serde_json::from_str(&document).unwrap();
        document["keyslots"].as_object().unwrap().keys().cloned().collect()
    }
}

#[test]
fn what_is_formatted_cryptsetup_opens() {
    let Some(volume) = Volume::empty() else { return };
    let uuid = "2dfe5bf9-1c0e-4b43-9a7e-61ab1b0e4d3c";
    for (key, words, expected) in [
        (
            "@key",
            &["--uuid", uuid, "--label", "root", "--subsystem", "ours"][..],
            &["pbkdf2", "Iterations: 1000"][..],
        ),
        (
            "@word",
            &["--uuid", uuid, "--label", "root", "--subsystem", "ours", "--sector-size", "512"],
            &["argon2id", "Memory: 65536"],
        ),
        (
            "@key",
            &[
                "--pbkdf",
                "argon2id",
                "--pbkdf-memory",
                "32768",
                "--pbkdf-parallel",
                "2",
                "--pbkdf-force-iterations",
                "5",
            ],
            &["argon2id", "Memory: 32768", "Threads: 2", "Time cost: 5"],
        ),
        (
            "@word",
            &["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "2000"],
            &["pbkdf2", "Iterations: 2000"],
        ),
    ] {
        let format = [&["format", "@disk", "--force", "--key-file", key][..], words].concat();
        assert_eq!(volume.ours(&format), "");
        let dump = volume.cryptsetup(&["luksDump", "@disk"]);
        let dump = dump.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut expected = expected.to_vec();
        if words.contains(&"--uuid") {
            expected.extend(["UUID: 2dfe5bf9-1c0e-4b43-9a7e-61ab1b0e4d3c", "Label: root", "Subsystem: ours"]);
        }
        expected.push(if words.contains(&"512") { "sector: 512 [bytes]" } else { "sector: 4096 [bytes]" });
        for part in expected {
            assert!(dump.contains(part), "{part} is not in {dump}");
        }
        assert!(volume.opens(key) && !volume.opens(if key == "@key" { "@word" } else { "@key" }));
    }
    // Without --uuid it is another each time.
    let uuid = || volume.cryptsetup(&["luksUUID", "@disk"]);
    let before = uuid();
    volume.ours(&["format", "@disk", "--force", "--key-file", "@key"]);
    assert_ne!(uuid(), before);
}

#[test]
fn what_cryptsetup_made_is_opened_and_shown() {
    let Some(volume) = Volume::by_cryptsetup("luks2") else { return };
    volume.cryptsetup(&[&["luksAddKey", "--key-file", "@key", "@disk", "@word"][..], &CHEAP].concat());
    volume.cryptsetup(&[
        "config",
        "--label",
        "a \"label\"",
        "--key-slot",
        "0",
        "--priority",
        "ignore",
        "@disk",
    ]);
    assert_eq!(volume.ours(&["open-key", "@disk", "--key-file", "@word"]), "keyslot 1 opens the volume\n");
    // A keyslot that is to be ignored opens when it is named.
    assert_eq!(
        volume.refused(&["open-key", "@disk", "-d", "@key"]),
        "@disk: no keyslot opens with this key (tried 1)"
    );
    assert_eq!(volume.ours(&["open-key", "@disk", "-d", "@key", "-S", "0"]), "keyslot 0 opens the volume\n");

    volume.cryptsetup(&[
        "luksDump",
        "--dump-volume-key",
        "--volume-key-file",
        "@theirs",
        "--key-file",
        "@word",
        "@disk",
    ]);
    volume.ours(&["open-key", "@disk", "--key-file", "@word", "--volume-key-file", "@ours"]);
    let ours = volume.0.host("ours");
    assert!(fs::read(&ours).unwrap() == fs::read(volume.0.host("theirs")).unwrap());
    assert_eq!(fs::metadata(&ours).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&ours, "something else").unwrap();
    let line = volume
        .hermetic(&["open-key", "@disk", "-d", "@word", "--volume-key-file", "@ours"])
        .output()
        .unwrap();
    assert_eq!(line.status.code(), Some(1));
    assert_eq!(fs::read(&ours).unwrap(), b"something else", "an existing file is not written over");

    let mut piped = volume.hermetic(&["open-key", "@disk", "--key-file", "-"]);
    let mut piped = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    piped.stdin.take().unwrap().write_all(WORD).unwrap();
    assert_eq!(piped.wait_with_output().unwrap().stdout, b"keyslot 1 opens the volume\n");

    let json = |text: String| serde_json::from_str::<Value>(&text).unwrap();
    assert_eq!(
        json(volume.ours(&["dump", "@disk", "--dump-json-metadata"])),
        json(volume.cryptsetup(&["luksDump", "--dump-json-metadata", "@disk"]))
    );
    let (dump, uuid) = (volume.ours(&["dump", "@disk"]), volume.cryptsetup(&["luksUUID", "@disk"]));
    let theirs = volume.cryptsetup(&["luksDump", "@disk"]);
    // It chooses by the file system below the file.
    let sector = theirs.lines().find_map(|line| line.trim().strip_prefix("sector:")?.split(' ').nth(1));
    let sector = sector.unwrap();
    for line in [
        &format!("uuid       {}", uuid.trim()),
        "label      \"a \\\"label\\\"\"",
        &format!("segment    aes-xts-plain64, from byte 16777216, to the end, sectors of {sector} bytes"),
    ] {
        assert!(dump.lines().any(|found| found == line), "{line} is not in\n{dump}");
    }
}

#[test]
fn keyslots_come_and_go() {
    let Some(volume) = Volume::by_cryptsetup("luks2") else { return };
    let add = ["add-key", "@disk", "--key-file", "@key"];
    assert_eq!(volume.ours(&[&add[..], &["--new-keyfile", "@word"]].concat()), "keyslot 1 added\n");
    assert!(volume.opens("@word") && volume.opens("@key"));
    let numbered = [&add[..], &["--new-keyfile", "@word", "--new-key-slot", "9"]].concat();
    assert_eq!(volume.ours(&numbered), "keyslot 9 added\n");

    let recovery = volume.ours(&[&add[..], &["--recovery-key"]].concat());
    let recovery = recovery.strip_suffix('\n').unwrap();
    // 256 bits in eight groups, as systemd-cryptenroll prints them.
    assert_eq!((recovery.len(), recovery.split('-').count()), (71, 8), "{recovery}");
    fs::write(volume.0.host("recovery"), recovery).unwrap();
    assert!(volume.opens("@recovery"));
    let dump = volume.cryptsetup(&["luksDump", "@disk"]);
    assert!(dump.contains("0: systemd-recovery\n\tKeyslot:    2"), "{dump}");

    assert_eq!(volume.keyslots(), ["0", "1", "2", "9"]);
    assert_eq!(volume.ours(&["kill-slot", "@disk", "2"]), "");
    assert!(!volume.opens("@recovery"));
    volume.ours(&["kill-slot", "@disk", "1"]);
    assert!(volume.opens("@word"), "keyslot 9 has it still");
    volume.ours(&["kill-slot", "@disk", "9"]);
    assert!(!volume.opens("@word") && volume.opens("@key"));
    assert_eq!(volume.keyslots(), ["0"]);
    assert_eq!(
        volume.refused(&["kill-slot", "@disk", "0"]),
        "@disk: the LUKS2 header cannot be changed: it is the last keyslot; nothing would open the volume again"
    );
    assert!(volume.opens("@key"));
}

#[test]
fn a_damaged_copy_is_said_and_written_again() {
    let Some(volume) = Volume::by_cryptsetup("luks2") else { return };
    let mut disk = fs::read(volume.0.host("disk")).unwrap();
    disk[5000] ^= 1;
    fs::write(volume.0.host("disk"), disk).unwrap();
    assert!(volume.ours(&["dump", "@disk"]).contains("\ncomplaint  the primary header is damaged\n"));
    assert_eq!(volume.ours(&["repair", "@disk"]), "");
    assert!(!volume.ours(&["dump", "@disk"]).contains("complaint"));
    assert!(volume.opens("@key"));
}

#[test]
fn refusals() {
    let Some(volume) = Volume::by_cryptsetup("luks2") else { return };
    fs::write(volume.0.host("empty"), "").unwrap();
    fs::write(volume.0.host("wrong"), "not a word").unwrap();
    let add = ["add-key", "@disk", "--key-file", "@key", "--new-keyfile", "@word"];
    let with = |more: &[&'static str]| [&add[..], more].concat();
    for (words, line) in [
        (vec!["open-key", "@disk", "-d", "@wrong"], "@disk: no keyslot opens with this key (tried 0)"),
        (
            vec!["open-key", "@disk", "-d", "@key", "-S", "3"],
            "@disk: no keyslot leads to the encrypted segment",
        ),
        (vec!["open-key", "@disk", "-d", "@empty"], "key file @empty is empty"),
        (
            vec!["open-key", "@disk", "-d", "@missing"],
            "cannot read key file @missing: No such file or directory (os error 2)",
        ),
        (
            vec!["open-key", "@missing", "-d", "@key"],
            "cannot open @missing: No such file or directory (os error 2)",
        ),
        (
            vec!["add-key", "@disk", "-d", "@wrong", "--new-keyfile", "@word"],
            "@disk: no keyslot opens with this key (tried 0)",
        ),
        (with(&["--new-key-slot", "0"]), "@disk: the LUKS2 header cannot be changed: the keyslot is in use"),
        (
            with(&["--new-key-slot", "32"]),
            "@disk: the LUKS2 header cannot be changed: keyslots are numbered from 0 to 31",
        ),
        (
            vec!["kill-slot", "@disk", "7"],
            "@disk: the LUKS2 header cannot be changed: there is no such keyslot",
        ),
        (
            vec!["kill-slot", "@disk", "0"],
            "@disk: the LUKS2 header cannot be changed: it is the last keyslot; nothing would open the volume again",
        ),
        (vec!["format", "@disk", "-d", "@key"], "@disk holds crypto_LUKS already; --force writes over it"),
        (
            vec!["format", "@disk", "--force", "-d", "@key", "--sector-size", "520"],
            "@disk: a LUKS2 volume cannot be made: the sector size is not 512, 1024, 2048 or 4096",
        ),
        (
            vec![
                "format",
                "@disk",
                "--force",
                "-d",
                "@key",
                "--label",
                "forty-eight bytes are one too many for a label, !",
            ],
            "@disk: a LUKS2 volume cannot be made: a label has more than 47 bytes or a NUL",
        ),
        (
            vec!["format", "/dev/null", "-d", "@key"],
            "/dev/null is neither a file nor a block device; name one",
        ),
    ] {
        assert_eq!(volume.refused(&words), line, "{words:?}");
    }
    assert!(volume.opens("@key") && !volume.opens("@word"));

    // Files that do not hold a LUKS2 volume.
    for (content, line) in [
        (vec![0x55; 64 << 10], "@disk: there is no LUKS2 header"),
        (vec![], "@disk: reading at byte 0 failed"),
    ] {
        fs::write(volume.0.host("disk"), content).unwrap();
        for words in [
            &["open-key", "@disk", "-d", "@key"][..],
            &["dump", "@disk"],
            &add,
            &["kill-slot", "@disk", "0"],
            &["repair", "@disk"],
        ] {
            let said = volume.refused(words);
            assert!(said.starts_with(line), "{words:?}: {said}");
        }
        let said = volume.refused(&["format", "@disk", "-d", "@key"]);
        assert!(said.contains("has no room behind the 16 MiB of a LUKS2 header"), "{said}");
    }
    let Some(old) = Volume::by_cryptsetup("luks1") else { return };
    assert!(old.refused(&["open-key", "@disk", "-d", "@key"]).starts_with("@disk: this is a LUKS1 header"));
}
