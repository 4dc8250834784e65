//! Empty file systems against the tools that make and check them: e2fsprogs 1.47.2 of Debian 13.

mod common;

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::FileExt,
    process::{Command, Output},
};

use common::{Scratch, tool, with_proc};
use hermetic_init::{
    mkfs::ext4::{self, BlockSize, Journal, Params},
    units::Bytes,
    writes::{Write, Writes},
};
use proptest::prelude::*;
use rustix::fs::{SeekFrom, seek};
use uuid::Uuid;

const MIB: u64 = Bytes::MIB;
const GIB: u64 = Bytes::GIB;
const TIB: u64 = 1024 * GIB;

/// Sizes in bytes, with the block size: the borders of mke2fs's tables, sizes that are not a multiple of a block, last
/// groups that are left out (128 MiB and a little), short ones, and ones that carry backups.
const SIZES: [(u64, BlockSize); 25] = [
    (8 * MIB, BlockSize::B4096),
    (16 * MIB, BlockSize::B4096),
    (32 * MIB, BlockSize::B4096),
    (33 * MIB + 1234, BlockSize::B4096),
    (100 * MIB, BlockSize::B4096),
    (128 * MIB + 200 * 4096, BlockSize::B4096),
    (200 * MIB + 4095, BlockSize::B4096),
    (512 * MIB, BlockSize::B4096),
    (GIB + 300 * MIB + 4097, BlockSize::B4096),
    (2 * GIB + GIB / 10, BlockSize::B4096),
    (16 * GIB, BlockSize::B4096),
    (64 * GIB, BlockSize::B4096),
    (100 * GIB + 77 * MIB + 4096, BlockSize::B4096),
    (TIB, BlockSize::B4096),
    (3 * TIB + GIB + 512, BlockSize::B4096),
    (8 * TIB, BlockSize::B4096),
    (2 * MIB, BlockSize::B1024),
    (8 * MIB, BlockSize::B1024),
    (8 * MIB + 3 * 1024, BlockSize::B1024),
    (33 * MIB + 1234, BlockSize::B1024),
    (130 * MIB, BlockSize::B1024),
    (GIB + 100 * MIB, BlockSize::B1024),
    (3 * GIB, BlockSize::B1024),
    (70 * GIB, BlockSize::B1024),
    (500 * GIB + 12345, BlockSize::B1024),
];

/// Fields of the superblock and its copies in which the two may differ, as byte ranges: `s_kbytes_written`, because
/// each counts its writes in its own way, and `s_checksum`, which covers it. Everything else is equal, with one
/// exception: when the journal's extents have moved from its inode to a block of their own, mke2fs leaves the second to
/// fourth of them behind in the unused slots of `i_block`; we leave zeroes. This shows in the inode, in its checksum
/// and in the superblock's copy of `i_block` ([`LEFT_BEHIND`]).
const MAY_DIFFER: [(u64, u64); 2] = [(0x178, 0x180), (0x3fc, 0x400)];
/// The unused slots of `i_block`, behind header and one entry.
const LEFT_BEHIND: (u64, u64) = (24, 60);
/// `s_jnl_blocks`, the superblock's copy of the journal's `i_block`.
const JOURNAL_COPY: u64 = 0x10c;
/// [`MAY_DIFFER`] as dumpe2fs prints it.
const MAY_DIFFER_LINES: [&str; 2] = ["Lifetime writes:", "Checksum:"];

fn params(size: u64, block_size: BlockSize) -> Params<'static> {
    Params {
        size: Bytes(size),
        uuid: Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888),
        label: "root",
        hash_seed: Uuid::from_u128(0xaaaa_bbbb_cccc_4ddd_8eee_ffff_0000_1111),
        now: 1_767_225_600,
        block_size,
        journal: Journal::Zeroed,
    }
}

/// A sparse file.
fn sparse(scratch: &Scratch, name: &str, size: u64) -> File {
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(scratch.host(name)).unwrap();
    file.set_len(size).unwrap();
    file
}

/// Carries a plan out on a sparse file in which nothing stands yet: zeroes are there already.
fn apply_to_empty(writes: &Writes, file: &File) {
    for write in &writes.0 {
        if let Write::Data { offset, data } = write {
            file.write_all_at(data, offset.0).unwrap();
        }
    }
}

/// Ours, on a sparse file.
fn ours(scratch: &Scratch, name: &str, params: &Params) -> File {
    let file = sparse(scratch, name, params.size.0);
    apply_to_empty(&ext4::plan(params).unwrap(), &file);
    file
}

/// mke2fs with the arguments of systemd's mkfs-util.c, at the same instant.
fn theirs(scratch: &Scratch, name: &str, params: &Params) -> File {
    let file = sparse(scratch, name, params.size.0);
    let options = format!("nodiscard,lazy_itable_init=1,hash_seed={}", params.hash_seed);
    let mut mkfs = tool("mkfs.ext4").unwrap();
    mkfs.env("E2FSPROGS_FAKE_TIME", params.now.to_string());
    mkfs.args(["-q", "-F", "-L", params.label, "-U", &params.uuid.to_string(), "-I", "256", "-m", "0"]);
    mkfs.args(["-E", &options, "-b", &params.block_size.bytes().to_string(), "-T", "default"]);
    succeed(mkfs.arg(scratch.inside(name)));
    file
}

fn succeed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    stdout.into_owned()
}

fn dumpe2fs(scratch: &Scratch, name: &str) -> String {
    succeed(tool("dumpe2fs").unwrap().arg(scratch.inside(name)))
}

/// `e2fsck -fn` finds nothing to say beyond its five passes and the summary.
fn check(scratch: &Scratch, name: &str, label: &str) {
    let mut fsck = tool("e2fsck").unwrap();
    // Late enough for all times in these tests not to be in the future.
    fsck.env("E2FSCK_TIME", "16000000000");
    let said = succeed(fsck.args(["-f", "-n"]).arg(scratch.inside(name)));
    let expected = |line: &str| line.starts_with("Pass ") || line.starts_with(&format!("{label}: "));
    let complaints: Vec<&str> = said.lines().filter(|line| !expected(line)).collect();
    assert_eq!(complaints, Vec::<&str>::new(), "{said}");
    assert_eq!(said.lines().count(), 6, "{said}");
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

/// The numbers that follow `what` in a dump, as block numbers.
fn blocks_after(dump: &str, what: &str) -> Vec<u64> {
    let places = dump.lines().filter_map(|line| line.split_once(what));
    places.map(|(_, rest)| rest.split([',', '-', ' ']).next().unwrap().parse().unwrap()).collect()
}

/// The bytes that may differ, by dumpe2fs's report of mke2fs's file system and by its journal's inode.
fn may_differ(dump: &str, file: &File, block: u64) -> Vec<(u64, u64)> {
    let backups = blocks_after(dump, "Backup superblock at ");
    let superblocks: Vec<u64> = std::iter::once(1024).chain(backups.iter().map(|at| at * block)).collect();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut within = |at: u64, (from, to): (u64, u64)| ranges.push((at + from, at + to));
    for &superblock in &superblocks {
        MAY_DIFFER.iter().for_each(|&range| within(superblock, range));
    }
    let journal = blocks_after(dump, "Inode table at ")[0] * block + 7 * 256;
    let mut depth = [0; 2];
    file.read_exact_at(&mut depth, journal + 0x28 + 6).unwrap();
    if depth != [0; 2] {
        superblocks.iter().for_each(|superblock| within(superblock + JOURNAL_COPY, LEFT_BEHIND));
        within(journal + 0x28, LEFT_BEHIND);
        within(journal, (0x7c, 0x7e));
        within(journal, (0x82, 0x84));
    }
    ranges
}

/// Both files are the same to the byte, but for these ranges.
fn assert_same_bytes(ours: &File, theirs: &File, but_for: &[(u64, u64)], what: &str) {
    let mut parts = data(ours);
    parts.extend(data(theirs));
    for (start, end) in parts {
        let mut at = start;
        while at < end {
            let length = (end - at).min(1 << 20) as usize;
            let (mut a, mut b) = (vec![0; length], vec![0; length]);
            ours.read_exact_at(&mut a, at).unwrap();
            theirs.read_exact_at(&mut b, at).unwrap();
            let differs = |&index: &usize| {
                let byte = at + index as u64;
                a[index] != b[index] && !but_for.iter().any(|&(from, to)| (from..to).contains(&byte))
            };
            if a != b
                && let Some(index) = (0..length).find(differs)
            {
                let byte = at + index as u64;
                panic!("{what}: byte {byte:#x} is {:#04x}, mke2fs has {:#04x}", a[index], b[index]);
            }
            at += length as u64;
        }
    }
}

/// A dump without the lines that may differ.
fn comparable(dump: &str) -> Vec<&str> {
    let differs = |line: &str| MAY_DIFFER_LINES.iter().any(|start| line.starts_with(start));
    dump.lines().filter(|line| !differs(line)).collect()
}

fn assert_same_as_mke2fs(scratch: &Scratch, params: &Params) {
    let what = format!("{} bytes in {:?}", params.size.0, params.block_size);
    let (our_file, their_file) = (ours(scratch, "ours", params), theirs(scratch, "theirs", params));
    let (our_dump, their_dump) = (dumpe2fs(scratch, "ours"), dumpe2fs(scratch, "theirs"));
    let (a, b) = (comparable(&our_dump), comparable(&their_dump));
    if let Some((a, b)) = a.iter().zip(&b).find(|(a, b)| a != b) {
        panic!("{what}:\n  ours: {a}\ntheirs: {b}");
    }
    assert_eq!(a.len(), b.len(), "{what}");
    let but_for = may_differ(&their_dump, &their_file, params.block_size.bytes());
    assert_same_bytes(&our_file, &their_file, &but_for, &what);
}

#[test]
fn ext4_is_byte_for_byte_what_mke2fs_makes() {
    let Some(scratch) = Scratch::new() else { return };
    for (size, block_size) in SIZES {
        assert_same_as_mke2fs(&scratch, &params(size, block_size));
    }
}

/// 8 MiB to 256 GiB by doubling, each with sizes around it that are not powers of two, and two very large ones.
fn every_magnitude() -> Vec<u64> {
    let powers = (0..16).map(|doubled| (8 * MIB) << doubled);
    let around =
        powers.flat_map(|size| [size, size / 7 * 9 + 12345, size / 2 * 3, size * 2 - size / 16 - 4096]);
    around.chain([TIB, 8 * TIB]).collect()
}

/// The fields that people look at: features, inode size and count, journal, reserved blocks, and all others of
/// `dumpe2fs -h`.
#[test]
fn every_magnitude_has_mke2fs_s_superblock_and_no_fault() {
    let Some(scratch) = Scratch::new() else { return };
    let sizes = every_magnitude();
    assert!(sizes.len() >= 60, "{}", sizes.len());
    for size in sizes {
        let params = params(size, BlockSize::B4096);
        ours(&scratch, "ours", &params);
        theirs(&scratch, "theirs", &params);
        let dump = |name| succeed(tool("dumpe2fs").unwrap().arg("-h").arg(scratch.inside(name)));
        let (our_dump, their_dump) = (dump("ours"), dump("theirs"));
        assert_eq!(comparable(&our_dump), comparable(&their_dump), "{size}");
        for field in [
            "Filesystem features:",
            "Inode size:",
            "Inode count:",
            "Total journal size:",
            "Reserved block count:",
        ] {
            assert!(our_dump.contains(field), "{size}: dumpe2fs does not say {field}\n{our_dump}");
        }
        check(&scratch, "ours", "root");
    }
}

#[test]
fn e2fsck_has_nothing_to_say() {
    let Some(scratch) = Scratch::new() else { return };
    for (size, block_size) in SIZES {
        ours(&scratch, "ours", &params(size, block_size));
        check(&scratch, "ours", "root");
    }
}

/// A disk is never empty: everything that is not written holds garbage, as do the inode tables that the kernel zeroes
/// later. When the whole file would take too long, its first 192 MiB are filled: all tables of the first 16 groups.
#[test]
fn garbage_that_was_there_before_does_no_harm() {
    let Some(scratch) = Scratch::new() else { return };
    for (size, block_size) in [
        (8 * MIB, BlockSize::B4096),
        (16 * MIB, BlockSize::B4096),
        (33 * MIB + 1234, BlockSize::B4096),
        (150 * MIB, BlockSize::B4096),
        (2 * GIB + GIB / 10, BlockSize::B4096),
        (8 * MIB, BlockSize::B1024),
        (33 * MIB + 1234, BlockSize::B1024),
    ] {
        let params = params(size, block_size);
        let file = sparse(&scratch, "ours", size);
        let garbage = vec![0xa5; MIB as usize];
        let mut at = 0;
        while at < size.min(192 * MIB) {
            let length = (size - at).min(MIB);
            file.write_all_at(&garbage[..length as usize], at).unwrap();
            at += length;
        }
        ext4::plan(&params).unwrap().apply(&file).unwrap();
        check(&scratch, "ours", "root");

        // The journal is empty in every byte behind its superblock.
        let dump = format!("dump <8> {}", scratch.inside("journal"));
        succeed(tool("debugfs").unwrap().args(["-R", &dump]).arg(scratch.inside("ours")));
        let journal = fs::read(scratch.host("journal")).unwrap();
        assert!(journal.len() as u64 >= 1024 * block_size.bytes());
        assert!(journal[1024..].iter().all(|&byte| byte == 0), "{size}: the journal is not zeroed");
    }
}

/// Has debugfs write transactions into the journal, one for each of these blocks, with a block full of this byte; none is carried out.
fn write_journal(scratch: &Scratch, name: &str, blocks: &[u64], byte: u8) {
    fs::write(scratch.host("block"), vec![byte; 4096]).unwrap();
    let mut script = File::create(scratch.host("script")).unwrap();
    writeln!(script, "journal_open -c -v 3").unwrap();
    for block in blocks {
        writeln!(script, "journal_write -b {block} {}", scratch.inside("block")).unwrap();
    }
    writeln!(script, "journal_close").unwrap();
    let script = scratch.inside("script");
    let said = succeed(tool("debugfs").unwrap().args(["-w", "-f", &script]).arg(scratch.inside(name)));
    assert!(!said.contains("journal_write:"), "{said}");
}

/// A journal that is not zeroed lies on one of the same file system from before, full of transactions. Recovery carries out its own
/// and none of those. With the identity of the zeroed one, and without the zeroes, it carries out all of them.
#[test]
fn recovery_takes_nothing_of_an_older_journal() {
    let Some(scratch) = Scratch::new() else { return };
    let (old, new): (Vec<u64>, u64) = ((20_000..20_040).collect(), 20_100);
    let fresh = params(150 * MIB, BlockSize::B4096);
    let fresh = Params { journal: Journal::Fresh(*b"known to nobody!"), ..fresh };
    for (params, stale) in [(fresh, 0x00), (Params { journal: Journal::Zeroed, ..fresh }, 0x6f)] {
        let file = ours(&scratch, "ours", &Params { journal: Journal::Zeroed, ..params });
        write_journal(&scratch, "ours", &old, 0x6f);
        // The zeroes of the second one are left out.
        apply_to_empty(&ext4::plan(&params).unwrap(), &file);
        write_journal(&scratch, "ours", &[new], 0x4e);
        let mut fsck = tool("e2fsck").unwrap();
        let said = succeed(fsck.args(["-E", "journal_only", "-p"]).arg(scratch.inside("ours")));
        assert!(said.contains("recovering journal"), "{said}");
        let byte = |block: u64| {
            let mut bytes = [0];
            file.read_exact_at(&mut bytes, block * 4096 + 7).unwrap();
            bytes[0]
        };
        assert_eq!(byte(new), 0x4e, "its own transaction");
        // The first of the old ones lies where the new one was written.
        let carried_out: Vec<u8> = old[1..].iter().map(|block| byte(*block)).collect();
        assert_eq!(carried_out, vec![stale; old.len() - 1], "{:?}", params.journal);
        check(&scratch, "ours", "root");
    }
}

/// A journal that is not zeroed costs no byte: of 64 GiB at most 20 MB are written.
#[test]
fn a_fresh_journal_is_not_written() {
    let params = Params { journal: Journal::Fresh([3; 16]), ..params(64 * GIB, BlockSize::B4096) };
    let length = |write: &Write| match write {
        Write::Data { data, .. } => data.as_ref().len() as u64,
        Write::Zero { length, .. } => length.0,
        Write::Barrier => 0,
    };
    let bytes: u64 = ext4::plan(&params).unwrap().0.iter().map(length).sum();
    assert!(bytes <= 20_000_000, "{bytes}");
}

#[test]
fn debugfs_fills_it_and_resize2fs_grows_it() {
    let Some(scratch) = Scratch::new() else { return };
    for (size, block_size) in [
        (33 * MIB + 1234, BlockSize::B4096),
        (2 * GIB + GIB / 10, BlockSize::B4096),
        (33 * MIB + 1234, BlockSize::B1024),
    ] {
        let file = ours(&scratch, "ours", &params(size, block_size));
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        fs::write(scratch.host("content"), &content).unwrap();
        let mut script = File::create(scratch.host("script")).unwrap();
        for n in 0..200 {
            writeln!(script, "mkdir d{n}").unwrap();
        }
        writeln!(script, "write {} d7/file", scratch.inside("content")).unwrap();
        let script = scratch.inside("script");
        succeed(tool("debugfs").unwrap().args(["-w", "-f", &script]).arg(scratch.inside("ours")));
        check(&scratch, "ours", "root");

        file.set_len(size * 3).unwrap();
        // resize2fs wants to see the list of mounts.
        succeed(with_proc(&tool("resize2fs").unwrap()).arg(scratch.inside("ours")));
        check(&scratch, "ours", "root");
        let dump = format!("dump d7/file {}", scratch.inside("back"));
        succeed(tool("debugfs").unwrap().args(["-R", &dump]).arg(scratch.inside("ours")));
        assert!(fs::read(scratch.host("back")).unwrap() == content);
    }
}

#[test]
fn a_long_label_is_cut_between_characters() {
    let Some(scratch) = Scratch::new() else { return };
    let mut params = params(8 * MIB, BlockSize::B4096);
    params.label = "0123456789abcdeé";
    ours(&scratch, "ours", &params);
    check(&scratch, "ours", "0123456789abcde");
    let dump = dumpe2fs(&scratch, "ours");
    assert!(dump.contains("Filesystem volume name:   0123456789abcde\n"), "{dump}");
}

/// A machine without a clock makes its root in 1970, and a wrong clock may say anything.
#[test]
fn any_time_is_kept_as_far_as_it_fits() {
    let Some(scratch) = Scratch::new() else { return };
    let mut params = params(8 * MIB, BlockSize::B4096);
    for (now, raw, created) in [
        (0, "0x00000000:00000000 ", None),
        (1, "0x00000001:00000000 ", Some("Thu Jan  1 00:00:01 1970")),
        (4_102_444_800, "0xf4865700:00000001 ", Some("Fri Jan  1 00:00:00 2100")),
        (u64::MAX, "0x7fffffff:00000003 ", Some("Thu May 10 22:38:55 2446")),
    ] {
        params.now = now;
        ours(&scratch, "ours", &params);
        check(&scratch, "ours", "root");
        let dump = dumpe2fs(&scratch, "ours");
        let found = dump.lines().find_map(|line| line.strip_prefix("Filesystem created:"));
        assert_eq!(found.map(str::trim), created, "{now}");
        // The raw fields: debugfs 1.47.2 takes the lower half for unsigned. The kernel takes it for signed
        // (fs/ext4/ext4.h, ext4_decode_extra_time).
        let stat = succeed(tool("debugfs").unwrap().args(["-R", "stat <2>"]).arg(scratch.inside("ours")));
        for time in ["atime", "ctime", "mtime", "crtime"] {
            assert!(stat.contains(&format!("{time}: {raw}")), "{now}: {stat}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any size up to some 20 GiB, not only selected ones.
    #[test]
    fn any_size_is_what_mke2fs_makes(size in 8 * MIB..20 * GIB, shift in 0u32..10, small in any::<bool>()) {
        if let Some(scratch) = Scratch::new() {
            let block_size = if small { BlockSize::B1024 } else { BlockSize::B4096 };
            assert_same_as_mke2fs(&scratch, &params((size >> shift).max(8 * MIB), block_size));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No write reaches beyond the device, none overlaps another except the wiped end, and one barrier comes last.
    #[test]
    fn writes_stay_in_bounds_and_apart(size in 0..64 * GIB, shift in 0u32..20, small in any::<bool>()) {
        let block_size = if small { BlockSize::B1024 } else { BlockSize::B4096 };
        let size = size >> shift;
        let Ok(plan) = ext4::plan(&params(size, block_size)) else {
            prop_assert!(size < 8 * MIB);
            return Ok(());
        };
        let mut end = 0;
        for (index, write) in plan.0.iter().enumerate() {
            let (start, length) = match write {
                Write::Data { offset, data } => (offset.0, data.len() as u64),
                Write::Zero { offset, length } => (offset.0, length.0),
                Write::Barrier => {
                    prop_assert_eq!(index + 1, plan.0.len());
                    continue;
                }
            };
            prop_assert!(start + length <= size);
            if index > 0 {
                prop_assert!(start >= end, "write {} at {}, the one before ends at {}", index, start, end);
                end = start + length;
            }
        }
        prop_assert_eq!(plan.0.last(), Some(&Write::Barrier));
    }
}
