//! A build that is not possible is refused in one line, and leaves no file behind.

mod common;

use std::{fs, path::Path};

use common::{Scratch, hermetic, module, program};

const RELEASE: &str = "6.1.0-test";

/// A tree with one small kernel.
fn kernel(scratch: &Scratch) {
    let dir = scratch.host("lib/modules").join(RELEASE);
    fs::create_dir_all(dir.join("kernel")).unwrap();
    fs::write(dir.join("modules.dep"), "kernel/a.ko: kernel/b.ko\nkernel/b.ko:\nkernel/old.ko:\nkernel/cut.ko.xz:\nkernel/gone.ko:\nkernel/arm.ko:\n").unwrap();
    fs::write(dir.join("modules.builtin"), "kernel/built-in.ko\n").unwrap();
    fs::write(dir.join("kernel/a.ko"), module(RELEASE)).unwrap();
    fs::write(dir.join("kernel/b.ko"), module(RELEASE)).unwrap();
    fs::write(dir.join("kernel/old.ko"), module("6.0.0")).unwrap();
    fs::write(dir.join("kernel/cut.ko.xz"), b"\xfd7zXZ\0\0\x01").unwrap();
    let mut arm = module(RELEASE);
    arm[18] = 183;
    fs::write(dir.join("kernel/arm.ko"), arm).unwrap();
    let mut image = vec![0; 0x400];
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
    image[0x300..0x308].copy_from_slice(b"5.10.0-x");
    fs::write(scratch.host("vmlinuz"), image).unwrap();
    fs::write(scratch.host("empty"), "").unwrap();
    fs::write(scratch.host("init"), program()).unwrap();
    let mut dynamic = program();
    dynamic[32] = 64;
    dynamic[56] = 1;
    dynamic[64] = 3;
    fs::write(scratch.host("dynamic"), dynamic).unwrap();
    fs::create_dir_all(scratch.host("full/x")).unwrap();
}

/// Everything below `at`, sorted.
fn names(at: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut directories = vec![at.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            all.push(path.display().to_string());
            if path.is_dir() {
                directories.push(path);
            }
        }
    }
    all.sort();
    all
}

#[test]
fn each_has_its_line_and_no_output() {
    let scratch = Scratch::here("refusals");
    kernel(&scratch);
    let before = names(&scratch.host(""));
    let at = |name: &str| scratch.host(name).display().to_string();
    let (root, modules) = (at(""), at("lib/modules"));
    let (root, init) = (root.trim_end_matches('/'), at("init"));
    let base = ["--root", root, "--init", &init, "--preset", "none", "-o", "OUT"];
    let with = |more: &[&str]| base.iter().chain(more).map(ToString::to_string).collect::<Vec<_>>();
    let without = |gone: &str, more: &[&str]| {
        let at = base.iter().position(|word| *word == gone).unwrap();
        [&base[..at], &base[at + 2..], more].concat().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let cases = [
        (
            with(&["--add-module", "nobody"]),
            "--add-module nobody: kernel 6.1.0-test has no such module, neither as a file nor built in: check the name \
             or install the package that holds it"
                .to_owned(),
        ),
        (
            with(&["--kernel-version", "6.9"]),
            format!(
                "kernel version 6.9 does not match: {modules} has modules of 6.1.0-test: install its modules or name \
                 another by --kernel-version"
            ),
        ),
        (
            with(&["--kernel", &at("vmlinuz")]),
            format!(
                "kernel version 5.10.0-x does not match: {modules} has modules of 6.1.0-test: install its modules or \
                 name another by --kernel-version"
            ),
        ),
        (
            with(&["--kernel", &at("vmlinuz"), "--kernel-version", RELEASE]),
            format!(
                "kernel version does not match: {} holds 5.10.0-x, --kernel-version says 6.1.0-test: name the kernel \
                 that will boot",
                at("vmlinuz")
            ),
        ),
        (
            with(&["--kernel", &at("empty")]),
            format!(
                "the kernel {}: no kernel version in it: give a bzImage, an arm64 Image or a UKI, or use \
                 --kernel-version",
                at("empty")
            ),
        ),
        (
            with(&["--add-module", "a", "--modules-dir", "/nowhere"]),
            format!(
                "read the modules directory {}: No such file or directory (os error 2): check that it is there and \
                 readable",
                at("nowhere")
            ),
        ),
        (
            with(&["--add-module", "a", "--modules-dir", "/lib"]),
            format!(
                "read {}: not there: run `depmod modules` on that tree first",
                at("lib/modules/modules.dep")
            ),
        ),
        (
            with(&["--add-module", "a", "--modules-dir", "/full/x"]),
            format!(
                "which kernel: {} has modules of no kernel: name one by --kernel-version or --kernel",
                at("full/x")
            ),
        ),
        (
            with(&["--add-module", "old"]),
            format!(
                "module {modules}/{RELEASE}/kernel/old.ko: made for kernel 6.0.0, expected 6.1.0-test: name the \
                 directory of the kernel that will boot"
            ),
        ),
        (
            with(&["--add-module", "gone"]),
            format!(
                "read {modules}/{RELEASE}/kernel/gone.ko: No such file or directory (os error 2): check that it is \
                 there and readable"
            ),
        ),
        (
            with(&["--add-module", "arm"]),
            format!(
                "hermetic-init {init}: built for ELF machine 62, but the module arm for 183: build it for the kernel's \
                 architecture"
            ),
        ),
        (
            without("--init", &["--init", &at("dynamic")]),
            format!(
                "hermetic-init {}: dynamically linked, and an initramfs has no loader for it: build it for a musl \
                 target, or with `-C target-feature=+crt-static`",
                at("dynamic")
            ),
        ),
        (
            without("--init", &["--init", &at("empty")]),
            format!(
                "hermetic-init {}: no 64-bit little-endian ELF program: give the binary hermetic-init",
                at("empty")
            ),
        ),
        (
            with(&["--verity-certificate", &at("empty")]),
            format!(
                "the verity certificate {}: no certificate in PEM: give a certificate, as `openssl req -x509` makes it",
                at("empty")
            ),
        ),
        (
            with(&["--key-file", &at("empty")]),
            format!("the key file {}: it is empty: make one, `head -c 32 /dev/urandom > FILE`", at("empty")),
        ),
        (
            with(&["--add-file", &format!("{root}:/x")]),
            format!("the added file {root}: not a regular file: name files, one --add-file each"),
        ),
        (
            with(&["--add-file", &format!("{init}:/hermetic-init")]),
            format!("put {init} into the initramfs: /hermetic-init is there already: choose another place"),
        ),
        (
            with(&["--add-file", &format!("{init}:/init/x")]),
            format!("put {init} into the initramfs: /init is no directory: choose another place"),
        ),
        (
            with(&["--add-file", &format!("{init}:x")]),
            format!(
                "put {init} into the initramfs: `x` is no place in it: give an absolute path without `.` and `..`"
            ),
        ),
        (
            without("-o", &["-o", &at("nowhere/out")]),
            format!(
                "write {}: No such file or directory (os error 2): check that its directory is there and has room",
                at("nowhere/out")
            ),
        ),
        (
            without("-o", &["--directory", &at("full")]),
            format!(
                "write {}: Directory not empty (os error 39): check that its directory is there and has room",
                at("full")
            ),
        ),
    ];
    for (words, line) in cases {
        let words: Vec<_> =
            words.iter().map(|word| if word == "OUT" { at("out") } else { word.clone() }).collect();
        let output = hermetic().args(&words).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().last(), Some(format!("error: {line}").as_str()), "{words:?}");
        assert_eq!(output.status.code(), Some(1), "{words:?}");
        assert_eq!(names(&scratch.host("")), before, "{words:?}");
    }

    // Damaged data: the decoder has its own words.
    let output = hermetic()
        .args(["--root", root, "--init", &init, "--preset", "none", "-o", &at("out"), "--add-module", "cut"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("kernel/cut.ko.xz: xz data is damaged: "), "{said}");
    assert_eq!(names(&scratch.host("")), before);
}

#[test]
fn an_output_that_was_there_survives_a_failure_and_is_replaced_by_success() {
    let scratch = Scratch::here("replace");
    kernel(&scratch);
    let at = |name: &str| scratch.host(name).display().to_string();
    fs::write(scratch.host("out"), "old").unwrap();
    let build = |module: &str| {
        let mut command = hermetic();
        command.args(["--root", &at(""), "--init", &at("init"), "--preset", "none", "-o", &at("out")]);
        command.args(["--add-module", module, "--compress", "none"]).output().unwrap()
    };
    assert!(!build("nobody").status.success());
    assert_eq!(fs::read(scratch.host("out")).unwrap(), b"old");
    assert!(build("built-in").status.success());
    assert!(build("a").status.success());
    assert!(fs::read(scratch.host("out")).unwrap().starts_with(b"070701"));
}

#[test]
fn a_preset_reports_what_it_left_out() {
    let scratch = Scratch::here("leftout");
    kernel(&scratch);
    let at = |name: &str| scratch.host(name).display().to_string();
    let output = hermetic()
        .args(["--root", &at(""), "--init", &at("init"), "-o", &at("out"), "--add-module", "a"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("  at the start: b a\n"), "{said}");
    assert!(
        said.contains(
            "  left out, not in this kernel: virtio_pci virtio_blk dm-verity dm-crypt efivarfs erofs\n"
        ),
        "{said}"
    );
}
