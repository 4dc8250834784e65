//! The tables by which PID 1 loads modules: their format, and the code that writes them.
//!
//! The format: docs/reference/formats.md, "Tables of modules".
//!
//! All records of `modules.alias` that match are loaded: two drivers may know one device. Only drivers have patterns there, not the
//! modules that they need. `modules.demand` has for `dm-TARGET` the algorithms that the target will ask the kernel for, the accelerated
//! ones. `modules.depend` has one record for every module of the other three; modules that do not wait for each other may be loaded
//! side by side. All but `modules.load` are sorted by their first word.
//!
//! # Loading
//!
//! A path is loaded once; one that was loaded for another record is skipped. Of the answers of finit_module(2)
//! - `EEXIST` is success: the module is there;
//! - `ENODEV` is not a failure: an accelerated algorithm has found a processor without the feature, or a driver no
//!   device. Go on with the next path, and when the whole record is done, load `NAME.fallback` if there is such a
//!   record;
//! - anything else is an error to report, with the path.
//!
//! A variant that is built into the kernel gives no answer: then the record itself has the portable modules.

use std::collections::BTreeMap;

use crate::modules::ModuleName;

/// The file of the records loaded at the start.
pub const LOAD: &str = "/hermetic/modules.load";
/// The file of the drivers by device.
pub const ALIAS: &str = "/hermetic/modules.alias";
/// The file of the modules by use.
pub const DEMAND: &str = "/hermetic/modules.demand";
/// The file of the modules by what they wait for.
pub const DEPEND: &str = "/hermetic/modules.depend";

/// The tables. Every list of modules is a closure in load order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tables {
    /// Loaded at the start.
    pub load: Vec<ModuleName>,
    /// Drivers: pattern, driver and its closure. The driver distinguishes two records of one pattern.
    pub alias: BTreeMap<(String, ModuleName), Vec<ModuleName>>,
    /// The modules that are loaded by use.
    pub demand: BTreeMap<String, Vec<ModuleName>>,
    /// Every module of the others, with all that must be live before it.
    pub depend: BTreeMap<ModuleName, Vec<ModuleName>>,
}

impl Tables {
    /// Every module that a table names, once, sorted.
    pub fn modules(&self) -> Vec<&ModuleName> {
        let lists = self.alias.values().chain(self.demand.values());
        let mut all: Vec<_> = self.load.iter().chain(lists.flatten()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The names of the drivers in the alias table, each once, sorted.
    pub fn drivers(&self) -> Vec<&ModuleName> {
        let mut all: Vec<_> = self.alias.keys().map(|(_, driver)| driver).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The files with their content. `path` returns the path of a module in the initramfs.
    pub fn files(&self, path: impl Fn(&ModuleName) -> String) -> [(&'static str, String); 4] {
        let record = |key: &str, modules: &[ModuleName]| {
            let paths: String = modules.iter().map(|module| format!(" {}", path(module))).collect();
            format!("{key}{paths}\n")
        };
        [
            (LOAD, self.load.iter().map(|module| format!("{}\n", path(module))).collect()),
            (ALIAS, self.alias.iter().map(|((pattern, _), list)| record(pattern, list)).collect()),
            (DEMAND, self.demand.iter().map(|(name, list)| record(name, list)).collect()),
            (DEPEND, self.depend.iter().map(|(module, list)| record(&path(module), list)).collect()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_lines_of_paths_in_load_order() {
        let list = |names: &[&str]| names.iter().map(|name| ModuleName::new(name)).collect::<Vec<_>>();
        let tables = Tables {
            load: list(&["z", "a"]),
            alias: [
                (("virtio:d00000002v*".to_owned(), ModuleName::new("virtio_blk")), list(&["virtio_blk"])),
                (("scsi:t-0x00*".to_owned(), ModuleName::new("sd_mod")), list(&["scsi_common", "sd_mod"])),
            ]
            .into(),
            demand: [("dm-crypt".to_owned(), list(&["dm_mod", "dm_crypt"])), ("efivarfs".to_owned(), vec![])]
                .into(),
            depend: [(ModuleName::new("dm_mod"), vec![]), (ModuleName::new("dm_crypt"), list(&["dm_mod"]))]
                .into(),
        };
        assert_eq!(
            tables.files(|module| format!("/m/{module}.ko")),
            [
                (LOAD, "/m/z.ko\n/m/a.ko\n".to_owned()),
                (
                    ALIAS,
                    "scsi:t-0x00* /m/scsi_common.ko /m/sd_mod.ko\nvirtio:d00000002v* /m/virtio_blk.ko\n"
                        .to_owned()
                ),
                (DEMAND, "dm-crypt /m/dm_mod.ko /m/dm_crypt.ko\nefivarfs\n".to_owned()),
                (DEPEND, "/m/dm_crypt.ko /m/dm_mod.ko\n/m/dm_mod.ko\n".to_owned()),
            ]
        );
        assert_eq!(tables.modules().len(), 7);
    }
}
