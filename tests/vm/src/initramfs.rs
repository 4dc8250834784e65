//! The initramfs of a machine, made by `hermetic initramfs` from the appliance's modules.

use crate::bench::Bench;
use crate::cache::Key;
use crate::cargo::Products;
use crate::command;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Images that stay in the cache.
const KEPT: usize = 24;

/// The parts of an initramfs.
#[derive(Clone, Debug)]
pub struct Initramfs {
    preset: &'static str,
    key: Option<Vec<u8>>,
    modules: Vec<String>,
    files: Vec<(PathBuf, String)>,
    certificates: Vec<PathBuf>,
    is_signed: bool,
}

impl Initramfs {
    /// hermetic-init with a preset's modules: `virtio`, `generic` or `none`.
    #[must_use]
    pub fn new(preset: &'static str) -> Self {
        let (modules, files, certificates) = (Vec::new(), Vec::new(), Vec::new());
        Self { preset, key: None, modules, files, certificates, is_signed: true }
    }

    /// The content of the key file that opens root.
    #[must_use]
    pub fn key(mut self, key: &[u8]) -> Self {
        self.key = Some(key.to_owned());
        self
    }

    /// A further module.
    #[must_use]
    pub fn module(mut self, name: &str) -> Self {
        self.modules.push(name.to_owned());
        self
    }

    /// The modules without their signatures.
    #[must_use]
    pub fn without_signatures(mut self) -> Self {
        self.is_signed = false;
        self
    }

    /// A further file of the host, and where it goes.
    #[must_use]
    pub fn file(mut self, source: &Path, place: &str) -> Self {
        self.files.push((source.to_owned(), place.to_owned()));
        self
    }

    /// A certificate that vouches for the signature of /usr.
    #[must_use]
    pub fn certificate(mut self, source: &Path) -> Self {
        self.certificates.push(source.to_owned());
        self
    }

    /// The archive, from the cache or made now.
    ///
    /// # Errors
    /// `hermetic initramfs` fails.
    pub fn make(&self, bench: &Bench, products: &Products) -> Result<PathBuf> {
        let mut key = Key::default()
            .with("init", fs::read(&products.init)?)
            .with("builder", fs::read(&products.hermetic)?)
            .with("kernel", bench.appliance.identity())
            .with("preset", self.preset)
            .with("signed", [u8::from(self.is_signed)])
            .with("key", format!("{:?}", self.key))
            .with("modules", self.modules.join(" "));
        for (source, place) in &self.files {
            let content = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
            key = key.with("place", place).with("content", content);
        }
        for source in &self.certificates {
            key = key.with("certificate", source.as_os_str().as_encoded_bytes());
            key = key.with("content", fs::read(source)?);
        }
        let path = bench.cache.artefact("initramfs", &key, |place| {
            let mut builder = self.builder(bench, products, place)?;
            command::run(builder.arg("--output").arg(place.join("initramfs")))
        })?;
        bench.cache.prune("initramfs", KEPT)?;
        Ok(path.join("initramfs"))
    }

    /// The same files in an ext4 image, for a root partition that the kernel mounts by itself (`init=`).
    ///
    /// # Errors
    /// `hermetic initramfs` or mkfs.ext4 fails.
    pub fn partition(&self, bench: &Bench, products: &Products, image: &Path) -> Result<()> {
        let work = bench.cache.scratch("partition")?;
        let tree = work.join("tree");
        command::run(self.builder(bench, products, work.path())?.arg("--directory").arg(&tree))?;
        fs::File::create(image)?.set_len(64 << 20)?;
        command::run(bench.tools.tool("mkfs.ext4")?.args(["-q", "-F", "-d"]).arg(&tree).arg(image))
    }

    /// The builder's command without its output; its input files are written into `work`.
    fn builder(&self, bench: &Bench, products: &Products, work: &Path) -> Result<Command> {
        let mut builder = Command::new(&products.hermetic);
        builder.arg("initramfs").arg("--init").arg(&products.init).args(["--preset", self.preset]);
        builder.arg("--kernel").arg(bench.appliance.kernel());
        builder.arg("--modules-dir").arg(bench.appliance.usr().join("lib/modules"));
        if !self.is_signed {
            builder.arg("--strip-signatures");
        }
        for name in &self.modules {
            builder.args(["--add-module", name]);
        }
        for (source, place) in &self.files {
            builder.arg("--add-file").arg(format!("{}:{place}", source.display()));
        }
        for source in &self.certificates {
            builder.arg("--verity-certificate").arg(source);
        }
        if let Some(key) = &self.key {
            let path = work.join("root.key");
            fs::write(&path, key)?;
            builder.arg("--key-file").arg(path);
        }
        Ok(builder)
    }
}
