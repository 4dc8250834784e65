//! A key that signs in the place of an image's builder, with its public half and a certificate: made by openssl once, and kept.

use crate::cache::{Cache, Key};
use crate::command;
use crate::toolroot::ToolRoot;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Changes whenever the code below makes another kind of key.
const VERSION: &str = "1";

/// Files of a signer. All are PEM.
const KEY: &str = "key.pem";
const PUBLIC: &str = "public.pem";
const CERTIFICATE: &str = "certificate.pem";

/// A key that signs.
#[derive(Clone, Debug)]
pub struct Signer {
    place: PathBuf,
}

impl Signer {
    /// The signer of this name: RSA of 2048 bits, and a certificate that it signed itself.
    ///
    /// # Errors
    /// openssl fails.
    pub fn get(cache: &Cache, tools: &ToolRoot, name: &str) -> Result<Self> {
        let key = Key::default().with("version", VERSION).with("signer", name);
        let place = cache.artefact("signer", &key, |place| {
            let mut request = tools.inside(place, "openssl");
            request.args(["req", "-quiet", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256"]);
            request.args(["-days", "36500", "-subj", &format!("/CN=hermetic-init {name}")]);
            command::run(request.args(["-keyout", KEY, "-out", CERTIFICATE]))?;
            let mut public = tools.inside(place, "openssl");
            command::run(public.args(["pkey", "-pubout", "-in", KEY, "-out", PUBLIC]))
        })?;
        Ok(Self { place })
    }

    /// The private key, PKCS#8.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.place.join(KEY)
    }

    /// The public key, SubjectPublicKeyInfo.
    #[must_use]
    pub fn public(&self) -> PathBuf {
        self.place.join(PUBLIC)
    }

    /// The certificate, X.509.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.place.join(CERTIFICATE)
    }

    /// Signs a program of the tool root for Secure Boot, with sbsign.
    ///
    /// # Errors
    /// It is not there, or no UEFI program.
    pub fn sign(&self, tools: &ToolRoot, program: &str, into: &Path) -> Result<()> {
        // The signer's directory stays as it is.
        let (directory, name) =
            (into.parent().context("no directory")?, into.file_name().context("no name")?);
        let place = directory.join(format!("{}.signer", name.display()));
        fs::create_dir(&place)?;
        for file in [KEY, CERTIFICATE] {
            fs::copy(self.place.join(file), place.join(file))?;
        }
        let mut sbsign = tools.inside(&place, "sbsign");
        sbsign.args(["--key", KEY, "--cert", CERTIFICATE, "--output", "signed", program]);
        command::run(&mut sbsign)?;
        fs::rename(place.join("signed"), into)?;
        fs::remove_dir_all(&place).context("cannot remove the copy of the signer")
    }
}
