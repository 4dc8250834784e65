//! `hermetic tmpfiles`: systemd-tmpfiles 257, on our engine.
//!
//! | file | content |
//! |---|---|
//! | [`source`] | the lines that count, and the messages about them |
//! | [`machine`] | the values of specifiers on this machine |
//!
//! Differences from the original: no pager, `--image=` is refused as in the original's stand-alone build, `--clean` and
//! `--purge` are refused because the engine removes nothing by age or by `$`, and those of the
//! [engine](hermetic_init::tmpfiles).

mod machine;
mod source;

use std::{
    ffi::OsString,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use hermetic_init::tree::watch::Unwatched;
use hermetic_init::{
    durable::Durable,
    level::Level,
    tmpfiles::{
        Definitions, Operation, Request, Selection, line::Context, root::Root as Surroundings, run::apply,
    },
};

use self::source::Source;
use crate::mirror::{log, machine::credentials, root::Root, source as files, words};

/// Lines are wrong (`EX_DATAERR` of sysexits.h).
const DATA_ERROR: u8 = 65;
/// Something could not be made or removed (`EX_CANTCREAT`).
const CANNOT_CREATE: u8 = 73;

/// The directories that `-E` excludes: they are mounted over when the root is used.
const MOUNTED: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// The words of systemd-tmpfiles.
#[derive(Parser)]
#[command(name = "systemd-tmpfiles", disable_help_flag = true, disable_version_flag = true)]
struct Args {
    #[arg(short, long)]
    help: bool,
    #[arg(long)]
    version: bool,
    #[arg(long)]
    user: bool,
    #[arg(long)]
    cat_config: bool,
    #[arg(long)]
    tldr: bool,
    #[arg(long)]
    create: bool,
    #[arg(long)]
    clean: bool,
    #[arg(long)]
    remove: bool,
    #[arg(long)]
    purge: bool,
    #[arg(long)]
    boot: bool,
    #[arg(long)]
    graceful: bool,
    #[arg(long)]
    prefix: Vec<OsString>,
    #[arg(long)]
    exclude_prefix: Vec<OsString>,
    #[arg(short = 'E')]
    exclude_mounted: bool,
    #[arg(long)]
    root: Option<PathBuf>,
    #[arg(long)]
    image: Option<PathBuf>,
    #[arg(long)]
    image_policy: Option<String>,
    #[arg(long)]
    replace: Option<String>,
    #[arg(long)]
    dry_run: bool,
    #[arg(long)]
    no_pager: bool,
    configuration: Vec<OsString>,
}

/// The text that `--help` prints behind the program's name.
pub const HELP: &str = "COMMAND [OPTIONS...] [CONFIGURATION FILE...]

Create, delete, and clean up files and directories.

Commands:
     --create               Create and adjust files and directories
     --clean                Refused: nothing is cleaned up by age
     --remove               Remove files and directories marked for removal
     --purge                Refused: nothing is purged
  -h --help                 Show this help
     --version              Show package version

Options:
     --user                 Execute user configuration
     --cat-config           Show configuration files
     --tldr                 Show non-comment parts of configuration files
     --boot                 Execute actions only safe at boot
     --graceful             Quietly ignore unknown users or groups
     --prefix=PATH          Only apply rules with the specified prefix
     --exclude-prefix=PATH  Ignore rules with the specified prefix
  -E                        Ignore rules prefixed with /dev, /proc, /run, /sys
     --root=PATH            Operate on an alternate filesystem root
     --image=PATH           Refused: operate on a mounted image with --root=
     --image-policy=POLICY  Specify disk image dissection policy
     --replace=PATH         Treat arguments as replacement for PATH
     --dry-run              Just print what would be done
     --no-pager             Do not pipe output into a pager

See the systemd-tmpfiles(8) man page for details.";

/// Messages of the engine, on stderr.
struct Stderr(log::Log);

impl hermetic_init::tmpfiles::Log for Stderr {
    fn say(&mut self, level: Level, message: String) {
        self.0.say(level, message);
    }
}

/// Runs it.
pub fn run(words: Vec<OsString>) -> ExitCode {
    let name = words.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let args: Args = match words::parse(words) {
        Ok(args) => args,
        Err(status) => return status,
    };
    if args.help {
        println!("{name} {HELP}");
        return ExitCode::SUCCESS;
    }
    if args.version {
        println!("hermetic {} (as systemd 257)\n+ACL -SELINUX", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let log = log::Log::from_environment();
    match check(&args).and_then(|()| act(&args, log)) {
        Ok(status) => status,
        Err(error) => {
            // The message about a line has been printed already.
            if !error.is_empty() {
                log.error(error);
            }
            ExitCode::FAILURE
        }
    }
}

/// Refuses options that are not supported.
fn check(args: &Args) -> Result<(), String> {
    let has_command = args.create || args.clean || args.remove || args.purge;
    let shows = args.cat_config || args.tldr;
    let replace = args.replace.as_deref();
    let error = if replace.is_some_and(|path| !path.starts_with('/')) {
        "The argument to --replace= must be an absolute path."
    } else if replace.is_some_and(|path| !path.ends_with(".conf")) {
        "The argument to --replace= must have the extension '.conf'."
    } else if args.image.is_some() {
        "This systemd-tmpfiles version is compiled without support for --image=."
    } else if !has_command && !shows {
        "You need to specify at least one of --clean, --create, --remove, or --purge."
    } else if args.purge && args.configuration.is_empty() {
        "Refusing --purge without specification of a configuration file."
    } else if replace.is_some() && shows {
        "Option --replace= is not supported with --cat-config/--tldr."
    } else if replace.is_some() && args.configuration.is_empty() {
        "When --replace= is given, some configuration items must be specified."
    } else if args.root.is_some() && args.user {
        "Combination of --user and --root= is not supported."
    } else if args.clean || args.purge {
        "Refusing --clean and --purge: this tool removes nothing by age or by '$'; use systemd-tmpfiles."
    } else {
        return Ok(());
    };
    Err(error.to_owned())
}

fn act(args: &Args, log: log::Log) -> Result<ExitCode, String> {
    let mut log = Stderr(log);
    let root = Root::open(args.root.as_deref(), args.create && !args.dry_run)?;
    let directories = source::directories(args.user);
    let replace = args.replace.as_deref();
    let files = files::Source { root: &root, directories: &directories, words: &args.configuration, replace };
    if args.cat_config || args.tldr {
        files.cat(args.tldr, |error| source::failure(&root, error))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !Path::new("/proc/self").exists() {
        return Err("/proc/ is not mounted, but required for successful operation of systemd-tmpfiles. Please mount /proc/."
            .to_owned());
    }
    let specifiers = machine::specifiers(&root, args.user);
    let credentials = credentials(log.0);
    let selection = selection(args);
    let surroundings = Surroundings::new(root.tree(), &credentials);
    let context = Context { specifiers: &specifiers, surroundings: &surroundings, selection: &selection };
    let mut definitions = Definitions::new();
    let source = Source { files, credentials: &credentials };
    source.read(&mut definitions, &context, &mut log)?;
    let mut operations = Vec::new();
    if args.remove {
        operations.push(Operation::Remove);
    }
    if args.create {
        operations.push(Operation::Create);
    }
    let request = Request {
        specifiers: &specifiers,
        credentials: &credentials,
        selection: &selection,
        operations: &operations,
        is_dry_run: args.dry_run,
        // As the original.
        durable: Durable::Caller,
        watch: &Unwatched,
    };
    let outcome = apply(root.tree(), &definitions, &request, &mut log);
    Ok(match (outcome.invalid, outcome.failed) {
        (1.., _) => ExitCode::from(DATA_ERROR),
        (0, 1..) => ExitCode::from(CANNOT_CREATE),
        (0, 0) => ExitCode::SUCCESS,
    })
}

fn selection(args: &Args) -> Selection {
    let bytes = |paths: &[OsString]| paths.iter().map(|path| path.as_bytes().to_vec()).collect::<Vec<_>>();
    let mut excluded = bytes(&args.exclude_prefix);
    if args.exclude_mounted {
        excluded.extend(MOUNTED.map(|path| path.as_bytes().to_vec()));
    }
    Selection {
        boot: args.boot,
        graceful: args.graceful,
        prefixes: bytes(&args.prefix),
        excluded,
        kinds: Vec::new(),
    }
}
