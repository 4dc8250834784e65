//! The decision of what is made on a disk: all that can be refused is refused here, before the first write.
//! A factory reset asks the same of the disk as it would leave it, before it erases anything.

use super::{content, locks::Locks};
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::devices::Devices,
        means::Means,
    },
    config::{Config, RootSource, Uses},
    disk::{gpt::Gpt, transaction::Transaction},
    repart::{self, Encrypt, Maker, NewPartition, Plan},
    sys::dm::Mapper,
};

/// The partitions that are going to be made. Nothing that is known to be in its way is there.
pub struct Decision {
    /// The partitions.
    pub plan: Plan,
    /// The locks that open those that are encrypted.
    pub locks: Locks,
    /// The steps by which they come onto the disk.
    pub transaction: Transaction,
}

impl Decision {
    /// Decides to carry out `plan` on the disk `name` with this table.
    ///
    /// # Errors
    /// A definition that cannot be carried out, or policy that forbids it, a missing key file, no TPM, a system that would still have no
    /// root.
    pub fn make(means: &mut Means, name: &str, gpt: &Gpt, plan: Plan) -> Result<Self, Failure> {
        let block_size = gpt.geometry().block_size;
        for new in &plan.new {
            repart::refuse(&new.definition, Maker::Boot).or_fail(|| name.into())?;
            permitted(&means.config, new)?;
            content::rehearse(new, block_size)?;
            able(&mut means.devices, new)?;
        }
        let locks = Locks::make(means, &plan.new)?;
        let transaction = plan.transaction(gpt).or_fail(|| name.into())?;
        if means.config.root.source == RootSource::Auto {
            repart::demand_root(transaction.after.partitions()).or_fail(|| name.into())?;
        }
        Ok(Self { plan, locks, transaction })
    }
}

/// Checks that the image policy lets us make this partition: a root may be made where it may be absent, and must be made as
/// it has to be found afterwards. Of other partitions that we make the policy says nothing.
fn permitted(config: &Config, new: &NewPartition) -> Result<(), Failure> {
    if !new.definition.is_root() {
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
            return Err(Failure::new(reason));
        }
    }
    Ok(())
}

/// Checks that the kernel, with what the initramfs has for it, mounts what is to be filled and maps what is to be encrypted.
fn able(devices: &mut Devices, new: &NewPartition) -> Result<(), Failure> {
    let lacks = |key: &str, value: &str, what: &str| {
        let reason = new.definition.refuse(
            key,
            format!("{key}={value}, but neither the kernel nor the initramfs has {what}"),
            "build it with --preset generic, or with --add-module",
        );
        Err(Failure::new(format!("{reason} {what}")))
    };
    if let Some(system) = content::filled(new)
        && !devices.can_mount(system.name())?
    {
        return lacks("Format", system.name(), system.name());
    }
    if new.definition.encrypt != Encrypt::Off {
        devices.demand("dm-crypt")?;
        let has = Mapper::open().and_then(|mapper| mapper.has("crypt"));
        if !has.or_fail(|| new.definition.file.clone())? {
            return lacks("Encrypt", new.definition.encrypt.word(), "dm-crypt");
        }
    }
    Ok(())
}
