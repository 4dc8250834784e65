//! Stage "provision": what /usr's repart.d asks for and the disk lacks. Nothing, on most boots.
//!
//! The first boot is a transaction (design, law 1): the kernel is told of partitions that no table names yet; they are
//! formatted and filled through their own nodes, unmounted, unmapped and flushed; only then is the table written, once for
//! all of them. Cut the power anywhere: the next boot starts over, or finds everything.

mod content;
mod copies;
mod locks;
mod reset;
mod steps;
mod volume;

use std::{fs::File, os::fd::AsFd as _};

use super::{
    devices::Devices,
    disks::{Disk, range},
    etc,
    failure::{Failure, OrFail},
    key::Key,
    machine, root,
    usr::Usr,
};
use crate::{
    config::{Config, RootSource, Uses},
    disk::{
        gpt,
        slot::select_root,
        transaction::Transaction,
        types::{self, Role},
    },
    info, notice,
    populate::mount_points,
    repart::{self, Adopted, Definition, Definitions, Encrypt, Maker, Reading, Search},
    sys::block::Node,
    units::Lba,
    warning,
    writes::Writes,
};
use content::Image;
use copies::Copies;
use locks::Locks;

const STAGE: &str = "provision";

/// What policy says about the root that the next stage is going to open.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Expectation {
    /// A definition asks for encryption.
    pub encrypted: bool,
    /// A definition wants the file system to follow its partition.
    pub grows: bool,
}

/// Carries out a factory reset when one is asked for, makes the partitions that are missing, and returns what is to be
/// expected of the root.
///
/// # Errors
/// A definition that we do not understand, too little space for a first root, a missing key file, any write that fails. The disk's table
/// is then as it was.
pub fn provision(
    config: &Config,
    usr: &mut Usr,
    key: &Key,
    devices: &mut Devices,
) -> Result<Expectation, Failure> {
    let above = File::open(usr.tree()).or_fail(STAGE, || format!("cannot open {}", usr.tree().display()))?;
    let tree = usr.open(STAGE)?;
    let facts = etc::facts_of(tree.as_fd(), None);
    let definitions = Definitions::read(above.as_fd(), &Search::standard(), Reading::new(&facts))
        .or_fail(STAGE, || "/usr's repart.d".into())?;
    for warning in &definitions.warnings {
        warning!("repart.d: {warning}");
    }
    let mut definitions = definitions.list;
    let expectation = Expectation {
        encrypted: definitions.iter().any(asks_for_encrypted_root),
        grows: definitions.iter().any(asks_for_growing_root),
    };
    if !config.repart {
        notice!("systemd-repart.service is masked: the partition table stays as it is");
        return Ok(expectation);
    }
    reset::reset(config, &definitions, tree.as_fd(), usr.disk_mut())?;
    if config.root_is_new() {
        info!("root is a tmpfs: no partition is made");
        return Ok(Expectation::default());
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
    let id = machine::choose(config.machine_id.as_ref()).or_fail(STAGE, || "machine id".into())?;
    let seed = uuid::Uuid::from_bytes(id.bytes());
    // Before anything changes on a disk whose root is an attack.
    root::admit_existing(config, &expectation, disk)?;
    let plan = repart::plan(&definitions, &disk.gpt.layout(), seed);
    if plan.is_err() {
        // What cannot be made at all is the better reason, whatever room it would need.
        for definition in definitions.iter().filter(|definition| !exists(disk, definition)) {
            repart::refuse(definition, Maker::Boot).or_fail(STAGE, || name.clone())?;
        }
    }
    let plan = match plan {
        Ok(plan) => plan,
        // What booted yesterday boots today: like systemd's initrd, which goes on when systemd-repart fails.
        Err(error) if has_root(disk, &definitions) => {
            warning!("{name}: repart.d is not applied, the disk stays as it is: {error}");
            return Ok(expectation);
        }
        Err(error) => return Err(Failure::new(STAGE, format!("{name}: {error}"))),
    };

    // Everything that can be refused is refused before the first write.
    for new in &plan.new {
        repart::refuse(&new.definition, Maker::Boot).or_fail(STAGE, || name.clone())?;
        permitted(config, new)?;
        content::rehearse(new, disk.block_size())?;
    }
    let locks = Locks::make(config, key, &plan.new, devices)?;
    let identity = etc::Identity::new(config, tree.as_fd(), id);
    let entries: Vec<_> = plan.new.iter().map(|new| (new.number, entry(new))).collect();
    let grown: Vec<_> = plan.grown().map(|old| (old.number, last(old, disk.block_size()))).collect();
    let transaction = Transaction::make(&disk.gpt, &entries, &grown).or_fail(STAGE, || name.clone())?;
    if config.root.source == RootSource::Auto && select_root(transaction.after.partitions()).is_none() {
        let reason = format!(
            "{name}: after all that repart.d asks for there would still be no root: define one with Type=root, without \
             NoAuto=yes and without a Label= that begins with _, PRT# or PND#"
        );
        return Err(Failure::new(STAGE, reason));
    }

    let image = Image {
        above: above.as_fd(),
        usr: tree.as_fd(),
        copies: &copies,
        mounts: &mounts(&definitions),
        identity: &identity,
    };
    let mut unfilled = plan.new.len();
    steps::carry_out(disk, transaction, &mut |device, number| {
        let Some(new) = plan.new.iter().find(|new| new.number == number) else { return Ok(()) };
        info!("{name}: making partition {number} ({}), {}", new.label, range(new.offset, new.length));
        content::fill(device, new, &locks.of(number), &image, devices)?;
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

/// The last block of a partition that grows.
fn last(grown: &Adopted, block_size: u32) -> Lba {
    let end = grown.offset.0.saturating_add(grown.new_length.0);
    Lba((end / u64::from(block_size).max(1)).saturating_sub(1))
}

/// Where all defined partitions are mounted, as paths from the root: a root leaves these places empty.
fn mounts(definitions: &[Definition]) -> Vec<&'static str> {
    definitions.iter().flat_map(|definition| mount_points(definition.type_guid)).copied().collect()
}

fn is_root(type_guid: uuid::Uuid) -> bool {
    types::role(type_guid) == Some(Role::Root)
}

/// Whether the disk has a partition that the definition may mean.
fn exists(disk: &Disk, definition: &Definition) -> bool {
    disk.gpt.partitions().iter().any(|partition| partition.type_guid == definition.type_guid)
}

/// Whether the disk has all the roots that the definitions ask for.
fn has_root(disk: &Disk, definitions: &[Definition]) -> bool {
    let mut roots = definitions.iter().filter(|definition| is_root(definition.type_guid));
    roots.all(|definition| exists(disk, definition))
}

fn asks_for_encrypted_root(definition: &Definition) -> bool {
    definition.encrypt != Encrypt::Off && is_root(definition.type_guid)
}

fn asks_for_growing_root(definition: &Definition) -> bool {
    definition.grow_file_system == Some(true) && is_root(definition.type_guid)
}

/// Whether the image policy lets us make this partition: a root may be made where it may be absent, and must be made as
/// it has to be found afterwards. Of other partitions that we make the policy says nothing.
fn permitted(config: &Config, new: &repart::NewPartition) -> Result<(), Failure> {
    if !is_root(new.type_guid) {
        return Ok(());
    }
    let (needed, word) = match new.definition.encrypt {
        Encrypt::Off => (Uses::UNPROTECTED, "unprotected"),
        Encrypt::KeyFile | Encrypt::Tpm2 | Encrypt::KeyFileTpm2 => (Uses::ENCRYPTED, "encrypted"),
    };
    for (use_, word) in [(Uses::ABSENT, "absent"), (needed, word)] {
        if !config.image_policy.root.allows(use_) {
            let reason = format!(
                "{}: systemd.image_policy= does not allow root to be {word}, so it may not be made; change one of them",
                new.definition.file
            );
            return Err(Failure::new(STAGE, reason));
        }
    }
    Ok(())
}

/// The entry of a planned partition.
fn entry(new: &repart::NewPartition) -> gpt::NewPartition {
    gpt::NewPartition {
        type_guid: new.type_guid,
        guid: new.guid,
        first: new.first,
        last: new.last,
        attributes: new.attributes,
        label: new.label.clone(),
    }
}

/// Carries a plan out and waits until it is on the medium.
fn apply(plan: &Writes, node: &Node) -> Result<(), Failure> {
    plan.apply(node.file())
        .and_then(|()| node.sync())
        .or_fail(STAGE, || format!("cannot write {}; check the disk", node.path().display()))
}
