//! The table of cases: see track.txt.

use std::{
    collections::BTreeMap,
    fs,
    os::fd::AsFd,
    path::PathBuf,
    sync::{
        RwLock,
        atomic::{AtomicU32, Ordering},
    },
};

use hermetic_init::{
    etc::{self, Strategy, machine_id::MachineId, manifest::Head, store},
    fragments::Facts,
    furnish::{self, Identity, Report, Request, Why},
    level::Level,
    tree::{
        open,
        watch::{Unwatched, Watch},
    },
};

use super::tree::{self, Tree};

/// A first boot takes the umask away, which is that of all threads: nobody else makes a file meanwhile.
static UMASK: RwLock<()> = RwLock::new(());

/// A case of the table.
pub struct Case {
    /// The behaviour that it shows.
    pub name: String,
    lines: BTreeMap<String, String>,
}

impl Case {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let mut cases: Vec<Self> = Vec::new();
        for line in include_str!("track.txt").lines().filter(|line| !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (word, cases.last_mut()) {
                ("", _) => {}
                ("case", _) => cases.push(Self { name: rest.to_owned(), lines: BTreeMap::new() }),
                ("conf" | "v1" | "etc" | "v2" | "now" | "back" | "kept" | "v3" | "skip", Some(case)) => {
                    assert!(case.lines.insert(word.to_owned(), rest.trim().to_owned()).is_none(), "{line}");
                }
                _ => panic!("{line}"),
            }
        }
        cases
    }

    /// The tree of a line, or of the first of `others` that is there.
    fn tree(&self, word: &str, others: &[&str]) -> Tree {
        let line = std::iter::once(&word).chain(others).find_map(|word| self.lines.get(*word));
        tree::parse(line.unwrap_or_else(|| panic!("{}: no {word}", self.name)))
    }

    /// The versions of /usr that it has.
    pub fn versions(&self) -> Vec<&'static str> {
        ["v1", "v2", "v3"].into_iter().filter(|version| self.lines.contains_key(*version)).collect()
    }

    /// The factory of a version.
    pub fn factory(&self, version: &str) -> Tree {
        self.tree(version, &[])
    }

    /// Returns true for a path of /etc that is copied once, or whose entries are merged: no rollback takes it away.
    pub fn stays_since_it_came(&self, path: &str) -> bool {
        let conf = self.lines.get("conf").map(String::as_str).unwrap_or_default();
        let is_copied = |above: &str| conf.contains(&format!("/etc/{above} copy"));
        path.split('/').next().is_some_and(is_copied)
            || etc::manifest::DATABASES.iter().any(|(file, _)| *file == path)
    }

    /// The expected /etc after the update.
    pub fn updated(&self) -> Tree {
        self.tree("now", &[])
    }

    /// The copied or merged part of version 1's factory.
    pub fn first(&self) -> Tree {
        let tree = self.tree("v1", &[]);
        tree.into_iter().filter(|_| self.lines.contains_key("conf")).collect()
    }

    /// The expected /etc after the rollback.
    pub fn rolled_back(&self) -> Tree {
        self.tree("back", &["etc", "v1"])
    }

    /// The expected /etc when version 2 was skipped on the way to version 3, if there is one.
    pub fn skipped(&self) -> Option<Tree> {
        self.lines.contains_key("v3").then(|| self.tree("skip", &[]))
    }

    /// The paths that do not follow, and the reasons.
    pub fn kept(&self) -> String {
        self.lines.get("kept").cloned().unwrap_or_default()
    }
}

/// A root, and a /usr for each version.
pub struct Machine {
    place: PathBuf,
    strategy: Strategy,
}

impl Machine {
    /// A root that the first boot of version 1 populated and a person then changed.
    pub fn new(case: &Case, name: &str) -> Self {
        let machine = Self::empty(name, Strategy::Track);
        let conf = case.lines.get("conf").cloned().unwrap_or_default().replace("\\n", "\n");
        for version in case.versions() {
            let tree = case.tree(version, &[]);
            let usr = machine.usr(version);
            fs::create_dir_all(usr.join("lib/hermetic-init")).unwrap();
            fs::write(usr.join("lib/hermetic-init/etc.conf"), &conf).unwrap();
            if !tree.is_empty() {
                tree::make(&usr.join("share/factory/etc"), &tree);
            }
        }
        machine.populate("v1");
        tree::make(&machine.etc(), &case.tree("etc", &["v1"]));
        machine
    }

    /// An empty root, and no /usr yet.
    pub fn empty(name: &str, strategy: Strategy) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // Flushing a disk thousands of times takes minutes; its effect is simulated in the tests.
        let memory = PathBuf::from("/dev/shm");
        let place = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let place = place.join(format!("hermetic-{name}-{}-{count}", std::process::id()));
        let machine = Self { place, strategy };
        fs::create_dir_all(machine.root()).unwrap();
        machine
    }

    /// The /usr of a version.
    pub fn usr(&self, version: &str) -> PathBuf {
        self.place.join(version)
    }

    /// The root.
    pub fn root(&self) -> PathBuf {
        self.place.join("root")
    }

    /// Its /etc.
    pub fn etc(&self) -> PathBuf {
        self.root().join("etc")
    }

    /// Boots a version for the first time.
    pub fn populate(&self, version: &str) {
        let _alone = UMASK.write().unwrap();
        self.with(version, |request, report| {
            furnish::create(request, report).unwrap();
            well(report);
        });
    }

    /// Boots a version for the first time: the messages.
    pub fn tells(&self, version: &str) -> Vec<String> {
        let _alone = UMASK.write().unwrap();
        self.with(version, |request, report| {
            furnish::create(request, report).unwrap();
            report.messages.iter().map(|(_, message)| message.clone()).collect()
        })
    }

    /// A first boot that fails: its line, and the messages before it.
    pub fn refuses(&self, version: &str) -> (String, Vec<String>) {
        let _alone = UMASK.write().unwrap();
        self.with(version, |request, report| {
            let error = furnish::create(request, report).unwrap_err();
            (error.to_string(), report.messages.iter().map(|(_, message)| message.clone()).collect())
        })
    }

    /// Boots a version: nothing happens when it was followed last.
    pub fn boot(&self, version: &str, watch: &dyn Watch) -> Result<Option<Report>, String> {
        let _with_the_mask = UMASK.read().unwrap();
        self.with(version, |request, report| {
            if store::followed(request.root).unwrap().as_ref() == Some(&request.identity.head) {
                return Ok(None);
            }
            furnish::follow(request, watch, report).map_err(|error| error.to_string())?;
            well(report);
            Ok(Some(report.clone()))
        })
    }

    /// As [`Self::boot`], of a root with which not all is well.
    pub fn follows(&self, version: &str) -> Result<Option<Report>, String> {
        let _with_the_mask = UMASK.read().unwrap();
        self.with(version, |request, report| {
            if store::followed(request.root).unwrap().as_ref() == Some(&request.identity.head) {
                return Ok(None);
            }
            let done = furnish::follow(request, &Unwatched, report).map_err(|error| error.to_string());
            done.map(|()| Some(report.clone()))
        })
    }

    fn with<T>(&self, version: &str, work: impl FnOnce(&Request<'_>, &mut Report) -> T) -> T {
        let (root, usr) = (open::root(&self.root()).unwrap(), open::root(&self.usr(version)).unwrap());
        let head = Head { usr: format!("image:test/{version}"), strategy: self.strategy };
        let identity = Identity { machine: Some(MachineId::from_random([7; 16])), head };
        let request = Request {
            root: root.as_fd(),
            usr: usr.as_fd(),
            identity: &identity,
            credentials: &(),
            facts: &Facts::default(),
            now: 1_700_000_000,
            waiting: hermetic_init::sysusers::Waiting::Never,
        };
        work(&request, &mut Report::default())
    }
}

/// A report of work that went well.
fn well(report: &Report) {
    let warnings: Vec<_> = report.messages.iter().filter(|(level, _)| *level <= Level::Warning).collect();
    assert!(warnings.is_empty(), "{warnings:?}");
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _gone_with_the_next_boot_at_the_latest = fs::remove_dir_all(&self.place);
    }
}

/// Deviations in the words of the table.
pub fn deviations(report: &Report) -> String {
    let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
    let words: Vec<String> = report
        .deviations
        .iter()
        .filter_map(|deviation| match &deviation.why {
            Why::Factory(etc::Deviation::Beside(beside)) => {
                Some(format!("{}=Beside({})", text(&deviation.path), text(beside)))
            }
            Why::Factory(other) => Some(format!("{}={other:?}", text(&deviation.path))),
            Why::User { .. } | Why::Failed(_) | Why::Users(_) => None,
        })
        .filter(|word| !word.ends_with(".hermetic-new=Occupied"))
        .collect();
    words.join(" ")
}
