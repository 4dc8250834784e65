//! The decision of what is made on a disk: everything that can be refused is refused here, before the first write.
//!
//! A [`Plan`] says where partitions go. [`Decision::make`] says what each of them gets, and in which steps all of it comes onto the disk.
//! The boot and `hermetic repart` carry the same value out, each on its own [`Medium`](crate::disk::transaction::Medium);
//! `hermetic plan` asks for it and shows it. A factory reset asks it of the table as it would leave it, before it erases anything.
//!
//! Nothing is read or written here. What depends on the machine is asked of its [`Surroundings`]; one that cannot know answers
//! that it can be done.

use std::prelude::v1::*;

use super::{
    Deferred, Definition, Encrypt, Maker, NewPartition, Plan, RepartError, constraints,
    making::{Making, Room},
    refuse,
};
use crate::{
    config::{Config, NoTpm, PartitionPolicy, Recovery, RootSource, Uses},
    disk::{filter::Filter, validatefs::Constraint},
    file_system::FileSystem,
    mkfs::Recipe,
};
#[cfg(feature = "std")]
use crate::{
    disk::{
        gpt::{Gpt, GptError},
        transaction::Transaction,
    },
    units::PartitionNumber,
};

/// The machine on which partitions are made.
pub trait Surroundings {
    /// The reason why it cannot say, or why nothing is made.
    type Error;

    /// The error for a refusal.
    fn refused(&self, error: RepartError) -> Self::Error;

    /// True when the file system can be mounted.
    ///
    /// # Errors
    /// It is not known.
    fn mounts(&mut self, system: FileSystem) -> Result<bool, Self::Error>;

    /// True when an encrypted partition can be mapped.
    ///
    /// # Errors
    /// It is not known.
    fn maps(&mut self) -> Result<bool, Self::Error>;

    /// The reason why no key of this partition can be sealed to a TPM 2.0; None when one can.
    ///
    /// # Errors
    /// It cannot be told.
    fn lacks_tpm(&mut self, new: &NewPartition) -> Result<Option<Unsealed>, Self::Error>;

    /// Checks that there is a key file.
    ///
    /// # Errors
    /// It is missing, or cannot be used.
    fn key_file(&mut self) -> Result<(), Self::Error>;

    /// Checks that files can be put into the new file system.
    ///
    /// # Errors
    /// They cannot, or are missing.
    fn populates(&mut self, new: &NewPartition) -> Result<(), Self::Error>;

    /// Bytes for the file system of a new partition that are known to nobody else; of a reproducible one they follow from
    /// its identity.
    ///
    /// # Errors
    /// The machine has none.
    fn random(&mut self, new: &NewPartition) -> Result<[u8; 16], Self::Error>;
}

/// The reason why no key can be sealed to a TPM, in words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unsealed {
    /// The machine has no TPM.
    NoTpm(&'static str),
    /// The TPM cannot keep a key of this partition in this boot. That is no reason to refuse where another key is asked for.
    NotNow(&'static str),
}

/// The terms on which partitions are made.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// The maker.
    pub maker: Maker,
    /// Bytes of a page of the machine that will use them.
    pub page_size: u32,
    /// Seconds since 1970.
    pub now: u64,
    /// The image policy for the root.
    pub root: PartitionPolicy,
    /// The disk must have a root in the end.
    pub needs_root: bool,
    /// The labels that partitions must have to be found.
    pub filter: Filter,
    /// The replacement of a TPM that is missing.
    pub no_tpm: NoTpm,
    /// A recovery key is wanted beside the TPM.
    pub recovery_key: bool,
    /// The partitions that are placed, and neither made nor changed.
    pub deferred: Deferred<'a>,
    /// Two runs are to give the same bytes.
    pub is_reproducible: bool,
}

impl<'a> Terms<'a> {
    /// The terms of a boot with this configuration.
    #[must_use]
    pub fn of_boot(config: &Config, page_size: u32, now: u64) -> Self {
        Self {
            maker: Maker::Boot,
            page_size,
            now,
            root: config.image_policy.root,
            needs_root: config.root.source == RootSource::Auto,
            filter: config.image_filter.clone(),
            no_tpm: config.hermetic.no_tpm,
            recovery_key: config.hermetic.recovery_key == Recovery::Show,
            deferred: Deferred::default(),
            is_reproducible: false,
        }
    }

    /// The terms of the host tool: it makes every partition that is asked for, for a machine with pages of 4096 bytes.
    #[must_use]
    pub fn of_tool(now: u64, deferred: Deferred<'a>) -> Self {
        Self {
            maker: Maker::Tool,
            page_size: 4096,
            now,
            root: PartitionPolicy::OPEN,
            needs_root: false,
            filter: Filter::default(),
            no_tpm: NoTpm::Fail,
            recovery_key: false,
            deferred,
            is_reproducible: false,
        }
    }
}

/// A partition that is made, and all that it gets.
#[derive(Clone, Debug)]
pub struct Creation<'a> {
    /// Its place, its names, its definition.
    pub new: &'a NewPartition,
    /// The room for its content: behind the LUKS header, where there is one.
    pub room: Room,
    /// The content of that room before it is mounted.
    pub content: Content,
    /// The keys that open it; None for a partition that is not encrypted.
    pub opened_by: Option<Openers>,
    /// The work on it once it is mounted; None for one that stays as it was formatted.
    pub filling: Option<Filling<'a>>,
    /// The reason why the new file system does not say where it belongs, although that is the default.
    pub unconstrained: Option<&'static str>,
}

/// The content of a new partition before it is mounted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// The blocks of the definition's source.
    Blocks,
    /// An empty file system, or swap space.
    FileSystem(FileSystem, Recipe),
    /// Nothing that could be recognised.
    Nothing,
}

/// The keys that open an encrypted partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Openers {
    /// The key file.
    pub key_file: bool,
    /// The machine's TPM.
    pub tpm: bool,
    /// A recovery key, which is shown once.
    pub recovery: bool,
}

/// The work on a new file system while it is mounted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filling<'a> {
    /// Its name for mount(2).
    pub system: FileSystem,
    /// Its mount options.
    pub options: String,
    /// A root gets what every system needs to start, where the boot makes it.
    pub is_furnished: bool,
    /// The attributes of its top directory.
    pub constraints: Vec<(Constraint, String)>,
    /// The subvolumes that become read-only in the end.
    pub read_only: Vec<&'a str>,
    /// The subvolume that is mounted later without further words; None for the top.
    pub default: Option<&'a str>,
}

impl Filling<'_> {
    /// Nothing but files: no attributes, no subvolumes.
    #[must_use]
    pub fn of(system: FileSystem) -> Self {
        let options = system.options_while_filled().to_owned();
        let (constraints, read_only) = (Vec::new(), Vec::new());
        Self { system, options, is_furnished: false, constraints, read_only, default: None }
    }

    /// The same, with what is written compressed as the definition says. As in mkfs.btrfs this is said of no file, so that later
    /// writes are not.
    fn compressed(self, definition: &Definition) -> Self {
        let Some(compression) = definition.compression.as_ref().filter(|_| self.system == FileSystem::Btrfs)
        else {
            return self;
        };
        let level = definition.compression_level.as_ref().map(|level| format!(":{level}"));
        let options = format!("{},compress={compression}{}", self.options, level.unwrap_or_default());
        Self { options, ..self }
    }
}

/// The partitions that are going to be made. Every known obstacle has been excluded.
#[cfg(feature = "std")]
#[derive(Clone, Debug)]
pub struct Decision<'a> {
    /// The partitions, in the order of their definitions.
    pub creations: Vec<Creation<'a>>,
    /// The steps in which they come onto the disk.
    pub transaction: Transaction,
}

#[cfg(feature = "std")]
impl<'a> Decision<'a> {
    /// Decides to carry out `plan` on a disk with this table, or with this empty one when the plan makes one.
    ///
    /// # Errors
    /// A definition that cannot be carried out or that policy forbids, a size that its file system cannot have, a
    /// machine that lacks a module or a device, a disk that would still have no root.
    pub fn make<E>(
        plan: &'a Plan,
        gpt: &Gpt,
        terms: &Terms<'_>,
        around: &mut dyn Surroundings<Error = E>,
    ) -> Result<Self, E> {
        let creations = creations(plan, gpt.geometry().block_size, terms, around)?;
        let transaction =
            plan.transaction(gpt, terms.deferred).map_err(|error| around.refused(error.into()))?;
        if terms.needs_root {
            super::demand_root(transaction.after.partitions(), &terms.filter)
                .map_err(|error| around.refused(error))?;
        }
        Ok(Self { creations, transaction })
    }

    /// The partition that a step fills.
    #[must_use]
    pub fn creation(&self, number: PartitionNumber) -> Option<&Creation<'a>> {
        self.creations.iter().find(|creation| creation.new.number == number)
    }
}

#[cfg(feature = "std")]
impl From<GptError> for RepartError {
    fn from(error: GptError) -> Self {
        Self::Table(error.to_string())
    }
}

/// Decides what each new partition of a plan gets, on a disk with blocks of this size.
///
/// # Errors
/// As [`Decision::make`].
pub fn creations<'a, E>(
    plan: &'a Plan,
    block_size: u32,
    terms: &Terms<'_>,
    around: &mut dyn Surroundings<Error = E>,
) -> Result<Vec<Creation<'a>>, E> {
    let made = || plan.new.iter().filter(|new| !terms.deferred.covers(&new.definition));
    let mut creations = made()
        .map(|new| {
            refuse(&new.definition, terms.maker).map_err(|error| around.refused(error))?;
            permit(new, terms.root).map_err(|error| around.refused(error))?;
            creation(new, block_size, terms, around)
        })
        .collect::<Result<Vec<_>, E>>()?;
    openers(&mut creations, terms, around)?;
    Ok(creations)
}

/// Checks that the image policy lets this root be used once it is there. `absent` is no question: policy looks at the disk as
/// it is then, as after systemd-repart. Of other partitions the policy says nothing.
fn permit(new: &NewPartition, root: PartitionPolicy) -> Result<(), RepartError> {
    if !new.definition.is_root() {
        return Ok(());
    }
    let (needed, word) = match new.definition.encrypt {
        Encrypt::Off => (Uses::UNPROTECTED, "unprotected"),
        Encrypt::KeyFile | Encrypt::Tpm2 | Encrypt::KeyFileTpm2 => (Uses::ENCRYPTED, "encrypted"),
    };
    let forbidden = match new.file_system().map(FileSystem::name) {
        _ if !root.allows(needed) => word,
        Some(name) if !root.allows_file_system(name) => name,
        _ => return Ok(()),
    };
    Err(RepartError::Forbidden { file: new.definition.file.clone(), word: forbidden })
}

/// Decides the content of one partition, but not its keys.
fn creation<'a, E>(
    new: &'a NewPartition,
    block_size: u32,
    terms: &Terms<'_>,
    around: &mut dyn Surroundings<Error = E>,
) -> Result<Creation<'a>, E> {
    let definition = &new.definition;
    let (constraints, unconstrained) = constrain(new, terms, around)?;
    let is_furnished = terms.maker == Maker::Boot && definition.is_root();
    let is_filled = is_furnished || definition.populates() || !constraints.is_empty();
    let room = new.room(block_size);
    let content = match new.file_system() {
        Some(system) => {
            let random = around.random(new)?;
            // The tool's bytes may follow from a seed, as those of a run before.
            let is_unique = terms.maker == Maker::Boot;
            let making = Making { page_size: terms.page_size, random, is_unique, now: terms.now, is_filled };
            let recipe = new.empty_file_system(system, room, making);
            let file = || definition.file.clone();
            let recipe =
                recipe.map_err(|error| around.refused(RepartError::FileSystem { file: file(), error }))?;
            Content::FileSystem(system, recipe)
        }
        None if definition.copy_blocks.is_some() => Content::Blocks,
        None => Content::Nothing,
    };
    let filled = new.file_system().filter(|system| is_filled && system.holds_files());
    if let Some(system) = filled {
        let is_mounted = terms.maker == Maker::Tool || around.mounts(system)?;
        if !is_mounted {
            return Err(around.refused(lack(new, "Format", system.name(), system.name())));
        }
        if definition.populates() {
            around.populates(new)?;
        }
    }
    if definition.encrypt != Encrypt::Off && !around.maps()? {
        return Err(around.refused(lack(new, "Encrypt", definition.encrypt.word(), "dm-crypt")));
    }
    let filling = filled.map(|system| Filling {
        is_furnished,
        constraints,
        read_only: definition.read_only_subvolumes().filter(|_| system.has_subvolumes()).collect(),
        default: definition.default_subvolume.as_deref().filter(|_| system.has_subvolumes()),
        ..Filling::of(system).compressed(definition)
    });
    Ok(Creation { new, room, content, opened_by: None, filling, unconstrained })
}

/// The reason why the host tool leaves out the attributes that name the place of a file system.
const UNMOUNTED: &str =
    "the new file system cannot be mounted here (that takes root, loop devices, and no Encrypt=)";

/// The same, where only they would make it mount the new file system.
const UNTIMED: &str =
    "SOURCE_DATE_EPOCH is set, and the kernel would write its own time (say AddValidateFS=yes to have them)";

/// The attributes of a new file system's top directory. The host tool sets them where it can mount it: an explicit
/// request of a definition is refused when it cannot, and the default is left out, with the reason.
#[allow(clippy::type_complexity, reason = "the attributes, or why there are none")]
fn constrain<E>(
    new: &NewPartition,
    terms: &Terms<'_>,
    around: &mut dyn Surroundings<Error = E>,
) -> Result<(Vec<(Constraint, String)>, Option<&'static str>), E> {
    let wanted = constraints(new);
    if terms.maker == Maker::Boot || wanted.is_empty() {
        return Ok((wanted, None));
    }
    let definition = &new.definition;
    let is_explicit = definition.places.iter().any(|place| place.key == "AddValidateFS");
    if terms.is_reproducible && !is_explicit && !definition.populates() {
        return Ok((Vec::new(), Some(UNTIMED)));
    }
    let mounts = match new.file_system().filter(|_| definition.encrypt == Encrypt::Off) {
        Some(system) => around.mounts(system)?,
        None => false,
    };
    if mounts {
        return Ok((wanted, None));
    }
    if is_explicit {
        let what = "AddValidateFS=yes is not supported";
        return Err(around.refused(definition.refuse("AddValidateFS", what, UNMOUNTED)));
    }
    Ok((Vec::new(), Some(UNMOUNTED)))
}

/// The refusal of a request that this machine cannot fulfil.
fn lack(new: &NewPartition, key: &str, value: &str, lacks: &'static str) -> RepartError {
    let what = format!("{key}={value}, but neither the kernel nor the initramfs has {lacks}");
    RepartError::Lacking { refused: Box::new(new.definition.refuse(key, what, BUILD)), module: lacks }
}

const BUILD: &str = "build it with --preset generic, or with --add-module";

/// Decides the keys of the encrypted partitions.
fn openers<E>(
    creations: &mut [Creation<'_>],
    terms: &Terms<'_>,
    around: &mut dyn Surroundings<Error = E>,
) -> Result<(), E> {
    for creation in &mut *creations {
        creation.opened_by = match creation.new.definition.encrypt {
            Encrypt::Off => None,
            Encrypt::KeyFile => Some(Openers { key_file: true, ..Openers::default() }),
            Encrypt::Tpm2 => Some(Openers { tpm: true, ..Openers::default() }),
            Encrypt::KeyFileTpm2 => Some(Openers { key_file: true, tpm: true, recovery: false }),
        };
    }
    for creation in &mut *creations {
        let Some(openers) = creation.opened_by.as_mut().filter(|openers| openers.tpm) else { continue };
        let definition = &creation.new.definition;
        let lacks = around.lacks_tpm(creation.new)?;
        let refused = match lacks {
            None => None,
            Some(Unsealed::NotNow(_)) if openers.key_file => None,
            Some(Unsealed::NoTpm(why) | Unsealed::NotNow(why)) => Some(why),
        };
        if let Some(why) = refused.filter(|_| terms.no_tpm == NoTpm::Fail) {
            let (file, encrypt) = (definition.file.clone(), definition.encrypt.word());
            return Err(around.refused(RepartError::NoTpm { file, encrypt, why }));
        }
        openers.tpm = lacks.is_none();
        openers.recovery = terms.recovery_key || (refused.is_some() && terms.no_tpm == NoTpm::Recovery);
        openers.key_file |= refused.is_some() && terms.no_tpm == NoTpm::KeyFile;
    }
    match creations.iter().any(|creation| creation.opened_by.is_some_and(|openers| openers.key_file)) {
        true => around.key_file(),
        false => Ok(()),
    }
}
