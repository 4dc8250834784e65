//! Matches the modules that a preset and the user ask for with those of the kernel: the tables, the modules left out,
//! those built in.

use super::{
    Error,
    preset::{self, Preset, Use},
    tables::Tables,
};
use crate::modules::{Found, Index, ModuleName, closure::closure};

/// The modules of an initramfs, sorted into the tables by which they are loaded.
#[derive(Default, Debug)]
pub struct Selection {
    /// The tables by which they are loaded.
    pub tables: Tables,
    /// The modules that the preset names and this kernel does not have.
    pub left_out: Vec<String>,
    /// The modules that are asked for and built into this kernel.
    pub built_in: Vec<String>,
}

/// A pattern for devices on a bus, as opposed to the other names that modules answer to (`fs-`, `crypto-`,
/// `char-major-`, …). A processor's features are not devices either: the algorithms for them belong to their user.
fn is_hardware(alias: &str) -> bool {
    alias.contains(':') && !alias.starts_with("devname:") && !alias.starts_with("cpu:")
}

impl Selection {
    /// Chooses by `preset`, and `added` in any case.
    ///
    /// # Errors
    /// When the kernel has no module that `added` names.
    pub fn new(index: &Index, preset: Preset, added: &[String]) -> Result<Self, Error> {
        let mut selection = Self::default();
        for driver in preset.drivers() {
            if let Some(module) = selection.have(index, driver)
                && !selection.driver(index, &module)
            {
                selection.at_start(index, &module);
            }
        }
        for used in preset.uses() {
            selection.used(index, used);
        }
        for name in preset.file_systems() {
            if let Some(module) = selection.have(index, name)
                && !selection.file_system(index, &module)
            {
                selection.tables.demand.insert(format!("fs-{name}"), closure(index, [&module]));
            }
        }
        for name in added {
            selection.added(index, name)?;
        }
        let all: Vec<ModuleName> = selection.tables.modules().into_iter().cloned().collect();
        for module in all {
            let mut before = closure(index, [&module]);
            before.truncate(before.iter().position(|other| *other == module).unwrap_or_default());
            selection.tables.depend.insert(module, before);
        }
        Ok(selection)
    }

    /// The module of that name, if there is something to load; otherwise it is noted why not.
    fn have(&mut self, index: &Index, name: &str) -> Option<ModuleName> {
        match index.by_name(name) {
            Some(Found::Module(module)) => return Some(module),
            Some(Found::Builtin(_)) => self.built_in.push(name.to_owned()),
            None => self.left_out.push(name.to_owned()),
        }
        None
    }

    fn at_start(&mut self, index: &Index, module: &ModuleName) {
        for module in closure(index, [module]) {
            if !self.tables.load.contains(&module) {
                self.tables.load.push(module);
            }
        }
    }

    /// Records for the devices that `module` drives; false when it drives none.
    fn driver(&mut self, index: &Index, module: &ModuleName) -> bool {
        let list = closure(index, [module]);
        let mut any = false;
        for pattern in index.aliases(module).filter(|alias| is_hardware(alias)) {
            self.tables.alias.insert((pattern.to_owned(), module.clone()), list.clone());
            any = true;
        }
        any
    }

    /// Records for the file systems that `module` mounts, with the code pages for which a FAT asks the kernel; false when it mounts none.
    fn file_system(&mut self, index: &Index, module: &ModuleName) -> bool {
        let mut wanted = Vec::new();
        if closure(index, [module]).contains(&ModuleName::new("fat")) {
            let pages = index.code_pages().iter().filter_map(|name| index.by_name(name));
            wanted.extend(pages.filter_map(|found| match found {
                Found::Module(page) => Some(page),
                Found::Builtin(_) => None,
            }));
        }
        wanted.push(module.clone());
        let list = closure(index, &wanted);
        let mut any = false;
        for alias in index.aliases(module).filter(|alias| alias.starts_with("fs-")) {
            self.tables.demand.insert(alias.to_owned(), list.clone());
            any = true;
        }
        any
    }

    /// Moves the accelerated SHA-256 that a record has to the start: the kernel hashes every signed module, and its portable
    /// code takes a hundred instructions a byte for that.
    pub fn hash_modules_fast(&mut self, index: &Index) {
        let fast = preset::VERITY.accelerated.iter().filter_map(|name| match index.by_name(name)? {
            Found::Module(module) => Some(module),
            Found::Builtin(_) => None,
        });
        let records: Vec<_> = self.tables.demand.values().flatten().collect();
        if let Some(module) = fast.into_iter().find(|module| records.contains(&module)) {
            let first = closure(index, [&module]);
            self.tables.load.retain(|module| !first.contains(module));
            self.tables.load.splice(..0, first);
        }
    }

    /// Records for something that the boot uses by name. The best variant that the kernel has goes with it, the others
    /// into the fallback; without any, or with one that is built in, the portable one is loaded in any case.
    fn used(&mut self, index: &Index, used: &Use) {
        let known = index.by_name(used.module).is_some();
        let module = self.have(index, used.module);
        if !known {
            return;
        }
        let mut variants = used.accelerated.iter().filter(|name| index.by_name(name).is_some());
        let best = variants.next();
        if best.is_none() && !used.accelerated.is_empty() {
            self.left_out.push(format!("{} (any of: {})", used.name, used.accelerated.join(", ")));
        }
        let mut first: Vec<_> = best.and_then(|name| self.have(index, name)).into_iter().collect();
        let mut fallback: Vec<_> =
            variants.chain(used.portable).filter_map(|name| self.have(index, name)).collect();
        // A module that is built in does nothing on a processor without the feature.
        if first.is_empty() {
            first.append(&mut fallback);
        }
        // A target that is built in still asks for algorithms that may be modules.
        first.extend(module);
        self.demand(index, used.name, &first, &fallback);
    }

    fn demand(&mut self, index: &Index, name: &str, first: &[ModuleName], fallback: &[ModuleName]) {
        for (name, modules) in [(name.to_owned(), first), (format!("{name}.fallback"), fallback)] {
            if !modules.is_empty() {
                self.tables.demand.insert(name, closure(index, modules));
            }
        }
    }

    /// A module that the user named: a driver waits for its device, a file system and a device-mapper target for their
    /// use, anything else is loaded at the start.
    fn added(&mut self, index: &Index, name: &str) -> Result<(), Error> {
        let found = index.resolve(name);
        if found.is_empty() {
            return Err(Error::NoSuchModule { name: name.to_owned(), release: index.release().to_owned() });
        }
        for found in found {
            let module = match found {
                Found::Module(module) => module,
                Found::Builtin(module) => {
                    self.built_in.push(module.as_str().to_owned());
                    continue;
                }
            };
            let target = module.as_str().replace('_', "-");
            let mut placed = self.driver(index, &module);
            placed |= self.file_system(index, &module);
            if target.starts_with("dm-") && target != "dm-mod" {
                self.tables.demand.entry(target).or_insert_with(|| closure(index, [&module]));
                placed = true;
            }
            if !placed {
                self.at_start(index, &module);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "dm-mod.ko:\ndm-crypt.ko: dm-mod.ko\ndm-verity.ko: dm-mod.ko\nxts.ko:\ncryptd.ko:\n\
                       aesni-intel.ko: cryptd.ko\nvirtio_blk.ko:\nerofs.ko:\nvfat.ko: fat.ko\nfat.ko:\nloop.ko:\n";
    const ALIAS: &str = "alias virtio:d00000002v* virtio_blk\nalias fs-erofs erofs\nalias fs-vfat vfat\n\
                         alias cpu:type:x86* aesni_intel\nalias crypto-aes aesni_intel\nalias devname:loop-control loop\n";
    const BUILTIN: &str = "a/virtio_pci.ko\na/sha256_generic.ko\na/aes_generic.ko\na/efivarfs.ko\n";

    fn show(tables: &Tables) -> String {
        let [load, alias, demand, _] = tables.files(|module| module.to_string()).map(|(_, text)| text);
        [load, alias, demand].join("--\n")
    }

    #[test]
    fn a_preset_takes_what_the_kernel_has() {
        let index = Index::from_texts(DEP, ALIAS, "", BUILTIN);
        let selection = Selection::new(&index, Preset::Virtio, &[]).unwrap();
        assert_eq!(
            show(&selection.tables),
            "--\nvirtio:d00000002v* virtio_blk\n--\ndm-crypt cryptd aesni_intel dm_mod dm_crypt\n\
             dm-crypt.fallback xts\ndm-verity dm_mod dm_verity\nfs-erofs erofs\n"
        );
        assert_eq!(
            selection.left_out,
            ["dm-verity (any of: sha256-ssse3, sha2-ce, sha256-arm64, sha256-riscv64)"]
        );
        assert_eq!(selection.built_in, ["virtio_pci", "sha256_generic", "aes_generic", "efivarfs"]);
    }

    #[test]
    fn every_module_waits_for_what_it_needs() {
        let index = Index::from_texts(DEP, ALIAS, "softdep dm-crypt pre: xts post: loop\n", BUILTIN);
        let selection = Selection::new(&index, Preset::Virtio, &[]).unwrap();
        let depend = selection.tables.depend.iter().map(|(module, list)| {
            let list: Vec<_> = list.iter().map(ToString::to_string).collect();
            format!("{module}: {}", list.join(" "))
        });
        assert_eq!(
            depend.collect::<Vec<_>>(),
            [
                "aesni_intel: cryptd",
                "cryptd: ",
                "dm_crypt: dm_mod xts",
                "dm_mod: ",
                "dm_verity: dm_mod",
                "erofs: ",
                "loop: ",
                "virtio_blk: ",
                "xts: "
            ]
        );
    }

    #[test]
    fn a_fast_hash_comes_first_when_a_record_has_one() {
        let dep = format!("{DEP}sha256-ssse3.ko: cryptd.ko\n");
        let index = Index::from_texts(&dep, ALIAS, "", BUILTIN);
        let loaded = |preset, names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            let mut selection = Selection::new(&index, preset, &names).unwrap();
            selection.hash_modules_fast(&index);
            selection.tables.load.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(loaded(Preset::Virtio, &["loop", "cryptd"]), ["cryptd", "sha256_ssse3", "loop"]);
        assert_eq!(loaded(Preset::None, &["loop"]), ["loop"]);
    }

    #[test]
    fn what_the_user_names_waits_for_its_use_when_it_has_one() {
        let index = Index::from_texts(DEP, ALIAS, "", BUILTIN);
        let names = ["loop", "vfat", "virtio-blk", "dm-crypt", "crypto-aes", "virtio_pci"].map(str::to_owned);
        let selection = Selection::new(&index, Preset::None, &names).unwrap();
        assert_eq!(
            show(&selection.tables),
            "loop\ncryptd\naesni_intel\n--\nvirtio:d00000002v* virtio_blk\n--\ndm-crypt dm_mod dm_crypt\n\
             fs-vfat fat vfat\n"
        );
        assert!(Selection::new(&index, Preset::None, &["nobody".to_owned()]).is_err());
    }

    #[test]
    fn a_fat_comes_with_its_code_pages() {
        let dep = format!("{DEP}nls_cp437.ko:\nnls_ascii.ko:\n");
        let index = Index::from_texts(&dep, ALIAS, "", BUILTIN);
        let selection = Selection::new(&index, Preset::None, &["vfat".to_owned()]).unwrap();
        assert_eq!(show(&selection.tables), "--\n--\nfs-vfat nls_cp437 nls_ascii fat vfat\n");
    }

    #[test]
    fn without_acceleration_the_portable_algorithm_is_loaded_at_once() {
        let index = Index::from_texts("dm-crypt.ko:\nxts.ko:\naes_generic.ko:\n", "", "", "");
        let selection = Selection::new(&index, Preset::Virtio, &[]).unwrap();
        assert_eq!(show(&selection.tables), "--\n--\ndm-crypt aes_generic xts dm_crypt\n");
    }

    #[test]
    fn beside_a_built_in_variant_the_portable_algorithm_is_loaded_at_once() {
        let index =
            Index::from_texts("dm-crypt.ko:\nxts.ko:\n", "", "", "a/aesni-intel.ko\na/aes_generic.ko\n");
        let selection = Selection::new(&index, Preset::Virtio, &[]).unwrap();
        assert_eq!(show(&selection.tables), "--\n--\ndm-crypt xts dm_crypt\n");
    }
}
