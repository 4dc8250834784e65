//! The packages against Debian: lintian, and a clean tree in which they are installed, used, and purged.

use super::{Programs, make};
use crate::bench::Bench;
use crate::cache::Key;
use crate::cargo::{self, Products};
use crate::command;
use crate::debian::{Suite, Tree};
use crate::progress;
use crate::report::Verdict;
use crate::setup;
use anyhow::{Context, Result, ensure};
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The tree in which they are installed.
const CLEAN: Tree =
    Tree { suite: Suite::Trixie, variant: "apt", packages: Cow::Borrowed(&[]), excluded: &[] };

/// The tree in which lintian runs.
const LINTIAN: Tree = Tree {
    suite: Suite::Trixie,
    variant: "apt",
    packages: Cow::Borrowed(&["lintian"]),
    excluded: &["/usr/share/doc/*", "/usr/share/man/*"],
};

/// Runs the rest in the tree `$1`, with the tree `$2` at /mnt; nobody else sees that.
const INSIDE: &str = "\
root=$1; mount --bind \"$2\" \"$root/mnt\"; mount -t proc proc \"$root/proc\"; mount --bind /dev \"$root/dev\"; shift 2
exec env --ignore-environment PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root chroot \"$root\" \"$@\"";

/// The places where dpkg keeps its own records: they stay.
const RECORDS: [&str; 3] = ["./var/lib/dpkg", "./var/log", "./var/cache"];

/// Builds the programs, makes the packages in a directory, and writes their checksums beside them.
///
/// # Errors
/// Something does not build, or cannot be written.
pub fn release(into: &Path) -> Result<()> {
    setup::prepare()?;
    let products = progress::step("building hermetic-init and hermetic", Products::build)?;
    let made = packages(&products, into)?;
    let names: Vec<_> = made.iter().filter_map(|path| path.file_name()).collect();
    let sums = command::output(Command::new("sha256sum").current_dir(into).args(&names))?;
    fs::write(into.join("SHA256SUMS"), &sums)?;
    print!("{sums}");
    Ok(())
}

/// Builds what is packed for both architectures, and makes the packages.
///
/// # Errors
/// Something does not build.
fn packages(products: &Products, into: &Path) -> Result<Vec<PathBuf>> {
    let arm = cargo::arm64_init()?;
    let programs = [
        Programs {
            architecture: "amd64",
            init: products.init.clone(),
            hermetic: Some(products.hermetic.clone()),
        },
        Programs { architecture: "arm64", init: arm, hermetic: None },
    ];
    make(&programs, &products.hermetic, into)
}

/// Makes the packages; lintian finds nothing wrong with them; in a clean tree they are installed, make an initramfs, and leave nothing.
///
/// # Errors
/// One of it does not hold.
pub fn judge(bench: &Bench, products: &Products) -> Result<Verdict> {
    let work = bench.cache.scratch("packages")?;
    let made = packages(products, &work.join("made"))?;
    let names = |architecture: &str| -> Vec<String> {
        let names = made.iter().filter_map(|path| path.file_name()).map(|name| name.display().to_string());
        names
            .filter(|name| name.ends_with(&format!("_{architecture}.deb")))
            .map(|name| format!("/mnt/{name}"))
            .collect()
    };
    let (amd64, arm64) = (names("amd64"), names("arm64"));
    ensure!((amd64.len(), arm64.len()) == (2, 1), "made are {made:?}");

    let lintian = tree(bench, "lintian", &LINTIAN)?;
    let mut lint =
        inside(&lintian, &work.join("made"), &["lintian", "--allow-root", "--fail-on=error,warning"]);
    command::run(lint.args(amd64.iter().chain(&arm64)))?;

    let clean = tree(bench, "clean", &CLEAN)?;
    let root = work.join("root");
    command::run(Command::new("cp").arg("--archive").arg(&clean).arg(&root))?;
    let before = content(&root)?;
    let mut install = inside(&root, &work.join("made"), &["dpkg", "--install"]);
    command::run(install.args(&amd64))?;
    let said = command::output(&mut inside(&root, &work.join("made"), &["hermetic", "--version"]))?;
    ensure!(said.trim() == format!("hermetic {}", env!("CARGO_PKG_VERSION")), "{said}");
    // /mnt is the appliance now: its kernel's modules, packed by the programs that were installed.
    let make = ["hermetic", "initramfs", "--root", "/mnt", "--output", "/tmp/initramfs"];
    let said = command::output(inside(&root, bench.appliance.path(), &make).arg("--preset=virtio"))?;
    ensure!(said.contains(" kB, unpacked "), "hermetic initramfs says {said}");
    fs::remove_file(root.join("tmp/initramfs"))?;
    command::run(&mut inside(&root, &work.join("made"), &["dpkg", "--purge", "hermetic", "hermetic-init"]))?;
    let after = content(&root)?;
    ensure!(
        before == after,
        "they leave {:?}",
        after.iter().filter(|line| !before.contains(line)).collect::<Vec<_>>()
    );
    Ok(Verdict::Passed(format!("{} packages", made.len())))
}

/// Builds both programs again in another directory: the packages of both builds are the same bytes.
///
/// # Errors
/// They are not.
pub fn same_bytes(bench: &Bench, products: &Products) -> Result<Verdict> {
    let apart = bench.cache.scratch("again")?;
    let again = cargo::build_apart(apart.path())?;
    let programs = |init: &Path, hermetic: &Path| {
        [Programs { architecture: "amd64", init: init.to_owned(), hermetic: Some(hermetic.to_owned()) }]
    };
    let first =
        make(&programs(&products.init, &products.hermetic), &products.hermetic, &apart.join("first"))?;
    let second = make(&programs(&again.init, &again.hermetic), &again.hermetic, &apart.join("second"))?;
    for (first, second) in first.iter().zip(&second) {
        ensure!(
            fs::read(first)? == fs::read(second)?,
            "a second build in another directory gives another {}",
            first.display()
        );
    }
    Ok(Verdict::Passed(format!("{} packages", first.len())))
}

/// A tree of the cache.
fn tree(bench: &Bench, kind: &str, tree: &Tree) -> Result<PathBuf> {
    let key = Key::default().with("tree", tree.inputs());
    bench.cache.artefact(kind, &key, |place| {
        progress::step("making a Debian tree for the packages", || tree.make(place))
    })
}

fn inside(root: &Path, mounted: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", INSIDE, "sh"]);
    command.arg(root).arg(mounted).args(words);
    command
}

/// The paths of a tree but for dpkg's records.
fn content(root: &Path) -> Result<Vec<String>> {
    let mut find = Command::new("find");
    find.current_dir(root).args([".", "-xdev"]);
    let said = command::output(&mut find).context("cannot list the tree")?;
    let is_record = |line: &&str| RECORDS.iter().any(|place| line.starts_with(place));
    let mut lines: Vec<String> = said.lines().filter(|line| !is_record(line)).map(str::to_owned).collect();
    lines.sort();
    Ok(lines)
}
