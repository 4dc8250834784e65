//! A package for dpkg: its files, its control files, and the archive of both.

use crate::cargo;
use crate::command;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version of all packages: that of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The time of the sources where no git tells it: 2026-01-01.
const EPOCH: &str = "1767225600";

/// The one who answers for the packages.
const MAINTAINER: &str = "hermetic-init developers <hermetic-init@example.org>";

/// The reason why lintian's complaints about static programs are none.
const STATIC: &str = "# It runs where there is no library: as PID 1 of an initramfs, or in the tools tree of any distribution.\n";

const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: hermetic-init

Files: *
Copyright: 2025-2026 hermetic-init developers
License: MIT or Apache-2.0
Comment: The programs are linked with crates under their own licences: those of
 hermetic-init stand in crates.md.gz beside this file (devicemapper is under the
 MPL-2.0), those of hermetic in Cargo.lock of the sources.

License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.

License: MIT
";

/// A package under way.
#[derive(Debug)]
pub struct Package {
    name: &'static str,
    architecture: &'static str,
    subject: &'static str,
    description: &'static str,
    depends: Option<String>,
    files: Vec<(String, u32, Vec<u8>)>,
    links: Vec<(String, String)>,
    programs: Vec<String>,
}

impl Package {
    /// An empty package.
    #[must_use]
    pub fn new(
        name: &'static str,
        architecture: &'static str,
        subject: &'static str,
        description: &'static str,
    ) -> Self {
        let (files, links, programs) = (Vec::new(), Vec::new(), Vec::new());
        Self { name, architecture, subject, description, depends: None, files, links, programs }
    }

    /// Another package that it needs.
    pub fn needs(&mut self, package: &str) {
        self.depends = Some(package.to_owned());
    }

    /// A file with this content, at a path below /.
    pub fn file(&mut self, content: Vec<u8>, place: &str, mode: u32) {
        self.files.push((place.to_owned(), mode, content));
    }

    /// A link at a path below /.
    pub fn link(&mut self, place: &str, target: &str) {
        self.links.push((place.to_owned(), target.to_owned()));
    }

    /// A program, linked statically.
    ///
    /// # Errors
    /// It was not built.
    pub fn program(&mut self, source: &Path, place: &str) -> Result<()> {
        let content = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.file(content, place, 0o755);
        self.programs.push(place.to_owned());
        Ok(())
    }

    /// A manual page, as `hermetic manual` wrote it.
    ///
    /// # Errors
    /// It is not there, or gzip fails.
    pub fn manual(&mut self, page: &Path) -> Result<()> {
        let section = page.parent().and_then(Path::file_name).context("a page without a section")?.display();
        let name = page.file_name().context("a page without a name")?.display();
        let content = fs::read(page).with_context(|| format!("cannot read {}", page.display()))?;
        let place = format!("usr/share/man/{section}/{name}.gz");
        self.file(gzip(&content)?, &place, 0o644);
        Ok(())
    }

    /// Writes the package into a directory; `work` is for its tree.
    ///
    /// # Errors
    /// A file cannot be written; dpkg-deb fails.
    pub fn build(mut self, work: &Path, into: &Path) -> Result<PathBuf> {
        let epoch = epoch();
        self.papers(&epoch)?;
        let tree = work.join(format!("{}_{}", self.name, self.architecture));
        let (mut sums, mut size) = (String::new(), 0);
        self.files.sort();
        for (place, mode, content) in &self.files {
            put(&tree.join(place), content, *mode)?;
            size += content.len().div_ceil(1024);
            let sum = command::output(Command::new("md5sum").arg(tree.join(place)))?;
            writeln!(sums, "{}  {place}", sum.split(' ').next().unwrap_or_default())?;
        }
        for (place, target) in &self.links {
            let path = tree.join(place);
            fs::create_dir_all(path.parent().unwrap_or(&tree))?;
            symlink(target, &path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        put(&tree.join("DEBIAN/control"), self.control(size).as_bytes(), 0o644)?;
        put(&tree.join("DEBIAN/md5sums"), sums.as_bytes(), 0o644)?;
        let path = into.join(format!("{}_{VERSION}_{}.deb", self.name, self.architecture));
        let mut dpkg = Command::new("dpkg-deb");
        dpkg.args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree).arg(&path);
        command::run(dpkg.env("SOURCE_DATE_EPOCH", epoch))?;
        Ok(path)
    }

    /// The files that each package has: changelog, copyright, and the words for lintian.
    fn papers(&mut self, epoch: &str) -> Result<()> {
        let documents = format!("usr/share/doc/{}", self.name);
        let date = command::output(
            Command::new("date").args(["--utc", "--rfc-email", "--date"]).arg(format!("@{epoch}")),
        )?;
        let changelog = format!(
            "{} ({VERSION}) unstable; urgency=medium\n\n  * See CHANGELOG.md of the sources.\n\n -- {MAINTAINER}  {}\n",
            self.name,
            date.trim()
        );
        self.file(gzip(changelog.as_bytes())?, &format!("{documents}/changelog.gz"), 0o644);
        let repository = cargo::repository();
        let license = fs::read_to_string(repository.join("LICENSE-MIT"))?;
        let mut copyright = COPYRIGHT.to_owned();
        for line in license.lines().map(str::trim_end) {
            writeln!(copyright, " {}", if line.is_empty() { "." } else { line })?;
        }
        self.file(copyright.into_bytes(), &format!("{documents}/copyright"), 0o644);
        // What is linked into the programs, with its licences.
        let crates = fs::read(repository.join("docs/reference/crates.md"))?;
        self.file(gzip(&crates)?, &format!("{documents}/crates.md.gz"), 0o644);
        let mut overrides = STATIC.to_owned();
        for program in &self.programs {
            // A static program that may lie anywhere in memory is a library that needs none, by its headers.
            for tag in ["statically-linked-binary", "shared-library-lacks-prerequisites"] {
                writeln!(overrides, "{}: {tag} [{program}]", self.name)?;
            }
        }
        self.file(overrides.into_bytes(), &format!("usr/share/lintian/overrides/{}", self.name), 0o644);
        Ok(())
    }

    fn control(&self, size: usize) -> String {
        let depends =
            self.depends.as_ref().map(|depends| format!("Depends: {depends}\n")).unwrap_or_default();
        let description: String = self.description.lines().map(|line| format!(" {line}\n")).collect();
        format!(
            "Package: {}\nVersion: {VERSION}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {size}\n{depends}\
             Section: admin\nPriority: optional\nDescription: {}\n{description}",
            self.name, self.architecture, self.subject
        )
    }
}

fn put(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let parent = path.parent().context("a file needs a name")?;
    fs::create_dir_all(parent)?;
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
}

/// The time of the last commit, in seconds: the packages' files are not younger.
fn epoch() -> String {
    let mut git = Command::new("git");
    git.arg("-C").arg(cargo::repository()).args(["log", "-1", "--format=%ct"]);
    let said = command::output(&mut git).unwrap_or_default();
    if said.trim().is_empty() { EPOCH.to_owned() } else { said.trim().to_owned() }
}

/// Content compressed as Debian's policy asks for: the best, and without a time.
fn gzip(content: &[u8]) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip");
    gzip.args(["--best", "--no-name"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = gzip.spawn().context("cannot start gzip")?;
    child.stdin.take().context("gzip has no input")?.write_all(content)?;
    let output = child.wait_with_output()?;
    anyhow::ensure!(output.status.success(), "gzip fails: {}", output.status);
    Ok(output.stdout)
}
