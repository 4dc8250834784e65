//! `hermetic etc`: the work of the boot on /etc, shown and done on a build machine.

use std::{
    fmt::Write as _,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use clap::{Parser, Subcommand};
use hermetic_init::{
    etc::{Deviation, Rules, Step, Strategy, factory, follow, manifest::Head, store},
    fragments::{Facts, facts, usr::os_release},
    furnish::{self, Identity, Report, Request},
    level::Level,
    os_release::OsRelease,
    sysusers::Waiting,
    tree::{self, watch::Unwatched},
    verity::RootHash,
};
use rustix::{
    fs::{AtFlags, statat},
    io::Errno,
};

use crate::clock::Clock;

/// The words behind `hermetic etc`.
#[derive(Parser)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Print the differences between a root and its factory: M modified, D deleted, A added.
    Diff(Place),
    /// Print which /usr a root follows, and what following this one would change.
    Status(Place),
    /// Make a root follow this /usr, as its next boot would: base directories, /etc, users.
    Follow(Place),
}

#[derive(Parser)]
struct Place {
    /// The root's directory.
    root: PathBuf,
    /// The directory that is its /usr.
    usr: PathBuf,
    /// The root hash by which this /usr is booted (usrhash=).
    #[arg(long, value_name = "HEX")]
    usrhash: Option<String>,
    /// The strategy by which /etc comes from the factory, as hermetic.etc= names it.
    #[arg(long, value_name = "track|copy|none", default_value = "track")]
    strategy: String,
}

/// Both trees, and the name of this /usr.
struct Open {
    root: OwnedFd,
    usr: OwnedFd,
    head: Head,
    os_release: Option<String>,
}

/// Runs the subcommand; its messages go to standard output.
pub fn run(args: &Args) -> Result<(), String> {
    let text = match &args.what {
        What::Diff(place) => diff(&open(place)?),
        What::Status(place) => status(&open(place)?),
        What::Follow(place) => follow_usr(&open(place)?),
    }?;
    io::Write::write_all(&mut io::stdout(), text.as_bytes()).map_err(|error| error.to_string())
}

fn open(place: &Place) -> Result<Open, String> {
    let directory = |path: &PathBuf| {
        tree::open::root(path).map_err(|errno| format!("cannot open {}: {errno}", path.display()))
    };
    let (root, usr) = (directory(&place.root)?, directory(&place.usr)?);
    let hash = place.usrhash.as_ref().map(|text| text.parse::<RootHash>());
    let hash = hash.transpose().map_err(|error| format!("--usrhash: {error}"))?;
    let strategy = Strategy::parse(&place.strategy)
        .filter(|strategy| *strategy != Strategy::Symlink)
        .ok_or("--strategy is none of track, copy, none; for symlink see hermetic tmpfiles")?;
    let os_release = os_release(usr.as_fd()).ok();
    let head = Head { usr: follow::identity(hash.as_ref(), os_release.as_deref()), strategy };
    Ok(Open { root, usr, head, os_release })
}

/// The rules of etc.conf.
fn rules(open: &Open) -> Result<Rules, String> {
    let (rules, errors) = factory::rules(open.usr.as_fd(), &open.head).map_err(|error| error.to_string())?;
    for error in errors {
        eprintln!("warning: {error}");
    }
    Ok(rules)
}

fn diff(open: &Open) -> Result<String, String> {
    let differences = follow::differences(open.root.as_fd(), open.usr.as_fd(), &rules(open)?);
    let differences = differences.map_err(|error| error.to_string())?;
    Ok(differences.iter().fold(String::new(), |text, difference| text + &difference.to_string() + "\n"))
}

fn status(open: &Open) -> Result<String, String> {
    let root = open.root.as_fd();
    let mut text = match store::followed(root).map_err(|error| error.to_string())? {
        Some(head) if head == open.head => format!("follows this /usr, {}\n", head.usr),
        Some(head) => {
            format!("follows {} ({}), this is {}\n", head.usr, head.strategy.name(), open.head.usr)
        }
        None => match store::last(root).map_err(|error| error.to_string())? {
            Some(head) => {
                format!(
                    "follows {} ({}) in part, this is {}\n",
                    head.usr,
                    head.strategy.name(),
                    open.head.usr
                )
            }
            None => format!("follows nothing that is known, this is {}\n", open.head.usr),
        },
    };
    let ahead = follow::look_ahead(root, open.usr.as_fd(), &open.head, &rules(open)?);
    let (plan, problems) = ahead.map_err(|error| error.to_string())?;
    for problem in problems {
        eprintln!("warning: {problem}");
    }
    let shown = |path: &[u8]| format!("/etc/{}", String::from_utf8_lossy(path));
    for step in &plan.steps {
        // Writing to a String cannot fail.
        let _ = match step {
            Step::Remove { path, .. } => writeln!(text, "would remove {}", shown(path)),
            Step::Adjust { path, .. } => writeln!(text, "would adjust {}", shown(path)),
            Step::Put { path, replaces: true, .. } => writeln!(text, "would update {}", shown(path)),
            Step::Put { path, .. } => writeln!(text, "would add {}", shown(path)),
            Step::Write { path, .. } => writeln!(text, "would merge {}", shown(path)),
        };
    }
    for (path, deviation) in plan.deviations.iter() {
        let path = shown(path);
        let _ = match deviation {
            Deviation::Changed => writeln!(text, "keeps {path}: changed here"),
            Deviation::ChangedOnBothSides => writeln!(text, "keeps {path}: changed here and in the factory"),
            Deviation::ChangedAndDropped => {
                writeln!(text, "keeps {path}: changed here, dropped by the factory")
            }
            Deviation::Removed => writeln!(text, "leaves out {path}: removed here"),
            Deviation::Occupied => writeln!(text, "keeps {path}: the factory has another one"),
            Deviation::Beside(beside) => {
                writeln!(text, "keeps {path}: conflict, the factory's is {}", shown(beside))
            }
        };
    }
    for kept in &plan.kept_users {
        let name = String::from_utf8_lossy(&kept.name);
        let _ = writeln!(text, "keeps {name} of /etc/{}: {}", kept.file, kept.why.text());
    }
    Ok(text)
}

fn follow_usr(open: &Open) -> Result<String, String> {
    let (root, usr) = (open.root.as_fd(), open.usr.as_fd());
    let head = &open.head;
    if store::followed(root).map_err(|error| error.to_string())?.as_ref() == Some(head) {
        return Ok(format!("follows {} already\n", head.usr));
    }
    let identity = Identity { machine: None, head: head.clone() };
    let facts = Facts {
        architecture: Some(facts::architecture(std::env::consts::ARCH).into()),
        os_release: open.os_release.as_deref().map(OsRelease::parse),
        ..Facts::default()
    };
    let now = Clock::read().map_err(|error| error.to_string())?.now();
    let request = Request {
        root,
        usr,
        identity: &identity,
        credentials: &(),
        facts: &facts,
        now,
        waiting: Waiting::UntilFree,
    };
    let mut report = Report::default();
    let done = match is_new(root) {
        // An interruption does no harm here: the next run begins with another empty directory.
        true => furnish::create(&request, &mut report),
        false => furnish::follow(&request, &Unwatched, &mut report),
    };
    for (_, message) in report.messages.iter().filter(|(level, _)| *level <= Level::Warning) {
        eprintln!("warning: {message}");
    }
    done.map_err(|error| error.to_string())?;
    let mut failed = report.deviations.iter().filter(|deviation| deviation.is_failure()).peekable();
    let is_whole = failed.peek().is_none();
    failed.for_each(|deviation| eprintln!("warning: {deviation}"));
    let part = if is_whole { "" } else { " in part" };
    Ok(format!("follows {}{part}\n", head.usr))
}

/// True for a root that nobody used yet.
fn is_new(root: BorrowedFd<'_>) -> bool {
    let is_missing = |name| matches!(statat(root, name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT));
    is_missing("etc") && is_missing("var")
}
