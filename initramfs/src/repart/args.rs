//! The command line of systemd-repart 262: words, then their meaning together.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::Parser;
use hermetic_init::{
    disk::{partition::Grid, types},
    repart::{Deferred, Filter},
};
use uuid::Uuid;

use super::Failure;

/// The words. Options that only an image builder needs (`--split`, `--private-key`, `--make-ddi`, ...) are unknown.
#[derive(Parser, Debug)]
#[command(name = "systemd-repart", disable_help_flag = true, disable_version_flag = true)]
pub struct Words {
    #[arg(long, short)]
    pub help: bool,
    #[arg(long)]
    pub version: bool,
    #[arg(long)]
    no_pager: bool,
    #[arg(long)]
    no_legend: bool,
    #[arg(long)]
    dry_run: Option<String>,
    #[arg(short)]
    n: bool,
    #[arg(long)]
    empty: Option<String>,
    #[arg(long)]
    discard: Option<String>,
    #[arg(long)]
    factory_reset: Option<String>,
    #[arg(long)]
    can_factory_reset: bool,
    #[arg(long)]
    root: Option<OsString>,
    #[arg(long)]
    image: Option<PathBuf>,
    #[arg(long)]
    seed: Option<String>,
    #[arg(long)]
    pretty: Option<String>,
    #[arg(long)]
    definitions: Vec<OsString>,
    #[arg(long)]
    size: Option<String>,
    #[arg(long)]
    json: Option<String>,
    #[arg(long)]
    key_file: Option<PathBuf>,
    #[arg(long)]
    include_partitions: Vec<String>,
    #[arg(long)]
    exclude_partitions: Vec<String>,
    #[arg(long)]
    defer_partitions: Vec<String>,
    #[arg(long)]
    defer_partitions_empty: Option<String>,
    #[arg(long)]
    defer_partitions_factory_reset: Option<String>,
    #[arg(long)]
    sector_size: Option<String>,
    #[arg(long)]
    grain_size: Option<String>,
    #[arg(long)]
    cow: Option<String>,
    #[arg(long)]
    append_fstab: Option<String>,
    #[arg(long)]
    generate_fstab: Option<PathBuf>,
    #[arg(long)]
    generate_crypttab: Option<PathBuf>,
    #[arg(long)]
    architecture: Option<String>,
    #[arg(long)]
    offline: Option<String>,
    #[arg(long, short = 's')]
    copy_source: Option<PathBuf>,
    #[arg(long)]
    copy_from: Vec<PathBuf>,
    #[arg(long)]
    pub list_devices: bool,
    devices: Vec<OsString>,
}

/// The policy for a disk with or without a partition table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Empty {
    /// Without a table nothing is done.
    Refuse,
    /// Without a table one is made.
    Allow,
    /// With a table nothing is done.
    Require,
    /// A table is made over any content.
    Force,
    /// The file is made as well.
    Create,
}

impl Empty {
    /// Returns true when the content of the disk is discarded.
    pub fn starts_over(self) -> bool {
        matches!(self, Self::Require | Self::Force | Self::Create)
    }
}

/// The size of the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// As it is.
    Keep,
    /// At least so many bytes.
    Least(u64),
    /// As small as the definitions allow.
    Auto,
}

/// The source of UUIDs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seed {
    /// The machine id of the root directory; random when it is missing.
    Machine,
    /// Chance.
    Random,
    /// This.
    Fixed(Uuid),
}

/// The form in which the plan is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Json {
    /// As a table.
    Off,
    /// In one line.
    Short,
    /// For people.
    Pretty,
}

/// Which types count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Types {
    /// All.
    All,
    /// These.
    Only(Vec<Uuid>),
    /// All but these.
    Without(Vec<Uuid>),
}

/// The command line, checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choices {
    /// The disk or the file; None for the disk below the root directory.
    pub node: Option<PathBuf>,
    /// There is no disk: the least size of one is all that is asked for.
    pub only_size: bool,
    /// Nothing is written.
    pub dry_run: bool,
    pub empty: Empty,
    pub size: Size,
    pub seed: Seed,
    /// Directories with definitions; empty for repart.d below the root directory.
    pub definitions: Vec<PathBuf>,
    pub root: Option<PathBuf>,
    pub image: Option<PathBuf>,
    /// True when the table is shown; None when that depends on the output.
    pub pretty: Option<bool>,
    pub json: Json,
    /// True when tables have a first and a last line.
    pub legend: bool,
    pub key_file: Option<PathBuf>,
    pub factory_reset: bool,
    pub can_factory_reset: bool,
    pub discard: bool,
    pub copy_source: Option<PathBuf>,
    pub copy_from: Vec<PathBuf>,
    pub types: Types,
    /// Types that are placed and not made.
    pub defer: Vec<Uuid>,
    /// The same of empty slots.
    pub defer_empty: bool,
    /// The same of what a factory reset removes.
    pub defer_factory_reset: bool,
    pub sector_size: Option<u32>,
    /// Bytes, a power of two.
    pub grain: Option<u64>,
    /// True when blocks of a new file are shared with others; None when that is left to its directory.
    pub cow: Option<bool>,
    pub tables: Tables,
    pub architecture: Option<String>,
}

/// The tables that are written for who mounts the partitions.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tables {
    /// The path of an fstab below the root directory.
    pub fstab: Option<PathBuf>,
    /// The fate of an fstab that is there.
    pub append: Append,
    /// The path of a crypttab below the root directory.
    pub crypttab: Option<PathBuf>,
}

/// The fate of an fstab that is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Append {
    /// It stays, and nothing is done.
    #[default]
    No,
    /// Its section of ours goes, and the rest stays.
    Auto,
    /// All of it goes.
    Replace,
}

impl Types {
    /// The same for the engine.
    pub fn filter(&self) -> Filter<'_> {
        match self {
            Self::All => Filter::All,
            Self::Only(types) => Filter::Only(types),
            Self::Without(types) => Filter::Without(types),
        }
    }
}

impl Choices {
    /// The partitions that wait for a later run.
    pub fn deferred(&self) -> Deferred<'_> {
        Deferred { types: &self.defer, empty: self.defer_empty, factory_reset: self.defer_factory_reset }
    }

    /// The units of a planner for a disk with blocks of this size. A file may be written to any disk, so that its file systems
    /// have the largest sectors, unless they are said.
    pub fn grid(&self, block_size: u32, is_device: bool) -> Grid {
        let grid = Grid::of_disk(block_size);
        Grid {
            grain: self.grain.map_or(grid.grain, |grain| grain.max(block_size.into())),
            file_system_sector: match self.sector_size {
                None if !is_device => block_size.max(4096),
                _ => block_size,
            },
        }
    }

    /// The choices that read the table of a disk.
    pub fn reading(node: &Path) -> Self {
        Self {
            node: Some(node.to_owned()),
            only_size: false,
            dry_run: true,
            empty: Empty::Refuse,
            size: Size::Keep,
            seed: Seed::Machine,
            definitions: Vec::new(),
            root: None,
            image: None,
            pretty: None,
            json: Json::Off,
            legend: true,
            key_file: None,
            factory_reset: false,
            can_factory_reset: false,
            discard: true,
            copy_source: None,
            copy_from: Vec::new(),
            types: Types::All,
            defer: Vec::new(),
            defer_empty: false,
            defer_factory_reset: false,
            sector_size: None,
            grain: None,
            cow: None,
            tables: Tables::default(),
            architecture: None,
        }
    }
}

impl Words {
    /// Checks the words one by one and together.
    pub fn decide(self) -> Result<Choices, Failure> {
        let fail = |text: String| Err(Failure::new(text));
        let mut devices = self.devices.into_iter();
        let node = devices.next().map(PathBuf::from);
        if devices.next().is_some() {
            return fail("Expected at most one argument, the path to the block device or image file.".into());
        }
        let only_size = node.as_deref() == Some(Path::new("-"));
        let node = node.filter(|_| !only_size);
        let empty = match self.empty.as_deref().unwrap_or_default() {
            "" | "unset" | "refuse" => Empty::Refuse,
            "allow" => Empty::Allow,
            "require" => Empty::Require,
            "force" => Empty::Force,
            "create" => Empty::Create,
            other => return fail(format!("Failed to parse --empty= parameter: {other}")),
        };
        let flag = |name: &str, value: &Option<String>| {
            value.as_deref().map(|value| boolean(name, value)).transpose()
        };
        // -n is --dry-run=yes, which is the default.
        let mut dry_run = flag("dry-run", &self.dry_run)?.unwrap_or(true) || self.n;
        if self.can_factory_reset {
            dry_run = true;
        } else if empty == Empty::Create {
            dry_run = false;
        }
        let factory_reset = flag("factory-reset", &self.factory_reset)?.unwrap_or(false);
        if factory_reset && empty.starts_over() {
            return fail(
                "Combination of --factory-reset=yes and --empty=force/--empty=require/--empty=create is invalid."
                    .into(),
            );
        }
        match self.offline.as_deref() {
            None | Some("auto") => {}
            Some(value) => _ = boolean("offline", value)?,
        }
        let size = size(self.size.as_deref())?;
        if empty == Empty::Create && size == Size::Keep {
            return fail("If --empty=create is specified, --size= must be specified, too.".into());
        }
        if self.image.is_some() && self.root.is_some() {
            return fail(
                "Please specify either --root= or --image=, the combination of both is not supported.".into(),
            );
        }
        if empty.starts_over() && node.is_none() && self.image.is_none() {
            return fail(
                "A path to a device node or image file must be specified when --empty=force, --empty=require or --empty=create are used."
                    .into(),
            );
        }
        let architecture = self.architecture.map(|name| types::architecture(&name).to_owned());
        if let Some(name) =
            architecture.as_deref().filter(|name| types::of(types::Role::Root, name).is_none())
        {
            return fail(format!("Invalid architecture '{name}'."));
        }
        let list = |lists: &[String]| partition_types(lists, architecture.as_deref());
        let (include, exclude) = (list(&self.include_partitions)?, list(&self.exclude_partitions)?);
        let types = match (self.include_partitions.is_empty(), self.exclude_partitions.is_empty()) {
            (true, true) => Types::All,
            (false, true) => Types::Only(include),
            (true, false) => Types::Without(exclude),
            (false, false) => {
                return fail(
                    "Combination of --include-partitions= and --exclude-partitions= is invalid.".into(),
                );
            }
        };
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        // An empty word says nothing.
        let given =
            |word: OsString| Some(word).filter(|word| !word.is_empty()).map(PathBuf::from).map(absolute);
        let mut definitions = Vec::new();
        for path in self.definitions.into_iter().filter_map(given) {
            if !definitions.contains(&path) {
                definitions.push(path);
            }
        }
        Ok(Choices {
            node,
            only_size,
            dry_run,
            empty,
            size,
            seed: seed(self.seed.as_deref())?,
            definitions,
            root: self.root.and_then(given),
            image: self.image.map(absolute),
            pretty: flag("pretty", &self.pretty)?,
            json: match self.json.as_deref().unwrap_or("off") {
                "off" => Json::Off,
                "short" => Json::Short,
                "pretty" => Json::Pretty,
                other => return fail(format!("Unknown argument to --json= switch: {other}")),
            },
            legend: !self.no_legend,
            key_file: self.key_file,
            factory_reset,
            can_factory_reset: self.can_factory_reset,
            discard: flag("discard", &self.discard)?.unwrap_or(true),
            copy_source: self.copy_source.map(absolute),
            // One image may be copied twice.
            copy_from: self.copy_from.into_iter().map(absolute).collect(),
            types,
            defer: list(&self.defer_partitions)?,
            defer_empty: flag("defer-partitions-empty", &self.defer_partitions_empty)?.unwrap_or(false),
            defer_factory_reset: flag(
                "defer-partitions-factory-reset",
                &self.defer_partitions_factory_reset,
            )?
            .unwrap_or(false),
            sector_size: self.sector_size.as_deref().map(sector_size).transpose()?,
            grain: self.grain_size.as_deref().map(grain).transpose()?,
            cow: match self.cow.as_deref() {
                None | Some("" | "auto") => None,
                Some(word) => Some(boolean("cow", word)?),
            },
            tables: Tables {
                fstab: self.generate_fstab,
                append: match self.append_fstab.as_deref() {
                    None | Some("no") => Append::No,
                    Some("auto") => Append::Auto,
                    Some("replace") => Append::Replace,
                    Some(other) => {
                        return fail(format!("Failed to parse --append-fstab= parameter: {other}"));
                    }
                },
                crypttab: self.generate_crypttab,
            },
            architecture,
        })
    }
}

fn boolean(name: &str, value: &str) -> Result<bool, Failure> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Ok(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Ok(false),
        _ => Err(Failure::new(format!("Failed to parse boolean argument to --{name}=: {value}."))),
    }
}

fn size(word: Option<&str>) -> Result<Size, Failure> {
    match word {
        None => Ok(Size::Keep),
        Some("auto") => Ok(Size::Auto),
        Some(word) => {
            let bytes = hermetic_init::repart::parse_size(word)
                .ok_or_else(|| Failure::new(format!("Failed to parse --size= parameter: {word}")))?;
            match bytes.checked_next_multiple_of(4096) {
                Some(0) => Err(Failure::new("Specified image size too small, refusing.")),
                Some(rounded) => Ok(Size::Least(rounded)),
                None => Err(Failure::new("Specified image size too large, refusing.")),
            }
        }
    }
}

fn seed(word: Option<&str>) -> Result<Seed, Failure> {
    match word {
        None | Some("") => Ok(Seed::Machine),
        Some("random") => Ok(Seed::Random),
        Some(word) => Uuid::try_parse(word)
            .map(Seed::Fixed)
            .map_err(|_| Failure::new(format!("Failed to parse seed: {word}"))),
    }
}

fn sector_size(word: &str) -> Result<u32, Failure> {
    let size = hermetic_init::repart::parse_size(word).and_then(|size| u32::try_from(size).ok());
    size.filter(|size| size.is_power_of_two() && (512..=4096).contains(size)).ok_or_else(|| {
        Failure::new(format!("Sector size {word} is not a power of two between 512 and 4096, refusing."))
    })
}

fn grain(word: &str) -> Result<u64, Failure> {
    let size = hermetic_init::repart::parse_size(word);
    size.filter(|size| size.is_power_of_two() && (512..=1 << 40).contains(size))
        .ok_or_else(|| Failure::new("Grain size must be a power of 2 >= 512."))
}

fn partition_types(lists: &[String], architecture: Option<&str>) -> Result<Vec<Uuid>, Failure> {
    let names = lists.iter().flat_map(|list| list.split(','));
    names
        .map(|name| {
            let guid = types::parse(name).ok_or_else(|| {
                Failure::new(format!("'{name}' is not a valid partition type identifier or GUID"))
            })?;
            Ok(architecture.map_or(guid, |architecture| types::of_architecture(guid, architecture)))
        })
        .collect()
}

/// The name that the kernel and sfdisk give to a partition: a `p` between digits.
pub fn partition_node(node: &Path, number: u32) -> String {
    let node = node.display().to_string();
    let separator = if node.ends_with(|last: char| last.is_ascii_digit()) { "p" } else { "" };
    format!("{node}{separator}{number}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decide(words: &[&str]) -> Result<Choices, String> {
        let words = ["repart"].iter().chain(words).map(OsString::from);
        Words::try_parse_from(words).unwrap().decide().map_err(|failure| failure.to_string())
    }

    #[test]
    fn words_mean_what_they_mean_to_systemd_repart() {
        let plain = decide(&["disk"]).unwrap();
        assert_eq!((plain.dry_run, plain.empty, plain.size), (true, Empty::Refuse, Size::Keep));
        assert_eq!((plain.discard, plain.legend, plain.seed), (true, true, Seed::Machine));
        let made =
            decide(&["--empty=create", "--size=4097", "--seed=random", "--json=short", "disk"]).unwrap();
        assert_eq!((made.dry_run, made.size, made.seed), (false, Size::Least(8192), Seed::Random));
        let asked = decide(&["--can-factory-reset", "--dry-run=no", "--definitions=", "disk"]).unwrap();
        assert!(asked.dry_run && asked.definitions.is_empty());
        let types = decide(&["--include-partitions=root,home", "--architecture=arm64"]).unwrap().types;
        let expected = ["root-arm64", "home"].map(|name| types::parse(name).unwrap()).to_vec();
        assert_eq!(types, Types::Only(expected));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (words, says) in [
            (&["a", "b"][..], "Expected at most one"),
            (&["--empty=perhaps"], "Failed to parse --empty="),
            (&["--empty=create", "a"], "If --empty=create"),
            (&["--empty=force"], "A path to a device node"),
            (&["--empty=force", "--factory-reset=yes", "a"], "Combination of --factory-reset=yes"),
            (&["--root=/", "--image=a"], "Please specify either"),
            (&["--include-partitions=esp", "--exclude-partitions=esp"], "Combination of --include"),
            (&["--include-partitions=espresso"], "'espresso' is not a valid"),
            (&["--dry-run=perhaps"], "Failed to parse boolean"),
            (&["--offline=perhaps"], "Failed to parse boolean"),
            (&["--size=0"], "Specified image size too small"),
            (&["--size=much"], "Failed to parse --size="),
            (&["--sector-size=1000"], "Sector size 1000"),
            (&["--grain-size=1000"], "Grain size must be a power of 2"),
            (&["--grain-size=256"], "Grain size must be a power of 2"),
            (&["--empty=force", "-"], "A path to a device node"),
            (&["--append-fstab=bogus"], "Failed to parse --append-fstab="),
            (&["--seed=1"], "Failed to parse seed"),
            (&["--json=maybe"], "Unknown argument to --json="),
            (&["--architecture=z80"], "Invalid architecture"),
        ] {
            let said = decide(words).unwrap_err();
            assert!(said.starts_with(says), "{words:?}: {said}");
        }
    }

    #[test]
    fn partitions_are_named_as_the_kernel_names_them() {
        for (node, name) in [("/dev/vda", "/dev/vda2"), ("/dev/nvme0n1", "/dev/nvme0n1p2"), ("zzz", "zzz2")] {
            assert_eq!(partition_node(Path::new(node), 2), name);
        }
    }
}
