//! The closure and its order, against kmod's modprobe on Debian's kernel.

mod common;

use std::{collections::BTreeMap, collections::BTreeSet, fmt::Write, fs, path::Path};

use common::{Appliance, Scratch, hermetic, link, program, succeed, tool};

/// Drivers, file systems, targets, algorithms: short and long closures, soft dependencies, aliases.
const NAMES: [&str; 46] = [
    "dm-verity",
    "dm-crypt",
    "dm-mod",
    "dm-integrity",
    "dm-thin-pool",
    "dm-cache-smq",
    "dm-raid",
    "erofs",
    "btrfs",
    "squashfs",
    "overlay",
    "xfs",
    "f2fs",
    "vfat",
    "exfat",
    "isofs",
    "nfsd",
    "nfsv4",
    "cifs",
    "ceph",
    "virtio_blk",
    "virtio_scsi",
    "virtio_net",
    "ahci",
    "ata_piix",
    "sd_mod",
    "sr_mod",
    "nvme-tcp",
    "nvme-rdma",
    "nvmet-fc",
    "xts",
    "aesni-intel",
    "sha256-ssse3",
    "sha256",
    "crypto-aes",
    "lrw",
    "camellia-aesni-avx2",
    "libcrc32c",
    "efivarfs",
    "vfio",
    "cxl_mem",
    "mlx5_core",
    "raid456",
    "hv_storvsc",
    "kvm-intel",
    "vmw_pvscsi",
];

/// modprobe honours the first softdep line of a module alone; we honour all. One line each makes them comparable.
fn merge_soft_dependencies(path: &Path) {
    let mut merged: BTreeMap<String, (String, String)> = BTreeMap::new();
    let text = fs::read_to_string(path).unwrap();
    for line in text.lines().filter(|line| line.starts_with("softdep")) {
        let mut words = line.split(' ').skip(1);
        let (pre, post) = merged.entry(words.next().unwrap().to_owned()).or_default();
        let rest: Vec<_> = words.collect();
        match rest[0] {
            "pre:" => write!(pre, " {}", rest[1..].join(" ")).unwrap(),
            "post:" => write!(post, " {}", rest[1..].join(" ")).unwrap(),
            // Names without either count for nothing.
            _ => {}
        }
    }
    let text: String = merged
        .iter()
        .map(|(module, (pre, post))| format!("softdep {module} pre:{pre} post:{post}\n"))
        .collect();
    fs::write(path, text).unwrap();
}

/// The file names of the modules that `record` names, without directory and compression.
fn modules(record: &str) -> Vec<String> {
    record
        .split_whitespace()
        .filter_map(|path| path.rsplit('/').next()?.split_once(".ko").map(|(stem, _)| stem.to_owned()))
        .collect()
}

#[test]
fn closures_are_those_of_modprobe() {
    let (Some(appliance), Some(scratch)) = (Appliance::find(), Scratch::new("closure")) else { return };
    let release = &appliance.release;
    let tree = scratch.host("root/lib/modules").join(release);
    link(&appliance.modules(), &tree);
    merge_soft_dependencies(&tree.join("modules.softdep"));
    fs::write(scratch.host("init"), program()).unwrap();

    let dep = fs::read_to_string(tree.join("modules.dep")).unwrap();
    let needs: BTreeMap<String, BTreeSet<String>> = dep
        .lines()
        .map(|line| {
            let (module, needs) = line.split_once(':').unwrap();
            (modules(module).remove(0), modules(needs).into_iter().collect())
        })
        .collect();

    let (mut compared, mut longest) = (0, 0);
    let every_tenth = needs.keys().step_by(10).map(String::as_str);
    for name in NAMES.into_iter().chain(every_tenth) {
        let Some(mut modprobe) = tool("modprobe") else { return };
        modprobe.args(["--show-depends", "-S", release, "-d", &scratch.inside("root"), name]);
        let printed = modprobe.output().unwrap();
        let known = printed.status.success();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let expected: String =
            printed.lines().filter(|line| line.starts_with("insmod")).collect::<Vec<_>>().join("\n");
        let expected = modules(&expected);

        let out = scratch.host("out");
        let _ = fs::remove_dir_all(&out);
        let mut builder = hermetic();
        builder.args(["--preset", "none", "--add-module", name]).arg("--root").arg(scratch.host("root"));
        builder.arg("--init").arg(scratch.host("init")).arg("--directory").arg(&out);
        if !known {
            assert!(!builder.output().unwrap().status.success(), "{name}: modprobe does not know it");
            continue;
        }
        succeed(&mut builder);

        let mut records = Vec::new();
        for table in ["modules.alias", "modules.demand"] {
            let text = fs::read_to_string(out.join("hermetic").join(table)).unwrap();
            records.extend(text.lines().map(modules));
        }
        let load = fs::read_to_string(out.join("hermetic/modules.load")).unwrap();
        // The accelerated hash of a record comes first of all for the signatures of the others.
        let is_hash = |record: &Vec<String>| *record == ["sha256-ssse3"] && *record != expected;
        records.extend((!load.is_empty()).then(|| modules(&load)).filter(|record| !is_hash(record)));
        assert!(!records.is_empty() || expected.is_empty(), "{name}: no record");

        for record in records {
            // The very order of modprobe, in which a module that was placed already may come again.
            let mut once = Vec::new();
            expected.iter().for_each(|module| {
                if !once.contains(module) {
                    once.push(module.clone())
                }
            });
            // Of the code pages that a FAT asks the running kernel for modprobe knows nothing; they come first.
            let is_fat = once.iter().any(|module| module == "fat");
            let page = |module: &&String| is_fat && module.starts_with("nls_");
            let (pages, rest) = record.split_at(record.iter().take_while(page).count());
            assert_eq!(rest, once, "{name}");
            assert!(!is_fat || pages.iter().any(|page| page == "nls_cp437"), "{name}: {pages:?}");
            for (at, module) in record.iter().enumerate() {
                let before: BTreeSet<_> = record[..at].iter().cloned().collect();
                assert!(needs[module].is_subset(&before), "{name}: {module} comes before what it needs");
            }
            longest = longest.max(record.len());
        }
        compared += 1;
    }
    eprintln!("{compared} closures as modprobe has them, the longest of {longest} modules");
    assert!(compared >= 100);
}
