//! The archive and the directory, against cpio, zstd and xz.

mod common;

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use common::{Appliance, Scratch, hermetic, program, succeed, tool};

/// A certificate that OpenSSL made.
const CERTIFICATE: &str = include_str!("../../tests/pkcs7/signer.crt");

/// `hermetic initramfs` for the appliance's kernel with everything that an archive can hold.
fn build(appliance: &Appliance, scratch: &Scratch) -> Command {
    fs::write(scratch.host("init"), program()).unwrap();
    fs::write(scratch.host("key"), [7; 32]).unwrap();
    fs::write(scratch.host("extra"), "extra\n").unwrap();
    fs::set_permissions(scratch.host("extra"), fs::Permissions::from_mode(0o751)).unwrap();
    let mut command = hermetic();
    command
        .arg("--modules-dir")
        .arg(appliance.root.join("usr/lib/modules"))
        .arg("--kernel")
        .arg(&appliance.kernel);
    command.arg("--init").arg(scratch.host("init")).arg("--key-file").arg(scratch.host("key"));
    command.arg("--add-file").arg(format!("{}:/etc/hermetic/", scratch.host("extra").display()));
    fs::write(scratch.host("image.pem"), CERTIFICATE).unwrap();
    command.arg("--verity-certificate").arg(scratch.host("image.pem"));
    command
}

/// Paths below `root`, which cpio unpacked or we wrote, with type, mode, owner, device number and content, sorted.
fn listing(root: &Path, unpacked: bool) -> Vec<(String, u32, u32, u64, Vec<u8>)> {
    fn walk(root: &Path, at: &Path, unpacked: bool, all: &mut Vec<(String, u32, u32, u64, Vec<u8>)>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let about = fs::symlink_metadata(&path).unwrap();
            let content = if about.is_symlink() {
                fs::read_link(&path).unwrap().to_string_lossy().into_owned().into_bytes()
            } else if about.is_file() {
                fs::read(&path).unwrap()
            } else {
                Vec::new()
            };
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            // cpio sets a directory's time before it fills it.
            assert!(about.mtime() == 0 || (unpacked && about.is_dir()), "{name}");
            all.push((name, about.mode(), about.uid(), about.rdev(), content));
            if about.is_dir() {
                walk(root, &path, unpacked, all);
            }
        }
    }
    let mut all = Vec::new();
    walk(root, root, unpacked, &mut all);
    all.sort();
    all
}

#[test]
fn cpio_and_zstd_take_the_archive_and_give_back_the_files() {
    let (Some(appliance), Some(scratch)) = (Appliance::find(), Scratch::new("archive")) else { return };
    succeed(build(&appliance, &scratch).arg("-o").arg(scratch.host("a.zst")));
    assert_eq!(fs::metadata(scratch.host("a.zst")).unwrap().mode() & 0o777, 0o600, "it holds a key");

    let Some(mut zstd) = tool("zstd") else { return };
    succeed(zstd.args(["-q", "-t", &scratch.inside("a.zst")]));
    let list = succeed(tool("zstd").unwrap().args(["-l", "-v", &scratch.inside("a.zst")]));
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("Number of Frames: 1\n") || list.contains("# Zstandard Frames: 1\n"), "{list}");
    assert!(list.contains("Check: XXH64"), "{list}");
    succeed(tool("zstd").unwrap().args([
        "-q",
        "-d",
        &scratch.inside("a.zst"),
        "-o",
        &scratch.inside("a.cpio"),
    ]));

    let Some(_) = tool("cpio") else { return };
    fs::create_dir(scratch.host("x")).unwrap();
    // --no-absolute-filenames would hide a leading slash: the names must be relative by themselves.
    let named = succeed(tool("cpio").unwrap().args(["-t", "--quiet", "-F", &scratch.inside("a.cpio")]));
    assert!(String::from_utf8(named.stdout).unwrap().lines().all(|name| !name.starts_with('/')));
    succeed(tool("cpio").unwrap().args([
        "-idm",
        "--quiet",
        "-D",
        &scratch.inside("x"),
        "-F",
        &scratch.inside("a.cpio"),
    ]));

    let files = listing(&scratch.host("x"), true);
    let about = |name: &str| {
        let entry = files.iter().find(|entry| entry.0 == name);
        entry.map(|(_, mode, uid, _, content)| (*mode, *uid, content.clone()))
    };
    for directory in ["proc", "sys", "dev", "run", "sysroot"] {
        assert_eq!(about(directory), Some((0o040755, 0, vec![])), "{directory}");
    }
    assert_eq!(about("hermetic-init"), Some((0o100755, 0, program())));
    assert_eq!(about("init"), Some((0o120777, 0, b"hermetic-init".to_vec())));
    assert_eq!(about("hermetic/root.key"), Some((0o100400, 0, vec![7; 32])));
    let certificate = Some((0o100644, 0, CERTIFICATE.into()));
    assert_eq!(about("usr/lib/verity.d/image.crt"), certificate);
    assert_eq!(about("etc/hermetic/extra"), Some((0o100751, 0, b"extra\n".to_vec())));
    let console = fs::symlink_metadata(scratch.host("x/dev/console")).unwrap();
    assert!(console.file_type().is_char_device());
    assert_eq!((console.mode() & 0o7777, console.rdev()), (0o600, 0x501));
    let null = fs::symlink_metadata(scratch.host("x/dev/null")).unwrap();
    assert!(null.file_type().is_char_device());
    assert_eq!((null.mode() & 0o7777, null.rdev()), (0o666, 0x103));

    // The directory is the same but for the device nodes.
    succeed(build(&appliance, &scratch).arg("--directory").arg(scratch.host("d")));
    let without: Vec<_> = files
        .iter()
        .filter(|entry| !["dev/console", "dev/null"].contains(&entry.0.as_str()))
        .cloned()
        .collect();
    assert!(listing(&scratch.host("d"), false) == without, "the directory differs from the archive");

    // And --compress none is what zstd unpacked.
    succeed(build(&appliance, &scratch).args(["--compress", "none"]).arg("-o").arg(scratch.host("b.cpio")));
    assert!(fs::read(scratch.host("a.cpio")).unwrap() == fs::read(scratch.host("b.cpio")).unwrap());
}

#[test]
fn modules_are_what_xz_unpacks() {
    let (Some(appliance), Some(scratch)) = (Appliance::find(), Scratch::new("xz")) else { return };
    // The tool root may be without xz; every machine with a compiler of Debian has it.
    if Command::new("xz").arg("--version").output().is_err() {
        return common::skip("xz");
    }
    let out = scratch.host("out");
    succeed(build(&appliance, &scratch).args(["--preset", "generic"]).arg("--directory").arg(&out));
    let mut packed = std::collections::BTreeMap::new();
    let mut directories = vec![appliance.modules()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".xz")) {
                packed.insert(name.to_owned(), path);
            }
        }
    }
    let mut compared = 0;
    for entry in fs::read_dir(out.join("lib/modules").join(&appliance.release)).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let output = Command::new("xz").args(["-d", "-c"]).arg(&packed[&name]).output().unwrap();
        assert!(output.status.success() && output.stdout == fs::read(entry.path()).unwrap(), "{name}");
        compared += 1;
    }
    eprintln!("{compared} modules byte for byte as xz unpacks them");
    assert!(compared >= 30);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let (Some(appliance), Some(scratch)) = (Appliance::find(), Scratch::new("same")) else { return };
    for name in ["a", "b"] {
        succeed(build(&appliance, &scratch).arg("-o").arg(scratch.host(name)));
    }
    assert!(fs::read(scratch.host("a")).unwrap() == fs::read(scratch.host("b")).unwrap());
}

#[test]
fn the_virtio_preset_is_small_and_loads_only_for_a_reason() {
    let (Some(appliance), Some(scratch)) = (Appliance::find(), Scratch::new("small")) else { return };
    fs::write(scratch.host("init"), program()).unwrap();
    let mut command = hermetic();
    command
        .arg("--modules-dir")
        .arg(appliance.root.join("usr/lib/modules"))
        .arg("--init")
        .arg(scratch.host("init"));
    succeed(command.arg("-o").arg(scratch.host("out")));
    let size = fs::metadata(scratch.host("out")).unwrap().len();
    eprintln!("virtio modules: {size} bytes");
    // 1 MB for the whole, of which hermetic-init takes up to 600 kB compressed.
    assert!(size < 400_000, "{size}");

    succeed(build(&appliance, &scratch).arg("--directory").arg(scratch.host("d")));
    let table = |name| fs::read_to_string(scratch.host("d/hermetic").join(name)).unwrap();
    // Debian's modules are signed with SHA-256: the accelerated one comes before all of them.
    let load = table("modules.load");
    assert!(load.ends_with("/sha256-ssse3.ko\n") && load.lines().count() == 1, "{load}");
    let keys = |text: String| -> Vec<String> {
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(table("modules.alias")), ["virtio:d00000002v*"]);
    assert_eq!(
        keys(table("modules.demand")),
        ["dm-crypt", "dm-crypt.fallback", "dm-verity", "efivarfs", "fs-erofs"]
    );
    for line in [table("modules.demand"), table("modules.depend")].concat().lines() {
        for path in line.split(' ').skip(1) {
            assert!(scratch.host("d").join(path.trim_start_matches('/')).is_file(), "{path}");
        }
    }
}
