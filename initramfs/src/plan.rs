//! `hermetic plan`: what the first boot would do to an image. It reads, and changes nothing.
//!
//! The definitions come from the tree that becomes the image's /usr (`--usr`), which whoever builds the image has at hand:
//! its file system is not opened here.

use std::{
    fs::File,
    io::Write as _,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use hermetic_init::{
    disk::{
        gpt::Gpt,
        slot::{Choice, select_usr},
        types::{self, Role},
    },
    fragments::{Facts, facts},
    os_release::OsRelease,
    repart::{self, CopyBlocks, Definition, Definitions, Maker, Plan, Reading, Search},
    units::Bytes,
};
use uuid::Uuid;

use crate::repart::{
    Failure,
    args::{Choices, Json},
    disk::Disk,
    output, write,
};

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
    /// As JSON, in systemd-repart's shape
    #[arg(long)]
    json: bool,
}

fn size(word: &str) -> Result<u64, String> {
    repart::parse_size(word).ok_or_else(|| "a size is a number with K, M, G or T behind it".into())
}

/// Shows the plan. Who has closed our output does not want to know.
///
/// # Errors
/// No table, a definition that is refused, too little space: what would stop the first boot.
pub fn run(args: &Args) -> Result<(), Failure> {
    let choices = Choices::reading(&args.image);
    let mut disk = Disk::open(&args.image, &choices)?;
    if let Some(size) = args.size {
        if size < disk.size {
            let (wanted, there) = (Bytes(size), Bytes(disk.size));
            return Err(Failure::new(format!(
                "the image has {there}: it does not fit on a disk of {wanted}"
            )));
        }
        disk.grow(size)?;
    }
    let name = args.image.display();
    let gpt =
        Gpt::read(&disk.file, disk.geometry()).map_err(|error| Failure::new(format!("{name}: {error}")))?;
    let mut definitions = definitions(args)?;
    for warning in &definitions.warnings {
        eprintln!("warning: {warning}");
    }
    measure(&mut definitions.list, &gpt, args);
    let seed = args.machine_id.unwrap_or_default();
    let plan = match repart::plan_for(Maker::Boot, &definitions.list, &gpt.layout(), seed) {
        Ok(plan) => plan,
        Err(error) if error.is_lack() && repart::has_roots(&definitions.list, gpt.partitions()) => {
            eprintln!("warning: {error}");
            let text = if args.json {
                "[]\n"
            } else {
                "\nnothing is changed: the disk has its root, and the boot goes on\n"
            };
            let _closed = std::io::stdout().lock().write_all(text.as_bytes());
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
    let mut text = match args.json {
        true => output::json(&rows, style),
        false => output::table(&rows, style),
    };
    if !args.json {
        text.push_str(&story(&plan));
    }
    let _closed = std::io::stdout().lock().write_all(text.as_bytes());
    for new in &plan.new {
        repart::refuse(&new.definition, Maker::Boot)?;
        write::empty(new, disk.block_size, [0; 16])?;
    }
    let after = plan.transaction(&gpt).map_err(|error| Failure::new(format!("{name}: {error}")))?.after;
    Ok(repart::demand_root(after.partitions())?)
}

/// Tells the definitions how long what they copy is: a partition of the slot that boots, or a file of /usr.
fn measure(definitions: &mut [Definition], gpt: &Gpt, args: &Args) {
    let booted = select_usr(gpt.partitions(), Choice::Newest).ok();
    let matched = repart::matched(definitions, &gpt.layout());
    for (definition, existing) in definitions.iter_mut().zip(matched) {
        let Some(copied) = definition.copy_blocks.clone().filter(|_| existing.is_none()) else { continue };
        let slot = || {
            let number = match (types::role(definition.type_guid), &booted) {
                (Some(Role::Usr), Some(slot)) => Some(slot.data),
                (Some(Role::UsrVerity), Some(slot)) => slot.verity,
                _ => None,
            };
            gpt.partition(number?)
        };
        let length = match &copied {
            CopyBlocks::Auto => slot().map(|partition| {
                definition.uuid.get_or_insert(partition.guid);
                partition.length(gpt.geometry().block_size).0
            }),
            CopyBlocks::Path(path) => {
                let file =
                    args.usr.as_ref().zip(path.strip_prefix("/usr/")).map(|(usr, rest)| usr.join(rest));
                file.and_then(|file| Some(file.metadata().ok()?.len()))
            }
        };
        if length.is_none() {
            eprintln!(
                "warning: {}: what CopyBlocks= copies is not here, its size is not counted",
                definition.file
            );
        }
        definition.copy_size = length;
    }
}

/// What is done and why, in sentences.
fn story(plan: &Plan) -> String {
    let mut lines = vec![String::new()];
    lines.extend(plan.adopted.iter().map(|adopted| match adopted.grows() {
        true => format!("{adopted}; it grows to {}", adopted.new_length),
        false => adopted.to_string(),
    }));
    lines.extend(plan.new.iter().map(|new| {
        let definition = &new.definition;
        let format = definition.format.map_or("no file system", |format| format.word());
        format!(
            "partition {} ({:?}, {}) is made for {}: {format}, encryption {}",
            new.number,
            new.label,
            new.length,
            definition.file,
            definition.encrypt.word()
        )
    }));
    lines.extend(plan.dropped.iter().map(ToString::to_string));
    if !plan.changes() {
        lines.push("nothing is changed".into());
    }
    lines.join("\n") + "\n"
}

fn definitions(args: &Args) -> Result<Definitions, Failure> {
    let open =
        |path: &Path| File::open(path).map_err(|error| Failure::new(format!("{}: {error}", path.display())));
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
    let os_release =
        args.usr.as_ref().and_then(|usr| std::fs::read_to_string(usr.join("lib/os-release")).ok());
    let facts = Facts {
        machine_id: args.machine_id.map(|id| id.simple().to_string()),
        architecture: Some(facts::architecture(std::env::consts::ARCH).into()),
        os_release: os_release.as_deref().map(OsRelease::parse),
        ..Facts::default()
    };
    Ok(Definitions::read(root.as_fd(), &search, Reading::new(&facts))?)
}
