//! `hermetic plan`: a first boot is shown, refuses what that boot would refuse, and nothing is changed.

mod common;

use std::{fs, process::Command};

use serde_json::Value;

#[test]
fn a_first_boot_is_shown_and_nothing_is_changed() {
    let scratch = common::Scratch::here("plan");
    let place = scratch.host("usr/lib/repart.d");
    fs::create_dir_all(&place).unwrap();
    let definition =
        |text: &str| fs::write(place.join("50-root.conf"), format!("[Partition]\n{text}")).unwrap();
    let hermetic =
        |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_hermetic")).args(words).output().unwrap();
    let (disk, usr) = (scratch.host("disk").display().to_string(), scratch.host("usr").display().to_string());
    fs::create_dir_all(scratch.host("none")).unwrap();
    let none = format!("--definitions={}", scratch.host("none").display());
    let made = hermetic(&["repart", "--empty=create", "--size=64M", "--seed=random", &none, &disk]);
    assert!(made.status.success(), "{made:?}");
    let before = fs::read(&disk).unwrap();
    definition("Type=root\nFormat=ext4\nSizeMinBytes=1G\n");
    let refused = hermetic(&["plan", &disk, "--usr", &usr]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("50-root.conf: the partition needs 1 GiB"), "{said}");
    let shown = hermetic(&["plan", &disk, "--usr", &usr, "--size", "8G"]);
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.status.success() && said.contains("is made for 50-root.conf: ext4, encryption off"),
        "{shown:?}"
    );
    let drawn = said.split_once("before\n").and_then(|(_, drawn)| drawn.split_once("\nafter\n"));
    let (empty, full) = drawn.unwrap();
    assert!(!empty.contains('▓') && !empty.contains("50-root.conf"), "{empty}");
    assert!(full.contains('▓') && full.contains("└ 50-root.conf"), "{full}");
    let json = hermetic(&["plan", &disk, "--usr", &usr, "--size", "8G", "--json"]);
    let rows: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(rows[0]["activity"], "create");
    assert!(rows[0]["raw_size"].as_u64().unwrap() > 7 << 30);
    // A definition that the first boot would refuse is refused here.
    definition("Type=root\nFormat=xfs\n");
    let refused = hermetic(&["plan", &disk, "--usr", &usr, "--size", "8G"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("50-root.conf:3: Format=xfs is not supported"));
    for (text, size, says) in [
        ("Type=swap\n", "8G", "there would still be no root"),
        ("Type=root\nFormat=ext4\n", "20T", "50-root.conf: "),
    ] {
        definition(text);
        let refused = hermetic(&["plan", &disk, "--usr", &usr, "--size", size]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(says), "{text}: {refused:?}");
    }
    assert!(fs::read(&disk).unwrap() == before);
    // A disk that has its root boots, even when there is no room for other partitions.
    definition("Type=root\nFormat=ext4\nSizeMaxBytes=32M\n");
    let defs = format!("--definitions={}", place.display());
    let made = hermetic(&["repart", "--empty=allow", "--dry-run=no", "--seed=random", &defs, &disk]);
    assert!(made.status.success(), "{made:?}");
    fs::write(place.join("60-home.conf"), "[Partition]\nType=home\nSizeMinBytes=1G\n").unwrap();
    let shown = hermetic(&["plan", &disk, "--usr", &usr]);
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.status.success() && said.contains("the disk has its root, and the boot goes on"),
        "{shown:?}"
    );
    assert!(String::from_utf8_lossy(&shown.stderr).contains("60-home.conf: the partition needs 1 GiB"));
}

/// An image of ParticleOS's shape, by systemd-repart, on a larger disk: the first boot and `hermetic repart` make what systemd-repart
/// would, and leave alone what is there and says CopyBlocks=auto, of whatever type.
#[test]
fn a_first_boot_of_particleos_is_that_of_systemd_repart() {
    let Some(scratch) = common::Scratch::new("plan-particleos") else { return };
    let files = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/particleos");
    let root = std::env::var_os("HERMETIC_TOOLS").unwrap();
    let script = r#"
place=$1/tmp/$2; cp --recursive "$3/image" "$3/usr" "$place"; mkdir "$place/root"; mv "$place/usr" "$place/root"
mount -t proc proc "$1/proc"; mount -t tmpfs tmpfs "$1/var/tmp"
exec chroot "$1" sh -euc 'cd "/tmp/$1"
openssl req -quiet -new -x509 -newkey rsa:2048 -nodes -subj /CN=test -keyout key -out certificate
seed=--seed=750b6cd5c4ae4012a15e7be3c29e6a47
systemd-repart --root=root --definitions=image --empty=create --size=auto --offline=yes $seed \
    --private-key=key --certificate=certificate --dry-run=no disk
truncate --size=24G disk; cp --sparse=always disk theirs; sfdisk --quiet --relocate gpt-bak-std theirs
[ -z "$2" ] || { sed -i /^Format=/d root/usr/lib/repart.d/00-esp.conf; echo CopyBlocks=auto >>root/usr/lib/repart.d/00-esp.conf; }
systemd-repart --root=root --empty=refuse --dry-run=yes --json=short $seed theirs >theirs.json' sh "$2" "$4"
"#;
    let name = scratch.host("").file_name().unwrap().to_owned();
    for also in ["", "CopyBlocks=auto for the ESP"] {
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "--propagation=private", "sh", "-euc", script, "sh"]);
        common::succeed(shell.arg(&root).arg(&name).arg(&files).arg(also));
        let theirs: Vec<Value> =
            serde_json::from_slice(&fs::read(scratch.host("theirs.json")).unwrap()).unwrap();
        assert_eq!(theirs.len(), 10);
        let ours = |words: &[&str]| -> Vec<Value> {
            let output = Command::new(env!("CARGO_BIN_EXE_hermetic"))
                .args(words)
                .arg(scratch.host("disk"))
                .output()
                .unwrap();
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
        };
        let tree = format!("--root={}", scratch.host("root").display());
        let seed = "750b6cd5c4ae4012a15e7be3c29e6a47";
        for rows in [
            ours(&[
                "repart",
                &tree,
                "--empty=refuse",
                "--dry-run=yes",
                "--json=short",
                &format!("--seed={seed}"),
            ]),
            ours(&[
                "plan",
                "--usr",
                &scratch.host("root/usr").display().to_string(),
                "--machine-id",
                seed,
                "--json",
            ]),
        ] {
            assert_eq!(rows.len(), theirs.len());
            for (theirs, ours) in theirs.iter().zip(&rows) {
                for field in ["type", "label", "uuid", "partno", "offset", "raw_size", "activity"] {
                    assert_eq!(theirs[field], ours[field], "{field} of {theirs} and {ours}");
                }
            }
        }
        fs::remove_dir_all(scratch.host("")).unwrap();
        fs::create_dir(scratch.host("")).unwrap();
    }
}

/// The first boot opens and measures the sources of copies before it plans: the plan reports every source that it would
/// miss.
#[test]
fn a_plan_says_no_less_than_the_boot() {
    let scratch = common::Scratch::here("plan-says");
    let (place, share) = (scratch.host("usr/lib/repart.d"), scratch.host("usr/share"));
    fs::create_dir_all(&place).unwrap();
    fs::create_dir_all(&share).unwrap();
    let hermetic =
        |words: &[&str]| Command::new(env!("CARGO_BIN_EXE_hermetic")).args(words).output().unwrap();
    let (disk, usr) = (scratch.host("disk").display().to_string(), scratch.host("usr").display().to_string());
    fs::create_dir_all(scratch.host("none")).unwrap();
    let none = format!("--definitions={}", scratch.host("none").display());
    let made = hermetic(&["repart", "--empty=create", "--size=256M", "--seed=random", &none, &disk]);
    assert!(made.status.success(), "{made:?}");
    fs::write(place.join("50-root.conf"), "[Partition]\nType=root\nFormat=ext4\nSizeMaxBytes=64M\n").unwrap();
    fs::write(share.join("odd.img"), [7; 100]).unwrap();
    fs::write(share.join("even.img"), [7; 1024]).unwrap();
    std::os::unix::fs::symlink("/usr/share/even.img", share.join("link.img")).unwrap();
    let plan = |text: &str, more: &[&str]| {
        fs::write(place.join("60-more.conf"), format!("[Partition]\nType=linux-generic\n{text}")).unwrap();
        let output = hermetic(&[&["plan", &disk, "--usr", &usr], more].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    for (text, says) in [
        (
            "CopyBlocks=/usr/share/missing.img\n",
            "60-more.conf:3: CopyBlocks=/usr/share/missing.img cannot be opened",
        ),
        (
            "CopyBlocks=/usr/share\n",
            "60-more.conf:3: CopyBlocks=/usr/share is neither a file nor a block device",
        ),
        (
            "CopyBlocks=/usr/share/odd.img\n",
            "60-more.conf:3: CopyBlocks=/usr/share/odd.img has 100 bytes, which no partition has",
        ),
        // The boot refuses what it cannot copy, also where the partition would be left out for want of room.
        (
            "Priority=5\nSizeMinBytes=1T\nCopyBlocks=auto\n",
            "60-more.conf:5: CopyBlocks=auto is not supported",
        ),
    ] {
        let (success, said) = plan(text, &[]);
        assert!(!success && said.contains(says), "{text}: {said}");
    }
    // A link says where it leads once the tree is /usr.
    for text in ["CopyBlocks=/usr/share/even.img\n", "CopyBlocks=/usr/share/link.img\n", "Format=ext4\n"] {
        let (success, said) = plan(text, &[]);
        assert!(success && said.is_empty(), "{text}: {said}");
    }
    // The words of that boot's command line count.
    let refused = plan("Format=ext4\n", &["--cmdline", "systemd.image_policy=root=encrypted+absent"]);
    assert!(!refused.0 && refused.1.contains("does not allow root to be unprotected"), "{}", refused.1);
    assert!(plan("Format=xfs\n", &["--cmdline", "rd.systemd.mask=systemd-repart.service"]).0);
    // Nobody's machine is looked at: an encrypted partition is planned where nothing can be mapped.
    fs::write(place.join("50-root.conf"), "[Partition]\nType=root\nFormat=ext4\nEncrypt=tpm2\n").unwrap();
    let (success, said) = plan("Format=btrfs\nSizeMinBytes=100M\nSizeMaxBytes=100M\n", &[]);
    assert!(!success && said.contains("60-more.conf: the partition needs 256 MiB"), "{said}");
}
