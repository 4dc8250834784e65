//! The material for comparison besides tools: the test files of systemd and cryptsetup, and the configuration fragments
//! that Debian's packages ship.
//!
//! All come from the archive as the trees do, extracted and not installed. Integration tests find them as
//! `HERMETIC_SYSTEMD_SOURCE`, `HERMETIC_CRYPTSETUP_SOURCE` and `HERMETIC_FRAGMENTS`, and as `HERMETIC_JUDGES` the
//! programs that test files call beside the tool root's.

use crate::apt::Apt;
use crate::cache::{Cache, Key};
use crate::debian::Suite;
use crate::{command, progress};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The part of systemd's source that is kept (patterns of tar, below its first directory).
const SYSTEMD_FILES: [&str; 8] = [
    "test/units",
    "test/test-sysusers",
    "test/test-sysusers.sh.in",
    "test/test-systemd-tmpfiles.py",
    "test/test-fstab-generator",
    "test/test-fstab-generator.sh",
    "sysusers.d",
    "tmpfiles.d",
];

/// The part of cryptsetup's source that is kept: the images of LUKS headers that its tests carry or make.
const CRYPTSETUP_FILES: [&str; 10] = [
    "tests/generators",
    "tests/luks2-validation-test",
    "tests/luks2_*",
    "tests/compatimage*.img.xz",
    "tests/compatv10image.img.xz",
    "tests/blkid-luks2-pv.img.xz",
    "tests/conversion_imgs.tar.xz",
    "tests/luks1-images.tar.xz",
    "tests/evil_hdr-*.xz",
    "tests/valid_header_file.xz",
];

/// Packages that ship files of [`FRAGMENTS`], small ones first: 40 have sysusers.d, 40 tmpfiles.d.
const PACKAGES: &[&str] = &[
    "galileo-daemon",
    "socklog-run",
    "cron-daemon-common",
    "cloudflare-ddns",
    "walldns",
    "tuptime",
    "rbldns",
    "tomcat11",
    "axfrdns",
    "tomcat10",
    "dnscache",
    "rpcbind",
    "mimic",
    "dbus-system-bus-common",
    "tinydns",
    "bcron",
    "uuid-runtime",
    "spice-vdagent",
    "sispmctl",
    "systemd-cron",
    "systemd-oomd",
    "systemd-timesyncd",
    "munin-common",
    "rbldnsd",
    "hitch",
    "clamav-base",
    "opendmarc",
    "postgresql-common",
    "systemd-journal-remote",
    "systemd-coredump",
    "aide-common",
    "polkitd",
    "vsftpd",
    "rpki-client",
    "fort-validator",
    "binkd",
    "colord",
    "opendkim",
    "stunnel4",
    "pound",
    "bind9",
    "openbgpd",
    "xrootd-server",
    "libtss2-fapi1t64",
    "systemd-resolved",
    "lighttpd",
    "gnome-remote-desktop",
    "memcached",
    "swupdate",
    "speakersafetyd",
    "fail2ban",
    "certmonger",
    "cryptsetup-bin",
    "screen",
    "openssh-server",
    "systemd-container",
    "mpd",
    "amavisd-new",
    "exim4-base",
    "passwd",
    "lvm2",
    "man-db",
    "nut-server",
    "sudo",
];

/// The directories of a package that are kept.
const FRAGMENTS: [&str; 2] = ["usr/lib/sysusers.d", "usr/lib/tmpfiles.d"];

/// Packages with the programs that those suites judge and make their images by, and the libraries that the tool root lacks for them;
/// and mkosi, which finds what it runs in the tool root.
const JUDGES: [&str; 7] = ["jq", "libjq1", "libonig5", "mkosi", "passwd", "systemd-userdbd", "xxd"];

/// The material for comparison.
#[derive(Clone, Debug)]
pub struct Reference {
    /// systemd's source, as far as it is kept: `test/…`, `sysusers.d/…`, `tmpfiles.d/…`.
    pub systemd: PathBuf,
    /// cryptsetup's source, as far as it is kept: `tests/…`.
    pub cryptsetup: PathBuf,
    /// A directory for each package: `openssh-server/usr/lib/sysusers.d/…`.
    pub fragments: PathBuf,
    /// userdbctl, jq, xxd, userdel and mkosi, to be laid over the tool root.
    pub judges: PathBuf,
}

impl Reference {
    /// The references of this cache, made when they are missing.
    ///
    /// # Errors
    /// They cannot be downloaded or extracted.
    pub fn get(cache: &Cache) -> Result<Self> {
        let systemd = source(cache, "systemd", &SYSTEMD_FILES)?;
        let cryptsetup = source(cache, "cryptsetup", &CRYPTSETUP_FILES)?;
        let suite = Suite::Trixie.name();
        let key = Key::default().with("suite", suite).with("packages", PACKAGES.join(" "));
        let fragments = cache.artefact("fragments", &key, |place| {
            let what = format!("fetching the sysusers.d and tmpfiles.d files of {} packages", PACKAGES.len());
            progress::step(&what, || fragments(cache, place))
        })?;
        let key = Key::default().with("suite", suite).with("packages", JUDGES.join(" "));
        let judges = cache.artefact("judges", &key, |place| {
            progress::step("fetching userdbctl, jq, xxd and mkosi", || judges(cache, place))
        })?;
        Ok(Self { systemd, cryptsetup, fragments, judges })
    }
}

/// These files of the source of a package.
fn source(cache: &Cache, package: &str, files: &[&str]) -> Result<PathBuf> {
    let key = Key::default().with("suite", Suite::Trixie.name()).with("files", files.join(" "));
    cache.artefact(&format!("{package}-source"), &key, |place| {
        let what = format!("fetching {package}'s source for its test files");
        progress::step(&what, || extract(cache, package, files, place))
    })
}

fn extract(cache: &Cache, package: &str, files: &[&str], place: &Path) -> Result<()> {
    let scratch = cache.scratch("source")?;
    let archive = Apt::open(&scratch.join("apt"), Suite::Trixie)?.source(package, &scratch.join("source"))?;
    let mut tar = Command::new("tar");
    tar.args(["--extract", "--strip-components=1", "--wildcards", "--no-wildcards-match-slash", "--file"]);
    tar.arg(archive).arg("--directory").arg(place);
    command::run(tar.args(files.iter().map(|path| format!("*/{path}"))))
        .with_context(|| format!("{package}'s source lacks a file that the tests need"))
}

/// The mkosi of Debian's development, as it was when this cache fetched it, to be laid over the tool root.
///
/// # Errors
/// It cannot be downloaded or extracted.
pub fn newest_mkosi(cache: &Cache) -> Result<PathBuf> {
    let key = Key::default().with("suite", Suite::Sid.name()).with("packages", "mkosi");
    cache.artefact("mkosi", &key, |place| {
        progress::step("fetching Debian's newest mkosi", || extract_of(cache, Suite::Sid, &["mkosi"], place))
    })
}

fn judges(cache: &Cache, place: &Path) -> Result<()> {
    extract_of(cache, Suite::Trixie, &JUDGES, place)
}

/// Lays the files of these packages of a release into a directory.
///
/// # Errors
/// They cannot be downloaded or extracted.
pub fn extract_of(cache: &Cache, suite: Suite, names: &[&str], place: &Path) -> Result<()> {
    let scratch = cache.scratch("packages")?;
    let packages = Apt::open(&scratch.join("apt"), suite)?.packages(names, &scratch.join("packages"))?;
    for (_, file) in packages {
        command::run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(place))?;
    }
    Ok(())
}

fn fragments(cache: &Cache, place: &Path) -> Result<()> {
    let scratch = cache.scratch("fragments")?;
    let packages =
        Apt::open(&scratch.join("apt"), Suite::Trixie)?.packages(PACKAGES, &scratch.join("packages"))?;
    for (name, file) in packages {
        let whole = scratch.join("whole");
        command::run(Command::new("dpkg-deb").arg("--extract").arg(file).arg(&whole))?;
        let mut found = false;
        for directory in FRAGMENTS {
            let (from, to) = (whole.join(directory), place.join(&name).join(directory));
            if from.is_dir() {
                fs::create_dir_all(to.parent().unwrap_or(place))?;
                fs::rename(&from, &to).with_context(|| format!("cannot keep {directory} of {name}"))?;
                found = true;
            }
        }
        if !found {
            bail!("the package {name} has neither sysusers.d nor tmpfiles.d: choose another");
        }
        fs::remove_dir_all(&whole)?;
    }
    Ok(())
}
