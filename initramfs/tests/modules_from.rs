//! The places that modules come from: one kernel's directory under any name, and the /usr of an image, alone or in a disk with two versions.

mod common;

use std::{
    fs,
    io::{Seek as _, SeekFrom},
    path::Path,
    process::Command,
};

use common::{Scratch, hermetic, module, program, succeed, tool};

/// The type of a /usr partition for x86-64 (Discoverable Partitions Specification).
const USR: &str = "8484680c-9521-48c6-9c11-b0720656f69e";
/// Bytes of each file system.
const SIZE: u64 = 4 << 20;

/// A kernel with one module, below `usr`.
fn kernel(usr: &Path, release: &str) {
    let modules = usr.join("lib/modules").join(release);
    fs::create_dir_all(&modules).unwrap();
    fs::write(modules.join("a.ko"), module(release)).unwrap();
    fs::write(modules.join("modules.dep"), "a.ko:\n").unwrap();
}

/// An ext4 with what is in the directory `tree`, by mke2fs.
fn file_system(scratch: &Scratch, tree: &str, image: &str) {
    let Some(mut mke2fs) = tool("mke2fs") else { return };
    fs::File::create(scratch.host(image)).unwrap().set_len(SIZE).unwrap();
    succeed(mke2fs.args(["-q", "-t", "ext4", "-d", &scratch.inside(tree), &scratch.inside(image)]));
}

/// The builder with these words, that is to write `out`.
fn builder(scratch: &Scratch, words: &[&str]) -> Command {
    let mut builder = hermetic();
    builder.args(["--preset", "none", "--add-module", "a"]).arg("--init").arg(scratch.host("init"));
    builder.args(words).arg("-o").arg(scratch.host("out")).env("TMPDIR", scratch.host("mounts"));
    builder
}

/// The archive that these words make.
fn packed(scratch: &Scratch, words: &[&str]) -> Vec<u8> {
    succeed(&mut builder(scratch, words));
    fs::read(scratch.host("out")).unwrap()
}

/// The words with which it refuses.
fn refused(scratch: &Scratch, words: &[&str]) -> String {
    let output = builder(scratch, words).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn one_directory_and_images_give_the_same() {
    let Some(scratch) = Scratch::new("modules-from") else { return };
    if !Path::new("/dev/loop-control").exists() {
        return common::skip("loop devices");
    }
    fs::write(scratch.host("init"), program()).unwrap();
    fs::create_dir(scratch.host("mounts")).unwrap();
    for release in ["6.1.0", "6.2.0"] {
        kernel(&scratch.host(release).join("usr"), release);
    }
    let at = |path: &str| scratch.host(path).display().to_string();
    let expected = packed(&scratch, &["--root", &at("6.2.0")]);

    // By the directory's name, and by another word where that says nothing.
    assert!(packed(&scratch, &["--kernel-modules", &at("6.2.0/usr/lib/modules/6.2.0")]) == expected);
    fs::rename(scratch.host("6.2.0/usr/lib/modules/6.2.0"), scratch.host("built")).unwrap();
    assert!(packed(&scratch, &["--kernel-modules", &at("built"), "--kernel-version", "6.2.0"]) == expected);
    let said = refused(&scratch, &["--kernel-modules", &at("built")]);
    assert!(said.contains("made for kernel 6.2.0, expected built"), "{said}");
    fs::rename(scratch.host("built"), scratch.host("6.2.0/usr/lib/modules/6.2.0")).unwrap();

    // A root as a whole, a /usr, and a disk with two versions of one.
    for (tree, image) in [("6.2.0", "whole"), ("6.2.0/usr", "usr"), ("6.1.0/usr", "old")] {
        file_system(&scratch, tree, image);
    }
    assert!(packed(&scratch, &["--modules-from-image", &at("whole")]) == expected);
    assert!(packed(&scratch, &["--modules-from-image", &at("usr")]) == expected);
    let mut disk = fs::File::options().write(true).create_new(true).open(scratch.host("disk")).unwrap();
    disk.set_len(16 << 20).unwrap();
    let Some(mut sfdisk) = tool("sh") else { return };
    let script = format!(
        "printf 'label: gpt\\nstart=2048, size={0}, type={USR}, name=os_2\\nstart={1}, size={0}, type={USR}, name=os_1\\n' \
         | sfdisk --quiet {2}",
        SIZE / 512,
        2048 + SIZE / 512,
        scratch.inside("disk")
    );
    succeed(sfdisk.args(["-c", &script]));
    for (number, image) in (0..).zip(["usr", "old"]) {
        disk.seek(SeekFrom::Start((1 << 20) + number * SIZE)).unwrap();
        std::io::copy(&mut fs::File::open(scratch.host(image)).unwrap(), &mut disk).unwrap();
    }
    assert!(packed(&scratch, &["--modules-from-image", &at("disk")]) == expected);

    fs::write(scratch.host("text"), vec![b'x'; 8192]).unwrap();
    let said = refused(&scratch, &["--modules-from-image", &at("text")]);
    assert!(said.contains("give a disk image with a /usr"), "{said}");
    let left = fs::read_dir(scratch.host("mounts")).unwrap();
    assert_eq!(left.count(), 0, "a mount is left behind");
}
