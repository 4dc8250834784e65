//! Debian sid: the newest systemd, kernel and tools, beside the release that everything is proven against.
//!
//! Its trees are made once and stay as they were on that day; to follow sid, remove them from the cache. Not every machine
//! reaches its archive: there, what is of sid is skipped by name.

use crate::appliance::Appliance;
use crate::apt::Apt;
use crate::cache::{Cache, Key};
use crate::debian::Suite;
use crate::progress;
use crate::reference;
use crate::toolroot::ToolRoot;
use anyhow::{Result, anyhow};
use std::path::PathBuf;
use std::process::Command;
use std::thread;

/// The package with the scripts and data of systemd's own integration tests: `usr/lib/systemd/tests/testdata/units/TEST-….sh`.
const TESTS: &str = "systemd-tests";

/// The trees of a release.
#[derive(Clone, Debug)]
pub struct Release {
    /// Its system, of which images are made.
    pub appliance: Appliance,
    /// Its tools.
    pub tools: ToolRoot,
}

/// Debian sid, or why it cannot be had here.
#[derive(Clone, Debug)]
pub struct Newest(Result<(Release, PathBuf), String>);

impl Newest {
    /// Nobody has asked for it.
    #[must_use]
    pub fn left_out() -> Self {
        Self(Err("Debian sid was not asked for".to_owned()))
    }

    /// The trees of this cache, made when they are missing and the archive is reached.
    ///
    /// # Errors
    /// The archive is reached, and a tree cannot be made.
    pub fn get(cache: &Cache) -> Result<Self> {
        let tests = Key::default().with("packages", TESTS);
        let is_made = ToolRoot::is_made(cache, Suite::Sid)
            && Appliance::is_made(cache, Suite::Sid)
            && cache.has(TESTS, &tests);
        if !is_made {
            let scratch = cache.scratch("sid")?;
            if let Err(error) = Apt::open(&scratch.join("apt"), Suite::Sid) {
                return Ok(Self(Err(format!("Debian sid is not reached here: {error:#}"))));
            }
        }
        // Of the time of a tree, most is spent on one processor.
        let (appliance, tools) = thread::scope(|scope| {
            let beside = scope.spawn(|| ToolRoot::get(cache, Suite::Sid));
            let appliance = Appliance::get(cache, Suite::Sid);
            (appliance, beside.join().map_err(|_| anyhow!("the thread of the tool root panicked")))
        });
        let tests = cache.artefact(TESTS, &tests, |place| {
            progress::step("fetching the scripts of the newest systemd's tests", || {
                reference::extract_of(cache, Suite::Sid, &[TESTS], place)
            })
        })?;
        Ok(Self(Ok((Release { appliance: appliance?, tools: tools?? }, tests))))
    }

    /// The trees.
    ///
    /// # Errors
    /// They cannot be had here; the reason.
    pub fn release(&self) -> Result<&Release, String> {
        self.0.as_ref().map(|(release, _)| release).map_err(Clone::clone)
    }

    /// Says to an integration test where the trees are (`HERMETIC_SID_TOOLS`, `HERMETIC_SID_APPLIANCE`,
    /// `HERMETIC_SID_SYSTEMD_TESTS`), or why there are none (`HERMETIC_SID_MISSING`).
    pub fn tell(&self, test: &mut Command) {
        match &self.0 {
            Ok((release, tests)) => {
                test.env("HERMETIC_SID_TOOLS", release.tools.path());
                test.env("HERMETIC_SID_APPLIANCE", release.appliance.path());
                test.env("HERMETIC_SID_SYSTEMD_TESTS", tests.join("usr/lib/systemd/tests"));
            }
            Err(why) => drop(test.env("HERMETIC_SID_MISSING", why)),
        }
    }
}
