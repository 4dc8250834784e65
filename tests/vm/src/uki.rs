//! A unified kernel image, made and signed by ukify from the appliance's kernel and an initramfs, and its PCR 11 by systemd-measure.

use crate::bench::Bench;
use crate::command;
use crate::signer::Signer;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// The stub in front of every image.
const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// The recipe of an image.
#[derive(Clone, Debug)]
pub struct Uki<'a> {
    bench: &'a Bench,
    initramfs: PathBuf,
    words: String,
    os_release: String,
    secure_boot: Option<&'a Signer>,
    pcrs: Option<(&'a Signer, Option<&'a str>)>,
}

impl<'a> Uki<'a> {
    /// An image that nobody signed, with this initramfs and command line.
    #[must_use]
    pub fn new(bench: &'a Bench, initramfs: &Path, words: &str, os_release: &str) -> Self {
        let (initramfs, words, os_release) = (initramfs.to_owned(), words.to_owned(), os_release.to_owned());
        Self { bench, initramfs, words, os_release, secure_boot: None, pcrs: None }
    }

    /// Signed for Secure Boot.
    #[must_use]
    pub fn secure_boot(self, signer: &'a Signer) -> Self {
        Self { secure_boot: Some(signer), ..self }
    }

    /// Signs the states of PCR 11 that this image goes through: after these phases, or after those of ukify's default.
    #[must_use]
    pub fn pcrs(self, signer: &'a Signer, phases: Option<&'a str>) -> Self {
        Self { pcrs: Some((signer, phases)), ..self }
    }

    /// Makes the image.
    ///
    /// # Errors
    /// ukify fails.
    pub fn make(&self, into: &Path) -> Result<()> {
        let Bench { cache, tools, appliance, .. } = self.bench;
        let work = cache.scratch("uki")?;
        let mut files = vec![("linux", appliance.kernel()), ("initrd", self.initramfs.clone())];
        for (signer, key, certificate) in self.secure_boot.iter().map(|signer| (signer, "sb.key", "sb.crt")) {
            files.extend([(key, signer.key()), (certificate, signer.certificate())]);
        }
        if let Some((signer, _)) = self.pcrs {
            files.extend([("pcr.key", signer.key()), ("pcr.pub", signer.public())]);
        }
        for (name, path) in &files {
            fs::copy(path, work.join(name)).with_context(|| format!("cannot copy {}", path.display()))?;
        }
        fs::write(work.join("os-release"), &self.os_release)?;
        fs::write(work.join("words"), &self.words)?;
        let mut ukify = tools.inside(work.path(), "ukify");
        ukify.args(["build", "--linux=linux", "--initrd=initrd", "--cmdline=@words"]);
        ukify.args(["--os-release=@os-release", "--output=image.efi"]);
        ukify.arg(format!("--stub={STUB}")).arg(format!("--uname={}", appliance.version()));
        if self.secure_boot.is_some() {
            ukify.args(["--signtool=sbsign", "--secureboot-private-key=sb.key"]);
            ukify.arg("--secureboot-certificate=sb.crt");
        }
        if let Some((_, phases)) = self.pcrs {
            ukify.args(["--pcr-private-key=pcr.key", "--pcr-public-key=pcr.pub"]);
            ukify.args(phases.map(|phases| format!("--phases={phases}")));
        }
        command::run(&mut ukify)?;
        fs::rename(work.join("image.efi"), into)
            .with_context(|| format!("cannot put the image at {}", into.display()))
    }
}

/// Writes every section of an image into a file named after it.
const SECTIONS: &str = "
import pefile
for section in pefile.PE('image.efi').sections:
    name = section.Name.rstrip(b'\\0').decode().lstrip('.')
    open(name, 'wb').write(section.get_data()[:section.Misc_VirtualSize])
";

/// The sections that the stub measures (systemd-measure(1)).
const MEASURED: [&str; 13] = [
    "linux", "osrel", "cmdline", "initrd", "ucode", "splash", "dtb", "uname", "sbat", "pcrpkey", "profile",
    "dtbauto", "hwids",
];

/// PCR 11 by systemd-measure when the machine has booted this image and come to the end of this path of phases.
///
/// # Errors
/// It is no such image; systemd-measure fails.
pub fn pcr11(bench: &Bench, image: &Path, phases: &str) -> Result<String> {
    let work = bench.cache.scratch("measure")?;
    fs::copy(image, work.join("image.efi"))?;
    command::run(bench.tools.inside(work.path(), "python3").args(["-c", SECTIONS]))?;
    let mut measure = bench.tools.inside(work.path(), "systemd-measure");
    measure.args(["calculate", "--bank=sha256", "--json=short"]).arg(format!("--phase={phases}"));
    for section in MEASURED.iter().filter(|section| work.join(section).exists()) {
        measure.arg(format!("--{section}={section}"));
    }
    let said: Value = serde_json::from_str(&command::output(&mut measure)?)?;
    let hash = said.pointer("/sha256/0/hash").and_then(Value::as_str);
    Ok(hash.with_context(|| format!("systemd-measure says {said}"))?.to_owned())
}
