//! Cargo, called for the other packages of the workspace: they need the packages of the set-up, this one does not.

use crate::bench::Bench;
use crate::command;
use crate::setup;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of every program that runs in a machine: static, with musl.
const MUSL: &str = "x86_64-unknown-linux-musl";

/// The same for a toolchain without musl: glibc, linked statically. Twice as large.
const GNU: &str = "x86_64-unknown-linux-gnu";

/// The target of every program that runs in a machine. `HERMETIC_TARGET=gnu` takes the second choice.
#[must_use]
pub fn machine_target() -> &'static str {
    let wants_gnu = std::env::var_os("HERMETIC_TARGET").is_some_and(|choice| choice == "gnu");
    if wants_gnu || !setup::has_target(MUSL) { GNU } else { MUSL }
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    // This file's package is two directories below it.
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.ancestors().nth(2).unwrap_or(package).to_owned()
}

/// A cargo command that runs in the repository and does not inherit the environment that `cargo run` made for this
/// program.
#[must_use]
pub fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH").current_dir(repository()).args(words);
    command
}

/// As [`cargo`], for tests: they find the tool root, the appliance and the references, and a test that is skipped is a failure.
#[must_use]
pub fn cargo_test(bench: &Bench, words: &[&str]) -> Command {
    let mut command = cargo(&["test"]);
    command.args(words).env("HERMETIC_TOOLS", bench.tools.path());
    command.env("HERMETIC_APPLIANCE", bench.appliance.path()).env("HERMETIC_NO_SKIP", "1");
    command.env("HERMETIC_SYSTEMD_SOURCE", &bench.reference.systemd);
    command.env("HERMETIC_CRYPTSETUP_SOURCE", &bench.reference.cryptsetup);
    command.env("HERMETIC_FRAGMENTS", &bench.reference.fragments);
    command.env("HERMETIC_JUDGES", &bench.reference.judges);
    bench.newest.tell(&mut command);
    command
}

/// The names of the workspace's integration tests: of the host tool's package, and of all others that it has not.
///
/// # Errors
/// cargo cannot say.
pub fn integration_tests() -> Result<[Vec<String>; 2]> {
    let said = command::output(&mut cargo(&["metadata", "--no-deps", "--format-version=1"]))?;
    let value: serde_json::Value = serde_json::from_str(&said).context("cargo metadata printed no JSON")?;
    let list = |value: &serde_json::Value, name: &str| value.get(name)?.as_array().cloned();
    let (mut tools, mut others) = (Vec::new(), Vec::new());
    for package in list(&value, "packages").context("cargo metadata lists no packages")? {
        let is_tool = package.get("name").is_some_and(|name| name == "hermetic");
        for target in list(&package, "targets").context("a package without targets")? {
            let name =
                target.get("name").and_then(serde_json::Value::as_str).context("a target without name")?;
            if list(&target, "kind").is_some_and(|kinds| kinds.iter().any(|kind| kind == "test")) {
                if is_tool { &mut tools } else { &mut others }.push(name.to_owned());
            }
        }
    }
    others.retain(|name| !tools.contains(name));
    Ok([tools, others])
}

/// The directory in which cargo puts its results.
///
/// # Errors
/// cargo does not answer.
fn target_directory() -> Result<PathBuf> {
    let said = command::output(&mut cargo(&["metadata", "--no-deps", "--format-version=1"]))?;
    let value: serde_json::Value = serde_json::from_str(&said).context("cargo metadata printed no JSON")?;
    let place = value.get("target_directory").and_then(serde_json::Value::as_str);
    place.map(PathBuf::from).context("cargo metadata names no target directory")
}

/// The programs of this workspace, built for release.
#[derive(Clone, Debug)]
pub struct Products {
    /// PID 1.
    pub init: PathBuf,
    /// The host tool.
    pub hermetic: PathBuf,
    /// The program that describes a machine from inside and powers it off.
    pub test_init: PathBuf,
    /// The yardstick: modules, mount, exec.
    pub floor_init: PathBuf,
    /// The program that counts how often PID 1 wakes.
    pub observer: PathBuf,
    /// The work of PID 1 on /etc of a new root, as a separate program.
    pub populate: PathBuf,
    /// A PID 1 that panics.
    pub panics: PathBuf,
}

impl Products {
    /// Builds all of them. Each package alone, so that the features of one do not unify into another.
    ///
    /// # Errors
    /// One does not build.
    pub fn build() -> Result<Self> {
        let target = target_directory()?;
        let machines = machine_target();
        let for_machines = target.join(machines).join("release");
        let say = |number: u32, name: &str| eprintln!("    {number} of 4: {name}");
        say(1, "hermetic-init");
        release("hermetic-init", machines)?;
        say(2, "hermetic, the host tool");
        host("hermetic", machines)?;
        say(3, "the init of the tests");
        release("guest", machines)?;
        say(4, "what is measured beside it");
        let examples = ["--example", "populate", "--example", "panics"];
        command::run(release_of("hermetic-init", machines).args(examples))?;
        Ok(Self {
            init: for_machines.join("hermetic-init"),
            hermetic: target.join(machines).join("host/hermetic"),
            test_init: for_machines.join("test-init"),
            floor_init: for_machines.join("floor-init"),
            observer: for_machines.join("observer"),
            populate: for_machines.join("examples/populate"),
            panics: for_machines.join("examples/panics"),
        })
    }
}

/// Builds one package for release.
///
/// # Errors
/// It does not build.
pub fn release(package: &str, target: &str) -> Result<()> {
    command::run(&mut release_of(package, target))
}

fn release_of(package: &str, target: &str) -> Command {
    static_build("release", package, target)
}

fn static_build(profile: &str, package: &str, target: &str) -> Command {
    let mut build =
        cargo(&["build", "--quiet", "--profile", profile, "--package", package, "--target", target]);
    // Said for this target alone, so that it reaches neither build scripts nor the host tool.
    build.env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS", "-C target-feature=+crt-static");
    build
}

/// Builds one package for build machines: static too, so that it runs in whatever tree an image builder has.
///
/// # Errors
/// It does not build.
fn host(package: &str, target: &str) -> Result<()> {
    command::run(&mut static_build("host", package, target))
}

/// PID 1 for arm64, built for release.
///
/// # Errors
/// It does not build.
pub fn arm64_init() -> Result<PathBuf> {
    const TARGET: &str = "aarch64-unknown-linux-musl";
    release("hermetic-init", TARGET)?;
    Ok(target_directory()?.join(TARGET).join("release/hermetic-init"))
}

/// The two programs of a second build.
#[derive(Debug)]
pub struct Again {
    /// PID 1.
    pub init: PathBuf,
    /// The host tool.
    pub hermetic: PathBuf,
}

/// Builds PID 1 and the host tool again in a separate directory.
///
/// # Errors
/// They do not build.
pub fn build_apart(directory: &Path) -> Result<Again> {
    let target = machine_target();
    command::run(release_of("hermetic-init", target).arg("--target-dir").arg(directory))?;
    command::run(static_build("host", "hermetic", target).arg("--target-dir").arg(directory))?;
    let place = directory.join(target);
    Ok(Again { init: place.join("release/hermetic-init"), hermetic: place.join("host/hermetic") })
}
