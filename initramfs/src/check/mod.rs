//! `hermetic check`: what the next boot of an image would say, without booting it.
//!
//! The decisions are the boot's own: the command line by [`Config`], the slot by [`select_usr`](hermetic_init::disk::slot::select_usr),
//! demands and refusals by [`hermetic_init::image`], definitions and what is made by [`hermetic_init::repart`]. Their text is the
//! line that the boot prints. Nothing is written.
//!
//! | file | content |
//! |---|---|
//! | [`report`] | findings, and the report of them |
//! | [`disk`] | the image, with its partitions by the names that the kernel will give them |
//! | [`usr`] | the slot, its hash tree, its file system |
//! | [`tree`] | /usr as a tree: named, or mounted |
//! | [`provision`] | the definitions, and what is made by them |
//! | [`factory`] | a new root, furnished in a scratch directory |
//! | [`root`] | a root that is there |

mod disk;
mod factory;
mod provision;
mod report;
mod root;
mod tree;
mod usr;

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use hermetic_init::{config::Config, image::NextInit, os_release::OsRelease, repart};
use uuid::Uuid;

use self::{disk::Named, report::Report, tree::UsrTree, usr::Verified};
use crate::{machine::Machine, repart::Failure, uki};

/// The words of `hermetic check`.
#[derive(clap::Args)]
#[command(after_help = "\
Exit status: 0 when the next boot would come to systemd as far as this can be seen, 1 when it would refuse or something is
damaged, 2 when the check itself cannot be made.

To look into /usr, the image's file system is mounted read-only through a loop device once every block was verified, which takes
root; or name the tree that it was made from by --usr, which takes nothing. What is not verified is not mounted.")]
pub struct Args {
    /// The image, or a disk that it was written to
    image: PathBuf,
    /// The kernel command line of that boot
    #[arg(long, value_name = "WORDS", default_value = "", conflicts_with = "uki")]
    cmdline: String,
    /// The unified kernel image of that boot: its command line counts, and the version of the image that it was made with
    #[arg(long, value_name = "FILE")]
    uki: Option<PathBuf>,
    /// The tree that /usr was made from, instead of the image's file system; its last name is `usr`
    #[arg(long, value_name = "DIR")]
    usr: Option<PathBuf>,
    /// The kernel's name of the disk in that machine; that of a block device is its own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The size of the disk that the image will be written to, with K, M, G or T behind the number
    #[arg(long, value_name = "BYTES", value_parser = size)]
    size: Option<u64>,
    /// Bytes of that disk's sectors; else those that the partition table was written for
    #[arg(long, value_name = "BYTES")]
    sector_size: Option<u32>,
    /// That machine has no TPM 2.0
    #[arg(long)]
    no_tpm: bool,
    /// Read the first block of /usr and its path through the hash tree alone, as the boot does, and not all of it
    #[arg(long)]
    quick: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn size(word: &str) -> Result<u64, String> {
    repart::parse_size(word).ok_or_else(|| "a size is a number with K, M, G or T behind it".into())
}

/// Looks, and says what the boot would say. A closed output is not an error.
pub fn run(args: &Args) -> ExitCode {
    let mut report = Report::default();
    let whole = examine(args, &mut report);
    let text = if args.json { report.json(whole.is_ok()) } else { report.text(whole.is_ok()) };
    let _closed = std::io::stdout().lock().write_all(text.as_bytes());
    match whole {
        Ok(()) => ExitCode::from(u8::from(!report.is_clean())),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Walks along the stages of the boot, and on where a boot would have stopped, as far as something is there to look at.
///
/// # Errors
/// The check cannot be made.
fn examine(args: &Args, report: &mut Report) -> Result<(), Failure> {
    let kernel = Kernel::read(args)?;
    let config = match Config::from_cmdline(&kernel.words, None) {
        Ok((config, warnings)) => {
            for warning in warnings {
                report.warn("early", warning);
            }
            config
        }
        Err(error) => {
            report.refuse("early", error);
            return Ok(());
        }
    };
    if config.factory_reset == Some(true) {
        return Err(Failure::new("a factory reset is not judged here; check without systemd.factory_reset="));
    }
    let mut disk = Named::open(&args.image, args.name.as_deref(), args.sector_size)?;
    if let Some(size) = args.size {
        disk.grow(size)?;
    }
    if let Err(reason) = hermetic_init::image::permit_usr(&config) {
        report.refuse("usr", reason);
        return Ok(());
    }
    let Some(found) = usr::find(&config, &disk, kernel.version.as_deref(), report)? else { return Ok(()) };
    let Some(verified) = usr::verify(&config, &disk, &found, args.quick, report)? else { return Ok(()) };
    let Some(system) = usr::file_system(&config, &disk, &found, report)? else { return Ok(()) };
    let tree = match (&args.usr, verified) {
        (Some(usr), _) => UsrTree::named(usr)?,
        (None, Verified::Whole) => UsrTree::mount(&disk, &found.data, system)?,
        // No kernel of ours is shown a file system that somebody has changed, or may have.
        (None, Verified::Changed) => return Ok(()),
        (None, Verified::Partly) => {
            let line = "cannot look into /usr: it is not verified, so it is not mounted; name the tree that it was made from by --usr";
            return Err(Failure::new(line));
        }
    };
    let data = disk.partition_name(found.data.number);
    match NextInit::of(&config).find(tree.above()) {
        Ok(path) => report.fact("usr", tree.next(&path)),
        Err(none) => report.refuse("usr", none.on(&data)),
    }
    let machine = Machine { disk: Some(disk.name()), has_tpm: !args.no_tpm };
    let expected = provision::decide(&config, &disk, &tree, machine, report)?;
    if let Some(expected) = expected {
        if expected.makes_root || config.root_is_new() {
            let stage = if expected.makes_root { "provision" } else { "etc" };
            factory::look(&config, &tree, stage, report)?;
        }
        root::look(&config, &disk, &expected, report)?;
    }
    Ok(())
}

/// The words of a kernel, and the version of the image that it belongs to.
struct Kernel {
    words: String,
    version: Option<String>,
}

impl Kernel {
    /// Those that are named.
    ///
    /// # Errors
    /// The unified kernel image cannot be read, or is none.
    fn read(args: &Args) -> Result<Self, Failure> {
        let Some(path) = &args.uki else { return Ok(Self { words: args.cmdline.clone(), version: None }) };
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("{}: {error}", path.display()));
        let image = std::fs::read(path).map_err(|error| failed(&error))?;
        let words = uki::command_line(&image);
        let words = words.ok_or_else(|| failed(&"no unified kernel image with a command line"))?;
        let os_release = uki::os_release(&image);
        let version = os_release.and_then(|text| OsRelease::parse(&text).image_version().map(str::to_owned));
        Ok(Self { words, version })
    }
}

/// A seed of UUIDs, for a plan that is only shown.
const SEED: Uuid = Uuid::nil();
