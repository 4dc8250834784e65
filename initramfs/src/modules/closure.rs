//! The modules that must be loaded for some modules, in load order.
//!
//! The order is kmod's: the dependencies of modules.dep from the last to the first, each behind its own soft
//! dependencies, then the module's soft ones, then the module, then the modules that it wants after itself. A built-in
//! module needs nothing, and a soft dependency that the kernel does not know is left out, as modprobe does.

use std::collections::BTreeMap;

use super::{Found, Index, ModuleName};

/// The progress of the walk at a module.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Its dependencies are being placed.
    Open,
    /// It has its place in the order.
    Placed,
}

struct Walk<'a> {
    index: &'a Index,
    marks: BTreeMap<ModuleName, Mark>,
    order: Vec<ModuleName>,
}

/// The modules to load for `wanted`, themselves included, each once and behind the modules that it needs.
pub fn closure<'a>(index: &Index, wanted: impl IntoIterator<Item = &'a ModuleName>) -> Vec<ModuleName> {
    let mut walk = Walk { index, marks: BTreeMap::new(), order: Vec::new() };
    for name in wanted {
        walk.place(name);
    }
    walk.order
}

impl Walk<'_> {
    fn place(&mut self, name: &ModuleName) {
        let index = self.index;
        let Some(module) = index.module(name) else { return };
        if self.marks.contains_key(name) {
            return;
        }
        self.marks.insert(name.clone(), Mark::Open);
        for needs in module.needs.iter().rev() {
            self.place(needs);
        }
        let mut later = Vec::new();
        if let Some(soft) = index.soft(name) {
            for found in soft.pre.iter().flat_map(|name| index.resolve(name)) {
                match found {
                    // Wanted before, but it needs a module that waits for this one: a loop that only goes the other
                    // way round, because a dependency by symbols is hard and this one is soft.
                    Found::Module(before) if self.needs_open(&before) => later.push(before),
                    Found::Module(before) => self.place(&before),
                    Found::Builtin(_) => {}
                }
            }
            for found in soft.post.iter().flat_map(|name| index.resolve(name)) {
                if let Found::Module(after) = found {
                    later.push(after);
                }
            }
        }
        self.order.push(name.clone());
        self.marks.insert(name.clone(), Mark::Placed);
        for after in &later {
            self.place(after);
        }
    }

    fn needs_open(&self, name: &ModuleName) -> bool {
        self.index
            .module(name)
            .is_some_and(|module| module.needs.iter().any(|needs| self.marks.get(needs) == Some(&Mark::Open)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(index: &Index, wanted: &[&str]) -> Vec<String> {
        let wanted: Vec<_> = wanted.iter().map(|name| ModuleName::new(name)).collect();
        closure(index, &wanted).iter().map(|name| name.as_str().to_owned()).collect()
    }

    #[test]
    fn dependencies_come_first_and_each_once() {
        let index = Index::from_texts(
            "dm-verity.ko: dm-bufio.ko dm-mod.ko reed_solomon.ko\ndm-bufio.ko: dm-mod.ko\ndm-mod.ko:\n\
             reed_solomon.ko:\ndm-crypt.ko: dm-mod.ko\n",
            "",
            "",
            "",
        );
        assert_eq!(
            order(&index, &["dm-verity", "dm_crypt", "dm-mod"]),
            ["reed_solomon", "dm_mod", "dm_bufio", "dm_verity", "dm_crypt"]
        );
    }

    #[test]
    fn soft_dependencies_are_placed_around_the_module() {
        let index = Index::from_texts(
            "erofs.ko: libcrc32c.ko\nlibcrc32c.ko:\ncrc32c-intel.ko:\nafter.ko:\n",
            "alias crc32c crc32c_intel\n",
            "softdep libcrc32c pre: crc32c nobody ecb\nsoftdep erofs post: after\n",
            "kernel/crypto/ecb.ko\n",
        );
        assert_eq!(order(&index, &["erofs"]), ["crc32c_intel", "libcrc32c", "erofs", "after"]);
        assert_eq!(order(&index, &["nobody"]), Vec::<String>::new());
    }

    #[test]
    fn soft_loops_end_and_never_break_a_hard_dependency() {
        let index =
            Index::from_texts("a.ko:\nb.ko: a.ko\nc.ko:\n", "", "softdep a pre: b c\nsoftdep c pre: a\n", "");
        assert_eq!(order(&index, &["b"]), ["c", "a", "b"]);
        assert_eq!(order(&index, &["a"]), ["c", "a", "b"]);
        let index = Index::from_texts("a.ko: b.ko\nb.ko: a.ko\n", "", "", "");
        assert_eq!(order(&index, &["a"]), ["b", "a"]);
    }
}
