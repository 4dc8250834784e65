//! An empty btrfs against the tools that make and check it: btrfs-progs 6.14 of Debian 13.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    process::{Command, Output},
};

use common::{Scratch, tool, with_proc};
use hermetic_init::{
    disk::probe,
    mkfs::btrfs::{self, Choices, Params, Profile, Subvolume, SubvolumeFlags},
    units::Bytes,
    writes::Write,
};
use proptest::prelude::*;
use uuid::Uuid;

const MIB: u64 = Bytes::MIB;
const GIB: u64 = Bytes::GIB;
const TIB: u64 = 1024 * GIB;

/// The smallest, the borders of chunk sizes (320 MiB to 640 MiB, 2.5 GiB, 50 GiB), the borders of the superblock's
/// second copy (256 GiB), sizes that are not whole sectors, and the largest.
const SIZES: [u64; 34] = [
    256 * MIB,
    256 * MIB + 4095,
    256 * MIB + 65536,
    300 * MIB + 1234,
    320 * MIB,
    500 * MIB,
    640 * MIB - 4096,
    640 * MIB,
    640 * MIB + 655_360,
    777 * MIB + 7 * 4096,
    GIB,
    GIB + 12_288,
    2 * GIB,
    2_684_354_559,
    5 * GIB / 2,
    5 * GIB / 2 + 4096,
    4 * GIB + 4096,
    10 * GIB,
    32 * GIB - 512,
    50 * GIB - 4096,
    50 * GIB,
    50 * GIB + 4096,
    64 * GIB,
    100 * GIB + 77 * MIB,
    256 * GIB - 4096,
    256 * GIB,
    257 * GIB + 4095,
    256 * GIB + 4096,
    256 * GIB + MIB,
    500 * GIB + 3 * 4096,
    TIB,
    3 * TIB + 512,
    8 * TIB,
    15 * TIB,
];

fn params(size: u64, metadata: Profile) -> Params<'static> {
    Params {
        size: Bytes(size),
        uuid: Uuid::from_u128(0x1111_2222_3333_4444_5555_6666_7777_8888),
        label: "root",
        seed: Uuid::from_u128(0xaaaa_bbbb_cccc_4ddd_8eee_ffff_0000_1111),
        now: 1_767_225_600,
        choices: Choices { metadata, ..Choices::default() },
    }
}

fn sparse(scratch: &Scratch, name: &str, size: u64) -> File {
    let file =
        File::options().read(true).write(true).create(true).truncate(true).open(scratch.host(name)).unwrap();
    file.set_len(size).unwrap();
    file
}

/// Ours, on a sparse file.
fn ours(scratch: &Scratch, params: &Params) -> File {
    let file = sparse(scratch, "ours", params.size.0);
    btrfs::plan(params).unwrap().apply(&file).unwrap();
    file
}

/// mkfs.btrfs, with all parameters that it has; `options` come first.
fn theirs(scratch: &Scratch, params: &Params, options: &[&str]) -> File {
    let file = sparse(scratch, "theirs", params.size.0);
    let profile = if params.choices.metadata == Profile::Dup { "dup" } else { "single" };
    let mut mkfs = btrfs_tool("mkfs.btrfs");
    mkfs.args(options).args(["-q", "-m", profile, "-L", params.label, "-U", &params.uuid.to_string()]);
    succeed(mkfs.arg(scratch.inside("theirs")));
    file
}

/// A tool of btrfs-progs: they look for mounted file systems, so there is a /proc.
fn btrfs_tool(name: &str) -> Command {
    with_proc(&tool(name).unwrap())
}

fn succeed(command: &mut Command) -> (String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}{stderr}");
    (stdout.into_owned(), stderr.into_owned())
}

fn inspect(scratch: &Scratch, words: &[&str], name: &str) -> String {
    let mut btrfs = btrfs_tool("btrfs");
    succeed(btrfs.arg("inspect-internal").args(words).arg(scratch.inside(name))).0
}

/// `btrfs check` prints only its progress and its counts.
fn check(scratch: &Scratch, what: &str) {
    let mut check = btrfs_tool("btrfs");
    let (said, steps) =
        succeed(check.args(["check", "--readonly", "--check-data-csum"]).arg(scratch.inside("ours")));
    let expected = [
        "Opening filesystem",
        "Checking filesystem",
        "UUID: ",
        "found ",
        "total ",
        "btree space waste",
        "file data blocks",
        " referenced ",
    ];
    let complaints: Vec<&str> =
        said.lines().filter(|line| !expected.iter().any(|start| line.starts_with(start))).collect();
    assert_eq!(complaints, Vec::<&str>::new(), "{what}: {said}");
    assert!(said.contains("no error found"), "{what}: {said}");
    let complaints: Vec<&str> = steps.lines().filter(|line| !line.starts_with('[')).collect();
    assert_eq!(complaints, Vec::<&str>::new(), "{what}: {steps}");
}

/// dump-super without what must differ: checksums, where the trees are and of which transaction (ours is the first and
/// only one), earlier roots, and the device's UUID, which is random in mkfs.btrfs.
fn superblocks(scratch: &Scratch, name: &str) -> Vec<String> {
    let differs = [
        "csum\t",
        "generation",
        "root\t",
        "chunk_root\t",
        "chunk_root_generation",
        "dev_item.uuid",
        "dev_uuid",
        "superblock: ",
    ];
    let dump = inspect(scratch, &["dump-super", "--all", "--full"], name);
    let mut earlier = false;
    let mut lines = Vec::new();
    for line in dump.lines().map(str::trim) {
        earlier = (earlier || line.starts_with("backup_roots")) && !line.starts_with("superblock: ");
        if !earlier && !differs.iter().any(|start| line.starts_with(start)) {
            lines.push(line.to_owned());
        }
    }
    lines
}

/// The items of each tree as dump-tree prints them, without the parts that must differ: addresses of blocks,
/// generations, random UUIDs, times. The free-space tree is left to `btrfs check`: it has the places of blocks, and
/// mkfs.btrfs leaves records of its temporary chunks in it.
fn trees(scratch: &Scratch, name: &str) -> BTreeMap<String, Vec<String>> {
    const TITLES: [&str; 8] = [
        "root tree",
        "chunk tree",
        "extent tree",
        "device tree",
        "fs tree",
        "checksum tree",
        "uuid tree",
        "data reloc",
    ];
    let skipped = [
        "uuid",
        "dev_uuid",
        "chunk_tree_uuid",
        "ctime",
        "otime",
        "atime",
        "mtime",
        "leaf",
        "fs uuid",
        "chunk uuid",
    ];
    let numbered = [
        "generation",
        "generation_v2",
        "gen",
        "bytenr",
        "transid",
        "itemoff",
        "item",
        "ctransid",
        "otransid",
        "sequence",
    ];
    let dump = inspect(scratch, &["dump-tree"], name);
    let mut trees: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut tree = None;
    for line in dump.lines() {
        if !line.starts_with('\t') && !line.starts_with("leaf") && !line.contains(" uuid ") {
            tree = TITLES.iter().find(|title| line.starts_with(*title));
            continue;
        }
        let line = line.trim();
        let Some(tree) = tree else { continue };
        if skipped.iter().any(|start| line.starts_with(start)) {
            continue;
        }
        let mut words: Vec<&str> = line.split_whitespace().collect();
        for at in 1..words.len() {
            if numbered.contains(&words[at - 1]) {
                words[at] = "*";
            }
        }
        let mut line = words.join(" ");
        if line.contains("METADATA_ITEM") || line.contains("UUID_KEY_SUBVOL") {
            line = words[words.len() - 2..].join(" ");
        }
        trees.entry((*tree).to_owned()).or_default().push(line);
    }
    // Blocks of trees come in the order of their addresses, which differ.
    if let Some(extents) = trees.get_mut("extent tree") {
        extents.sort();
    }
    trees
}

#[test]
fn chunks_features_and_items_are_those_of_mkfs_btrfs_and_check_finds_nothing() {
    let Some(scratch) = Scratch::new() else { return };
    for (index, size) in SIZES.into_iter().enumerate() {
        let profile = if index % 3 == 2 { Profile::Single } else { Profile::Dup };
        let params = params(size, profile);
        let what = format!("{size} bytes, {profile:?}");
        ours(&scratch, &params);
        theirs(&scratch, &params, &[]);
        assert_eq!(superblocks(&scratch, "ours"), superblocks(&scratch, "theirs"), "{what}");
        let (our_trees, their_trees) = (trees(&scratch, "ours"), trees(&scratch, "theirs"));
        for (title, items) in &their_trees {
            assert_eq!(our_trees.get(title), Some(items), "{what}: {title}");
        }
        // The checksum tree has no items.
        assert_eq!((our_trees.len(), their_trees.len()), (7, 7), "{what}");
        check(&scratch, &what);
    }
}

/// mkfs.btrfs makes subvolumes of the directories of a tree that it copies.
#[test]
fn subvolumes_are_those_of_mkfs_btrfs() {
    let Some(scratch) = Scratch::new() else { return };
    for directory in ["tree/var", "tree/home", "tree/srv/x"] {
        std::fs::create_dir_all(scratch.host(directory)).unwrap();
    }
    let subvolumes = [
        Subvolume { path: "/var", flags: SubvolumeFlags { read_only: true, no_cow: false } },
        Subvolume { path: "/home", flags: SubvolumeFlags::default() },
        Subvolume { path: "/srv//x/", flags: SubvolumeFlags::default() },
    ];
    let mut params = params(512 * MIB, Profile::Dup);
    params.choices.subvolumes = &subvolumes;
    params.choices.default_subvolume = Some("/srv/x");
    ours(&scratch, &params);
    check(&scratch, "subvolumes");
    let root = scratch.inside("tree");
    let words = ["-r", &root, "--subvol", "ro:var", "--subvol", "rw:home", "--subvol", "default:srv/x"];
    theirs(&scratch, &params, &words);
    assert_eq!(superblocks(&scratch, "ours"), superblocks(&scratch, "theirs"));
    let items = |name: &str, tree: &str| trees(&scratch, name)[tree].clone();
    assert_eq!(items("ours", "root tree"), items("theirs", "root tree"));
    // Indices follow the order in which mkfs.btrfs reads its directory. Entries of subvolumes lead to the newest root as
    // in the kernel; those of mkfs.btrfs to root 0, which is the same.
    let entries = |name: &str| -> BTreeSet<String> {
        let dump = inspect(&scratch, &["dump-tree", "-t", "5"], name).replace("18446744073709551615", "0");
        let lines: Vec<&str> = dump.lines().map(str::trim).collect();
        let entry = |pair: &[&str]| format!("{} {}", pair[0], pair[1]);
        let pairs = lines.windows(3).filter(|three| three[0].starts_with("location"));
        pairs.map(|three| entry(&[three[0], three[2]])).collect()
    };
    assert_eq!(entries("ours"), entries("theirs"));
    assert_eq!(entries("ours").len(), 4);
}

#[test]
fn trees_of_many_blocks_are_sound() {
    let Some(scratch) = Scratch::new() else { return };
    let long = "a-name-that-makes-leaves-full-".repeat(8);
    let paths: Vec<String> = (0..300).map(|n| format!("/{long}{}/sub-{n}/{long}", n % 100)).collect();
    let nested = paths.iter().take(40).map(|path| format!("{path}/inner"));
    let all: Vec<String> = nested.chain(paths.iter().cloned()).collect();
    let subvolumes: Vec<Subvolume> = all
        .iter()
        .enumerate()
        .map(|(n, path)| Subvolume {
            path,
            flags: SubvolumeFlags { read_only: n % 3 == 0, no_cow: n % 5 == 0 },
        })
        .collect();
    let mut params = params(64 * GIB, Profile::Dup);
    params.choices.subvolumes = &subvolumes;
    ours(&scratch, &params);
    check(&scratch, "340 subvolumes");
    let dump = inspect(&scratch, &["dump-tree"], "ours");
    for owner in ["ROOT_TREE", "EXTENT_TREE", "FS_TREE"] {
        let is_node = |line: &str| line.starts_with("node ") && line.ends_with(&format!("owner {owner}"));
        assert!(dump.lines().any(is_node), "{owner} has one block");
    }
    assert_eq!(dump.matches("root backref key").count(), 340);
}

/// A disk is never empty: where nothing is written there is garbage, and other formats' superblocks are in the way.
#[test]
fn what_was_there_before_does_no_harm_and_is_not_found() {
    let Some(scratch) = Scratch::new() else { return };
    let size = 300 * MIB + 512;
    let file = sparse(&scratch, "ours", size);
    let garbage = vec![0xa5; MIB as usize];
    for at in (0..160 * MIB).chain(size - 2 * MIB..size - MIB).step_by(MIB as usize) {
        file.write_all_at(&garbage, at).unwrap();
    }
    succeed(tool("mkfs.ext4").unwrap().args(["-q", "-F"]).arg(scratch.inside("ours")));
    // Magic numbers of LUKS, of RAID at the end (version 1.0), of ZFS's last label.
    file.write_all_at(b"LUKS\xba\xbe\0\x02", 0).unwrap();
    file.write_all_at(&0xa92b_4efcu32.to_le_bytes(), (size / 512 - 16) / 8 * 8 * 512).unwrap();
    let plan = btrfs::plan(&params(size, Profile::Dup)).unwrap();
    plan.apply(&file).unwrap();
    check(&scratch, "over garbage");
    let mut wipefs = with_proc(&tool("wipefs").unwrap());
    let found = succeed(wipefs.args(["--noheadings", "--output", "TYPE"]).arg(scratch.inside("ours"))).0;
    assert_eq!(found.trim(), "btrfs");
}

#[test]
fn any_time_and_any_label_are_kept_as_far_as_they_fit() {
    let Some(scratch) = Scratch::new() else { return };
    let long = format!("{}é", "x".repeat(254));
    for (now, label, kept) in [(0, "", ""), (1, "ä b", "ä b"), (u64::MAX, long.as_str(), &long[..254])] {
        let file = ours(&scratch, &Params { now, label, ..params(256 * MIB, Profile::Dup) });
        check(&scratch, &format!("{now} {label}"));
        let mut start = vec![0; probe::LENGTH];
        file.read_exact_at(&mut start, 0).unwrap();
        assert_eq!(probe::probe(&start).unwrap().label, kept);
        let mut blkid = with_proc(&tool("blkid").unwrap());
        let found = succeed(blkid.args(["-p", "-o", "value", "-s", "LABEL"]).arg(scratch.inside("ours"))).0;
        assert_eq!(found.trim_end(), kept);
    }
}

/// mkfs.btrfs writes at least the blocks of its file afterwards.
#[test]
fn never_more_is_written_than_by_mkfs_btrfs() {
    let Some(scratch) = Scratch::new() else { return };
    for size in [256 * MIB, 64 * GIB, TIB] {
        let params = params(size, Profile::Dup);
        let written = btrfs::plan(&params).unwrap().volume();
        let at_least = Bytes(theirs(&scratch, &params, &[]).metadata().unwrap().blocks() * 512);
        println!("{}: {written}, mkfs.btrfs at least {at_least}", params.size);
        assert!(written < at_least, "{}: {written}, mkfs.btrfs {at_least}", params.size);
    }
}

#[test]
fn what_cannot_be_made_is_refused() {
    let refused = |subvolumes: &[&str], default: Option<&str>, size: u64, metadata| {
        let subvolumes: Vec<Subvolume> =
            subvolumes.iter().map(|&path| Subvolume { path, flags: SubvolumeFlags::default() }).collect();
        let choices = Choices { metadata, subvolumes: &subvolumes, default_subvolume: default };
        btrfs::plan(&Params { choices, ..params(size, metadata) }).unwrap_err().to_string()
    };
    let dup = Profile::Dup;
    assert_eq!(
        refused(&[], None, 256 * MIB - 1, dup),
        "btrfs: 255.9 MiB is too small, at least 256 MiB are needed; make the partition larger"
    );
    for path in ["var", "", "/", "//.", "/a/../b", "/a\0b", &format!("/{}", "x".repeat(256))] {
        let expected = format!(
            "btrfs: {path:?} is no path of a subvolume; write it from the top like /var, without \"..\""
        );
        assert_eq!(refused(&[path], None, GIB, dup), expected);
    }
    assert_eq!(
        refused(&["/a/b", "/a/./b/"], None, GIB, dup),
        "btrfs: subvolume \"/a/./b/\" is asked for twice; remove one of them"
    );
    assert_eq!(
        refused(&["/a/b"], Some("/a"), GIB, dup),
        "btrfs: the default subvolume \"/a\" is none of the subvolumes; add it to them"
    );
    let many: Vec<String> = (0..121).map(|n| format!("/{n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        refused(&many, None, GIB, Profile::Single),
        "btrfs: 121 subvolumes leave no room for files; ask for fewer"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// No write reaches beyond the device; after the two wiped ends none overlaps another; superblocks come behind a
    /// barrier, the first one last.
    #[test]
    fn writes_stay_in_bounds_and_apart(size in 0..1u64 << 52, shift in 0u32..32, single in any::<bool>()) {
        let (size, profile) = (size >> shift, if single { Profile::Single } else { Profile::Dup });
        let Ok(plan) = btrfs::plan(&params(size, profile)) else {
            prop_assert!(size < 256 * MIB);
            return Ok(());
        };
        let mut written: Vec<(u64, u64)> = Vec::new();
        for (index, write) in plan.0.iter().enumerate() {
            let (start, length) = match write {
                Write::Data { offset, data } => (offset.0, data.len() as u64),
                Write::Zero { offset, length } => {
                    prop_assert!(index < 2);
                    (offset.0, length.0)
                }
                Write::Barrier => continue,
            };
            prop_assert!(start + length <= size);
            if index > 1 {
                prop_assert!(written.iter().all(|&(from, to)| start + length <= from || to <= start));
                written.push((start, start + length));
            }
        }
        prop_assert_eq!(plan.0.last(), Some(&Write::Barrier));
        let before = &plan.0[plan.0.len() - 2];
        let primary = matches!(before, Write::Data { offset: Bytes(65536), data } if data.len() == 4096);
        prop_assert!(primary);
        prop_assert!(plan.0[..plan.0.len() - 1].contains(&Write::Barrier));
    }
}
