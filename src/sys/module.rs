//! Kernel modules. The builder has resolved and decompressed everything; what is left is to load files in the order
//! that four small tables give (docs/reference/formats.md, "Tables of modules"):
//!
//! - `modules.load`: a path a line, loaded on every boot;
//! - `modules.alias`: `PATTERN PATH...`, as of fnmatch(3), loaded when a device announces a modalias that matches;
//! - `modules.demand`: `NAME PATH...`, loaded when the boot comes to need `dm-verity`, `dm-crypt`, `efivarfs` or the
//!   file system `fs-NAME`; `NAME.fallback PATH...` when one of NAME's modules finds that this CPU cannot do it (ENODEV);
//! - `modules.depend`: `PATH PATH...`, the modules that must be live before this one is loaded. Those that wait for no other are
//!   loaded side by side: the kernel checks their signatures outside of its lock for modules.
//!
//! The kernel itself would call /sbin/modprobe for what it misses (a crypto algorithm, a file system). There is none in
//! the initramfs: the builder's closure holds these modules and they are loaded before they are needed.

use std::{
    ffi::CString,
    fmt, fs,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use rustix::io::Errno;

use super::attribute;
use crate::{
    glob::{self, Flags},
    map::Names,
    progress,
};

/// The directory in which the builder puts its tables.
pub const TABLES: &str = "/hermetic";

/// A module that would not load.
#[derive(Debug)]
pub struct ModuleError {
    /// The file.
    pub path: String,
    /// The error of the kernel.
    pub error: io::Error,
}

impl fmt::Display for ModuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what_to_do = match self.error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOKEY | Errno::KEYREJECTED) => {
                "this kernel enforces signatures: build the initramfs with its own modules, without --strip-signatures"
            }
            _ => "rebuild the initramfs for the kernel that boots",
        };
        write!(f, "module {}: {}; {what_to_do}", self.path, self.error)
    }
}

/// The modules of this initramfs.
#[derive(Debug, Default)]
pub struct Modules {
    load: Vec<String>,
    alias: Vec<Entry>,
    demand: Vec<Entry>,
    depend: Vec<Entry>,
    processors: usize,
    blocked: Vec<String>,
    parameters: Vec<(String, String)>,
    loaded: Names,
    /// Of these, the modules for hardware that this machine has not.
    unsupported: Names,
    /// Drivers that could not be loaded when their device announced itself: logged once.
    failed: Names,
}

/// A line of a table: the name or pattern, and its files, dependencies first.
#[derive(Debug)]
struct Entry {
    key: String,
    paths: Vec<String>,
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let key = words.next()?.to_owned();
        Some(Self { key, paths: words.map(str::to_owned).collect() })
    }
}

impl Modules {
    /// Reads the tables below `directory`. A table that is not there is an empty one: a kernel with everything built
    /// in needs none.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub fn read(directory: impl AsRef<Path>) -> io::Result<Self> {
        let table = |name: &str| match fs::read_to_string(directory.as_ref().join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            other => other,
        };
        let mut modules = Self::parse(
            &table("modules.load")?,
            &table("modules.alias")?,
            &table("modules.demand")?,
            &table("modules.depend")?,
        );
        modules.processors = thread::available_parallelism().map_or(1, usize::from);
        Ok(modules)
    }

    /// The same from the tables' texts.
    pub fn parse(load: &str, alias: &str, demand: &str, depend: &str) -> Self {
        let entries = |text: &str| text.lines().filter_map(Entry::parse).collect();
        Self {
            load: load.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect(),
            alias: entries(alias),
            demand: entries(demand),
            depend: entries(depend),
            processors: 1,
            ..Self::default()
        }
    }

    /// Adds the words of the command line about modules by their names, `-` folded to `_`: those that no device may ask
    /// for, and `NAME=VALUE` parameters. The kernel leaves both to the program that loads a module (modprobe.d(5),
    /// kernel-parameters.rst); it also obeys `module_blacklist=` itself.
    #[must_use]
    pub fn with(mut self, blocked: &[String], parameters: &[(String, String)]) -> Self {
        self.blocked = blocked.to_vec();
        self.parameters = parameters.to_vec();
        self
    }

    /// Loads, where there are several processors, the drivers of every device that is there and what `names` need, side by side.
    /// Returns what could not be loaded; of these no device has its driver loaded again.
    pub fn load_ahead(&mut self, names: &[&str]) -> Vec<ModuleError> {
        if self.processors < 2 {
            return Vec::new();
        }
        let mut paths: Vec<String> =
            modaliases().iter().flat_map(|modalias| self.drivers(modalias)).flatten().collect();
        paths.extend(names.iter().filter_map(|name| self.on_demand(name)).flatten());
        let errors = self.load_side_by_side(&paths);
        for error in &errors {
            self.failed.insert(&*error.path, ());
        }
        errors
    }

    /// Loads what every boot needs.
    ///
    /// # Errors
    /// The first module that would not load.
    pub fn load_fixed(&mut self) -> Result<(), ModuleError> {
        let paths = core::mem::take(&mut self.load);
        self.load_all(&paths).map(drop)
    }

    /// Loads the modules that `name` needs (`dm-crypt`, `fs-erofs`, ...). Returns true if the table has it; there is no
    /// line for one that is built in.
    ///
    /// # Errors
    /// The first module that would not load.
    pub fn demand(&mut self, name: &str) -> Result<bool, ModuleError> {
        let Some(paths) = self.on_demand(name) else { return Ok(false) };
        if self.load_all(&paths)? == Outcome::Unsupported
            && let Some(paths) = self.on_demand(&format!("{name}.fallback"))
        {
            self.load_all(&paths)?;
        }
        Ok(true)
    }

    /// Loads the module of that name (`-` folded to `_`) and its dependencies. Returns false if no table has it.
    ///
    /// # Errors
    /// The first module that would not load.
    pub fn load_named(&mut self, name: &str) -> Result<bool, ModuleError> {
        let is_it = |path: &str| module_name(path) == name;
        let entries = self.alias.iter().chain(&self.demand).map(|entry| &entry.paths);
        let Some(paths) =
            entries.filter_map(|paths| paths.get(..=paths.iter().position(|path| is_it(path))?)).next()
        else {
            return Ok(self.loaded.iter().any(|(path, ())| core::str::from_utf8(path).is_ok_and(&is_it)));
        };
        let paths = paths.to_vec();
        self.load_all(&paths)?;
        Ok(true)
    }

    fn on_demand(&self, name: &str) -> Option<Vec<String>> {
        self.demand.iter().find(|entry| entry.key == name).map(|entry| entry.paths.clone())
    }

    /// Loads the drivers of a device by its modalias. Returns true if one had not been loaded before.
    ///
    /// A driver that cannot be loaded is not an error here: the device may not be needed. It is returned with the
    /// others for the log.
    pub fn announce(&mut self, modalias: &str) -> (bool, Vec<ModuleError>) {
        let matching = self.drivers(modalias);
        let before = self.loaded.len();
        let mut errors = Vec::new();
        for paths in &matching {
            if let Err(error) = self.load_all(paths) {
                self.failed.insert(&*error.path, ());
                errors.push(error);
            }
        }
        (self.loaded.len() > before, errors)
    }

    /// The drivers that match a modalias, each with what it needs.
    fn drivers(&self, modalias: &str) -> Vec<Vec<String>> {
        self.alias
            .iter()
            .filter(|entry| glob::matches(entry.key.as_bytes(), modalias.as_bytes(), Flags::NONE))
            .map(|entry| entry.paths.clone())
            .filter(|paths| !paths.last().is_some_and(|driver| self.is_blocked(driver)))
            .filter(|paths| !paths.iter().any(|path| self.failed.contains_key(path.as_bytes())))
            .collect()
    }

    /// Loads the drivers of every device that is there already.
    ///
    /// A driver brings new devices (a PCI function becomes a virtio device becomes a disk): the walk is repeated until
    /// it loads nothing new.
    pub fn coldplug(&mut self) -> Vec<ModuleError> {
        let mut errors = Vec::new();
        while !self.alias.is_empty() {
            let mut news = false;
            for modalias in modaliases() {
                let (new, failed) = self.announce(&modalias);
                news |= new;
                errors.extend(failed);
            }
            if !news {
                break;
            }
        }
        errors
    }

    fn load_all(&mut self, paths: &[String]) -> Result<Outcome, ModuleError> {
        if let Some(error) = self.load_side_by_side(paths).into_iter().next() {
            return Err(error);
        }
        let mut outcome = Outcome::Loaded;
        for path in paths {
            if !self.loaded.contains_key(path.as_bytes()) {
                let loaded = self.load(path)?;
                self.note(path, loaded);
            }
            if self.unsupported.contains_key(path.as_bytes()) {
                outcome = Outcome::Unsupported;
            }
        }
        Ok(outcome)
    }

    /// Loads, where there are several processors, the modules that wait for none of the others at the same time, then those that
    /// waited for them. Returns what could not be loaded; what is left waits for that, or for nothing that a table knows.
    fn load_side_by_side(&mut self, paths: &[String]) -> Vec<ModuleError> {
        let mut errors: Vec<ModuleError> = Vec::new();
        while self.processors > 1 {
            let is_live = |path: &String| self.loaded.contains_key(path.as_bytes());
            let may_go = |path: &String| {
                let needs = self.depend.iter().find(|entry| entry.key == *path);
                needs.is_some_and(|entry| entry.paths.iter().all(is_live))
            };
            let mut ready: Vec<&String> = Vec::new();
            for path in paths.iter().filter(|path| !is_live(path) && may_go(path)) {
                let has_failed = errors.iter().any(|error| error.path == *path);
                if !has_failed && !ready.contains(&path) {
                    ready.push(path);
                }
            }
            if ready.is_empty() {
                break;
            }
            let results = Mutex::new(Vec::new());
            (0..ready.len()).into_par_iter().for_each(|at| {
                if let Some(path) = ready.get(at) {
                    let result = self.load(path);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(((*path).clone(), result));
                }
            });
            let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
            for (path, result) in results {
                match result {
                    Ok(outcome) => self.note(&path, outcome),
                    Err(error) => errors.push(error),
                }
            }
        }
        errors
    }

    fn note(&mut self, path: &str, outcome: Outcome) {
        self.loaded.insert(path, ());
        if outcome == Outcome::Unsupported {
            self.unsupported.insert(path, ());
        }
    }

    fn is_blocked(&self, path: &str) -> bool {
        self.blocked.iter().any(|name| *name == module_name(path))
    }

    /// Loads one module file. One that the kernel has already is fine.
    fn load(&self, path: &str) -> Result<Outcome, ModuleError> {
        let failed = |error: io::Error| ModuleError { path: path.to_owned(), error };
        let parameters =
            CString::new(self.parameters_of(path)).map_err(|error| failed(io::Error::other(error)))?;
        let file = File::open(path).map_err(failed)?;
        let loaded = rustix::system::finit_module(file, &parameters, 0);
        progress::step();
        match loaded {
            Ok(()) | Err(Errno::EXIST) => Ok(Outcome::Loaded),
            Err(Errno::NODEV) => Ok(Outcome::Unsupported),
            // The kernel obeys module_blacklist= itself. The machine is meant to do without the module.
            Err(Errno::PERM) if self.is_blocked(path) => Ok(Outcome::Unsupported),
            Err(errno) => Err(failed(errno.into())),
        }
    }

    fn parameters_of(&self, path: &str) -> String {
        let name = module_name(path);
        let own = self.parameters.iter().filter(|(module, _)| *module == name);
        own.map(|(_, parameter)| parameter.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The number of modules that have been loaded so far.
    pub fn loaded(&self) -> usize {
        self.loaded.len()
    }
}

/// The result of loading modules.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    /// They are in.
    Loaded,
    /// The module is for hardware that this machine has not: an accelerated cipher on an older CPU.
    Unsupported,
}

/// The kernel's name of the module in a file: that of the file, `-` folded to `_`.
fn module_name(path: &str) -> String {
    let file = path.rsplit_once('/').map_or(path, |(_, file)| file);
    file.split_once(".ko").map_or(file, |(name, _)| name).replace('-', "_")
}

/// The modaliases of the devices of every bus.
fn modaliases() -> Vec<String> {
    let list = |path: PathBuf| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    list("/sys/bus".into())
        .flat_map(|bus| list(bus.join("devices")))
        .filter_map(|device| attribute(device.join("modalias")))
        .filter(|modalias| !modalias.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_command_line_says_of_modules() {
        let modules = Modules::parse("/m/loop.ko\n", "pci:* /m/core.ko /m/nvme-core.ko\n", "", "").with(
            &["nvme_core".into()],
            &[
                ("nvme_core".into(), "latency=0".into()),
                ("loop".into(), "max_loop=1".into()),
                ("nvme_core".into(), "poll".into()),
            ],
        );
        assert_eq!(modules.parameters_of("/m/nvme-core.ko"), "latency=0 poll");
        assert_eq!(modules.parameters_of("/m/core.ko"), "");
        assert!(modules.is_blocked("/m/nvme-core.ko") && !modules.is_blocked("/m/loop.ko"));
    }

    #[test]
    fn a_blocked_driver_is_not_loaded_for_its_device_and_a_broken_one_is_named_once() {
        // No such files: loading them fails, so that an attempt is seen.
        let parse = || Modules::parse("", "pci:* /nowhere/a.ko /nowhere/nvme.ko\n", "", "");
        let mut broken = parse();
        assert_eq!(broken.announce("pci:1").1.len(), 1);
        assert_eq!(broken.announce("pci:1").1.len(), 0);
        assert_eq!(parse().with(&["nvme".into()], &[]).announce("pci:1").1.len(), 0);
        assert_eq!(parse().load_named("nvme").unwrap_err().path, "/nowhere/a.ko");
        assert!(!parse().load_named("loop").unwrap());
    }

    #[test]
    fn side_by_side_nothing_comes_before_what_it_needs_and_nothing_twice() {
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| format!("/nowhere/{name}.ko"));
        let depend = format!("{a}\n{b} {a}\n{c}\n");
        let parse = |processors| Modules { processors, ..Modules::parse("", "", "", &depend) };
        let errors = |paths: &[&String], processors| {
            let paths: Vec<String> = paths.iter().map(|path| (*path).clone()).collect();
            let mut paths: Vec<_> =
                parse(processors).load_side_by_side(&paths).into_iter().map(|error| error.path).collect();
            paths.sort_unstable();
            paths
        };
        // b waits for a for ever, and of d no table says what it waits for.
        assert_eq!(errors(&[&b, &a, &d, &c, &a], 4), [a.clone(), c]);
        assert_eq!(errors(&[&b, &a], 1), [""; 0]);
        let mut live = parse(2);
        live.note(&a, Outcome::Loaded);
        assert_eq!(
            live.load_side_by_side(std::slice::from_ref(&b)).first().map(|error| &error.path),
            Some(&b)
        );
    }
}
