//! Stage "provision": makes the partitions that /usr's repart.d asks for and the disk lacks. Most boots make none.
//!
//! The first boot is a transaction: the kernel is told of partitions that no table names yet; they are formatted and
//! filled through their own nodes, unmounted, unmapped and flushed; only then is the table written, once for all of
//! them. Cut the power anywhere: the next boot starts over, or finds everything.

mod content;
mod copies;
mod decision;
mod locks;
mod reset;
mod steps;
mod volume;

use std::{fs::File, os::fd::AsFd as _};

use crate::{
    boot::{
        disks::range,
        failure::{Failure, OrFail as _},
        machine::{facts, id},
        means::Means,
        policy::Expectation,
        stage::usr::Usr,
    },
    config::{Config, RootSource},
    info, notice,
    populate::mount_points,
    repart::{self, Course, Decision, Definition, Definitions, Plan, Reading, Search},
    warning,
};
use content::Image;
use copies::Copies;
use decision::decide;

/// Carries out a factory reset on request, makes the missing partitions, and returns the expectations of what is on the disk.
///
/// # Errors
/// A definition that is not understood, a partition that is plain and should be encrypted, too little space for a first root, a missing key file, any write that fails.
/// The disk's table is then as it was.
pub fn provision(means: &mut Means, usr: &mut Usr) -> Result<Expectation, Failure> {
    let above = File::open(usr.tree()).or_fail(|| format!("cannot open {}", usr.tree().display()))?;
    let tree = usr.open()?;
    let facts = facts::facts_of(tree.as_fd());
    let definitions = Definitions::read(above.as_fd(), &Search::standard(), Reading::new(&facts))
        .or_fail(|| "/usr's repart.d is refused".into())?;
    for warning in &definitions.warnings {
        warning!("repart.d: {warning}");
    }
    let mut definitions = definitions.list;
    let expectation = Expectation::of(&definitions);
    if definitions.iter().any(|definition| definition.encrypt.asks_for_tpm()) {
        means.measurements.require()?;
    }
    if means.config.repart {
        reset::reset(means, &definitions, &expectation, above.as_fd(), tree.as_fd(), usr)?;
    }
    // Of what a reset has left, and before anything else changes.
    if let Some(disk) = usr.disk() {
        expectation.admit(&means.config, disk, disk.gpt.partitions())?;
    }
    if let Some(why) = means.config.leaves_partitions() {
        notice!("{why}");
        return Ok(expectation);
    }
    let copies = match usr.disk() {
        Some(disk) => Copies::open(&mut definitions, &disk.gpt.layout(), usr, above.as_fd())?,
        None => Copies::default(),
    };
    let Some(disk) = usr.disk_mut() else {
        if !definitions.is_empty() {
            notice!("/usr is on no disk with a GPT: repart.d is not applied");
        }
        return Ok(expectation);
    };
    let name = disk.device.name.clone();
    let known = repart::plan(&definitions, &disk.gpt.layout(), uuid::Uuid::nil());
    // Its error comes again, and counts, once the seed is chosen.
    if let Ok(plan) = &known {
        for adopted in &plan.adopted {
            info!("{name}: {adopted}");
        }
        for dropped in &plan.dropped {
            notice!("{name}: {dropped}");
        }
        if !plan.changes() {
            return Ok(expectation);
        }
    }
    let id = id::choose(means.config.machine_id.as_ref(), &means.credentials)?;
    let seed = uuid::Uuid::from_bytes(id.bytes());
    // Before anything changes on a disk whose root is an attack.
    expectation.admit_existing(&means.config, disk)?;
    let plan = match repart::course(&definitions, &disk.gpt.layout(), seed) {
        Ok(Course::Carry(plan)) if disk.is_read_only()? => {
            return leave(&means.config, &name, &plan).map(|()| expectation);
        }
        Ok(Course::Carry(plan)) => plan,
        Ok(Course::Leave(lack)) => {
            warning!("{name}: repart.d is not applied, the disk stays as it is: {lack}");
            return Ok(expectation);
        }
        Err(error) => return Err(Failure::new(format!("{name}: {error}"))),
    };
    let (decision, locks) = decide(means, &name, &disk.gpt, &plan)?;
    let identity = facts::identity(&means.config, tree.as_fd(), id);
    let Means { credentials, devices, .. } = means;
    let image = Image {
        above: above.as_fd(),
        usr: tree.as_fd(),
        copies: &copies,
        mounts: &mounts(&definitions),
        identity: &identity,
        credentials,
    };
    let Decision { creations, transaction } = decision;
    let mut unfilled = creations.len();
    steps::carry_out(disk, transaction, &mut |device, number| {
        let Some(creation) = creations.iter().find(|creation| creation.new.number == number) else {
            return Ok(());
        };
        let new = creation.new;
        info!("{name}: making partition {number} ({}), {}", new.label, range(new.offset, new.length));
        content::fill(device, creation, &locks.of(number), &image, devices)?;
        unfilled = unfilled.saturating_sub(1);
        if unfilled == 0 {
            locks.show_recovery_key();
        }
        Ok(())
    })?;
    for new in &plan.new {
        notice!("{name}: partition {} ({}) is complete", new.number, new.label);
    }
    for old in plan.grown() {
        notice!(
            "{name}: partition {} ({}) has grown from {} to {}",
            old.number,
            old.label,
            old.length,
            old.new_length
        );
    }
    Ok(expectation)
}

/// Leaves a disk as it is that cannot be written to.
///
/// # Errors
/// The root would have to be made on it.
fn leave(config: &Config, name: &str, plan: &Plan) -> Result<(), Failure> {
    let makes_root = plan.new.iter().any(|new| new.definition.is_root());
    if makes_root && config.root.source == RootSource::Auto {
        let reason = format!("{name}: the disk is read-only, and repart.d has a root to make on it");
        return Err(Failure::new(reason + "; make it writable, or name a root by root="));
    }
    warning!("{name}: repart.d is not applied, the disk stays as it is: it is read-only");
    Ok(())
}

/// The places where all defined partitions are mounted, as paths from the root: a root leaves these places empty.
fn mounts(definitions: &[Definition]) -> Vec<&'static str> {
    definitions.iter().flat_map(|definition| mount_points(definition.type_guid)).copied().collect()
}
