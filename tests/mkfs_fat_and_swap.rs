//! FAT and swap against the tools that make and check them: dosfstools 4.2 and util-linux of Debian 13.

mod common;

use std::{
    fs::File,
    os::unix::fs::{FileExt, PermissionsExt as _},
    process::{Command, Output},
};

use common::{Scratch, tool};
use hermetic_init::{
    file_system::FileSystem,
    mkfs::Params,
    units::Bytes,
    writes::{Write, Writes},
};
use proptest::prelude::*;
use rustix::fs::{SeekFrom, seek};
use uuid::Uuid;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The time that `mkfs.vfat --invariant` uses.
const INVARIANT: u64 = 1_426_325_213;

/// The borders of mkfs.vfat's tables, and sizes that fill neither a sector, a track nor a cluster.
const FAT_SIZES: [u64; 26] = [
    64 * KIB,
    65 * KIB + 100,
    MIB,
    2 * MIB,
    4 * MIB,
    4 * MIB + 8 * KIB,
    5 * MIB + 1234,
    16 * MIB,
    17 * MIB,
    33 * MIB + 3 * KIB + 511,
    64 * MIB,
    100 * MIB,
    128 * MIB,
    130 * MIB,
    256 * MIB,
    257 * MIB,
    260 * MIB,
    261 * MIB,
    512 * MIB,
    GIB + 77,
    8 * GIB,
    8 * GIB + MIB,
    16 * GIB + 12345,
    17 * GIB,
    33 * GIB,
    100 * GIB + 4096 * 3 + 512,
];

/// The boot code, in the first sector and in its copy: mkfs.vfat's prints a message, ours goes on to the next device.
const BOOT_CODE: (u64, u64) = (90, 510);
const COPY: u64 = 6;

fn params(size: u64, sector_size: u32, label: &'static str) -> Params<'static> {
    Params {
        size: Bytes(size),
        sector_size,
        page_size: 4096,
        uuid: Uuid::from_u128(0x1234_abcd_2222_3333_4444_5555_6666_7777),
        label,
        random: [7; 16],
        is_unique: false,
        now: INVARIANT,
    }
}

/// A sparse file, readable by its owner alone, as mkswap wants it.
fn sparse(scratch: &Scratch, name: &str, size: u64) -> File {
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(scratch.host(name)).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o600)).unwrap();
    file.set_len(size).unwrap();
    file
}

/// Carries a plan out on a sparse file in which nothing stands yet.
fn apply_to_empty(writes: &Writes, file: &File) {
    for write in &writes.0 {
        if let Write::Data { offset, data } = write {
            file.write_all_at(data, offset.0).unwrap();
        }
    }
}

fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

/// The parts of a sparse file that are not holes.
fn data(file: &File) -> Vec<(u64, u64)> {
    let mut parts = Vec::new();
    let mut at = 0;
    while let Ok(start) = seek(file, SeekFrom::Data(at)) {
        at = seek(file, SeekFrom::Hole(start)).unwrap();
        parts.push((start, at));
    }
    parts
}

fn assert_same_bytes(ours: &File, theirs: &File, but_for: &[(u64, u64)], what: &str) {
    for (start, end) in data(ours).into_iter().chain(data(theirs)) {
        let length = (end - start) as usize;
        let (mut a, mut b) = (vec![0; length], vec![0; length]);
        ours.read_exact_at(&mut a, start).unwrap();
        theirs.read_exact_at(&mut b, start).unwrap();
        let differs = (0..length).find(|&index| {
            let byte = start + index as u64;
            a[index] != b[index] && !but_for.iter().any(|&(from, to)| (from..to).contains(&byte))
        });
        if let Some(index) = differs {
            panic!(
                "{what}: byte {:#x} is {:#04x} instead of {:#04x}",
                start + index as u64,
                a[index],
                b[index]
            );
        }
    }
}

fn assert_same_as_mkfs_vfat(scratch: &Scratch, params: &Params) {
    let what = format!("{} bytes in sectors of {}", params.size.0, params.sector_size);
    let (ours, theirs) = (sparse(scratch, "ours", params.size.0), sparse(scratch, "theirs", params.size.0));
    apply_to_empty(&FileSystem::Vfat.plan(params).unwrap(), &ours);
    let mut mkfs = tool("mkfs.vfat").unwrap();
    mkfs.args(["--invariant", "-i", "1234abcd", "-n", params.label, "-F", "32"]);
    // A file of a floppy disk's size is taken for one without this.
    mkfs.args(["-M", "0xf8", "-S", &params.sector_size.to_string()]);
    succeed(mkfs.arg(scratch.inside("theirs")));
    let copy = COPY * u64::from(params.sector_size);
    let but_for = [BOOT_CODE, (copy + BOOT_CODE.0, copy + BOOT_CODE.1)];
    assert_same_bytes(&ours, &theirs, &but_for, &what);
}

#[test]
fn fat_is_byte_for_byte_what_mkfs_vfat_makes() {
    let Some(scratch) = Scratch::new() else { return };
    for size in FAT_SIZES {
        assert_same_as_mkfs_vfat(&scratch, &params(size, 512, "ESP"));
        if size >= 512 * KIB {
            assert_same_as_mkfs_vfat(&scratch, &params(size, 4096, "ROOT-X86-64"));
        }
    }
    assert_same_as_mkfs_vfat(&scratch, &params(40 * MIB, 512, ""));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_fat_is_what_mkfs_vfat_makes(size in 4 * MIB..20 * GIB, shift in 0u32..12, large in any::<bool>()) {
        if let Some(scratch) = Scratch::new() {
            let size = (size >> shift).max(512 * KIB);
            assert_same_as_mkfs_vfat(&scratch, &params(size, if large { 4096 } else { 512 }, "ESP"));
        }
    }
}

/// On a disk that was full of something else; fsck.vfat says "FILE: N files, N/N clusters" and nothing more.
#[test]
fn fsck_vfat_has_nothing_to_say() {
    let Some(scratch) = Scratch::new() else { return };
    for (size, sector_size) in [(MIB, 512), (33 * MIB + 1234, 512), (300 * MIB, 512), (300 * MIB, 4096)] {
        let file = sparse(&scratch, "ours", size);
        let garbage = vec![0xa5; MIB as usize];
        for at in (0..size - MIB + 1).step_by(MIB as usize) {
            file.write_all_at(&garbage, at).unwrap();
        }
        FileSystem::Vfat.plan(&params(size, sector_size, "esp")).unwrap().apply(&file).unwrap();
        let said = succeed(tool("fsck.vfat").unwrap().arg("-n").arg(scratch.inside("ours")));
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 2, "{said}");
        assert!(lines[1].contains(" 1 files, 1/") || lines[1].contains(" 0 files, 1/"), "{said}");
        let found = succeed(tool("blkid").unwrap().args(["-p", "-o", "export"]).arg(scratch.inside("ours")));
        for line in ["LABEL=ESP", "UUID=1234-ABCD", "VERSION=FAT32", "TYPE=vfat"] {
            assert!(found.lines().any(|found| found == line), "{found}");
        }
    }
}

#[test]
fn swap_is_byte_for_byte_what_mkswap_makes() {
    let Some(scratch) = Scratch::new() else { return };
    for size in [40 * KIB, MIB, MIB + 1234, 100 * MIB, 4 * GIB + 4095, 1024 * GIB] {
        for label in ["", "swap", "fifteen charact"] {
            let params = params(size, 512, label);
            let (ours, theirs) = (sparse(&scratch, "ours", size), sparse(&scratch, "theirs", size));
            apply_to_empty(&FileSystem::Swap.plan(&params).unwrap(), &ours);
            let mut mkswap = tool("mkswap").unwrap();
            mkswap.args(["-L", label, "-U", &params.uuid.to_string()]);
            succeed(mkswap.arg(scratch.inside("theirs")));
            assert_same_bytes(&ours, &theirs, &[], &format!("{size} {label}"));
        }
    }
}

/// Swap over any other format: it is never taken for the old format.
#[test]
fn swap_hides_what_was_there_before() {
    let Some(scratch) = Scratch::new() else { return };
    let inside = scratch.inside("disk");
    let makers: [&[&str]; 5] = [
        &["mkfs.ext4", "-q", "-F"],
        &["mkfs.btrfs", "-q", "-f"],
        &["mkfs.vfat", "-F", "32"],
        &[
            "cryptsetup",
            "luksFormat",
            "-q",
            "--key-file",
            "/etc/passwd",
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
        ],
        &["sfdisk", "-q"],
    ];
    for maker in makers {
        let file = sparse(&scratch, "disk", 256 * MIB);
        let mut make = tool(maker[0]).unwrap();
        make.args(&maker[1..]).arg(&inside);
        if maker[0] == "sfdisk" {
            std::fs::write(scratch.host("table"), "label: gpt\n,\n").unwrap();
            make.stdin(File::open(scratch.host("table")).unwrap());
        }
        succeed(&mut make);
        FileSystem::Swap.plan(&params(256 * MIB, 512, "swap")).unwrap().apply(&file).unwrap();
        let found = succeed(tool("wipefs").unwrap().args(["--noheadings", "--output", "TYPE"]).arg(&inside));
        assert_eq!(found.lines().map(str::trim).collect::<Vec<_>>(), ["swap"], "after {maker:?}");
    }
}
