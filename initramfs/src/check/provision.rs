//! The definitions of /usr, and what is made by them.

use hermetic_init::{
    config::{Config, DeviceSpec, RootPolicy, RootSource},
    disk::slot::select_root,
    fragments::{Facts, facts, usr::os_release},
    image,
    os_release::OsRelease,
    repart::{self, Course, Decision, Definition, Definitions, Maker, Reading, Terms},
};

use super::{SEED, disk::Named, report::Report, tree::UsrTree};
use crate::{
    clock::Clock,
    machine::Machine,
    plan::{self, Sources},
    repart::{Failure, admission},
};

/// The stage of the boot.
const STAGE: &str = "provision";
/// Bytes of a page of the machine that boots: the least that any has.
const PAGE: u32 = 4096;

/// The partitions that the definitions lead to expect.
pub struct Expected {
    /// The definitions.
    pub definitions: Vec<Definition>,
    /// A root is made.
    pub makes_root: bool,
    /// The labels and the names of all partitions that are made.
    pub made: Vec<(String, String)>,
}

impl Expected {
    /// These definitions make nothing.
    fn of(definitions: Vec<Definition>) -> Self {
        Self { definitions, makes_root: false, made: Vec::new() }
    }

    /// True when a partition that is made answers to this name; None when that cannot be told before it is there.
    pub fn answers(&self, spec: &DeviceSpec) -> Option<bool> {
        match spec {
            DeviceSpec::PartLabel(label) => Some(self.made.iter().any(|(made, _)| made == label)),
            DeviceSpec::Name(name) => Some(self.made.iter().any(|(_, made)| made == name)),
            _ if self.made.is_empty() => Some(false),
            _ => None,
        }
    }
}

/// Decides what is made, as the boot does. None: it refuses.
///
/// # Errors
/// The image cannot be read.
pub fn decide(
    config: &Config,
    disk: &Named,
    tree: &UsrTree,
    mut machine: Machine<'_>,
    report: &mut Report,
) -> Result<Option<Expected>, Failure> {
    let facts = Facts {
        architecture: Some(facts::architecture(std::env::consts::ARCH).into()),
        os_release: os_release(tree.usr()).ok().as_deref().map(OsRelease::parse),
        ..Facts::default()
    };
    let definitions = match Definitions::read(tree.above(), &tree.search(), Reading::new(&facts)) {
        Ok(definitions) => definitions,
        Err(error) => return refuse(report, format!("/usr's repart.d is refused: {error}")),
    };
    for warning in &definitions.warnings {
        report.warn(STAGE, format!("repart.d: {warning}"));
    }
    let mut definitions = definitions.list;
    let Some(gpt) = disk.gpt() else {
        if !definitions.is_empty() {
            report.warn(STAGE, "/usr is on no disk with a GPT: repart.d is not applied");
        }
        return Ok(Some(Expected::of(definitions)));
    };
    for refusal in admission::refusals(disk.whole(), gpt, &definitions)? {
        let line = format!("{}: {}", disk.partition_name(refusal.number), refusal.error);
        match config.hermetic.root_policy {
            RootPolicy::Strict => return refuse(report, line),
            RootPolicy::Existing => report.warn(STAGE, line),
        }
    }
    if let Some(why) = config.leaves_partitions() {
        report.fact(STAGE, why);
        return Ok(Some(Expected::of(definitions)));
    }
    let sources = Sources::of_tree(gpt, config, tree.above())?;
    let measured = repart::measure(
        Maker::Boot,
        &mut definitions,
        &gpt.layout(),
        &Failure::from,
        &mut |_, definition, copied| sources.look(definition, copied),
    );
    if let Err(error) = measured {
        return refuse(report, format!("/usr's repart.d: {error}"));
    }
    if let Ok(plan) = repart::plan(&definitions, &gpt.layout(), SEED)
        && !plan.changes()
    {
        plan::story(&plan, None).into_iter().for_each(|line| report.fact(STAGE, line));
        return Ok(Some(Expected::of(definitions)));
    }
    if config.root.source == RootSource::Auto
        && let Some(partition) = select_root(gpt.partitions(), &config.image_filter)
    {
        let found = disk.superblock(partition)?.map(|superblock| superblock.format);
        let name = disk.partition_name(partition.number);
        if let Err(line) = image::admit_root(config, &definitions, &name, found) {
            return refuse(report, line);
        }
    }
    let plan = match repart::course(&definitions, &gpt.layout(), SEED) {
        Ok(Course::Carry(plan)) => plan,
        Ok(Course::Leave(lack)) => {
            let name = disk.name();
            report.warn(STAGE, format!("{name}: repart.d is not applied, the disk stays as it is: {lack}"));
            return Ok(Some(Expected::of(definitions)));
        }
        Err(error) => return refuse(report, format!("{}: {error}", disk.name())),
    };
    let terms = Terms::of_boot(config, PAGE, Clock::of_machine().now());
    let decided = match Decision::make(&plan, gpt, &terms, &mut machine) {
        Ok(decided) => decided,
        Err(line) => return refuse(report, line),
    };
    plan::story(&plan, Some(&decided)).into_iter().for_each(|line| report.fact(STAGE, line));
    let makes_root = plan.new.iter().any(|new| new.definition.is_root());
    drop(decided);
    let made = |new: &repart::NewPartition| (new.label.clone(), disk.partition_name(new.number));
    let made = plan.new.iter().map(made).collect();
    Ok(Some(Expected { definitions, makes_root, made }))
}

fn refuse(report: &mut Report, line: String) -> Result<Option<Expected>, Failure> {
    report.refuse(STAGE, line);
    Ok(None)
}
