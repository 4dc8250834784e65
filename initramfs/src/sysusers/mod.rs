//! `hermetic sysusers`: systemd-sysusers 257, on our engine.
//!
//! | file | content |
//! |---|---|
//! | [`source`] | the lines that count, and the messages about them |
//! | [`machine`] | the name services of this machine |
//!
//! Differences from the original: no pager, `--image=` is refused as in the original's stand-alone build, and those of
//! the [engine](hermetic_init::sysusers).

mod machine;
mod source;

use std::{
    env,
    ffi::OsString,
    path::{Component, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use hermetic_init::{
    config::ImagePolicy,
    durable::Durable,
    strerror::strerror,
    sysusers::{Definitions, Options, Report, SysusersError, Waiting, add_defined},
    tree::watch::Unwatched,
};

use self::source::Source;
use crate::{
    clock::Clock,
    mirror::{self, log::Log, root::Root, source as files, words},
};

/// The words of systemd-sysusers.
#[derive(Parser)]
#[command(name = "systemd-sysusers", disable_help_flag = true, disable_version_flag = true)]
struct Args {
    #[arg(short, long)]
    help: bool,
    #[arg(long)]
    version: bool,
    #[arg(long)]
    cat_config: bool,
    #[arg(long)]
    tldr: bool,
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
    inline: bool,
    #[arg(long)]
    no_pager: bool,
    configuration: Vec<OsString>,
}

/// The text that `--help` prints behind the program's name.
pub const HELP: &str = "[OPTIONS...] [CONFIGURATION FILE...]

Creates system user accounts.

  -h --help                 Show this help
     --version              Show package version
     --cat-config           Show configuration files
     --tldr                 Show non-comment parts of configuration
     --root=PATH            Operate on an alternate filesystem root
     --image=PATH           Operate on disk image as filesystem root
     --image-policy=POLICY  Specify disk image dissection policy
     --replace=PATH         Treat arguments as replacement for PATH
     --dry-run              Just print what would be done
     --inline               Treat arguments as configuration lines
     --no-pager             Do not pipe output into a pager

See the systemd-sysusers.service(8) man page for details.";

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
        mirror::print_version();
        return ExitCode::SUCCESS;
    }
    let log = Log::from_environment();
    match check(&args).and_then(|()| act(&args, log)) {
        Ok(()) => ExitCode::SUCCESS,
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
    if args.image.is_some() {
        return Err("This systemd-sysusers version is compiled without support for --image=.".to_owned());
    }
    if let Some(policy) = &args.image_policy
        && ImagePolicy::parse(policy).is_err()
    {
        return Err(format!("Failed to parse image policy: {policy}"));
    }
    let Some(replace) = &args.replace else { return Ok(()) };
    if !replace.starts_with('/') {
        return Err("The argument to --replace= must be an absolute path.".to_owned());
    }
    if !replace.ends_with(".conf") {
        return Err("The argument to --replace= must have the extension '.conf'.".to_owned());
    }
    if args.cat_config || args.tldr {
        return Err("Option --replace= is not supported with --cat-config/--tldr.".to_owned());
    }
    match args.configuration.is_empty() {
        true => Err("When --replace= is given, some configuration items must be specified.".to_owned()),
        false => Ok(()),
    }
}

fn act(args: &Args, log: Log) -> Result<(), String> {
    let shows = args.cat_config || args.tldr;
    let root = Root::open(args.root.as_deref(), !shows && !args.dry_run)?;
    let directories = files::system("sysusers.d");
    let replace = args.replace.as_deref();
    let files = files::Source { root: &root, directories: &directories, words: &args.configuration, replace };
    if shows {
        return files.cat(args.tldr, |error| failure(&root, error.into()));
    }
    check_credentials()?;
    let (facts, credentials) = (mirror::machine::facts(&root), mirror::machine::credentials(log));
    let source = Source { files, facts: &facts, inline: args.inline, credentials: &credentials };
    let mut definitions = Definitions::new();
    if let Err(reason) = source.read(&mut definitions) {
        say(log, definitions.messages());
        return Err(reason);
    }
    let options = Options {
        credentials: &credentials,
        service: if root.is_named() { &() } else { &machine::NameService },
        today: today(),
        durable: Durable::Here,
        waiting: Waiting::UntilFree,
        watch: &Unwatched,
        dry_run: args.dry_run,
    };
    let mut report = Report::default();
    let done = add_defined(root.tree(), definitions, options, &mut report);
    say(log, &report.messages);
    done.map_err(|error| failure(&root, error))
}

/// Credentials lie below an absolute path, or nowhere.
fn check_credentials() -> Result<(), String> {
    let Some(place) = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from) else { return Ok(()) };
    match place.is_absolute() && !place.components().any(|part| part == Component::ParentDir) {
        true => Ok(()),
        false => Err("Failed to get credentials directory: Invalid argument".to_owned()),
    }
}

fn failure(root: &Root, error: SysusersError) -> String {
    match error {
        SysusersError::Call { step: "lock", errno, .. } => {
            format!("Failed to take /etc/passwd lock: {}", strerror(&errno.into()))
        }
        SysusersError::Call { step, path, errno } => {
            format!("Failed to {step} {}: {}", root.label(&path), strerror(&errno.into()))
        }
        SysusersError::Database(error) => format!("{}{error}", root.path),
    }
}

fn say(log: Log, messages: &[hermetic_init::sysusers::Message]) {
    for message in messages {
        log.say(message.level, message);
    }
}

/// The time in days. systemd-sysusers ignores an invalid `SOURCE_DATE_EPOCH`.
fn today() -> u32 {
    let clock = Clock::read().unwrap_or_else(|_| Clock::of_machine());
    u32::try_from(clock.now() / 86_400).unwrap_or(u32::MAX)
}
