//! The floor: an initramfs that does the job of a later boot and knows everything before. It is what hermetic-init's time and
//! size are measured against.
//!
//! The static floor init (tests/vm/guest), Debian's modules in modprobe's order, and two lists. It makes the same devices,
//! mounts the same file systems and executes systemd.

use crate::bench::Bench;
use crate::cache::Key;
use crate::cargo::Products;
use crate::command;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A job: the modules and the devices of one way to boot.
#[derive(Clone, Debug)]
pub struct Job {
    /// The modules by name. PCI, virtio and ext4 are built into Debian's cloud kernel.
    pub modules: Vec<&'static str>,
    /// The devices, as the floor init reads them.
    pub devices: String,
}

/// Changes whenever the code below makes something else of the same inputs.
const VERSION: &str = "2";

/// The archive, from the cache or made now.
///
/// # Errors
/// A module is not there, or a tool fails.
pub fn make(bench: &Bench, products: &Products, job: &Job) -> Result<PathBuf> {
    let init = fs::read(&products.floor_init)
        .with_context(|| format!("cannot read {}", products.floor_init.display()))?;
    let key = Key::default()
        .with("version", VERSION)
        .with("init", &init)
        .with("kernel", bench.appliance.identity())
        .with("modules", job.modules.join(" "))
        .with("devices", &job.devices);
    let path = bench.cache.artefact("floor", &key, |place| {
        let stage = place.join("stage");
        fs::create_dir_all(stage.join("floor"))?;
        fs::write(stage.join("init"), &init)?;
        fs::set_permissions(stage.join("init"), fs::Permissions::from_mode(0o755))?;
        fs::write(stage.join("floor/devices"), &job.devices)?;
        let mut list = String::new();
        for module in modules(bench, &job.modules)? {
            let name = module.file_stem().context("a module has a name")?.to_string_lossy().into_owned();
            let name = name.trim_end_matches(".ko").to_owned();
            decompress(bench, &module, &stage.join("floor").join(&name))?;
            list += &format!("/floor/{name}\n");
        }
        fs::write(stage.join("floor/modules"), list)?;
        archive(bench, &stage, place)?;
        fs::remove_dir_all(&stage).context("cannot remove the staged floor")
    })?;
    Ok(path.join("initramfs"))
}

/// The module files in load order, dependencies first, each once.
fn modules(bench: &Bench, wanted: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for name in wanted {
        let said = command::output(
            bench
                .tools
                .tool("modprobe")?
                .args(["--show-depends", "--config", "/dev/null", "--set-version", bench.appliance.version()])
                .arg("--dirname")
                .arg(bench.appliance.usr())
                .arg(name),
        )?;
        for line in said.lines() {
            // `insmod PATH PARAMETERS`, or `builtin NAME`.
            let Some(path) = line.strip_prefix("insmod ").and_then(|rest| rest.split(' ').next()) else {
                continue;
            };
            let path = PathBuf::from(path);
            if !files.contains(&path) {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        bail!("modprobe names no file for {}", wanted.join(" and "));
    }
    Ok(files)
}

fn decompress(bench: &Bench, module: &Path, to: &Path) -> Result<()> {
    let (tool, words): (&str, &[&str]) = match module.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return fs::copy(module, to).map(drop).context("cannot copy a module"),
        Some("xz") => ("xz", &["--decompress", "--stdout"]),
        Some("zst") => ("zstd", &["--quiet", "--decompress", "--stdout"]),
        _ => bail!("{}: neither .ko nor .ko.xz nor .ko.zst", module.display()),
    };
    let status = bench.tools.tool(tool)?.args(words).arg(module).stdout(File::create(to)?).status();
    match status.with_context(|| format!("cannot start {tool}"))?.success() {
        true => Ok(()),
        false => bail!("{tool} cannot read {}", module.display()),
    }
}

/// newc by cpio, compressed as `hermetic initramfs` does it.
fn archive(bench: &Bench, stage: &Path, place: &Path) -> Result<()> {
    let names = place.join("names");
    let mut list = String::new();
    for top in ["init", "floor", "floor/devices", "floor/modules"] {
        list += &format!("{top}\n");
    }
    for line in fs::read_to_string(stage.join("floor/modules"))?.lines() {
        list += &format!("{}\n", line.trim_start_matches('/'));
    }
    fs::write(&names, list)?;
    let plain = place.join("floor.cpio");
    let status = bench
        .tools
        .tool("cpio")?
        .args(["--quiet", "--create", "--format=newc", "--reproducible", "--owner=+0:+0"])
        .current_dir(stage)
        .stdin(File::open(&names)?)
        .stdout(File::create(&plain)?)
        .stderr(Stdio::inherit())
        .status()
        .context("cannot start cpio")?;
    if !status.success() {
        bail!("cpio cannot make the floor's initramfs");
    }
    let mut zstd = bench.tools.tool("zstd")?;
    command::run(zstd.args(["--quiet", "-19", "--rm", "-o"]).arg(place.join("initramfs")).arg(&plain))?;
    fs::remove_file(&names).context("cannot remove the list of names")
}
