//! `hermetic repart`: systemd-repart 262, on our engine.
//!
//! | file | content |
//! |---|---|
//! | [`admission`] | the partitions that a boot would not admit |
//! | [`args`] | the command line |
//! | [`identity`] | the machine id, the seed, what specifiers stand for |
//! | [`disk`] | the file or block device |
//! | [`devices`] | what the kernel knows of block devices |
//! | [`keys`] | the keys of encrypted partitions |
//! | [`host`] | the machine, as a decision asks for it |
//! | [`medium`] | the disk as it is written to |
//! | [`source`] | what is copied block by block |
//! | [`volume`] | an encrypted partition |
//! | [`tables`] | fstab and crypttab |
//! | [`write`](mod@write) | a decision carried out |
//! | [`output`] | a plan shown |

pub mod admission;
pub mod args;
mod devices;
pub mod disk;
pub mod host;
mod identity;
mod keys;
mod medium;
pub mod output;
mod source;
mod tables;
mod volume;
mod write;

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io::{IsTerminal, Write as _},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use hermetic_init::{
    disk::{
        gpt::{Gpt, GptError},
        label::Label,
        partition::Layout,
    },
    repart::{self, CopyBlocks, Definition, Definitions, Plan, Reading, RepartError, Search, disk_uuid},
    units::{Bytes, Lba},
};

use self::{
    args::{Choices, Empty, Json, Size, Words},
    disk::Disk,
    keys::Keys,
    medium::Medium,
    source::Sources,
    write::Work,
};
use crate::{
    clock::Clock,
    mirror::{
        log::{Level, Log},
        words,
    },
};

/// The reason why nothing, or not all, was done; and the exit status of the process.
#[derive(Debug)]
pub struct Failure {
    text: String,
    status: u8,
}

impl Failure {
    /// An error.
    pub fn new(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), status: 1 }
    }

    /// No error, but nothing to be done either.
    fn nothing(text: impl fmt::Display, status: u8) -> Self {
        Self { text: text.to_string(), status }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<RepartError> for Failure {
    fn from(error: RepartError) -> Self {
        Self::new(error)
    }
}

/// The root directory is not on a disk.
const NO_DEVICE: u8 = 76;
/// The disk has no GPT, and must not get one.
const NO_TABLE: u8 = 77;

/// The text that `--help` prints.
pub const HELP: &str = "\
systemd-repart [OPTIONS...] [DEVICE]

Grow and add partitions to a partition table, and generate disk images (DDIs).

  -h --help               Show this help
     --version            Show package version
     --no-pager           Do not pipe output into a pager (there is none)
     --no-legend          Do not show the headers and footers
  -n                      Run dry-run operation
     --dry-run=BOOL       Whether to run dry-run operation
     --empty=MODE         One of refuse, allow, require, force, create; controls
                          how to handle empty disks lacking partition tables
     --offline=BOOL       Accepted: images are always made offline
     --discard=BOOL       Whether to discard backing blocks for new partitions
     --cow=BOOL|auto      Whether to enable copy-on-write for newly created image
                          files
     --sector-size=SIZE   Set the logical sector size for the image
     --grain-size=BYTES   Set the grain size for partition alignment
     --architecture=ARCH  Set the generic architecture for the image
     --size=BYTES         Grow loopback file to specified size
     --seed=UUID          128-bit seed UUID to derive all UUIDs from
     --pretty=BOOL        Whether to show pretty summary before doing changes
     --json=pretty|short|off
                          Generate JSON output
     --factory-reset=BOOL Whether to remove data partitions before recreating
                          them
     --can-factory-reset  Test whether factory reset is defined
     --root=PATH          Operate relative to root path
     --image=PATH         Operate relative to image file
     --definitions=DIR    Find partition definitions in specified directory
     --list-devices       List candidate block devices to operate on
     --key-file=PATH      Key to use when encrypting partitions
     --include-partitions=PARTITION1,PARTITION2,PARTITION3,…
                          Ignore partitions not of the specified types
     --exclude-partitions=PARTITION1,PARTITION2,PARTITION3,…
                          Ignore partitions of the specified types
     --defer-partitions=PARTITION1,PARTITION2,PARTITION3,…
                          Take partitions of the specified types into account
                          but don't populate them yet
     --defer-partitions-empty=BOOL
                          Defer all partitions marked for formatting as empty
     --defer-partitions-factory-reset=BOOL
                          Defer all partitions marked for factory reset
  -s --copy-source=PATH   Specify the primary source tree to copy files from
     --copy-from=IMAGE    Copy partitions from the given image(s)
     --append-fstab=MODE  How to join the content of a pre-existing fstab with the
                          generated one (no, auto, replace)
     --generate-fstab=PATH
                          Write fstab configuration to the given path
     --generate-crypttab=PATH
                          Write crypttab configuration to the given path
";

/// Runs it.
pub fn run(words: Vec<OsString>) -> ExitCode {
    let words: Words = match words::parse(words) {
        Ok(words) => words,
        Err(status) => return status,
    };
    let log = Log::from_environment();
    match repartition(words, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                let level = if failure.status == 1 { Level::Error } else { Level::Notice };
                log.say(level, &failure.text);
            }
            ExitCode::from(failure.status)
        }
    }
}

/// Writes to stdout. A closed output is not an error.
fn print(text: &str) {
    let _closed = std::io::stdout().lock().write_all(text.as_bytes());
}

fn repartition(words: Words, log: Log) -> Result<(), Failure> {
    if words.help {
        print(HELP);
        return Ok(());
    }
    if words.version {
        print(concat!("systemd-repart 262 (hermetic ", env!("CARGO_PKG_VERSION"), ")\n"));
        return Ok(());
    }
    if words.list_devices {
        for (node, links) in devices::list() {
            print(&format!("{}\n", node.display()));
            for link in links {
                print(&format!("{}\n", link.display()));
            }
        }
        return Ok(());
    }
    let choices = words.decide()?;
    let clock = Clock::read().map_err(Failure::new)?;
    let seed = identity::seed(&choices, log)?;
    let mut sources = Sources::new();
    let mut definitions = source::images(&choices, &mut sources)?;
    definitions.extend(read(&choices, log)?);
    if choices.only_size {
        let definitions = opened(&mut definitions, &[], &mut sources, &choices)?;
        let layout = no_disk(choices.sector_size.unwrap_or(512), &choices);
        log.say(Level::Info, least(repart::least_disk(&definitions, &layout)));
        return Ok(());
    }
    let node = choices.node.clone().or_else(|| choices.image.clone());
    let node = node.map_or_else(|| root_disk(&choices), Ok)?;
    let mut disk = Disk::open(&node, &choices)?;
    if let Size::Least(size) = choices.size {
        disk.grow(size)?;
    }
    if choices.size == Size::Auto && disk.size == 0 {
        let size = repart::least_disk(
            &opened(&mut definitions, &[], &mut sources, &choices)?,
            &no_disk(disk.block_size, &choices),
        );
        disk.grow(size.0)?;
    }
    let mut table = load(&disk, &choices, seed)?;
    let existing = existing(&definitions, &table.layout(&disk, &choices));
    if choices.can_factory_reset {
        let can = definitions
            .iter()
            .zip(&existing)
            .any(|(definition, number)| definition.factory_reset && number.is_some());
        return if can { Ok(()) } else { Err(Failure::nothing("", 1)) };
    }
    let keys = Keys::read(&choices, &definitions)?;
    if choices.factory_reset && table.created.is_none() {
        reset(&disk, &choices, &definitions, &existing, &mut table, &keys, &sources, clock, log)?;
    }
    let existing = self::existing(&definitions, &table.layout(&disk, &choices));
    let definitions = opened(&mut definitions, &existing, &mut sources, &choices)?;
    if table.created.is_none() {
        // Not refused: systemd-repart takes them, and so does hermetic.root-policy=existing.
        for refusal in admission::refusals(&disk, &table.gpt, &definitions)? {
            log.say(Level::Warning, refusal);
        }
    }
    if choices.size == Size::Auto {
        let size = repart::least_disk(&definitions, &table.layout(&disk, &choices));
        disk.grow(size.0)?;
        table = load(&disk, &choices, seed)?;
    }
    let mut plan = repart::plan(&definitions, &table.layout(&disk, &choices), seed)?;
    plan.table = table.created;
    report(&plan, log);
    show(&plan, &disk, &choices, log, true);
    if plan.changes() && choices.dry_run {
        log.say(Level::Notice, "Refusing to repartition, please re-run with --dry-run=no.");
    } else {
        if !plan.changes() {
            log.say(Level::Info, "No changes.");
        }
        let output = Medium::new(&disk, choices.discard);
        let work = Work {
            disk: &disk,
            output: &output,
            choices: &choices,
            sources: &sources,
            keys: &keys,
            clock,
            log,
        };
        work.carry_out(&plan, &table.gpt)?;
    }
    show(&plan, &disk, &choices, log, false);
    disk.keep();
    Ok(())
}

/// Reads the definitions, and reports ignored words.
fn read(choices: &Choices, log: Log) -> Result<Vec<Definition>, Failure> {
    if choices.image.is_some() && choices.definitions.is_empty() {
        return Err(Failure::new(
            "The file systems of an image are not opened here: say --definitions= with --image=.",
        ));
    }
    let (root, search) = match (choices.definitions.as_slice(), &choices.root) {
        ([], Some(root)) => {
            let prefix = root.display().to_string();
            (root.clone(), Search { prefix: prefix.trim_end_matches('/').into(), ..Search::standard() })
        }
        ([], None) => ("/".into(), Search::standard()),
        (directories, _) => {
            let directories = directories.iter().map(|path| path.display().to_string()).collect();
            ("/".into(), Search { directories, prefix: String::new() })
        }
    };
    let handle = File::open(&root).map_err(|error| Failure::new(format!("{}: {error}", root.display())))?;
    let facts = identity::known(choices)?;
    let reading = Reading {
        architecture: choices.architecture.as_deref(),
        filter: choices.types.filter(),
        ..Reading::new(&facts)
    };
    let found = Definitions::read(handle.as_fd(), &search, reading)?;
    for warning in &found.warnings {
        log.say(Level::Warning, warning);
    }
    if choices.image.is_some() {
        of_an_image(&found.list, choices)?;
    }
    Ok(found.list)
}

/// Refuses what would have to come from the file systems of the image: the host has other files.
fn of_an_image(definitions: &[Definition], choices: &Choices) -> Result<(), Failure> {
    let refuse = |file: &str, key: &str, say: &str| {
        Failure::new(format!(
            "{file}: {key} would copy from the image, whose file systems are not opened here: {say}."
        ))
    };
    for Definition { file, copy_files, copy_blocks, .. } in definitions {
        if !copy_files.is_empty() && choices.copy_source.is_none() {
            return Err(refuse(file, "CopyFiles=", "say --copy-source= with --image="));
        }
        if matches!(copy_blocks, Some(CopyBlocks::Path(_))) {
            return Err(refuse(file, "CopyBlocks=", "name the image as DEVICE instead of --image="));
        }
    }
    Ok(())
}

/// The disk below the root directory, or below its /usr.
fn root_disk(choices: &Choices) -> Result<PathBuf, Failure> {
    use std::os::unix::fs::MetadataExt as _;
    let root = choices.root.as_deref().unwrap_or(Path::new("/"));
    for place in [root.to_owned(), root.join("usr")] {
        let metadata = std::fs::metadata(&place)
            .map_err(|error| Failure::new(format!("{}: {error}", place.display())))?;
        if let Ok(Some(name)) = disk::disk_of(metadata.dev()) {
            return Ok(Path::new("/dev").join(name));
        }
    }
    Err(Failure::nothing("Failed to discover root block device.", NO_DEVICE))
}

/// A table: that of the disk, or the one that it gets.
struct Table {
    gpt: Gpt,
    /// The GUID of the disk, when the table is new.
    created: Option<uuid::Uuid>,
}

impl Table {
    /// Its partitions, in the units that were chosen.
    fn layout(&self, disk: &Disk, choices: &Choices) -> Layout {
        Layout { grid: choices.grid(disk.block_size, disk.is_device), ..self.gpt.layout() }
    }
}

fn load(disk: &Disk, choices: &Choices, seed: uuid::Uuid) -> Result<Table, Failure> {
    let name = disk.path.display();
    let failure = |error: GptError| Failure::new(format!("{name}: {error}"));
    let create = || {
        let guid = disk_uuid(seed);
        let gpt = Gpt::create(disk.geometry(), guid).map_err(failure)?;
        Ok(Table { gpt, created: Some(guid) })
    };
    if matches!(choices.empty, Empty::Force | Empty::Create) {
        return create();
    }
    let refuse = |found: Option<String>| {
        let refusal = match choices.empty {
            Empty::Require => "already has a disk label, refusing.",
            Empty::Allow if found.is_some() => "has non-GPT disk label, not repartitioning.",
            _ => "has no GPT disk label, not repartitioning.",
        };
        let found = found.map(|found| format!(" It has {found}.")).unwrap_or_default();
        Failure::nothing(format!("Disk {name} {refusal}{found}"), NO_TABLE)
    };
    let foreign = |label: Label| refuse(Some(format!("{label}; --empty=force makes a new table over it")));
    match Gpt::read(disk, disk.geometry()) {
        Ok(_) if choices.empty == Empty::Require => Err(refuse(None)),
        Ok(gpt) => Ok(Table { gpt, created: None }),
        // The end of a file that is to grow is where the backup of its table is.
        Err(GptError::None) => match disk.label()? {
            None if matches!(choices.empty, Empty::Allow | Empty::Require) => create(),
            None => Err(refuse(None)),
            Some(label) => Err(foreign(label)),
        },
        Err(GptError::Foreign(label)) => Err(foreign(label)),
        Err(GptError::Damaged { primary, backup }) if !primary.is_of_medium() && !backup.is_of_medium() => {
            let found =
                format!("a GPT of which both copies are damaged; primary: {primary}; backup: {backup}");
            Err(refuse(Some(format!("{found}; restore one with sfdisk"))))
        }
        Err(error) => Err(failure(error)),
    }
}

/// The sentence about the least size of a disk.
fn least(size: Bytes) -> String {
    let size = output::bytes(size.0);
    format!("Automatically determined minimal disk image size as {size}.")
}

/// A disk of no size, on which nothing is.
fn no_disk(block_size: u32, choices: &Choices) -> Layout {
    Layout {
        block_size,
        grid: choices.grid(block_size, false),
        first_usable: Lba(0),
        last_usable: Lba(0),
        entries: 0,
        partitions: Vec::new(),
    }
}

fn existing(
    definitions: &[Definition],
    layout: &Layout,
) -> Vec<Option<hermetic_init::units::PartitionNumber>> {
    repart::matched(definitions, layout)
}

/// The definitions with the sources of those opened whose partition does not exist.
fn opened(
    definitions: &mut [Definition],
    existing: &[Option<hermetic_init::units::PartitionNumber>],
    sources: &mut Sources,
    choices: &Choices,
) -> Result<Vec<Definition>, Failure> {
    let exists: Vec<bool> =
        (0..definitions.len()).map(|index| existing.get(index).is_some_and(Option::is_some)).collect();
    source::open(definitions, &exists, sources, choices)?;
    Ok(definitions.to_vec())
}

/// Removes the partitions that a factory reset removes, and loads the table again.
#[allow(clippy::too_many_arguments)]
fn reset(
    disk: &Disk,
    choices: &Choices,
    definitions: &[Definition],
    existing: &[Option<hermetic_init::units::PartitionNumber>],
    table: &mut Table,
    keys: &Keys,
    sources: &Sources,
    clock: Clock,
    log: Log,
) -> Result<(), Failure> {
    if choices.dry_run {
        log.say(Level::Notice, "Refusing to factory reset, please re-run with --dry-run=no.");
        return Ok(());
    }
    log.say(Level::Info, "Applying factory reset.");
    let numbers: Vec<_> = definitions
        .iter()
        .zip(existing)
        .filter_map(|(definition, number)| number.filter(|_| definition.factory_reset))
        .collect();
    if numbers.is_empty() {
        log.say(Level::Info, "Factory reset requested, but no partitions to delete found.");
        return Ok(());
    }
    let output = Medium::new(disk, choices.discard);
    Work { disk, output: &output, choices, sources, keys, clock, log }.remove(&table.gpt, &numbers)?;
    *table = load(disk, choices, uuid::Uuid::nil())?;
    Ok(())
}

/// Reports the partitions that were adopted, and the definitions that are left out.
fn report(plan: &Plan, log: Log) {
    for adopted in &plan.adopted {
        log.say(Level::Debug, adopted);
    }
    for dropped in &plan.dropped {
        log.say(Level::Info, dropped);
    }
}

/// Shows the plan: as a table before anything is done, as JSON afterwards.
fn show(plan: &Plan, disk: &Disk, choices: &Choices, log: Log, early: bool) {
    let stdout = std::io::stdout();
    let as_json = choices.json != Json::Off;
    let wanted = as_json || choices.pretty.unwrap_or_else(|| stdout.is_terminal());
    if !wanted || as_json == early {
        return;
    }
    let unicode = match std::env::var("SYSTEMD_UTF8").as_deref() {
        Ok(word) => word != "0",
        Err(_) => ["LC_ALL", "LC_CTYPE", "LANG"]
            .iter()
            .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
            .is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8")),
    };
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(80);
    let style = output::Style {
        json: choices.json,
        legend: choices.legend,
        debug: log.wants(Level::Debug),
        unicode,
        columns,
    };
    let rows = output::rows(plan, &disk.path);
    if as_json {
        print(&output::json(&rows, style));
    } else if rows.is_empty() {
        log.say(Level::Info, "Empty partition table.");
    } else {
        print(&format!("{}\n{}\n", output::table(&rows, style), output::bar(&rows, disk.size, style)));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests;
