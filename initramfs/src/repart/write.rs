//! A plan carried out: everything that can be refused before the first write, content before the table, the table last.

use std::{
    fs::File,
    io,
    os::{fd::AsFd as _, unix::fs::FileExt},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use hermetic_init::{
    disk::{
        gpt::{Gpt, GptError, NewPartition as Entry},
        validatefs::Constraint,
    },
    populate,
    repart::{self, Encrypt, Maker, Making, NewPartition, Plan},
    secret::Secret,
    sys::block::Node,
    units::{Bytes, PartitionNumber},
    writes::{Write, Writes},
};
use rustix::fs::{FallocateFlags, fallocate};

use super::{
    Failure,
    args::{Choices, Empty},
    disk::Disk,
    identity,
    source::Sources,
    volume::Volume,
};
use crate::{
    mirror::log::{Level, Log},
    populate::{Place, can_mount, can_populate, populate_image},
};

/// What is wiped at either end of a range that cannot be discarded: superblocks stand there.
const ENDS: u64 = Bytes::MIB;

/// What a plan is carried out with.
pub struct Work<'a> {
    pub disk: &'a Disk,
    pub choices: &'a Choices,
    pub sources: &'a Sources,
    /// What opens encrypted partitions.
    pub key: &'a Secret,
    pub log: Log,
}

/// A new partition and what is written into it.
struct Made<'a> {
    new: &'a NewPartition,
    content: Content,
}

/// What is written into a new partition, from its start.
enum Content {
    /// As it is; nothing when its blocks are copied.
    Plain(Writes),
    /// A header, and the rest encrypted.
    Encrypted(Volume),
}

impl Work<'_> {
    /// Carries out `plan` on the disk, whose table (or the empty one that it gets) is `gpt`. A plan that changes nothing
    /// makes a file as large as it was asked to be, and moves the backup of its table to the end.
    pub fn carry_out(&self, plan: &Plan, gpt: &Gpt) -> Result<(), Failure> {
        let name = self.disk.path.display();
        let failed = |error: io::Error| Failure::new(format!("Failed to write '{name}': {error}"));
        if !plan.changes() {
            let resize = !self.choices.dry_run && self.disk.resize(self.choices.discard).map_err(failed)?;
            if resize {
                let repair = gpt.repair().map_err(|error| Failure::new(format!("{name}: {error}")))?;
                self.write(&repair, 0).map_err(failed)?;
            }
            return Ok(());
        }
        let mine = || plan.new.iter().filter(|new| !self.choices.defer.contains(&new.type_guid));
        let mut made = Vec::new();
        for new in mine() {
            repart::refuse(&new.definition, Maker::Tool).map_err(Failure::new)?;
            self.constrained(new)?;
            made.push(Made { new, content: self.content(new)? });
        }
        let table = self.table(plan, gpt, &made).map_err(|error| Failure::new(format!("{name}: {error}")))?;
        let commit = table.commit().map_err(|error| Failure::new(format!("{name}: {error}")))?;
        let repair = match plan.table {
            Some(_) => Writes::new(),
            // A backup that differs could name a range that is about to be written.
            None => gpt.repair().map_err(|error| Failure::new(format!("{name}: {error}")))?,
        };

        if let Some(new) = mine().find(|new| new.definition.populates() && new.file_system().is_some()) {
            let refuse = |error: &dyn std::fmt::Display| {
                Failure::new(format!("{}: {error}; nothing was changed", new.definition.file))
            };
            can_populate().map_err(|error| refuse(&error))?;
            self.copied().map_err(|error| refuse(&error))?;
        }

        self.log.say(Level::Info, format!("Applying changes to {name}."));
        self.disk.resize(self.choices.discard).map_err(failed)?;
        if plan.table.is_some() && self.choices.empty != Empty::Create {
            self.forget_all(gpt).map_err(failed)?;
        }
        self.write(&repair, 0).map_err(failed)?;
        for Made { new, content } in &made {
            let (offset, length) = (new.offset.0, new.length.0);
            let reads_zero = self.clear(offset, length).map_err(failed)?;
            if let Some(source) = self.sources.get(&new.position) {
                self.log.say(Level::Info, format!("Copying into future partition {}.", index(new.number)));
                source.copy(&self.disk.file, offset, length, reads_zero)?;
            }
            self.log.say(Level::Info, format!("Filling future partition {}.", index(new.number)));
            match content {
                Content::Plain(writes) => self.write(writes, offset).map_err(failed)?,
                Content::Encrypted(volume) => {
                    self.write(volume.header(), offset).map_err(failed)?;
                    volume.write_content(&self.disk.file, offset).map_err(failed)?;
                }
            }
            self.populate(plan, new)?;
        }
        self.disk.file.sync_all().map_err(failed)?;
        self.log.say(Level::Info, "Writing new partition table.");
        self.write(&commit, 0).map_err(failed)?;
        if self.disk.is_device {
            self.log.say(Level::Info, "Telling kernel to reread partition table.");
            self.tell_kernel(gpt, &table).map_err(|error| {
                Failure::new(format!("{name}: the kernel did not take the new partitions: {error}"))
            })?;
        }
        self.log.say(Level::Info, "All done.");
        Ok(())
    }

    /// Removes partitions for a factory reset, and writes the table.
    pub fn remove(&self, gpt: &Gpt, numbers: &[PartitionNumber]) -> Result<(), Failure> {
        let failure =
            |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", self.disk.path.display()));
        let mut table = gpt.clone();
        for number in numbers {
            self.log.say(Level::Info, format!("Removing partition {} for factory reset.", index(*number)));
            table.remove(*number).map_err(|error| failure(&error))?;
        }
        let commit = table.commit().map_err(|error| failure(&error))?;
        self.write(&commit, 0).map_err(|error| failure(&error))?;
        if self.disk.is_device {
            self.tell_kernel(gpt, &table).map_err(|error| failure(&error))?;
        }
        self.log.say(Level::Info, format!("Successfully deleted {} partitions.", numbers.len()));
        Ok(())
    }

    /// Whether the new file system is to say where it belongs and cannot. What a definition asks for in so many words is
    /// refused; by default the attributes are left out: a file system is made on every machine, and mounted on those that can.
    fn constrained(&self, new: &NewPartition) -> Result<(), Failure> {
        let definition = &new.definition;
        if repart::constraints(new).len() == constraints(new).len() {
            return Ok(());
        }
        let why =
            "the new file system cannot be mounted here (that takes root, loop devices, and no Encrypt=)";
        if definition.places.iter().any(|place| place.key == "AddValidateFS") {
            let refusal = definition.refuse("AddValidateFS", "AddValidateFS=yes is not supported", why);
            return Err(Failure::new(refusal));
        }
        let file = &definition.file;
        self.log.say(Level::Notice, format!("{file}: no attributes that say where it belongs: {why}."));
        Ok(())
    }

    /// What is written into a new partition.
    fn content(&self, new: &NewPartition) -> Result<Content, Failure> {
        match empty(new, self.disk.block_size, identity::random()?)? {
            None => Ok(Content::Plain(Writes::new())),
            Some(writes) if new.definition.encrypt == Encrypt::Off => Ok(Content::Plain(writes)),
            Some(writes) => Volume::new(new, self.key, writes).map(Content::Encrypted),
        }
    }

    /// Puts files into the new file system, by the kernel.
    fn populate(&self, plan: &Plan, new: &NewPartition) -> Result<(), Failure> {
        let definition = &new.definition;
        let Some(file_system) = new.file_system().filter(|_| is_filled(new)) else { return Ok(()) };
        let constraints = constraints(new);
        let others = plan.new.iter().map(|other| (other.position, other.type_guid));
        let others = others.chain(plan.adopted.iter().map(|a| (a.position, a.definition.type_guid)));
        let mounted: Vec<&str> = others
            .filter(|(position, _)| *position != new.position)
            .flat_map(|(_, guid)| populate::mount_points(guid).iter().copied())
            .collect();
        let content = populate::Content {
            copy_files: &definition.copy_files,
            exclude_files: &definition.exclude_files,
            exclude_files_target: &definition.exclude_files_target,
            make_directories: &definition.make_directories,
            make_symlinks: &definition.make_symlinks,
            root_of: definition.is_root().then_some(mounted.as_slice()),
        };
        let source = self.copied()?;
        let read_only: Vec<&str> = definition.read_only_subvolumes().collect();
        let place = Place {
            image: &self.disk.path,
            offset: new.offset,
            length: new.length,
            file_system,
            read_only: &read_only,
            default: definition.default_subvolume.as_deref(),
            constraints: &constraints,
        };
        let report = populate_image(&place, source.as_fd(), &content)
            .map_err(|error| Failure::new(format!("{}: {error}", definition.file)))?;
        for path in &report.missing {
            self.log
                .say(Level::Notice, format!("{}: {path} is not there, nothing is copied.", definition.file));
        }
        for path in &report.skipped {
            let name = file_system.name();
            self.log
                .say(Level::Warning, format!("{}: {name} cannot hold {path}, left out.", definition.file));
        }
        Ok(())
    }

    /// The tree that files are copied from.
    fn copied(&self) -> Result<File, Failure> {
        let root = self.choices.copy_source.as_deref().or(self.choices.root.as_deref());
        let root = root.unwrap_or(Path::new("/"));
        File::open(root).map_err(|error| Failure::new(format!("{}: {error}", root.display())))
    }

    /// The table as it is to be.
    fn table(&self, plan: &Plan, gpt: &Gpt, made: &[Made<'_>]) -> Result<Gpt, GptError> {
        let mut table = gpt.clone();
        let block = u64::from(self.disk.block_size);
        for adopted in &plan.adopted {
            // What is deferred is not touched at all.
            if self.choices.defer.contains(&adopted.definition.type_guid) {
                continue;
            }
            if adopted.grows() {
                self.log.say(Level::Info, format!("Growing existing partition {}.", index(adopted.number)));
                let first = adopted.offset.0 / block;
                let last = first.saturating_add(adopted.new_length.0 / block).saturating_sub(1);
                table.grow(adopted.number, hermetic_init::units::Lba(last))?;
            }
            if adopted.guid_is_new {
                table.identify(adopted.number, adopted.guid)?;
            }
            if adopted.label_is_new {
                table.rename(adopted.number, &adopted.label)?;
            }
        }
        for Made { new, .. } in made {
            let number = index(new.number);
            self.log.say(Level::Info, format!("Adding new partition {number} to partition table."));
            // Two partitions may be told to have the same GUID, or none.
            let entry = Entry { guid: table.unused_guid(), ..new.entry() };
            table.add(Some(new.number), entry)?;
            table.identify(new.number, new.guid)?;
        }
        Ok(table)
    }

    /// Forgets everything that the disk holds.
    fn forget_all(&self, gpt: &Gpt) -> io::Result<()> {
        let size = self.disk.size;
        if self.choices.discard && self.discard(0, size)? && !self.disk.is_device {
            return Ok(());
        }
        // Tables and superblocks stand at the ends; whatever stood in partitions is cleared where new ones go.
        let first = gpt.layout().first_usable.0.saturating_mul(u64::from(self.disk.block_size));
        self.zero(0, ENDS.max(first).min(size))?;
        self.zero(size.saturating_sub(ENDS), ENDS.min(size))
    }

    /// Makes sure that nothing is recognised in a range any more. Whether all of it reads as zeroes afterwards.
    fn clear(&self, offset: u64, length: u64) -> io::Result<bool> {
        if self.choices.discard && self.discard(offset, length)? && !self.disk.is_device {
            return Ok(true);
        }
        self.zero(offset, ENDS.min(length))?;
        let end = ENDS.min(length);
        self.zero(offset + length - end, end)?;
        Ok(false)
    }

    /// Gives the space of a range back. False when nobody takes it: the content is then what it was.
    fn discard(&self, offset: u64, length: u64) -> io::Result<bool> {
        let result = if self.disk.is_device {
            Node::open_shared(&self.disk.path).and_then(|node| node.discard(Bytes(offset), Bytes(length)))
        } else {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&self.disk.file, flags, offset, length).map_err(io::Error::from)
        };
        match result {
            Ok(()) => Ok(true),
            // EBUSY: it is mounted somewhere.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::ResourceBusy) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Zeroes a range: as a hole in a file.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        if length == 0 || (!self.disk.is_device && self.choices.discard && self.discard(offset, length)?) {
            return Ok(());
        }
        let mut zeroes = Writes::new();
        zeroes.zero(Bytes(offset), Bytes(length));
        zeroes.apply(&self.disk.file)
    }

    /// Carries out writes `base` bytes further on.
    fn write(&self, writes: &Writes, base: u64) -> io::Result<()> {
        let file: &File = &self.disk.file;
        for write in &writes.0 {
            match write {
                Write::Data { offset, data } => file.write_all_at(data, base.saturating_add(offset.0))?,
                Write::Zero { offset, length } => self.zero(base.saturating_add(offset.0), length.0)?,
                Write::Barrier => file.sync_data()?,
            }
        }
        Ok(())
    }

    /// Tells the kernel what changed: gone, grown, new.
    fn tell_kernel(&self, before: &Gpt, after: &Gpt) -> io::Result<()> {
        let node = Node::open_shared(&self.disk.path)?;
        let block = self.disk.block_size;
        let known = super::devices::partitions(&self.disk.path);
        for number in &known {
            let kept = after.partition(*number).zip(before.partition(*number));
            if kept.is_none_or(|(new, old)| new.first != old.first) {
                node.delete_partition(*number)?;
            }
        }
        for partition in after.partitions() {
            let (start, length) = (partition.offset(block), partition.length(block));
            match before.partition(partition.number).filter(|old| old.first == partition.first) {
                Some(old) if known.contains(&partition.number) => {
                    if old.last != partition.last {
                        node.resize_partition(partition.number, start, length)?;
                    }
                }
                _ => node.add_partition(partition.number, start, length)?,
            }
        }
        Ok(())
    }
}

/// The empty file system of a new partition; None where none is made.
pub fn empty(new: &NewPartition, block_size: u32, random: [u8; 16]) -> Result<Option<Writes>, Failure> {
    let making = Making {
        room: new.room(block_size),
        page_size: 4096,
        random,
        // A clock before 1970 says nothing better than 1970.
        now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        is_filled: is_filled(new),
    };
    let writes = new.empty_file_system(making);
    writes.map_err(|error| Failure::new(format!("{}: {error}", new.definition.file)))
}

/// What the new file system says about its place: nothing where it cannot be mounted to be told.
fn constraints(new: &NewPartition) -> Vec<(Constraint, String)> {
    let mounts = new.definition.encrypt == Encrypt::Off && new.file_system().is_some_and(can_mount);
    if mounts { repart::constraints(new) } else { Vec::new() }
}

/// Whether the new file system is mounted.
fn is_filled(new: &NewPartition) -> bool {
    new.definition.populates() || !constraints(new).is_empty()
}

/// systemd-repart counts from 0.
fn index(number: PartitionNumber) -> u32 {
    number.0.saturating_sub(1)
}
