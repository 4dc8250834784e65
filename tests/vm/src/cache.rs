//! The cache of expensive artefacts: trees, file systems, answers about this machine.
//!
//! It is `$HERMETIC_CACHE`, else `/var/cache/hermetic-init`. An artefact is a directory whose name is the hash of
//! everything it was made from; it appears under that name only when it is complete, so that an interrupted run leaves
//! nothing that a later one could mistake for a result.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// The directory of the cache when the environment does not name one.
const DEFAULT: &str = "/var/cache/hermetic-init";

/// The inputs of an artefact, hashed as they are named.
#[derive(Clone, Default)]
pub struct Key(Sha256);

impl Key {
    /// Adds one input. Lengths are hashed too: two inputs never read like one.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        for part in [name.as_bytes(), value.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    /// The hash, hexadecimal.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A UUID (version 8, RFC 9562 §5.8) that is the same for the same inputs.
    #[must_use]
    pub fn uuid(&self) -> String {
        let hex: Vec<char> = self.hex().chars().collect();
        let part = |from: usize, to: usize| hex.iter().skip(from).take(to - from).collect::<String>();
        format!("{}-{}-8{}-8{}-{}", part(0, 8), part(8, 12), part(12, 15), part(15, 18), part(18, 30))
    }
}

/// The directory of artefacts.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// Opens the cache, makes its directory when it is missing, and removes half-made entries of killed runs.
    ///
    /// # Errors
    /// The directory cannot be made or written.
    pub fn open() -> Result<Self> {
        let root = std::env::var_os("HERMETIC_CACHE").map_or_else(|| PathBuf::from(DEFAULT), PathBuf::from);
        Self::at(&root)
    }

    /// Opens a cache at a place of the caller's choice.
    ///
    /// # Errors
    /// As [`Cache::open`].
    pub fn at(root: &Path) -> Result<Self> {
        let cache = Self { root: root.to_owned() };
        fs::create_dir_all(cache.unfinished()).with_context(|| {
            format!("cannot make the cache directory {} (HERMETIC_CACHE chooses another)", root.display())
        })?;
        cache.sweep()?;
        Ok(cache)
    }

    /// A path inside the cache, for answers that are one small file.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Returns true when this artefact is there.
    #[must_use]
    pub fn has(&self, kind: &str, key: &Key) -> bool {
        self.place(kind, key).is_dir()
    }

    fn place(&self, kind: &str, key: &Key) -> PathBuf {
        self.root.join(kind).join(key.hex().chars().take(24).collect::<String>())
    }

    /// The directory of an artefact. When it is not there, `make` fills an empty directory that then takes its name.
    ///
    /// # Errors
    /// Those of `make`; the cache cannot be written.
    pub fn artefact(&self, kind: &str, key: &Key, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let place = self.place(kind, key);
        fs::create_dir_all(self.root.join(kind))?;
        // Two runs that want the same entry make it once, and nobody removes it meanwhile.
        let _lock = self.lock(kind)?;
        if !place.is_dir() {
            let work = self.scratch(kind)?;
            make(work.path())?;
            fs::rename(work.path(), &place)
                .with_context(|| format!("cannot put the finished {kind} at {}", place.display()))?;
        }
        File::open(&place)?.set_modified(SystemTime::now())?;
        Ok(place)
    }

    /// Keeps the `keep` artefacts of a kind that were used last and removes the others.
    ///
    /// # Errors
    /// The cache cannot be read or written.
    pub fn prune(&self, kind: &str, keep: usize) -> Result<()> {
        let _lock = self.lock(kind)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(self.root.join(kind))? {
            let entry = entry?;
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
        found.sort();
        let surplus = found.len().saturating_sub(keep);
        for (_, path) in found.into_iter().take(surplus) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }

    /// The lock of a kind, held until the file is closed.
    fn lock(&self, kind: &str) -> Result<File> {
        let path = self.root.join(format!("{kind}.lock"));
        let lock = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
        lock.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(lock)
    }

    /// An empty directory of this process, removed with the value.
    ///
    /// # Errors
    /// The directory cannot be made.
    pub fn scratch(&self, name: &str) -> Result<Scratch> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.unfinished().join(format!("{}-{number}-{name}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Scratch { path })
    }

    fn unfinished(&self) -> PathBuf {
        self.root.join("unfinished")
    }

    /// Removes scratch directories whose process is no more.
    fn sweep(&self) -> Result<()> {
        for entry in fs::read_dir(self.unfinished())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.split('-').next().unwrap_or_default();
            if !Path::new("/proc").join(owner).is_dir() {
                fs::remove_dir_all(entry.path())
                    .with_context(|| format!("cannot remove the left-over {}", entry.path().display()))?;
            }
        }
        Ok(())
    }
}

/// A directory that goes away with its value.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// The path of the cache.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A name inside it.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is gone already when it became an artefact; what else fails here is swept by the next run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(name: &str) -> (Cache, PathBuf) {
        let root = std::env::temp_dir().join(format!("hermetic-cache-{}-{name}", std::process::id()));
        (Cache::at(&root).unwrap(), root)
    }

    #[test]
    fn key_knows_where_an_input_ends() {
        let key = |a: &str, b: &str| Key::default().with(a, b).hex();
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_eq!(key("a", "b"), key("a", "b"));
        let uuid = Key::default().with("a", "b").uuid();
        assert_eq!(uuid.len(), 36);
        assert_eq!(uuid.as_bytes()[14], b'8');
    }

    #[test]
    fn artefact_is_made_once_and_a_failure_leaves_nothing() {
        let (cache, root) = cache("once");
        let key = Key::default().with("input", "1");
        assert!(cache.artefact("thing", &key, |_| anyhow::bail!("no")).is_err());
        let first =
            cache.artefact("thing", &key, |place| Ok(fs::write(place.join("content"), "made")?)).unwrap();
        let again = cache.artefact("thing", &key, |_| anyhow::bail!("made twice")).unwrap();
        assert_eq!(first, again);
        assert_eq!(fs::read_to_string(again.join("content")).unwrap(), "made");
        assert_eq!(fs::read_dir(root.join("unfinished")).unwrap().count(), 0);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn prune_keeps_what_was_used_last() {
        let (cache, root) = cache("prune");
        let key = |n: u32| Key::default().with("n", n.to_string());
        let make = |n| cache.artefact("thing", &key(n), |_| Ok(())).unwrap();
        let (a, b) = (make(1), make(2));
        make(1);
        cache.prune("thing", 1).unwrap();
        assert!(a.is_dir() && !b.is_dir());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn entries_are_made_and_pruned_side_by_side() {
        let (cache, root) = cache("beside");
        let turn = &|thread: u32, n: u32| {
            let key = Key::default().with("n", format!("{thread} {}", n % 8));
            // As many are kept as threads may hold one.
            cache.artefact("thing", &key, |_| Ok(())).and_then(|_| cache.prune("thing", 4))
        };
        std::thread::scope(|scope| {
            let threads =
                [0, 1, 2, 3].map(|thread| scope.spawn(move || (0..300).try_for_each(|n| turn(thread, n))));
            for thread in threads {
                thread.join().unwrap().unwrap();
            }
        });
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn sweep_removes_what_a_dead_process_left() {
        let (_, root) = cache("sweep");
        let dead = root.join("unfinished/4294967295-0-x");
        fs::create_dir(&dead).unwrap();
        Cache::at(&root).unwrap();
        assert!(!dead.exists());
        fs::remove_dir_all(root).unwrap();
    }
}
