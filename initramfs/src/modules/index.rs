//! The index of one kernel's modules, from the files that depmod wrote.
//!
//! References: modules.dep(5), modprobe.d(5) for softdep, depmod(8); Documentation/kbuild/kbuild.rst for
//! modules.builtin and modules.builtin.modinfo.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
};

use super::{Error, ModuleName};

/// The modules of one kernel.
#[derive(Default, Debug)]
pub struct Index {
    /// `…/lib/modules/RELEASE`.
    dir: PathBuf,
    /// The kernel's release, as `uname -r` prints it.
    release: String,
    modules: BTreeMap<ModuleName, Module>,
    builtin: BTreeSet<ModuleName>,
    /// Names that modules answer to, with the module: from modules.alias, in the file's order.
    aliases: Vec<(String, ModuleName)>,
    /// The same for built-in modules, from modules.builtin.modinfo.
    builtin_aliases: Vec<(String, ModuleName)>,
    soft: BTreeMap<ModuleName, Soft>,
    code_pages: Vec<String>,
}

/// One line of modules.dep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Module {
    /// The path of its file, below the index's directory or absolute.
    pub path: String,
    /// The modules that must be loaded before it, the last one first.
    pub needs: Vec<ModuleName>,
}

/// The modules that a module asks for without needing their symbols.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Soft {
    /// Names or aliases to load before.
    pub pre: Vec<String>,
    /// Names or aliases to load after.
    pub post: Vec<String>,
}

/// The meanings of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// A module with a file.
    Module(ModuleName),
    /// Built into the kernel: nothing to load.
    Builtin(ModuleName),
}

/// The kernel's configuration, where distributions leave it: beside the modules, or in /boot of the tree that they are in.
fn configuration(dir: &Path, release: &str) -> Option<String> {
    let name = format!("boot/config-{release}");
    // …/lib/modules/RELEASE, or …/usr/lib/modules/RELEASE.
    let trees = dir.ancestors().skip(3).take(2).map(|tree| tree.join(&name));
    std::iter::once(dir.join("config")).chain(trees).find_map(|path| fs::read_to_string(path).ok())
}

/// The modules of the code page and the character set of FAT by a configuration; without one those of Kconfig's defaults and of
/// Debian, of which the kernel may lack some (kernel: fs/fat/Kconfig, fs/fat/inode.c).
fn code_pages(configuration: Option<&str>) -> Vec<String> {
    let value = |name: &str| {
        let lines = configuration?.lines();
        lines
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .next()
            .map(|value| value.trim_matches('"'))
    };
    match (value("CONFIG_FAT_DEFAULT_CODEPAGE"), value("CONFIG_FAT_DEFAULT_IOCHARSET")) {
        (Some(page), Some(set)) => vec![format!("nls_cp{page}"), format!("nls_{set}")],
        _ => ["nls_cp437", "nls_iso8859-1", "nls_ascii"].map(String::from).into(),
    }
}

/// The fault of a line: its number, the first is 1, and the reason.
type BadLine = (usize, &'static str);

impl Index {
    /// Reads the index of `dir`, which is `…/lib/modules/RELEASE`.
    ///
    /// # Errors
    /// When modules.dep is missing, a file cannot be read, or a line is not in depmod's format. The other files may be
    /// missing: a kernel without aliases has no modules.alias.
    pub fn read(dir: &Path, release: &str) -> Result<Self, Error> {
        let read = |name: &str| {
            let path = dir.join(name);
            match fs::read(&path) {
                Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(Error::Read { path, error }),
            }
        };
        let bad = |name: &str, (line, why): BadLine| Error::Line { path: dir.join(name), line, why };
        let dep = read("modules.dep")?
            .ok_or_else(|| Error::NoDep { path: dir.join("modules.dep"), release: release.into() })?;
        let modules = parse_dep(&dep).map_err(|e| bad("modules.dep", e))?;
        for (module, entry) in &modules {
            if let Some(needs) = entry.needs.iter().find(|needs| !modules.contains_key(needs)) {
                return Err(Error::Dangling { module: module.clone(), needs: needs.clone() });
            }
        }
        Ok(Self {
            dir: dir.into(),
            release: release.into(),
            modules,
            builtin: read("modules.builtin")?
                .unwrap_or_default()
                .lines()
                .filter_map(ModuleName::of_path)
                .collect(),
            aliases: parse_alias(&read("modules.alias")?.unwrap_or_default())
                .map_err(|e| bad("modules.alias", e))?,
            builtin_aliases: parse_modinfo(&read("modules.builtin.modinfo")?.unwrap_or_default()),
            soft: parse_softdep(&read("modules.softdep")?.unwrap_or_default()),
            code_pages: code_pages(configuration(dir, release).as_deref()),
        })
    }

    /// The names of the modules for which FAT asks the kernel when it is mounted without options: those of its code page and of its
    /// character set.
    pub fn code_pages(&self) -> &[String] {
        &self.code_pages
    }

    /// The kernel's release.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The module `name` by modules.dep.
    pub fn module(&self, name: &ModuleName) -> Option<&Module> {
        self.modules.get(name)
    }

    /// The path of the file of `name` on this machine.
    pub fn path(&self, name: &ModuleName) -> Option<PathBuf> {
        // An absolute path of modules.dep replaces the directory, as kmod has it.
        self.modules.get(name).map(|module| self.dir.join(&module.path))
    }

    /// The soft dependencies of `name`.
    pub fn soft(&self, name: &ModuleName) -> Option<&Soft> {
        self.soft.get(name)
    }

    /// The aliases of `name` in the order of modules.alias.
    pub fn aliases<'a>(&'a self, name: &'a ModuleName) -> impl Iterator<Item = &'a str> {
        self.aliases.iter().filter(move |(_, module)| module == name).map(|(alias, _)| alias.as_str())
    }

    /// The module or built-in of exactly this name; aliases are not asked.
    pub fn by_name(&self, name: &str) -> Option<Found> {
        let name = ModuleName::new(name);
        if self.modules.contains_key(&name) {
            return Some(Found::Module(name));
        }
        self.builtin.contains(&name).then_some(Found::Builtin(name))
    }

    /// Resolves `name` in kmod's order: a module of that name, all modules with that alias, something built in of that
    /// name or alias. Empty when the kernel does not know it.
    ///
    /// Patterns of modules.alias are compared as literal text: those with wildcards describe hardware, which is never
    /// named here.
    pub fn resolve(&self, name: &str) -> Vec<Found> {
        let exact = ModuleName::new(name);
        if self.modules.contains_key(&exact) {
            return vec![Found::Module(exact)];
        }
        let mut found = Vec::new();
        for (_, module) in self.aliases.iter().filter(|(alias, _)| ModuleName::new(alias) == exact) {
            let candidate = Found::Module(module.clone());
            if self.modules.contains_key(module) && !found.contains(&candidate) {
                found.push(candidate);
            }
        }
        if found.is_empty() {
            if self.builtin.contains(&exact) {
                found.push(Found::Builtin(exact));
            } else if let Some((_, module)) =
                self.builtin_aliases.iter().find(|(alias, _)| ModuleName::new(alias) == exact)
            {
                found.push(Found::Builtin(module.clone()));
            }
        }
        found
    }
}

/// modules.dep: `PATH: PATH PATH…`, the dependencies with the one to load first at the end.
fn parse_dep(text: &str) -> Result<BTreeMap<ModuleName, Module>, BadLine> {
    let mut modules = BTreeMap::new();
    for (number, line) in numbered(text) {
        let (path, needs) = line.split_once(':').ok_or((number, "no `:` behind the module"))?;
        let name = ModuleName::of_path(path).ok_or((number, "the path before `:` names no module"))?;
        if path.contains(char::is_whitespace) {
            return Err((number, "the module's path has a space in it"));
        }
        let needs = needs
            .split_whitespace()
            .map(|path| ModuleName::of_path(path).ok_or((number, "a path behind `:` names no module")))
            .collect::<Result<_, _>>()?;
        modules.insert(name, Module { path: path.to_owned(), needs });
    }
    Ok(modules)
}

/// modules.alias: `alias PATTERN MODULE`.
fn parse_alias(text: &str) -> Result<Vec<(String, ModuleName)>, BadLine> {
    numbered(text)
        .map(|(number, line)| {
            let mut words = line.split_whitespace();
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("alias"), Some(pattern), Some(module), None) => {
                    Ok((pattern.to_owned(), ModuleName::new(module)))
                }
                _ => Err((number, "not `alias PATTERN MODULE`")),
            }
        })
        .collect()
}

/// modules.softdep: `softdep MODULE pre: NAME… post: NAME…`. Names before any `pre:` or `post:` are ignored, as by
/// kmod. Several lines for one module add up: kmod takes the first alone and lets the kernel ask for the rest later,
/// but this initramfs has no modprobe for the kernel to call.
fn parse_softdep(text: &str) -> BTreeMap<ModuleName, Soft> {
    let mut all: BTreeMap<ModuleName, Soft> = BTreeMap::new();
    for (_, line) in numbered(text) {
        let mut words = line.split_whitespace();
        let (Some("softdep"), Some(module)) = (words.next(), words.next()) else { continue };
        let soft = all.entry(ModuleName::new(module)).or_default();
        let mut list: Option<&mut Vec<String>> = None;
        for word in words {
            match word {
                "pre:" => list = Some(&mut soft.pre),
                "post:" => list = Some(&mut soft.post),
                name => list.iter_mut().for_each(|list| list.push(name.to_owned())),
            }
        }
    }
    all
}

/// modules.builtin.modinfo: `MODULE.KEY=VALUE`, each ended by a NUL. Only the aliases are kept.
fn parse_modinfo(text: &str) -> Vec<(String, ModuleName)> {
    text.split('\0')
        .filter_map(|record| {
            let (module, alias) = record.split_once(".alias=")?;
            Some((alias.to_owned(), ModuleName::new(module)))
        })
        .collect()
}

/// The lines that say something, with their numbers.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
impl Index {
    /// An index from texts, for tests.
    pub fn from_texts(dep: &str, alias: &str, softdep: &str, builtin: &str) -> Self {
        Self {
            modules: parse_dep(dep).unwrap(),
            aliases: parse_alias(alias).unwrap(),
            soft: parse_softdep(softdep),
            builtin: builtin.lines().filter_map(ModuleName::of_path).collect(),
            code_pages: code_pages(None),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(names: &[&str]) -> Vec<ModuleName> {
        names.iter().map(|name| ModuleName::new(name)).collect()
    }

    #[test]
    fn code_pages_are_those_of_the_configuration() {
        // Lines of Debian's /boot/config-6.12.117+deb13-cloud-amd64.
        let debian = "CONFIG_FAT_FS=m\nCONFIG_FAT_DEFAULT_CODEPAGE=437\nCONFIG_FAT_DEFAULT_IOCHARSET=\"ascii\"\n\
                      CONFIG_FAT_DEFAULT_UTF8=y\n";
        assert_eq!(code_pages(Some(debian)), ["nls_cp437", "nls_ascii"]);
        assert_eq!(code_pages(Some("# CONFIG_FAT_FS is not set\n")), code_pages(None));
    }

    #[test]
    fn the_configuration_is_found_where_distributions_leave_it() {
        let top = std::env::temp_dir().join(format!("hermetic-config-{}", std::process::id()));
        for (dir, place) in [
            ("a/lib/modules/6.1", "a/boot/config-6.1"),
            ("b/usr/lib/modules/6.1", "b/boot/config-6.1"),
            ("c/usr/lib/modules/6.1", "c/usr/lib/modules/6.1/config"),
        ] {
            let (dir, place) = (top.join(dir), top.join(place));
            for path in [&dir, place.parent().unwrap()] {
                fs::create_dir_all(path).unwrap();
            }
            assert_eq!(configuration(&dir, "6.1"), None);
            fs::write(&place, "x").unwrap();
            assert_eq!(configuration(&dir, "6.1").as_deref(), Some("x"), "{}", place.display());
        }
        fs::remove_dir_all(top).unwrap();
    }

    #[test]
    fn modules_dep_as_depmod_writes_it() {
        // Lines of Debian's 6.12.107+deb13-cloud-amd64.
        let modules = parse_dep(
            "kernel/fs/erofs/erofs.ko.xz: kernel/lib/libcrc32c.ko.xz\n\
             kernel/lib/libcrc32c.ko.xz:\n\
             kernel/drivers/md/dm-verity.ko.xz: kernel/drivers/md/dm-bufio.ko.xz kernel/drivers/md/dm-mod.ko.xz\n",
        )
        .unwrap();
        assert_eq!(modules[&ModuleName::new("libcrc32c")].needs, names(&[]));
        assert_eq!(
            modules[&ModuleName::new("dm-verity")],
            Module {
                path: "kernel/drivers/md/dm-verity.ko.xz".into(),
                needs: names(&["dm_bufio", "dm_mod"])
            }
        );
        for (text, error) in [
            ("a.ko\n", (1, "no `:` behind the module")),
            ("a.ko:\nb:\n", (2, "the path before `:` names no module")),
            ("a.ko: b\n", (1, "a path behind `:` names no module")),
            ("a b.ko:\n", (1, "the module's path has a space in it")),
        ] {
            assert_eq!(parse_dep(text), Err(error));
        }
    }

    #[test]
    fn soft_dependencies_of_several_lines_add_up() {
        let soft = parse_softdep(
            "# comment\nsoftdep btrfs pre: blake2b-256\nsoftdep btrfs pre: sha256\nsoftdep cifs gcm\n\
             softdep vfio post: vfio_iommu_type1 pre: x\n",
        );
        let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        assert_eq!(
            soft[&ModuleName::new("btrfs")],
            Soft { pre: strings(&["blake2b-256", "sha256"]), post: vec![] }
        );
        assert_eq!(soft[&ModuleName::new("cifs")], Soft::default());
        assert_eq!(
            soft[&ModuleName::new("vfio")],
            Soft { pre: strings(&["x"]), post: strings(&["vfio_iommu_type1"]) }
        );
    }

    #[test]
    fn names_resolve_in_the_order_of_kmod() {
        let index = Index {
            builtin_aliases: parse_modinfo("ecb.license=GPL\0ecb.alias=crypto-ecb\0"),
            ..Index::from_texts(
                "kernel/sha256-ssse3.ko:\nkernel/sha256-mb.ko:\nkernel/xts.ko:\n",
                "alias sha256 sha256_ssse3\nalias sha256 sha256_mb\nalias sha256 gone\nalias xts other\n",
                "",
                "kernel/crypto/ecb.ko\nkernel/crypto/sha256.ko\n",
            )
        };
        let module = |name| Found::Module(ModuleName::new(name));
        let builtin = |name| Found::Builtin(ModuleName::new(name));
        assert_eq!(index.resolve("xts"), [module("xts")]);
        assert_eq!(index.resolve("sha256_SSSE3"), []);
        assert_eq!(index.resolve("sha256"), [module("sha256_ssse3"), module("sha256_mb")]);
        assert_eq!(index.resolve("ecb"), [builtin("ecb")]);
        assert_eq!(index.resolve("crypto_ecb"), [builtin("ecb")]);
        assert_eq!(index.by_name("sha256"), Some(builtin("sha256")));
        assert_eq!(index.by_name("sha256_ssse3"), Some(module("sha256-ssse3")));
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in any::<String>()) {
            let _ = parse_dep(&text);
            let _ = parse_alias(&text);
            parse_softdep(&text);
            parse_modinfo(&text);
        }

        #[test]
        fn what_depmod_would_write_reads_back(
            modules in prop::collection::btree_map("[a-z][a-z0-9_]{0,8}", prop::collection::vec("[a-z][a-z0-9_]{0,8}", 0..5), 0..20)
        ) {
            let text: String = modules
                .iter()
                .map(|(name, needs)| {
                    let needs: String = needs.iter().map(|need| format!(" kernel/lib/{need}.ko.zst")).collect();
                    format!("kernel/x/{name}.ko.zst:{needs}\n")
                })
                .collect();
            let expected = modules
                .iter()
                .map(|(name, needs)| {
                    let needs = needs.iter().map(|need| ModuleName::new(need)).collect();
                    (ModuleName::new(name), Module { path: format!("kernel/x/{name}.ko.zst"), needs })
                })
                .collect();
            prop_assert_eq!(parse_dep(&text), Ok(expected));
        }
    }
}
