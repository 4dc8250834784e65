//! `hermetic check`: images that systemd-repart, mkfs.erofs and veritysetup made. A good one has nothing against it; of a broken
//! one the check says what the boot says, and changes nothing.

mod common;

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// An image with a verified /usr, and the words by which it boots.
struct Image {
    disk: PathBuf,
    usr: PathBuf,
    words: String,
    /// The rows of systemd-repart: /usr, its hash tree.
    rows: Vec<Value>,
}

impl Image {
    /// Made by systemd-repart, with this definition for the first boot.
    fn new(scratch: &common::Scratch, definition: &str) -> Self {
        Self::with(scratch, definition, &|_| {})
    }

    /// The same with something more in /usr.
    fn with(scratch: &common::Scratch, definition: &str, more: &dyn Fn(&Path)) -> Self {
        let usr = scratch.host("root/usr");
        for directory in ["lib/systemd", "lib/repart.d", "share"] {
            fs::create_dir_all(usr.join(directory)).unwrap();
        }
        common::program_at(&usr.join("lib/systemd/systemd"));
        fs::create_dir_all(usr.join("share/factory/etc")).unwrap();
        fs::write(usr.join("share/factory/etc/passwd"), "root:x:0:0:root:/root:/usr/bin/sh\n").unwrap();
        fs::write(usr.join("share/factory/etc/hosts"), "").unwrap();
        fs::create_dir_all(usr.join("bin")).unwrap();
        common::program_at(&usr.join("bin/sh"));
        fs::write(usr.join("lib/os-release"), "ID=test\nVERSION_ID=1\n").unwrap();
        fs::write(usr.join("lib/systemd/libsystemd-shared-257.so"), "").unwrap();
        // More than one block of the tree has digests for.
        let noise: Vec<u8> =
            (0..1u32 << 18).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        fs::write(usr.join("share/noise"), noise).unwrap();
        fs::write(usr.join("lib/repart.d/50-root.conf"), definition).unwrap();
        more(&usr);
        fs::create_dir_all(scratch.host("image")).unwrap();
        for (name, text) in [
            (
                "10-usr.conf",
                "Type=usr\nLabel=test_1\nFormat=erofs\nCopyFiles=/usr:/\nVerity=data\nVerityMatchKey=usr\nMinimize=best\n",
            ),
            (
                "20-hash.conf",
                "Type=usr-verity\nLabel=test_1\nVerity=hash\nVerityMatchKey=usr\nMinimize=best\n",
            ),
        ] {
            fs::write(scratch.host("image").join(name), format!("[Partition]\n{text}")).unwrap();
        }
        let script = r#"
mount -t proc proc "$1/proc"; mount -t tmpfs tmpfs "$1/var/tmp"
exec chroot "$1" systemd-repart --root="$2/root" --definitions="$2/image" --empty=create --size=auto --offline=yes \
    --seed=750b6cd5c4ae4012a15e7be3c29e6a47 --dry-run=no --json=short "$2/disk"
"#;
        let mut shell = Command::new("unshare");
        shell.args(["--mount", "--propagation=private", "sh", "-euc", script, "sh"]);
        let tools = std::env::var_os("HERMETIC_TOOLS").unwrap();
        let output = common::succeed(shell.arg(tools).arg(scratch.inside("")));
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        // Written to a larger disk.
        fs::File::options().write(true).open(scratch.host("disk")).unwrap().set_len(128 << 20).unwrap();
        let words = format!("usrhash={}", rows[0]["roothash"].as_str().unwrap());
        Self { disk: scratch.host("disk"), usr, words, rows }
    }

    /// The place of a partition on the disk.
    fn place(&self, row: usize) -> u64 {
        self.rows[row]["offset"].as_u64().unwrap()
    }

    fn size(&self, row: usize) -> u64 {
        self.rows[row]["raw_size"].as_u64().unwrap()
    }

    fn flip(&self, at: u64) {
        let disk = fs::File::options().read(true).write(true).open(&self.disk).unwrap();
        let mut byte = [0];
        disk.read_exact_at(&mut byte, at).unwrap();
        disk.write_all_at(&byte.map(|byte| !byte), at).unwrap();
    }

    /// Asks with these words more; the tree is named, or the image's is mounted.
    fn check(&self, words: &[&str], mounted: bool) -> Output {
        let mut check = Command::new(env!("CARGO_BIN_EXE_hermetic"));
        check.arg("check").arg(&self.disk).args(["--name", "vda"]).args(words);
        if !mounted {
            check.arg("--usr").arg(&self.usr);
        }
        check.output().unwrap()
    }

    /// The refusal and the damage that are found, each as one text.
    fn found(&self, cmdline: &str, more: &[&str], mounted: bool) -> (String, String) {
        let words = format!("{} {cmdline}", self.words);
        let output = self.check(&[&["--json", "--cmdline", &words], more].concat(), mounted);
        let report: Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let lines = |name: &str| -> Vec<String> {
            let all = report[name].as_array().unwrap();
            let line = |found: &Value| {
                format!("{}: {}", found["stage"].as_str().unwrap(), found["line"].as_str().unwrap())
            };
            all.iter().map(line).collect()
        };
        let (refusals, damages) = (lines("refusals"), lines("damages"));
        let code = i32::from(!refusals.is_empty() || !damages.is_empty());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(report["boots"].as_bool(), Some(refusals.is_empty() && damages.is_empty()));
        (refusals.join("|"), damages.join("|"))
    }
}

const ROOT: &str = "[Partition]\nType=root\nFormat=ext4\nSizeMinBytes=64M\n";

fn nothing() -> (String, String) {
    (String::new(), String::new())
}

#[test]
fn nothing_stands_against_a_good_image() {
    let Some(scratch) = common::Scratch::new("check-good") else { return };
    let image = Image::new(&scratch, ROOT);
    let before = fs::read(&image.disk).unwrap();
    for mounted in [false, true] {
        let output = image.check(&["--cmdline", &image.words], mounted);
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()), "{said}");
        for line in [
            "vda1 (\"test_1\") is /usr with root hash",
            "/usr verified on vda1",
            "/usr/lib/systemd/systemd is started, systemd 257",
            "is made for 50-root.conf: ext4, encryption off",
            "/etc of a new root: 2 files of the factory",
            "nothing stands against a boot of this image",
        ] {
            assert!(said.contains(line), "no `{line}` in {said}");
        }
        assert!(!said.contains("warning") && !said.contains("refused"), "{said}");
        // Words that a good image stands.
        for words in
            ["rw quiet", "systemd.image_policy=usr=verity+erofs:root=unprotected+absent", "root=tmpfs"]
        {
            assert_eq!(image.found(words, &[], mounted), nothing(), "{words}");
        }
    }
    // The names of a root that is made.
    for words in ["root=PARTLABEL=root-x86-64", "root=/dev/vda3"] {
        assert_eq!(image.found(words, &[], false), nothing(), "{words}");
    }
    assert_eq!(image.found("", &["--quick"], false), nothing());
    assert!(fs::read(&image.disk).unwrap() == before, "the check wrote to the image");
}

/// A word that is not judged ends the check with a status of its own, and everything that was found until then is said.
#[test]
fn a_check_that_cannot_go_on_says_so() {
    let Some(scratch) = common::Scratch::new("check-ends") else { return };
    let image = Image::new(&scratch, ROOT);
    let hash = image.words.as_str();
    for (words, more, mounted, error, found) in [
        (
            hash,
            &["--quick"][..],
            true,
            "it is not verified, so it is not mounted",
            "/usr verified on vda1 (its first block)",
        ),
        ("rw", &[], true, "it is not verified, so it is not mounted", "/usr unverified on vda1"),
        (
            "systemd.image_policy=usr=signed",
            &[],
            false,
            "goes by a signature of the root hash",
            "is /usr partition",
        ),
        ("systemd.factory_reset=1", &[], false, "a factory reset is not judged here", "the check ends here"),
    ] {
        let output = image.check(&[&["--cmdline", words], more].concat(), mounted);
        let (said, complained) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(2), "{words}: {said}");
        assert!(complained.contains(error), "{words}: {complained}");
        assert!(said.contains(found) && said.ends_with("the check ends here\n"), "{words}: {said}");
    }
}

/// The words and the version come from ukify's image.
#[test]
fn a_unified_kernel_image_brings_its_words_and_its_version() {
    let Some(scratch) = common::Scratch::new("check-uki") else { return };
    let image = Image::new(&scratch, ROOT);
    fs::write(scratch.host("linux"), common::program()).unwrap();
    let uki = |words: &str, version: &str| {
        fs::write(scratch.host("words"), words).unwrap();
        let mut ukify = common::tool("ukify").unwrap();
        ukify.args(["build", "--stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub", "--uname=6.12.0"]);
        ukify.arg(format!("--linux={}", scratch.inside("linux")));
        ukify.arg(format!("--cmdline=@{}", scratch.inside("words")));
        ukify.arg(format!("--os-release=ID=test\nIMAGE_VERSION={version}\n"));
        common::succeed(ukify.arg(format!("--output={}", scratch.inside("image.efi"))));
        let path = scratch.host("image.efi").display().to_string();
        let output = image.check(&["--quick", "--uki", &path], false);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = uki(&format!("{}\n", image.words), "1");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("/usr verified on vda1"), "{said}");
    let (code, said) = uki("systemd.image_policy=usr=verity", "1");
    assert_eq!(code, Some(1));
    assert!(said.starts_with("refused  usr        systemd.image_policy= demands a verified /usr"), "{said}");
    let (code, said) = uki("rw", "2");
    assert_eq!(code, Some(0));
    assert!(said.contains("no /usr has version 2 of the kernel image; taking the newest, test_1"), "{said}");
    assert!(!uki("rw", "1").1.contains("has version"));
    // Another file is none.
    let output = image.check(&["--uki", &scratch.host("linux").display().to_string()], false);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn a_changed_byte_is_found_where_it_is() {
    let Some(scratch) = common::Scratch::new("check-bytes") else { return };
    let image = Image::new(&scratch, ROOT);
    let (data, tree) = (image.place(0), image.place(1));
    let mismatch = "usr: vda1 does not match root hash ";
    for (at, refusal, damage) in [
        (data, mismatch, ""),
        (data + 4095, mismatch, ""),
        (data + 5000, "usr: cannot read /dev/dm-0: I/O error (os error 5)", ""),
        (data + (1 << 20), "", "usr: vda1: the block of data at byte 1048576 was changed"),
        (tree, "usr: vda2: cannot read the verity superblock: no dm-verity superblock", ""),
        (
            tree + 64,
            "usr: vda2: cannot read the verity superblock: dm-verity superblock: data block size",
            "",
        ),
        (tree + 88, mismatch, ""),
        (tree + 4096, mismatch, ""),
        (tree + 2 * 4096, mismatch, ""),
        (tree + 3 * 4096, "", "usr: vda2: the block of the hash tree at byte 12288 was changed"),
    ] {
        image.flip(at);
        let (refused, damaged) = image.found("", &[], false);
        // A file system that somebody has changed is mounted by nobody.
        assert_eq!(image.found("", &[], true), (refused.clone(), damaged.clone()));
        assert!(
            refused.starts_with(refusal) && refused.is_empty() == refusal.is_empty(),
            "byte {at}: {refused}"
        );
        assert!(
            damaged.starts_with(damage) && damaged.is_empty() == damage.is_empty(),
            "byte {at}: {damaged}"
        );
        image.flip(at);
    }
    // Behind what the tree covers nothing counts.
    image.flip(tree + image.size(1) - 1);
    assert_eq!(image.found("", &[], true), nothing());
    // The whole line, as the consoles of machines have it.
    image.flip(data);
    let hash = image.words.trim_start_matches("usrhash=");
    let line = format!(
        "usr: vda1 does not match root hash {hash}: I/O error (os error 5); /usr, its hash tree or the command line was \
         changed, write the image anew"
    );
    assert_eq!(image.found("", &["--quick"], false).0, line);
}

#[test]
fn a_refusal_is_that_of_the_boot() {
    let Some(scratch) = common::Scratch::new("check-refuses") else { return };
    let image = Image::new(&scratch, ROOT);
    let hash = "00112233445566778899aabbccddeeff0123456789abcdef0011223344556677";
    let other = format!("usrhash={hash}");
    for (words, refusal) in [
        ("hermetic.root-polcy=strict", "early: command line: hermetic.root-polcy=strict is no option"),
        (
            other.as_str(),
            "usr: no /usr with root hash 00112233445566778899aabbccddeeff0123456789abcdef0011223344556677 within 30 s: \
             vda: no partition with PARTUUID 00112233-4455-6677-8899-aabbccddeeff, the usr partition of usrhash=; boot the \
             kernel that belongs to this image; there are: vda vda1 vda2",
        ),
        ("systemd.image_policy=usr=unprotected", "usr: systemd.image_policy= does not allow a verified /usr"),
        (
            "systemd.image_policy=usr=verity+squashfs:root=open",
            "usr: /dev/dm-0: holds erofs, which systemd.image_policy= does not allow",
        ),
        (
            "systemd.image_policy=usr=verity:root=encrypted",
            "provision: vda: 50-root.conf: systemd.image_policy= does not allow root to be unprotected",
        ),
        ("hermetic.init=/usr/bin/none", "usr: vda1: hermetic.init=/usr/bin/none is not an executable file"),
        (
            "systemd.mask=x rd.systemd.mask=systemd-repart.service",
            "root: vda: no root partition, and /usr's repart.d makes none",
        ),
        (
            "root=/dev/vda9",
            "root: no root=/dev/vda9 within 30 s: no device answers to that; there are: vda vda1 vda2",
        ),
    ] {
        let (refused, _) = image.found(words, &["--quick"], false);
        assert!(refused.starts_with(refusal), "{words}: {refused}");
    }
    let definition = |text: &str| {
        fs::write(image.usr.join("lib/repart.d/50-root.conf"), format!("[Partition]\n{text}")).unwrap()
    };
    for (text, more, refusal) in [
        ("Type=root\nFormat=xfs\n", &[][..], "provision: vda: 50-root.conf:3: Format=xfs is not supported"),
        ("Type=lair\n", &[], "provision: /usr's repart.d is refused: "),
        ("Type=swap\nSizeMinBytes=16M\n", &[], "provision: vda: "),
        (
            "Type=root\nFormat=ext4\nSizeMinBytes=1G\n",
            &[],
            "provision: vda: 50-root.conf: the partition needs 1 GiB",
        ),
        (
            "Type=root\nFormat=ext4\nEncrypt=tpm2\n",
            &["--no-tpm"],
            "provision: vda: 50-root.conf: Encrypt=tpm2, but there is no TPM 2.0",
        ),
    ] {
        definition(text);
        let (refused, _) = image.found("", &[&["--quick"], more].concat(), false);
        assert!(refused.starts_with(refusal), "{text}: {refused}");
    }
    definition("Type=root\nFormat=ext4\nSizeMinBytes=1G\n");
    assert_eq!(image.found("", &["--quick", "--size=8G"], false), nothing());
    definition("Type=root\nFormat=ext4\nEncrypt=tpm2\n");
    assert_eq!(image.found("", &["--quick"], false), nothing());
    fs::remove_file(image.usr.join("lib/systemd/systemd")).unwrap();
    let (refused, _) = image.found("", &["--quick"], false);
    assert!(refused.starts_with("usr: vda1: /usr holds no systemd (looked for "), "{refused}");
}

/// A root of Debian's image without dbus, with a shell and with links that lead nowhere.
#[test]
fn what_a_new_root_lacks_is_said() {
    let Some(scratch) = common::Scratch::new("check-factory") else { return };
    let image = Image::new(&scratch, ROOT);
    let etc = image.usr.join("share/factory/etc");
    fs::write(
        etc.join("passwd"),
        "root:x:0:0:root:/root:/usr/bin/zsh\nsync:x:4:65534:sync:/bin:/bin/sh\ndaemon:x:1:1::/:/usr/sbin/nologin\n",
    )
    .unwrap();
    let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, etc.join(name)).unwrap();
    fs::create_dir(etc.join("alternatives")).unwrap();
    link("/usr/bin/nothing", "alternatives/editor");
    link("../usr/bin/sh", "shell");
    link("../run/resolv.conf", "resolv.conf");
    link("hosts", "hosts.also");
    link("missing", "dangling");
    let output = image.check(&["--quick", "--json", "--cmdline", &image.words], false);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let warnings: Vec<&str> =
        report["warnings"].as_array().unwrap().iter().map(|found| found["line"].as_str().unwrap()).collect();
    assert_eq!(
        warnings,
        [
            "/usr/bin/zsh is not in this /usr, the shell of root: install it, or give another",
            "/etc/alternatives/editor leads to /usr/bin/nothing, which is not there",
            "/etc/dangling leads to missing, which is not there",
        ]
    );
}

/// As of Debian's dbus, whose helper belongs to a group that its maintainer script makes.
#[test]
fn an_owner_without_a_name_is_said() {
    let Some(scratch) = common::Scratch::new("check-owner") else { return };
    let helper = |usr: &Path| {
        fs::write(usr.join("lib/helper"), "").unwrap();
        std::os::unix::fs::chown(usr.join("lib/helper"), Some(0), Some(104)).unwrap();
    };
    let image = Image::with(&scratch, ROOT, &helper);
    let warnings = || {
        let output = image.check(&["--json", "--cmdline", &image.words], true);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        report["warnings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| found["line"].to_string())
            .collect::<Vec<_>>()
    };
    let line = "\"/usr/lib/helper belongs to group 104, which has no name: add a line to sysusers.d\"";
    assert_eq!(warnings(), [line]);
}

#[test]
fn a_disk_without_usr_is_refused_and_a_check_that_cannot_be_made_says_so() {
    let scratch = common::Scratch::here("check-none");
    let blank = scratch.host("blank");
    fs::File::create(&blank).unwrap().set_len(64 << 20).unwrap();
    let check = |image: &Path, words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_hermetic")).arg("check").arg(image).args(words).output().unwrap()
    };
    let refused = check(&blank, &["--name=nvme0n1"]);
    let said = String::from_utf8(refused.stdout).unwrap();
    let line = "refused  usr        no /usr partition within 30 s: no disk with a GPT; there are: nvme0n1\n";
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.starts_with(line), "{said}");
    assert!(said.ends_with("\nthis image does not boot: the boot ends in stage usr\n"), "{said}");
    assert_eq!(check(&scratch.host("nothing"), &[]).status.code(), Some(2));
}
