//! What is to be made on a disk, and whether it can be: all that can be refused is refused here, before the first write.
//! A factory reset asks the same of the disk as it would leave it, before it erases anything.

use uuid::Uuid;

use super::{
    super::{
        devices::Devices,
        failure::{Failure, OrFail},
        key::Key,
    },
    STAGE, content, is_root,
    locks::Locks,
};
use crate::{
    config::{Config, RootSource, Uses},
    disk::{
        gpt::{self, Gpt},
        slot::select_root,
        transaction::{Change, Transaction},
    },
    repart::{self, Adopted, Definition, Encrypt, Maker, NewPartition, Plan, RepartError},
    sys::dm::Mapper,
    units::Lba,
};

/// What is going to be made. Nothing that is known to be in its way is there.
pub struct Decision {
    /// The partitions.
    pub plan: Plan,
    /// What opens those that are encrypted.
    pub locks: Locks,
    /// How they come onto the disk.
    pub transaction: Transaction,
}

/// What a decision goes by, beside the disk.
pub struct Means<'a> {
    /// The command line.
    pub config: &'a Config,
    /// The key file.
    pub key: &'a Key,
    /// The drivers.
    pub devices: &'a mut Devices,
    /// The disk's name.
    pub name: &'a str,
}

/// Plans what the definitions ask for on a disk with this table. The inner error is a lack of room, or of entries.
///
/// # Errors
/// There is no plan, and something that lacks could not be made at all, whatever room it has: the better reason.
pub fn plan(
    definitions: &[Definition],
    gpt: &Gpt,
    name: &str,
    seed: Uuid,
) -> Result<Result<Plan, RepartError>, Failure> {
    let plan = repart::plan(definitions, &gpt.layout(), seed);
    if plan.is_err() {
        for definition in definitions.iter().filter(|definition| !exists(gpt, definition)) {
            repart::refuse(definition, Maker::Boot).or_fail(STAGE, || name.into())?;
        }
    }
    Ok(plan)
}

impl Decision {
    /// Decides to carry out `plan` on a disk with this table.
    ///
    /// # Errors
    /// A definition that cannot be carried out, or policy that forbids it, a missing key file, no TPM, a system that would still have no
    /// root.
    pub fn make(means: &mut Means<'_>, gpt: &Gpt, plan: Plan) -> Result<Self, Failure> {
        let (config, name) = (means.config, means.name);
        let block_size = gpt.geometry().block_size;
        for new in &plan.new {
            repart::refuse(&new.definition, Maker::Boot).or_fail(STAGE, || name.into())?;
            permitted(config, new)?;
            content::rehearse(new, block_size)?;
            able(means.devices, new)?;
        }
        let locks = Locks::make(config, means.key, &plan.new, means.devices)?;
        let entries: Vec<_> = plan.new.iter().map(|new| (new.number, entry(new))).collect();
        let changes: Vec<_> = plan.adopted.iter().filter_map(|adopted| change(adopted, block_size)).collect();
        let transaction = Transaction::make(gpt, &entries, &changes).or_fail(STAGE, || name.into())?;
        if config.root.source == RootSource::Auto && select_root(transaction.after.partitions()).is_none() {
            let reason = format!(
                "{name}: after all that repart.d asks for there would still be no root: define one with Type=root, \
                 without NoAuto=yes and without a Label= that begins with _, PRT# or PND#"
            );
            return Err(Failure::new(STAGE, reason));
        }
        Ok(Self { plan, locks, transaction })
    }
}

/// Whether the disk has a partition that the definition may mean.
fn exists(gpt: &Gpt, definition: &Definition) -> bool {
    gpt.partitions().iter().any(|partition| partition.type_guid == definition.type_guid)
}

/// Whether the disk has all the roots that the definitions ask for.
pub fn has_root(gpt: &Gpt, definitions: &[Definition]) -> bool {
    let mut roots = definitions.iter().filter(|definition| is_root(definition.type_guid));
    roots.all(|definition| exists(gpt, definition))
}

/// Whether the image policy lets us make this partition: a root may be made where it may be absent, and must be made as
/// it has to be found afterwards. Of other partitions that we make the policy says nothing.
fn permitted(config: &Config, new: &NewPartition) -> Result<(), Failure> {
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

/// Whether the kernel, with what the initramfs has for it, mounts what is to be filled and maps what is to be encrypted.
fn able(devices: &mut Devices, new: &NewPartition) -> Result<(), Failure> {
    let lacks = |key: &str, value: &str, what: &str| {
        let reason = new.definition.refuse(
            key,
            format!("{key}={value}, but neither the kernel nor the initramfs has {what}"),
            "build it with --preset generic, or with --add-module",
        );
        Err(Failure::new(STAGE, format!("{reason} {what}")))
    };
    if let Some(system) = content::filled(new)
        && !devices.can_mount(system.name())?
    {
        return lacks("Format", system.name(), system.name());
    }
    if new.definition.encrypt != Encrypt::Off {
        devices.demand("dm-crypt")?;
        let has = Mapper::open().and_then(|mapper| mapper.has("crypt"));
        if !has.or_fail(STAGE, || new.definition.file.clone())? {
            return lacks("Encrypt", new.definition.encrypt.word(), "dm-crypt");
        }
    }
    Ok(())
}

/// The entry of a planned partition.
fn entry(new: &NewPartition) -> gpt::NewPartition {
    gpt::NewPartition {
        type_guid: new.type_guid,
        guid: new.guid,
        first: new.first,
        last: new.last,
        attributes: new.attributes,
        label: new.label.clone(),
    }
}

/// What changes about a partition that exists: it grows, and gets a label or an identity where it has none.
fn change(old: &Adopted, block_size: u32) -> Option<Change> {
    let end = old.offset.0.saturating_add(old.new_length.0);
    let last = Lba((end / u64::from(block_size).max(1)).saturating_sub(1));
    let change = Change {
        number: old.number,
        last: old.grows().then_some(last),
        guid: old.guid_is_new.then_some(old.guid),
        label: old.label_is_new.then(|| old.label.clone()),
    };
    let changes = change.last.is_some() || change.guid.is_some() || change.label.is_some();
    changes.then_some(change)
}
