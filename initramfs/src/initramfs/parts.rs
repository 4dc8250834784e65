//! The parts of an initramfs and their sizes, for the line that says what was packed.

use super::{
    KEY, PROGRAM,
    selection::Selection,
    tables,
    tree::{Kind, Tree},
};
use crate::modules::ModuleName;

/// The parts in the order of the line.
const PARTS: [&str; 7] =
    ["hermetic-init", "drivers", "device mapper and ciphers", "file systems", "tables", "key", "added files"];

/// The content of `tree`, a part each, in kB (1000 bytes, begun ones count): `hermetic-init 1333 kB, …`. A module that several uses
/// need belongs to the first of them.
pub fn line(tree: &Tree, selection: &Selection) -> String {
    let mut bytes = [0; PARTS.len()];
    for (path, entry) in tree.iter() {
        if let Kind::File(content) = &entry.kind
            && let Some(sum) =
                PARTS.iter().position(|name| *name == part(path, selection)).and_then(|at| bytes.get_mut(at))
        {
            *sum += content.len();
        }
    }
    let parts = PARTS.iter().zip(bytes).filter(|(_, bytes)| *bytes > 0);
    parts.map(|(name, bytes)| format!("{name} {}", kilobytes(bytes))).collect::<Vec<_>>().join(", ")
}

/// A size in kB, rounded up.
pub fn kilobytes(bytes: usize) -> String {
    format!("{} kB", bytes.div_ceil(1000))
}

/// The part that the file at this path, without a leading slash, belongs to.
fn part(path: &str, selection: &Selection) -> &'static str {
    let is = |place: &str| place.strip_prefix('/') == Some(path);
    if is(PROGRAM) {
        return "hermetic-init";
    }
    if is(KEY) {
        return "key";
    }
    if [tables::LOAD, tables::ALIAS, tables::DEMAND, tables::DEPEND].into_iter().any(is) {
        return "tables";
    }
    let Some(name) = path.strip_prefix("lib/modules/").and_then(ModuleName::of_path) else {
        return "added files";
    };
    let tables = &selection.tables;
    let has = |list: &Vec<ModuleName>| list.contains(&name);
    let for_use = |is_file_system: bool| {
        tables.demand.iter().any(|(key, list)| key.starts_with("fs-") == is_file_system && has(list))
    };
    match () {
        () if has(&tables.load) || tables.alias.values().any(has) => "drivers",
        () if for_use(false) => "device mapper and ciphers",
        () if for_use(true) => "file systems",
        () => "added files",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_belongs_to_one_part() {
        let list = |names: &[&str]| names.iter().map(|name| ModuleName::new(name)).collect::<Vec<_>>();
        let mut selection = Selection::default();
        selection
            .tables
            .alias
            .insert(("virtio:d2v*".into(), ModuleName::new("virtio_blk")), list(&["virtio_blk"]));
        selection.tables.demand.insert("dm-crypt".into(), list(&["libcrc32c", "dm_crypt"]));
        selection.tables.demand.insert("fs-btrfs".into(), list(&["libcrc32c", "btrfs"]));
        let mut tree = Tree::default();
        for (path, size) in [
            ("/hermetic-init", 1001),
            ("/lib/modules/6.1/virtio-blk.ko", 2000),
            ("/lib/modules/6.1/dm-crypt.ko", 3000),
            ("/lib/modules/6.1/libcrc32c.ko", 1),
            ("/lib/modules/6.1/btrfs.ko", 4000),
            ("/lib/modules/6.1/notes", 5),
            ("/hermetic/modules.alias", 6),
            ("/hermetic/modules.depend", 6),
            ("/hermetic/root.key", 32),
            ("/etc/motd", 1000),
        ] {
            tree.file(path, 0o644, vec![0; size]).unwrap();
        }
        assert_eq!(
            line(&tree, &selection),
            "hermetic-init 2 kB, drivers 2 kB, device mapper and ciphers 4 kB, file systems 4 kB, tables 1 kB, key 1 kB, \
             added files 2 kB"
        );
    }
}
