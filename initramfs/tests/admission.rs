//! The boot admits LUKS2 volumes alone where repart.d says `Encrypt=`: swap, file systems and volumes as mkswap, mke2fs, mkfs.btrfs and
//! cryptsetup make them, in a table by sfdisk, each asked of `hermetic plan` and `hermetic repart`.

mod common;

use std::{fs, os::unix::fs::FileExt as _, path::Path, process::Command};

use common::{Scratch, succeed};

/// The partitions: a name, what makes it of 32 MiB of zeroes (in the tool root, as `$1`; `key` is a key file), and the words
/// by which it is refused.
const CONTENTS: &[(&str, &str, Option<&str>)] = &[
    ("zeroes", "", Some("not encrypted")),
    ("swap", "mkswap -q $1", Some("not encrypted")),
    ("swap of large pages", "mkswap -q --pagesize 65536 $1", Some("not encrypted")),
    ("ext4", "mkfs.ext4 -q -F $1", Some("not encrypted")),
    ("vfat", "mkfs.vfat $1", Some("not encrypted")),
    ("luks2", "luks2 $1", None),
    ("a second header alone", "luks2 $1; dd if=/dev/zero of=$1 bs=16K count=1 conv=notrunc", None),
    // cryptsetup cannot open it either, and a header may be restored.
    ("damaged", "luks2 $1; for at in 5000 21384; do printf X | put $at; done", None),
    ("null cipher", "luks2 $1; null segments", Some("the null cipher")),
    ("null cipher of a keyslot", "luks2 $1; null keyslots", Some("the null cipher")),
    (
        "luks1",
        "cryptsetup luksFormat -q --disable-locks --type luks1 --pbkdf-force-iterations 1000 --key-file key $1",
        Some("a LUKS1 header"),
    ),
    // The signature lies in the padding of the first header: cryptsetup and swapon both take it.
    (
        "luks2 and swap",
        "luks2 $1; printf SWAPSPACE2 | put 4086; cryptsetup isLuks --disable-locks --type luks2 $1",
        Some("not encrypted"),
    ),
    ("luks2 wiped by mkswap", "luks2 $1; mkswap -q -f $1", Some("not encrypted")),
];

/// The words that the makers use.
const SCRIPT: &str = r#"
cd "$1"
put() { dd of=it bs=1 seek="$1" conv=notrunc 2>/dev/null; }
luks2() { cryptsetup luksFormat -q --disable-locks --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --key-file key "$@"; }
# Names the null cipher in both copies of the header, with the checksum that belongs to it (LUKS2 specification, section 2.2).
null() {
    for number in 0 1; do
        dd if=it of=copy bs=16384 skip=$number count=1 2>/dev/null
        perl -0777 -pi -e 's/("'"$1"'":.*?)aes-xts-plain64/$1cipher_null-ecb/s or die; substr($_, 448, 64) = "\0" x 64' copy
        dd if=copy of=it bs=16384 seek=$number conv=notrunc 2>/dev/null
        perl -e 'print pack "H64", shift' $(sha256sum copy) | put $((number * 16384 + 448))
    done
    cryptsetup luksDump --disable-locks it | grep -q cipher_null-ecb
}
"#;

const DEFINITIONS: [(&str, &str); 2] = [
    ("50-root.conf", "[Partition]\nType=root\nFormat=ext4\nSizeMinBytes=64M\n"),
    ("60-swap.conf", "[Partition]\nType=swap\nEncrypt=key-file\nSizeMinBytes=4K\nSizeMaxBytes=4K\n"),
];

#[test]
fn a_plan_admits_what_is_encrypted_and_repart_warns_of_the_rest() {
    let Some(scratch) = Scratch::new("admission") else { return };
    let definitions = scratch.host("repart.d");
    fs::create_dir(&definitions).unwrap();
    for (name, text) in DEFINITIONS {
        fs::write(definitions.join(name), text).unwrap();
    }
    fs::write(scratch.host("key"), "thirty-two bytes, and one more to go").unwrap();
    let disk = scratch.host("disk");
    let hermetic = |words: &[&str]| {
        let place = format!("--definitions={}", definitions.display());
        let mut hermetic = Command::new(env!("CARGO_BIN_EXE_hermetic"));
        let output = hermetic.arg(words[0]).arg(place).args(&words[1..]).arg(&disk).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (name, makes, refused) in CONTENTS {
        let it = scratch.host("it");
        fs::File::create(&it).unwrap().set_len(32 << 20).unwrap();
        tools(&scratch, &format!("set -e\n{}", makes.replace("$1", "it")));
        fs::File::create(&disk).unwrap().set_len(160 << 20).unwrap();
        tools(&scratch, "printf 'label: gpt\nstart=1M, size=32M, type=swap\n' | sfdisk -q disk");
        fs::OpenOptions::new()
            .write(true)
            .open(&disk)
            .unwrap()
            .write_all_at(&fs::read(&it).unwrap(), 1 << 20)
            .unwrap();
        let before = fs::read(&disk).unwrap();

        let (success, said) = hermetic(&["plan"]);
        assert_eq!((success, said.is_empty()), (refused.is_none(), refused.is_none()), "{name}: {said}");
        let (success, warned) = hermetic(&["plan", "--cmdline", "hermetic.root-policy=existing"]);
        assert_eq!((success, warned.is_empty()), (true, refused.is_none()), "{name}: {warned}");
        let (success, noted) = hermetic(&["repart", "--dry-run=yes"]);
        assert!(success && noted.contains("partition 1: ") == refused.is_some(), "{name}: {noted}");
        if let Some(words) = refused {
            for line in [&said, &warned, &noted] {
                let says = [words, "60-swap.conf", "partition 1", "hermetic.root-policy=existing"];
                assert!(says.iter().all(|word| line.contains(word)), "{name}: {line}");
            }
        }
        assert!(fs::read(&disk).unwrap() == before, "{name}: the disk was changed");
    }
}

/// Runs a script in the tool root, in the directory of the test.
fn tools(scratch: &Scratch, script: &str) {
    let root = std::env::var_os("HERMETIC_TOOLS").unwrap();
    let mut shell = Command::new("chroot");
    shell.arg(Path::new(&root)).args(["sh", "-c", &format!("{SCRIPT}{script}"), "sh", &scratch.inside("")]);
    succeed(shell.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"));
}
