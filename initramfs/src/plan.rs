//! `hermetic plan`: what the first boot would do to an image. It reads, and changes nothing.
//!
//! The definitions come from the tree that becomes the image's /usr (`--usr`), which whoever builds the image has at hand:
//! its file system is not opened here. The decision is the boot's own ([`hermetic_init::repart::Decision`]): what a boot would
//! refuse is refused here in the same words, but for what depends on its machine (drivers, a TPM, the key file).

use std::{
    fs::File,
    io::Write as _,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use hermetic_init::{
    config::{Config, RootPolicy},
    disk::{
        gpt::Gpt,
        slot::{Choice, select_usr},
        types::{self, Role},
    },
    fragments::{Facts, facts, usr::os_release},
    os_release::OsRelease,
    populate::blocks,
    printable,
    repart::{
        self, Content, Copied, CopyBlocks, Course, Creation, Decision, Definition, Definitions, Maker,
        Openers, Plan, Reading, Search, Terms,
    },
};
use uuid::Uuid;

use crate::{
    clock::Clock,
    machine::Machine,
    repart::{
        Failure, admission,
        args::{Choices, Json},
        disk::Disk,
        output::{self, Row},
    },
};

/// Bytes of a page of the machine that boots: the least that any has.
const PAGE: u32 = 4096;

/// The words of `hermetic plan`.
#[derive(clap::Args)]
pub struct Args {
    /// The image, or a disk that it was written to
    image: PathBuf,
    /// The tree that becomes /usr: definitions are in its lib/repart.d
    #[arg(long, value_name = "DIR", required_unless_present = "definitions")]
    usr: Option<PathBuf>,
    /// Definitions from this directory instead. May be repeated
    #[arg(long, value_name = "DIR", conflicts_with = "usr")]
    definitions: Vec<PathBuf>,
    /// The size of the disk that the image will be written to, with K, M, G or T behind the number
    #[arg(long, value_name = "BYTES", value_parser = size)]
    size: Option<u64>,
    /// The machine id that UUIDs follow from; any machine has another one
    #[arg(long, value_name = "ID")]
    machine_id: Option<Uuid>,
    /// The kernel command line of that boot: `root=`, `systemd.image_policy=` and `hermetic.*` count
    #[arg(long, value_name = "WORDS", default_value = "")]
    cmdline: String,
    /// As JSON, in systemd-repart's shape
    #[arg(long)]
    json: bool,
}

fn size(word: &str) -> Result<u64, String> {
    repart::parse_size(word).ok_or_else(|| "a size is a number with K, M, G or T behind it".into())
}

/// Shows the plan. A closed output is not an error.
///
/// # Errors
/// No table, a definition that is refused, too little space: everything that would stop the first boot.
pub fn run(args: &Args) -> Result<(), Failure> {
    let choices = Choices::reading(&args.image);
    let mut disk = Disk::open(&args.image, &choices)?;
    if let Some(size) = args.size {
        disk.grow_to(size)?;
    }
    let name = args.image.display();
    let gpt =
        Gpt::read(&disk.file, disk.geometry()).map_err(|error| Failure::new(format!("{name}: {error}")))?;
    let config = config(args)?;
    let mut definitions = definitions(args)?;
    for warning in &definitions.warnings {
        eprintln!("warning: {warning}");
    }
    for refusal in admission::refusals(&disk, &gpt, &definitions.list)? {
        match config.hermetic.root_policy {
            RootPolicy::Strict => return Err(Failure::new(refusal)),
            RootPolicy::Existing => eprintln!("warning: {refusal}"),
        }
    }
    if let Some(why) = config.leaves_partitions() {
        print(if args.json { "[]\n".into() } else { format!("\nnothing is changed: {why}\n") });
        return Ok(());
    }
    let sources = Sources::new(args, &gpt, &config)?;
    repart::measure(
        Maker::Boot,
        &mut definitions.list,
        &gpt.layout(),
        &Failure::from,
        &mut |_, definition, copied| sources.look(definition, copied),
    )?;
    let seed = args.machine_id.unwrap_or_default();
    let plan = match repart::course(&definitions.list, &gpt.layout(), seed) {
        Ok(Course::Carry(plan)) => plan,
        Ok(Course::Leave(lack)) => {
            eprintln!("warning: {lack}");
            let why = "nothing is changed: the disk has its root, and the boot goes on";
            print(if args.json { "[]\n".into() } else { format!("\n{why}\n") });
            return Ok(());
        }
        Err(error) => return Err(error.into()),
    };
    let rows = output::rows(&plan, &args.image);
    let style = output::Style {
        json: if args.json { Json::Pretty } else { Json::Off },
        legend: true,
        debug: true,
        unicode: true,
        columns: 80,
    };
    print(match args.json {
        true => output::json(&rows, style),
        false => format!("{}\n{}", output::table(&rows, style), drawn(&rows, disk.size, style)),
    });
    let terms = Terms::of_boot(&config, PAGE, Clock::of_machine().now());
    let decided = Decision::make(&plan, &gpt, &terms, &mut Machine { disk: None, has_tpm: true });
    if !args.json {
        print(format!("\n{}\n", story(&plan, decided.as_ref().ok()).join("\n")));
    }
    decided.map(drop).map_err(Failure::new)
}

/// The disk as it is and as it will be, each partition at its place.
fn drawn(rows: &[Row], size: u64, style: output::Style) -> String {
    let mut after = rows.to_vec();
    after.sort_by_key(|row| row.offset);
    let before: Vec<_> = after.iter().filter(|row| row.is_there()).map(Row::before).collect();
    format!("before\n{}\nafter\n{}", output::bar(&before, size, style), output::bar(&after, size, style))
}

/// The words of the command line that the boot goes by.
fn config(args: &Args) -> Result<Config, Failure> {
    let (config, warnings) = Config::from_cmdline(&args.cmdline, None).map_err(Failure::new)?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    Ok(config)
}

/// Writes to stdout. A closed output is not an error.
fn print(text: String) {
    let _closed = std::io::stdout().lock().write_all(text.as_bytes());
}

/// The sources of CopyBlocks= in an image: a partition of the slot that boots, or a file of /usr.
pub struct Sources<'a> {
    gpt: &'a Gpt,
    /// The configuration of the boot.
    config: &'a Config,
    /// The directory whose `usr` is /usr.
    above: Option<File>,
    /// /usr itself, where it has another name.
    usr: Option<File>,
}

impl<'a> Sources<'a> {
    fn new(args: &Args, gpt: &'a Gpt, config: &'a Config) -> Result<Self, Failure> {
        let Some(usr) = &args.usr else { return Ok(Self { gpt, config, above: None, usr: None }) };
        let whole = std::path::absolute(usr).unwrap_or_else(|_| usr.clone());
        // Links in the tree say where they lead once it is /usr.
        match whole.parent().filter(|_| whole.file_name().is_some_and(|name| name == "usr")) {
            Some(above) => Ok(Self { gpt, config, above: Some(open(above)?), usr: None }),
            None => Ok(Self { gpt, config, above: None, usr: Some(open(usr)?) }),
        }
    }

    /// The sources in a tree: a directory whose `usr` is /usr.
    ///
    /// # Errors
    /// There is no further descriptor.
    pub fn of_tree(gpt: &'a Gpt, config: &'a Config, above: BorrowedFd<'_>) -> Result<Self, Failure> {
        let above = above.try_clone_to_owned().map_err(Failure::new)?;
        Ok(Self { gpt, config, above: Some(File::from(above)), usr: None })
    }

    /// Measures a source. One that is not in the image is not counted; one that the boot would miss is refused.
    pub fn look(&self, definition: &Definition, copied: &CopyBlocks) -> Result<Copied, Failure> {
        let found = match copied {
            CopyBlocks::Auto => self.booted(definition)?,
            CopyBlocks::Path(path) => self.file(definition, path)?,
        };
        if found.length.is_none() {
            let file = &definition.file;
            eprintln!("warning: {file}: what CopyBlocks= copies is not here, its size is not counted");
        }
        Ok(found)
    }

    fn booted(&self, definition: &Definition) -> Result<Copied, Failure> {
        let verity = self.config.usr.verity.as_ref();
        let choice = verity.map_or(Choice::Newest, |verity| Choice::RootHash(&verity.root_hash));
        let Ok(slot) = select_usr(self.gpt.partitions(), choice, &self.config.image_filter) else {
            return Ok(Copied::default());
        };
        let number = match types::role(definition.type_guid) {
            Some(Role::Usr) => Some(slot.data),
            Some(Role::UsrVerity) => slot.verity,
            Some(Role::UsrVeritySig) => slot.signatures.first().copied(),
            _ => None,
        };
        let partition = number.and_then(|number| self.gpt.partition(number));
        let partition = partition.ok_or_else(|| repart::not_booted(definition))?;
        let length = partition.length(self.gpt.geometry().block_size).0;
        Ok(Copied { length: Some(length), guid: Some(partition.guid) })
    }

    fn file(&self, definition: &Definition, path: &str) -> Result<Copied, Failure> {
        // Others are files of the initramfs.
        let Some(rest) = path.strip_prefix("/usr/") else { return Ok(Copied::default()) };
        let opened = match (&self.above, &self.usr) {
            (Some(above), _) => blocks::open(definition, path, path, above.as_fd()),
            (None, Some(usr)) => blocks::open(definition, path, rest, usr.as_fd()),
            (None, None) => return Ok(Copied::default()),
        };
        opened.map(|(_, length)| Copied { length: Some(length.0), guid: None }).map_err(Failure::from)
    }
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())))
}

/// The plan in sentences: what is done and why.
pub fn story(plan: &Plan, decided: Option<&Decision<'_>>) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(plan.adopted.iter().map(|adopted| match adopted.grows() {
        true => format!("{adopted}; it grows to {}", adopted.new_length),
        false => adopted.to_string(),
    }));
    lines.extend(plan.new.iter().map(|new| {
        let definition = &new.definition;
        let format = definition.format.map_or("no file system", |format| format.word());
        format!(
            "partition {} ({:?}, {}) is made for {}: {format}, encryption {}{}",
            new.number,
            new.label,
            new.length,
            definition.file,
            definition.encrypt.word(),
            decided.and_then(|decided| decided.creation(new.number)).map(further).unwrap_or_default()
        )
    }));
    lines.extend(plan.dropped.iter().map(ToString::to_string));
    // What an adopted partition is called, the disk says.
    let mut lines: Vec<String> = lines.iter().map(|line| printable::line(line)).collect();
    if !plan.changes() {
        lines.push("nothing is changed".into());
    }
    lines
}

/// The further properties of a new partition, behind commas.
fn further(creation: &Creation<'_>) -> String {
    let mut text = String::new();
    if let Content::Blocks = creation.content {
        text.push_str(", blocks are copied");
    }
    if let Some(Openers { key_file, tpm, recovery }) = creation.opened_by {
        for (opens, word) in [(key_file, "the key file"), (tpm, "the TPM"), (recovery, "a recovery key")] {
            if opens {
                text.push_str(", opened by ");
                text.push_str(word);
            }
        }
    }
    if let Some(filling) = &creation.filling {
        text.push_str(if filling.is_furnished { ", filled with a new root" } else { ", filled" });
    }
    text
}

fn definitions(args: &Args) -> Result<Definitions, Failure> {
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
    let (root, search) = match &args.usr {
        Some(usr) => {
            let directories = ["/local/lib/repart.d", "/lib/repart.d"].map(str::to_owned).to_vec();
            (open(usr)?, Search { directories, prefix: absolute(usr).display().to_string() })
        }
        None => {
            let directories =
                args.definitions.iter().map(|path| absolute(path).display().to_string()).collect();
            (open(Path::new("/"))?, Search { directories, prefix: String::new() })
        }
    };
    let os_release = args.usr.as_ref().and_then(|_| os_release(root.as_fd()).ok());
    let facts = Facts {
        machine_id: args.machine_id.map(|id| id.simple().to_string()),
        architecture: Some(facts::architecture(std::env::consts::ARCH).into()),
        os_release: os_release.as_deref().map(OsRelease::parse),
        ..Facts::default()
    };
    Ok(Definitions::read(root.as_fd(), &search, Reading::new(&facts))?)
}
