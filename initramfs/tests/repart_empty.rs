//! `hermetic repart` never takes a disk for empty that it does not understand: the exit status of systemd-repart 257, and not
//! one byte written, for tables of other sectors, damaged tables, other labels. Where 257 writes over a file system, a volume or
//! the remains of a table, the premise is shown, and ours refuses as well.

mod common;

use std::{env, fs, path::Path, process::Command};

use common::Scratch;

/// The outcome for a disk.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Side {
    /// Both take it for empty.
    Empty,
    /// Both refuse.
    Foreign,
    /// 257 makes a new table over it, and ours refuses.
    Known,
}
use Side::{Empty, Foreign, Known};

/// The disks: a name, what makes it of 128 MiB of zeroes (in the tool root, as `$1`), the words beside, the outcome, and
/// what is said of its content.
const DISKS: &[(&str, &str, &str, Side, &str)] = &[
    ("zeroes", "", "", Empty, ""),
    ("noise", "yes hermetic | head -c 1M | put 0", "", Empty, ""),
    // Protective entries without a table, and tables without their headers.
    (
        "protective",
        r"printf '\0\0\2\0\356\377\377\377\1\0\0\0\377\377\3\0' | put 446; signature",
        "",
        Foreign,
        "a protective MBR without GPT",
    ),
    (
        "headers-gone",
        "gpt; printf XXXXXXXX | put 512; printf XXXXXXXX | put 134217216",
        "",
        Foreign,
        "a protective MBR without GPT",
    ),
    (
        "boot-loader",
        "truncate -s 64M $1; gpt; truncate -s 128M $1; head -c 512 /dev/zero | tr '\\0' x | put 512",
        "",
        Foreign,
        "a protective MBR without GPT",
    ),
    ("signature", "signature", "", Foreign, "an MBR"),
    (
        "checksums",
        "gpt; printf XXXX | put 528; printf XXXX | put 134217232",
        "",
        Foreign,
        "a GPT of which both copies are damaged",
    ),
    // Tables for another sector size.
    ("of-512", "gpt", "--sector-size=4096", Foreign, "a GPT for sectors of 512 bytes"),
    ("of-4096", "gpt --sector-size=4096", "--sector-size=512", Foreign, "a GPT for sectors of 4096 bytes"),
    ("of-2048", "gpt --sector-size=2048", "--sector-size=1024", Foreign, "a GPT for sectors of 2048 bytes"),
    // The same without an MBR, of which 257 sees nothing.
    ("of-512-bare", "gpt; zero 1", "--sector-size=4096", Known, "a GPT for sectors of 512 bytes"),
    (
        "of-4096-bare",
        "gpt --sector-size=4096; zero 1",
        "--sector-size=512",
        Known,
        "a GPT for sectors of 4096 bytes",
    ),
    // Its backup alone, at the end of the disk.
    ("of-512-end", "gpt; zero 64", "--sector-size=4096", Known, "a GPT for sectors of 512 bytes"),
    (
        "checksums-bare",
        "gpt; printf X | put 528; printf X | put 134217232; zero 1",
        "",
        Known,
        "a GPT of which both copies are damaged",
    ),
    // Other labels.
    ("mbr", "echo size=8M | sfdisk -q --label=dos $1", "", Foreign, "an MBR"),
    ("mbr-empty", "echo 'label: dos' | sfdisk -q $1", "", Foreign, "an MBR"),
    ("sun", "echo 'label: sun' | sfdisk -q $1", "", Foreign, "a Sun disk label"),
    ("sgi", "echo 'label: sgi' | sfdisk -q $1", "", Foreign, "an SGI disk label"),
    (
        "bsd",
        r"printf '\127\105\126\202' | put 512; printf '\127\105\126\202' | put 644",
        "",
        Foreign,
        "a BSD disk label",
    ),
    (
        "apple",
        r"printf 'ER\2\0' | put 0; printf 'PM\0\0\0\0\0\1' | put 512",
        "",
        Known,
        "an Apple partition map",
    ),
    // File systems and volumes on the whole disk. libfdisk sees the signature that FAT shares with an MBR, and no other.
    ("fat12", "mkfs.vfat -F 12 -s 128 $1", "", Foreign, "vfat"),
    ("fat16", "mkfs.vfat -F 16 $1", "", Foreign, "vfat"),
    ("fat32", "mkfs.vfat -F 32 $1", "", Foreign, "vfat"),
    ("ntfs", "printf 'NTFS    ' | put 3; signature", "", Foreign, "ntfs"),
    ("exfat", "printf 'EXFAT   ' | put 3; signature", "", Foreign, "exfat"),
    ("ext4", "mkfs.ext4 -q -F $1", "", Known, "ext4"),
    ("btrfs", "mkfs.btrfs -q $1", "", Known, "btrfs"),
    ("xfs", r"printf 'XFSB\0\0\20\0' | put 0", "", Known, "xfs"),
    ("f2fs", r"printf '\20\40\365\362' | put 1024", "", Known, "f2fs"),
    (
        "bcachefs",
        r"printf '\306\205\163\366\146\316\220\251\331\152\140\317\200\75\367\357' | put 4120",
        "",
        Known,
        "bcachefs",
    ),
    (
        "erofs",
        "mkdir d; echo x >d/x; mkfs.erofs -Efragments --quiet $1 d; rm -r d; truncate -s 128M $1",
        "",
        Known,
        "erofs",
    ),
    ("swap", "mkswap -q $1", "", Known, "swap"),
    ("iso9660", r"printf '\1CD001\1\0' | put 32768", "", Known, "iso9660"),
    ("udf", r"printf '\0BEA01\1\0' | put 32768", "", Known, "udf"),
    ("luks1", "luks luks1", "", Known, "crypto_LUKS"),
    ("luks2", "luks luks2", "", Known, "crypto_LUKS"),
    ("luks2-second", "luks luks2; zero 8", "", Known, "crypto_LUKS"),
    (
        "lvm",
        r"printf 'LABELONE\1\0\0\0\0\0\0\0\0\0\0\0\40\0\0\0LVM2 001abcdefghijklmnopqrstuvwxyzabcdef' | put 512",
        "",
        Known,
        "LVM2_member",
    ),
    ("verity", "truncate -s 4M data; veritysetup format data $1; rm data", "", Known, "DM_verity_hash"),
    ("raid-1.2", r"printf '\374\116\53\251\1\0\0\0' | put 4096", "", Known, "linux_raid_member"),
    ("raid-1.1", r"printf '\374\116\53\251\1\0\0\0' | put 0", "", Known, "linux_raid_member"),
    (
        "raid-1.0",
        r"printf '\374\116\53\251\1\0\0\0' | put $((134217728 - 8192))",
        "",
        Known,
        "linux_raid_member",
    ),
    (
        "raid-0.90",
        r"printf '\374\116\53\251\0\0\0\0\132' | put $((134217728 - 65536))",
        "",
        Known,
        "linux_raid_member",
    ),
    (
        "bcache",
        r"printf '\306\205\163\366\116\32\105\312\202\145\365\177\110\272\155\201' | put 4120",
        "",
        Known,
        "bcache",
    ),
];

/// Makes each disk and lets both tools work on a copy of it, with each word for a disk without table. The reports are files:
/// `NAME-WORD-SIDE` has the exit status, `same` or `changed`, and the message.
const SCRIPT: &str = r#"
mount -t proc proc /proc
mount -t tmpfs tmpfs /var/tmp
cd "$1"
put() { dd of=$disk bs=1M oflag=seek_bytes seek=$1 conv=notrunc status=none; }
zero() { dd if=/dev/zero of=$disk bs=512 count=$1 conv=notrunc status=none; }
signature() { printf '\125\252' | put 510; }
gpt() { printf 'label: gpt\nsize=8M, type=uefi, name=esp\nsize=20M, type=linux, name=data\n' | sfdisk -q "$@" $disk; }
luks() { printf x | cryptsetup luksFormat -q --disable-locks --type $1 --pbkdf pbkdf2 --pbkdf-force-iterations 1000 $disk -; }
mkdir defs; printf '[Partition]\nType=root\n' > defs/50-root.conf
for maker in *.maker; do
    name=${maker%.maker}
    disk=$name.disk
    truncate -s 128M $disk
    set -- $disk
    (set -e; . ./$maker) > $name.log 2>&1
    if [ $? != 0 ]; then echo "$name is not made:" >&2; cat $name.log >&2; exit 1; fi
    for word in refuse allow require; do
        for side in theirs ours; do
            case $side in theirs) tool=systemd-repart;; ours) tool="./hermetic repart";; esac
            cp $disk X
            $tool --definitions=defs --seed=0a1b2c3d000040008000123456789abc --pretty=no --dry-run=no $(cat $name.words) \
                --empty=$word X > /dev/null 2> err
            echo $? > $name-$word-$side
            if cmp -s $disk X; then echo same; else echo changed; fi >> $name-$word-$side
            cat err >> $name-$word-$side
        done
    done
    rm $disk X
done
"#;

fn report(directory: &Path, name: &str, word: &str, side: &str) -> (String, String, String) {
    let text = fs::read_to_string(directory.join(format!("{name}-{word}-{side}"))).unwrap();
    let mut lines = text.splitn(3, '\n').map(str::to_owned);
    let mut next = || lines.next().unwrap_or_default();
    (next(), next(), next())
}

#[test]
fn a_disk_that_is_not_understood_is_not_empty() {
    let Some(scratch) = Scratch::new("repart-empty") else { return };
    fs::copy(env!("CARGO_BIN_EXE_hermetic"), scratch.host("hermetic")).unwrap();
    for (name, maker, words, ..) in DISKS {
        fs::write(scratch.host(&format!("{name}.maker")), maker).unwrap();
        fs::write(scratch.host(&format!("{name}.words")), words).unwrap();
    }
    let status = Command::new("unshare")
        .args(["--mount", "chroot"])
        .arg(env::var_os("HERMETIC_TOOLS").unwrap())
        .args(["sh", "-c", SCRIPT, "sh", &scratch.inside("")])
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .status();
    assert!(status.unwrap().success());
    let mut differ = Vec::new();
    let refused = |status: &str, same: &str| status == "77" && same == "same";
    for (name, _, _, side, holds) in DISKS {
        for (word, said) in [
            ("refuse", "has no GPT disk label, not repartitioning."),
            ("allow", "has non-GPT disk label, not repartitioning."),
            ("require", "already has a disk label, refusing."),
        ] {
            let (their_status, their_file, their_text) = report(&scratch.host(""), name, word, "theirs");
            let (our_status, our_file, our_text) = report(&scratch.host(""), name, word, "ours");
            let refuse = *side == Foreign || word == "refuse";
            // The premise: what 257 does.
            let theirs = refused(&their_status, &their_file) && their_text.contains(said);
            let premise = theirs == refuse && (theirs || (their_status == "0" && their_file == "changed"));
            let ours = match refuse || *side == Known {
                true => {
                    refused(&our_status, &our_file) && our_text.contains(said) && our_text.contains(holds)
                }
                false => our_status == "0" && our_file == "changed",
            };
            if !premise || !ours {
                let log = fs::read_to_string(scratch.host(&format!("{name}.log"))).unwrap();
                differ.push(format!(
                    "{name}, --empty={word}: {side:?}\n  theirs {their_status} {their_file} {their_text}  ours {our_status} {our_file} {our_text}  {log}"
                ));
            }
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}
