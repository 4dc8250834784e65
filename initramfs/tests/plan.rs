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
