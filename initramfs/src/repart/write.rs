//! A decision carried out on a file or a block device: content before the table, the table last.

use std::{io, os::fd::AsFd as _};

use hermetic_init::{
    disk::{
        gpt::Gpt,
        transaction::{Medium, Transaction, wipe},
    },
    populate,
    repart::{Content, Creation, Decision, Filling, Plan, Terms},
    sys::block::Node,
    units::PartitionNumber,
    writes::Writes,
};

use super::{
    Failure,
    args::{Choices, Empty},
    disk::Disk,
    host::Host,
    keys::Keys,
    medium::Output,
    source::Sources,
    tables,
    volume::Volume,
};
use crate::{
    clock::Clock,
    mirror::log::{Level, Log},
    populate::{Place, populate_image},
    wait,
};

/// The means by which a plan is carried out.
pub struct Work<'a> {
    pub disk: &'a Disk,
    /// The same disk, to write to.
    pub output: &'a dyn Output,
    pub choices: &'a Choices,
    pub sources: &'a Sources,
    /// The keys of encrypted partitions.
    pub keys: &'a Keys,
    pub clock: Clock,
    pub log: Log,
}

impl Work<'_> {
    /// Carries out `plan` on the disk, whose table (or the empty one that it gets) is `gpt`. A plan without changes
    /// gives a file the requested size, and moves the backup of its table to the end.
    pub fn carry_out(&self, plan: &Plan, gpt: &Gpt) -> Result<(), Failure> {
        let resize = || self.disk.resize(self.choices.discard).map_err(|error| self.failed(error));
        if !plan.changes() {
            if !self.choices.dry_run {
                tables::write(self.choices, plan, &[])?;
            }
            if !self.choices.dry_run && resize()? {
                let repair = Transaction::repair(gpt).map_err(|error| self.failure(&error))?;
                self.walk(plan, &[], 0).steps(&repair)?;
            }
            return Ok(());
        }
        let mut host = self.host();
        let terms = Terms {
            is_reproducible: self.clock.epoch().is_some(),
            ..Terms::of_tool(self.clock.now(), self.choices.deferred())
        };
        let Decision { creations, transaction } = Decision::make(plan, gpt, &terms, &mut host)?;
        for creation in &creations {
            if let Some(why) = creation.unconstrained {
                let file = &creation.new.definition.file;
                let text = format!("{file}: no attributes that say where it belongs: {why}.");
                self.log.say(Level::Notice, text);
            }
        }
        // Keys are made before the first write: a generator that fails leaves the disk as it was.
        let volumes =
            creations.iter().map(|creation| self.volume(creation)).collect::<Result<Vec<_>, _>>()?;
        let made: Vec<_> = creations.iter().zip(volumes).collect();
        tables::write(self.choices, plan, &made)?;
        self.announce(plan, &creations);
        resize()?;
        let mut walk = self.walk(plan, &made, transaction.steps.len());
        walk.steps(&transaction)?;
        if self.disk.is_device {
            self.log.say(Level::Info, "Telling kernel to reread partition table.");
            self.tell_kernel(gpt, &transaction.after).map_err(|error| {
                self.failure(&format!("the kernel did not take the new partitions: {error}"))
            })?;
        }
        self.log.say(Level::Info, "All done.");
        Ok(())
    }

    /// Removes partitions for a factory reset, and writes the table.
    pub fn remove(&self, gpt: &Gpt, numbers: &[PartitionNumber]) -> Result<(), Failure> {
        for number in numbers {
            self.log.say(Level::Info, format!("Removing partition {} for factory reset.", index(*number)));
        }
        let transaction = Transaction::remove(gpt, numbers).map_err(|error| self.failure(&error))?;
        self.walk(&Plan::default(), &[], 0).steps(&transaction)?;
        if self.disk.is_device {
            self.tell_kernel(gpt, &transaction.after).map_err(|error| self.failure(&error))?;
        }
        self.log.say(Level::Info, format!("Successfully deleted {} partitions.", numbers.len()));
        Ok(())
    }

    fn host(&self) -> Host<'_> {
        Host { choices: self.choices, disk: &self.disk.path, clock: self.clock }
    }

    fn failure(&self, error: &dyn std::fmt::Display) -> Failure {
        Failure::new(format!("{}: {error}", self.disk.path.display()))
    }

    fn failed(&self, error: io::Error) -> Failure {
        Failure::new(format!("Failed to write '{}': {error}", self.disk.path.display()))
    }

    /// The encrypted volume of a new partition; None for one that is not encrypted.
    fn volume(&self, creation: &Creation<'_>) -> Result<Option<Volume>, Failure> {
        if creation.opened_by.is_none() {
            return Ok(None);
        }
        let content = match &creation.content {
            Content::FileSystem(_, recipe) => {
                recipe.as_writes().map_err(|error| self.failure(&error))?.clone()
            }
            Content::Blocks | Content::Nothing => Writes::new(),
        };
        let key = self.keys.of(creation.new.position);
        let sector = creation.room.sector_size;
        Volume::new(creation.new, sector, self.choices.discard, key, content).map(Some)
    }

    /// Says what is about to be done.
    fn announce(&self, plan: &Plan, creations: &[Creation<'_>]) {
        let grown = plan.grown().filter(|old| !self.choices.deferred().covers(&old.definition));
        for adopted in grown {
            self.log.say(Level::Info, format!("Growing existing partition {}.", index(adopted.number)));
        }
        for Creation { new, .. } in creations {
            let number = index(new.number);
            self.log.say(Level::Info, format!("Adding new partition {number} to partition table."));
        }
        self.log.say(Level::Info, format!("Applying changes to {}.", self.disk.path.display()));
    }

    fn walk<'w>(&'w self, plan: &'w Plan, made: &'w [Made<'w>], said: usize) -> Walk<'w> {
        Walk { work: self, plan, made, said }
    }

    /// Tells the kernel the changes: partitions that are gone, grown, new.
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

/// A new partition, with the volume of one that is encrypted.
type Made<'a> = (&'a Creation<'a>, Option<Volume>);

/// The walk along the steps of a transaction.
struct Walk<'a> {
    work: &'a Work<'a>,
    plan: &'a Plan,
    made: &'a [Made<'a>],
    /// The steps that are left, of a transaction whose last one is announced.
    said: usize,
}

impl Walk<'_> {
    fn steps(&mut self, transaction: &Transaction) -> Result<(), Failure> {
        transaction.carry_out(self)
    }

    /// Puts files into the new file system, by the kernel.
    fn populate(&self, creation: &Creation<'_>, filling: &Filling<'_>) -> Result<(), Failure> {
        let Work { disk, log, .. } = self.work;
        let Creation { new, .. } = creation;
        let plan = self.plan;
        let others = plan.new.iter().map(|other| (other.position, other.type_guid));
        let others = others.chain(plan.adopted.iter().map(|a| (a.position, a.definition.type_guid)));
        let mounted: Vec<&str> = others
            .filter(|(position, _)| *position != new.position)
            .flat_map(|(_, guid)| populate::mount_points(guid).iter().copied())
            .collect();
        let epoch = self.work.clock.epoch();
        let content = populate::Content { epoch, ..populate::Content::of(&new.definition, &mounted) };
        let source = self.work.host().tree()?;
        let place = Place { image: &disk.path, offset: new.offset, length: new.length, filling };
        let what = format!("filling {}", new.definition.file);
        let report = wait::during(&what, || populate_image(&place, source.as_fd(), &content))
            .map_err(|error| Failure::new(format!("{}: {error}", new.definition.file)))?;
        for path in &report.missing {
            let text = format!("{}: {path} is not there, nothing is copied.", new.definition.file);
            log.say(Level::Notice, text);
        }
        for path in &report.skipped {
            let text =
                format!("{}: {} cannot hold {path}, left out.", new.definition.file, filling.system.name());
            log.say(Level::Warning, text);
        }
        Ok(())
    }

    /// Formats and fills a partition.
    fn make(&self, creation: &Creation<'_>, volume: Option<&Volume>) -> Result<(), Failure> {
        let Work { output, log, .. } = self.work;
        let failed = |error| self.work.failed(error);
        let Creation { new, .. } = creation;
        let (offset, length) = (new.offset.0, new.length.0);
        let reads_zero = output.discard(offset, length).map_err(failed)?;
        if !reads_zero {
            output.write(&wipe(new.length), offset).map_err(failed)?;
        }
        if let Some(source) = self.work.sources.get(&new.position) {
            log.say(Level::Info, format!("Copying into future partition {}.", index(new.number)));
            wait::during(&format!("copying {length}"), || source.copy(*output, offset, length, reads_zero))?;
        }
        log.say(Level::Info, format!("Filling future partition {}.", index(new.number)));
        match (volume, &creation.content) {
            (Some(volume), _) => {
                output.write(volume.header(), offset).map_err(failed)?;
                volume.write_content(*output, offset).map_err(failed)?;
            }
            (None, Content::FileSystem(_, recipe)) => {
                let writes = recipe.as_writes().map_err(|error| self.work.failure(&error))?;
                output.write(writes, offset).map_err(failed)?;
            }
            (None, Content::Blocks | Content::Nothing) => {}
        }
        if let Some(filling) = &creation.filling {
            self.populate(creation, filling)?;
        }
        wait::during("writing to the disk", || output.barrier()).map_err(failed)
    }
}

impl Medium for Walk<'_> {
    type Error = Failure;

    fn write_table(&mut self, writes: &Writes) -> Result<(), Failure> {
        if self.said == 1 {
            self.work.log.say(Level::Info, "Writing new partition table.");
        }
        self.said = self.said.saturating_sub(1);
        self.work.output.write(writes, 0).map_err(|error| self.work.failed(error))
    }

    /// A file that was made a moment ago holds nothing.
    fn forget(&mut self, writes: &Writes) -> Result<(), Failure> {
        self.said = self.said.saturating_sub(1);
        if self.work.choices.empty == Empty::Create {
            return Ok(());
        }
        let reads_zero = self.work.output.discard(0, self.work.disk.size);
        match reads_zero.map_err(|error| self.work.failed(error))? {
            true => Ok(()),
            false => self.work.output.write(writes, 0).map_err(|error| self.work.failed(error)),
        }
    }

    fn fill(&mut self, number: PartitionNumber) -> Result<(), Failure> {
        self.said = self.said.saturating_sub(1);
        let made = self.made.iter().find(|(creation, _)| creation.new.number == number);
        made.map_or(Ok(()), |(creation, volume)| self.make(creation, volume.as_ref()))
    }

    /// systemd-repart erases nothing, and no transaction of the tool asks for it.
    fn erase(&mut self, number: PartitionNumber) -> Result<(), Failure> {
        Err(self.work.failure(&format!("partition {} is not erased by this tool", index(number))))
    }
}

/// systemd-repart counts from 0.
fn index(number: PartitionNumber) -> u32 {
    number.0.saturating_sub(1)
}
