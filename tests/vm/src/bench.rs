//! The bench: the machine made ready, with its tools, its appliance and its accelerator. Everything starts here.

use crate::accel::Accelerator;
use crate::appliance::Appliance;
use crate::cache::Cache;
use crate::reference::Reference;
use crate::setup;
use crate::toolroot::ToolRoot;
use anyhow::Result;

/// The parts that every proof works with.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The cache of expensive artefacts.
    pub cache: Cache,
    /// Tools in known versions.
    pub tools: ToolRoot,
    /// Debian's system, of which images are made.
    pub appliance: Appliance,
    /// Test files and fragments of others.
    pub reference: Reference,
    /// The accelerator of machines.
    pub accelerator: Accelerator,
}

impl Bench {
    /// Makes everything that is missing, with progress; takes a moment when nothing is missing.
    ///
    /// # Errors
    /// A part cannot be installed or made.
    pub fn open() -> Result<Self> {
        setup::prepare()?;
        let cache = Cache::open()?;
        let tools = ToolRoot::get(&cache)?;
        let appliance = Appliance::get(&cache)?;
        let reference = Reference::get(&cache)?;
        let accelerator = Accelerator::choose(&cache, &tools, &appliance)?;
        Ok(Self { cache, tools, appliance, reference, accelerator })
    }
}
