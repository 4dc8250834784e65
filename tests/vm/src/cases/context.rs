//! The context of a machine test: images, machines, and a directory for its files.

use crate::bench::Bench;
use crate::cache::Scratch;
use crate::cargo::Products;
use crate::firmware;
use crate::image::{self, Image, Partition};
use crate::initramfs::Initramfs;
use crate::machine::{Machine, Outcome, Running};
use crate::signer::Signer;
use crate::usr::{Recipe, Usr};
use anyhow::{Context as _, Error, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// The path of the test init in /usr, for `hermetic.init=`.
pub const TEST_INIT: &str = "/usr/lib/hermetic-test/test-init";

/// The surroundings of one test. Its files go away with it; its console logs stay until it runs again.
#[derive(Debug)]
pub struct Context<'a> {
    /// Tools, appliance, accelerator.
    pub bench: &'a Bench,
    /// Programs of this workspace.
    pub products: &'a Products,
    /// The number of repetitions of a series; None: its own number.
    pub times: Option<u32>,
    /// Machines that a series may run at the same time.
    pub jobs: usize,
    scratch: Scratch,
    logs: PathBuf,
    boots: AtomicU32,
    note: Mutex<String>,
}

impl<'a> Context<'a> {
    /// The surroundings of the test with this name.
    ///
    /// # Errors
    /// The cache cannot be written.
    pub fn new(bench: &'a Bench, products: &'a Products, name: &str) -> Result<Self> {
        let slug: String =
            name.chars().map(|character| if character.is_alphanumeric() { character } else { '-' }).collect();
        let logs = bench.cache.file("logs").join(slug);
        if logs.exists() {
            fs::remove_dir_all(&logs)?;
        }
        fs::create_dir_all(&logs).with_context(|| format!("cannot make {}", logs.display()))?;
        let scratch = bench.cache.scratch("case")?;
        let (boots, note) = (AtomicU32::new(0), Mutex::default());
        Ok(Self { bench, products, times: None, jobs: 1, scratch, logs, boots, note })
    }

    /// The same, for a series with so many repetitions and so many machines at the same time.
    #[must_use]
    pub fn repeating(self, times: Option<u32>, jobs: usize) -> Self {
        Self { times, jobs, ..self }
    }

    /// A name for a file of this test.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    /// The appliance with the test init in it.
    ///
    /// # Errors
    /// The test init was not built.
    pub fn recipe(&self) -> Result<Recipe> {
        let content = fs::read(&self.products.test_init)
            .with_context(|| format!("cannot read {}", self.products.test_init.display()))?;
        Ok(Recipe::new().file("lib/hermetic-test/test-init", content, 0o755))
    }

    /// The image of a recipe.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn usr(&self, recipe: &Recipe) -> Result<Usr> {
        recipe.make(&self.bench.cache, &self.bench.tools, &self.bench.appliance)
    }

    /// The partitions of a /usr, for an [`Image`].
    ///
    /// # Errors
    /// As [`image::usr_partitions`].
    pub fn partitions(&self, usr: &Usr) -> Result<Vec<Partition>> {
        image::usr_partitions(usr, "appliance_1")
    }

    /// Writes a disk image and returns where it is.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn disk(&self, name: &str, image: &Image) -> Result<PathBuf> {
        let path = self.file(name);
        image.write(&self.bench.tools, &path)?;
        Ok(path)
    }

    /// An initramfs with hermetic-init.
    ///
    /// # Errors
    /// `hermetic initramfs` fails.
    pub fn initramfs(&self, recipe: &Initramfs) -> Result<PathBuf> {
        recipe.make(self.bench, self.products)
    }

    /// The key that signs under this name, in every run the same.
    ///
    /// # Errors
    /// openssl fails.
    pub fn signer(&self, name: &str) -> Result<Signer> {
        Signer::get(&self.bench.cache, &self.bench.tools, name)
    }

    /// Variables of firmware that starts the programs of these signers and no others.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn variables(&self, name: &str, db: &[&Signer]) -> Result<PathBuf> {
        let path = self.file(name);
        firmware::variables(&self.bench.cache, &self.bench.tools, db, &path)?;
        Ok(path)
    }

    /// A machine with Debian's kernel and nothing else.
    #[must_use]
    pub fn machine(&self) -> Machine {
        Machine::new(&self.bench.appliance.kernel())
    }

    /// Runs a machine to its end.
    ///
    /// # Errors
    /// QEMU fails to start.
    pub fn run(&self, machine: &Machine) -> Result<Outcome> {
        self.start(machine)?.finish()
    }

    /// Starts a machine.
    ///
    /// # Errors
    /// QEMU fails to start.
    pub fn start(&self, machine: &Machine) -> Result<Running> {
        let number = self.boots.fetch_add(1, Ordering::Relaxed) + 1;
        let log = self.logs.join(format!("boot-{number}.log"));
        machine.start(&self.bench.tools, self.bench.accelerator, &log)
    }

    /// Checks that `hermetic check` of the disk, for this machine, foretells this refusal first: the line and its stage, byte for
    /// byte.
    ///
    /// # Errors
    /// It says something else, or cannot look.
    pub fn doctor_says(&self, machine: &Machine, disk: &Path, stage: &str, line: &str) -> Result<()> {
        let report = self.doctor(machine, disk)?;
        let refusals =
            report.get("refusals").and_then(Value::as_array).context("no refusals in the report")?;
        let text = |name| refusals.first().and_then(|first| first.get(name)).and_then(Value::as_str);
        ensure!(
            (text("stage"), text("line")) == (Some(stage), Some(line)),
            "the boot says in stage {stage}: {line}\n`hermetic check` says: {report:#}"
        );
        Ok(())
    }

    /// Checks that `hermetic check` has nothing against the disk.
    ///
    /// # Errors
    /// It has, or cannot look.
    pub fn doctor_is_content(&self, machine: &Machine, disk: &Path) -> Result<()> {
        let report = self.doctor(machine, disk)?;
        for kind in ["refusals", "damages"] {
            let found = report.get(kind).and_then(Value::as_array).context("no findings in the report")?;
            ensure!(found.is_empty(), "`hermetic check` of a disk that boots says: {report:#}");
        }
        Ok(())
    }

    /// The report of `hermetic check`.
    fn doctor(&self, machine: &Machine, disk: &Path) -> Result<Value> {
        let mut check = Command::new(&self.products.hermetic);
        check.args(["check", "--json", "--name", "vda", "--cmdline", machine.words()]).arg(disk);
        if !machine.has_tpm() {
            check.arg("--no-tpm");
        }
        let output = check.output().context("cannot run `hermetic check`")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(matches!(output.status.code(), Some(0 | 1)), "`hermetic check` cannot look: {said}");
        serde_json::from_slice(&output.stdout).with_context(|| format!("no report: {said}"))
    }

    /// A fact for the report.
    pub fn say(&self, fact: impl Into<String>) {
        *self.note.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = fact.into();
    }

    /// The notes of the test.
    #[must_use]
    pub fn note(&self) -> String {
        self.note.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Removes the consoles of a run that are of no further interest.
    ///
    /// # Errors
    /// They cannot be removed.
    pub fn forget_consoles(&self) -> Result<()> {
        fs::remove_dir_all(&self.logs).with_context(|| format!("cannot remove {}", self.logs.display()))
    }

    /// A failure, with the place of the console logs.
    #[must_use]
    pub fn explain(&self, error: Error) -> Error {
        if self.boots.load(Ordering::Relaxed) == 0 { error } else { error.context(logs_at(&self.logs)) }
    }
}

fn logs_at(logs: &Path) -> String {
    format!("consoles are in {}", logs.display())
}
