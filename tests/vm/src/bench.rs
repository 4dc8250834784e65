//! The bench: the machine made ready, with its tools, its appliance and its accelerator. Everything starts here.

use crate::accel::Accelerator;
use crate::appliance::Appliance;
use crate::cache::Cache;
use crate::debian::Suite;
use crate::newest::{Newest, Release};
use crate::reference::Reference;
use crate::setup;
use crate::toolroot::ToolRoot;
use anyhow::Result;

/// The parts that every proof works with.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The cache of expensive artefacts.
    pub cache: Cache,
    /// Tools in known versions, which run on the host.
    pub tools: ToolRoot,
    /// Debian's system, of which images are made.
    pub appliance: Appliance,
    /// The tools of the appliance's own release, which an image may be given.
    pub own_tools: ToolRoot,
    /// Test files and fragments of others.
    pub reference: Reference,
    /// The accelerator of machines.
    pub accelerator: Accelerator,
    /// The system of Debian 13.
    oldest: Appliance,
    /// Debian sid.
    pub newest: Newest,
}

impl Bench {
    /// Makes everything that is missing, with progress; takes a moment when nothing is missing. Debian sid is left out.
    ///
    /// # Errors
    /// A part cannot be installed or made.
    pub fn open() -> Result<Self> {
        setup::prepare()?;
        let cache = Cache::open()?;
        let tools = ToolRoot::get(&cache, Suite::Trixie)?;
        let appliance = Appliance::get(&cache, Suite::Trixie)?;
        let reference = Reference::get(&cache)?;
        let accelerator = Accelerator::choose(&cache, &tools, &appliance)?;
        let newest = Newest::left_out();
        let (oldest, own_tools) = (appliance.clone(), tools.clone());
        Ok(Self { cache, tools, appliance, own_tools, reference, accelerator, oldest, newest })
    }

    /// The same with Debian sid, where its archive is reached.
    ///
    /// # Errors
    /// As [`Bench::open`].
    pub fn open_all() -> Result<Self> {
        let bench = Self::open()?;
        Ok(Self { newest: Newest::get(&bench.cache)?, ..bench })
    }

    /// The bench on which images and machines are of this release.
    ///
    /// # Errors
    /// The release cannot be had here; the reason.
    pub fn of(&self, suite: Suite) -> Result<Self, String> {
        let Release { appliance, tools } = match suite {
            Suite::Trixie => Release { appliance: self.oldest.clone(), tools: self.tools.clone() },
            Suite::Sid => self.newest.release()?.clone(),
        };
        Ok(Self { appliance, own_tools: tools, ..self.clone() })
    }
}
