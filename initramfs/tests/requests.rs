//! The kernel's own calls for modules (`request_module`), for the presets on Debian's kernel: nobody answers them in the initramfs, so
//! what a packed module asks for is packed beside it or built in.

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use common::{Appliance, Scratch, hermetic, program, succeed};

/// The functions by which a module makes the kernel ask for another one, or for an algorithm that may be one.
const ASKING: [&str; 10] = [
    "__request_module",
    "load_nls",
    "crypto_alloc_acomp",
    "crypto_alloc_aead",
    "crypto_alloc_ahash",
    "crypto_alloc_akcipher",
    "crypto_alloc_kpp",
    "crypto_alloc_shash",
    "crypto_alloc_skcipher",
    "crypto_grab_skcipher",
];

/// The modules that call one of them, and the names that they ask for in what the boot does with them (kernel: the file behind each). A
/// module that is missing here is a new one: look up in its source what it asks for.
const ASKED: [(&str, &[&str]); 7] = [
    // fs/btrfs/super.c: the checksums of btrfs(5).
    ("btrfs", &["crypto-crc32c", "crypto-xxhash64", "crypto-sha256", "crypto-blake2b-256"]),
    // crypto/cryptd.c: what it wraps is named by the module that needs it.
    ("cryptd", &[]),
    // drivers/md/dm-crypt.c: LUKS2's `aes-xts-plain64`; the others belong to modes that are refused.
    ("dm_crypt", &["crypto-xts", "crypto-aes", "crypto-ecb"]),
    // drivers/md/dm-ima.c: the measurement of tables. drivers/md/dm-target.c asks for `dm-TARGET`, which PID 1 loads before.
    ("dm_mod", &["crypto-sha256"]),
    // drivers/md/dm-verity-target.c: the one hash that systemd's images have.
    ("dm_verity", &["crypto-sha256"]),
    // fs/fat/inode.c: the code page and the character set, checked below.
    ("fat", &[]),
    // lib/libcrc32c.c
    ("libcrc32c", &["crypto-crc32c"]),
];

/// crypto/xts.c asks for the mode below it.
const XTS: (&str, &[&str]) = ("xts", &["crypto-ecb"]);

/// The undefined symbols of a module (elf(5), 64 bits, little-endian).
fn undefined(module: &[u8]) -> Vec<String> {
    let number = |at: usize, size: usize| {
        module[at..at + size].iter().rev().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(40, 8), number(58, 2), number(60, 2));
    let header = |index: usize| table + size * index;
    let section = |index: usize| {
        let (start, length) = (number(header(index) + 24, 8), number(header(index) + 32, 8));
        (start, length)
    };
    let symbols = (0..count).find(|index| number(header(*index) + 4, 4) == 2).expect("a symbol table");
    let (names, _) = section(number(header(symbols) + 40, 4));
    let (start, length) = section(symbols);
    let entries = (start..start + length).step_by(24).filter(|at| number(at + 6, 2) == 0);
    entries
        .map(|at| {
            let name = &module[names + number(at, 4)..];
            String::from_utf8(name.split(|byte| *byte == 0).next().unwrap().to_vec()).unwrap()
        })
        .collect()
}

/// The modules by their names, of a file of depmod with `ALIAS` as one word and the module as the next.
fn aliases(modules: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in fs::read_to_string(modules.join("modules.alias")).unwrap().lines() {
        if let ["alias", name, module] = line.split(' ').collect::<Vec<_>>()[..] {
            all.entry(name.into()).or_default().insert(module.replace('-', "_"));
        }
    }
    all
}

/// The names that the kernel has built in: of modules, and their aliases.
fn built_in(modules: &Path) -> BTreeSet<String> {
    let info = fs::read(modules.join("modules.builtin.modinfo")).unwrap();
    let info = String::from_utf8_lossy(&info).into_owned();
    info.split('\0').filter_map(|record| Some(record.split_once(".alias=")?.1.to_owned())).collect()
}

/// A record of a table: its name, and its modules in load order.
type Record = (String, Vec<String>);

fn records(tree: &Path) -> Vec<Record> {
    let mut all = Vec::new();
    for table in ["modules.load", "modules.alias", "modules.demand"] {
        for line in fs::read_to_string(tree.join("hermetic").join(table)).unwrap().lines() {
            let words = line.split(' ').filter_map(|word| word.rsplit('/').next()?.strip_suffix(".ko"));
            let name = line.split(' ').next().unwrap().to_owned();
            all.push((name, words.map(|name| name.replace('-', "_")).collect()));
        }
    }
    all
}

#[test]
fn what_a_packed_module_asks_for_is_packed() {
    let Some(appliance) = Appliance::find() else { return };
    let scratch = Scratch::here("requests");
    fs::write(scratch.host("init"), program()).unwrap();
    let (aliases, built_in) = (aliases(&appliance.modules()), built_in(&appliance.modules()));
    let asked: BTreeMap<&str, &[&str]> = ASKED.into_iter().chain([XTS]).collect();
    let mut checked = 0;
    for preset in ["virtio", "generic"] {
        let tree = scratch.host(preset);
        let mut builder = hermetic();
        builder.args(["--preset", preset]).arg("--init").arg(scratch.host("init"));
        builder.arg("--kernel-modules").arg(appliance.modules()).arg("--directory").arg(&tree);
        succeed(&mut builder);
        let records = records(&tree);
        for entry in fs::read_dir(tree.join("lib/modules").join(&appliance.release)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().replace('-', "_");
            let name = name.strip_suffix(".ko").unwrap();
            let asking = undefined(&fs::read(entry.path()).unwrap());
            if !asking.iter().any(|symbol| ASKING.contains(&symbol.as_str())) {
                continue;
            }
            let names = asked.get(name).unwrap_or_else(|| panic!("{preset}: {name} asks by {asking:?}"));
            for (use_, modules) in
                records.iter().filter(|(_, modules)| modules.iter().any(|module| module == name))
            {
                let fallback = format!("{use_}.fallback");
                let fallback = records.iter().find(|(name, _)| *name == fallback);
                let packed = |module: &String| {
                    modules.contains(module) || fallback.is_some_and(|(_, modules)| modules.contains(module))
                };
                for asked in names.iter() {
                    let is_packed = aliases.get(*asked).is_some_and(|found| found.iter().any(packed));
                    assert!(
                        is_packed || built_in.contains(*asked),
                        "{preset}, {use_}: {name} asks for {asked}: {modules:?}"
                    );
                    checked += 1;
                }
                if name == "fat" {
                    // fs/fat/Kconfig as Debian has it.
                    for page in ["nls_cp437", "nls_ascii"] {
                        assert!(modules.iter().any(|module| module == page), "{preset}, {use_}: {modules:?}");
                    }
                }
            }
        }
        assert_eq!(records.iter().any(|(name, _)| name == "fs-vfat"), preset == "generic");
    }
    eprintln!("{checked} names that packed modules ask for are packed or built in");
    assert!(checked >= 12);
}
