//! The accelerator: KVM when it really runs a kernel here, QEMU's own translation (TCG) else.

use crate::appliance::Appliance;
use crate::cache::Cache;
use crate::machine::{Exit, Machine};
use crate::progress;
use crate::toolroot::ToolRoot;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// The time after which a kernel under KVM has long found that it has no root. Some hosts offer a /dev/kvm in which it
/// hangs.
const PROBE: Duration = Duration::from_secs(10);

/// The accelerator that executes the machine's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accelerator {
    /// The host's processor.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accelerator {
    /// The accelerator that `$HERMETIC_ACCEL` (`kvm` or `tcg`) names, else the result of a probe, once per boot of the
    /// host.
    ///
    /// # Errors
    /// The variable has another value, or the probe cannot be made.
    pub fn choose(cache: &Cache, tools: &ToolRoot, appliance: &Appliance) -> Result<Self> {
        if let Ok(word) = std::env::var("HERMETIC_ACCEL") {
            return Self::parse(&word).with_context(|| format!("HERMETIC_ACCEL={word}: kvm or tcg"));
        }
        if !Path::new("/dev/kvm").exists() {
            return Ok(Self::Tcg);
        }
        let boot =
            fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the boot id")?;
        let memory = cache.file("accelerator");
        let remembered = fs::read_to_string(&memory).unwrap_or_default();
        if let Some((when, word)) = remembered.split_once(' ')
            && when == boot.trim()
        {
            return Self::parse(word.trim())
                .with_context(|| format!("{} is damaged: remove it", memory.display()));
        }
        let found = progress::step(
            "asking /dev/kvm whether a kernel runs in it (at most 10 s, once per boot)",
            || probe(cache, tools, appliance),
        )?;
        fs::write(&memory, format!("{} {}\n", boot.trim(), found.name()))
            .with_context(|| format!("cannot write {}", memory.display()))?;
        Ok(found)
    }

    /// QEMU's arguments for it.
    #[must_use]
    pub fn arguments(self, processors: u32) -> [&'static str; 4] {
        match self {
            Self::Kvm => ["-accel", "kvm", "-cpu", "host"],
            // Five-level page tables cost TCG time and bring nothing here.
            Self::Tcg if processors == 1 => ["-accel", "tcg", "-cpu", "max,la57=off"],
            Self::Tcg => ["-accel", "tcg,thread=multi", "-cpu", "max,la57=off"],
        }
    }

    /// `kvm` or `tcg`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }

    fn parse(word: &str) -> Result<Self> {
        match word {
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => bail!("`{word}` is no accelerator"),
        }
    }
}

/// The appliance's kernel without anything: it is healthy when it comes as far as its panic about the missing root.
fn probe(cache: &Cache, tools: &ToolRoot, appliance: &Appliance) -> Result<Accelerator> {
    let scratch = cache.scratch("probe")?;
    let machine = Machine::new(&appliance.kernel()).deadline(PROBE);
    let found = match machine.run(tools, Accelerator::Kvm, &scratch.join("console.log")) {
        Ok(outcome) if outcome.exit == Exit::Panic => Accelerator::Kvm,
        // A QEMU that may not use the device ends with an error: an answer as well.
        Ok(_) | Err(_) => Accelerator::Tcg,
    };
    eprintln!("    machines run with {}", found.name());
    Ok(found)
}
