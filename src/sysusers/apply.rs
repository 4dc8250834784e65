//! Reading and replacing the four databases of a root.
//!
//! As systemd does it: under the lock of lckpwdf(3), all new files are written beside the old ones, then the old ones are backed
//! up as `passwd-` and so on, then the new ones take their places in the order group, gshadow, shadow, passwd. A crash
//! in between leaves every single file whole; running again adds what is missing. That is why passwd comes last, where systemd has
//! shadow: a user who is in passwd is not looked at again, and would never get the password that a credential has for it. A group
//! may stay without its line in gshadow, which means the same as the line, and the next run does not add it, as systemd's does not:
//! gshadow cannot come first, a line there without a group is an error.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::{
    fs::{self, Mode, Stat},
    io::Errno,
};

use super::{
    Credentials, Databases, Definitions, Facts, Message, Plan, SysusersError,
    allocate::{NameService, Owner, allocate},
    lock::{self, Waiting},
    password::Salt,
    search,
    surroundings::Surroundings,
};
use crate::{
    durable::Durable,
    fragments::search::Found,
    level::Level,
    strerror::strerror,
    tree::{
        Tree,
        attributes::Attributes,
        fixed, inode, open,
        read::{self, Limit},
        remove, replace,
        watch::{FLUSH, Watch},
    },
};

/// The largest database that is read.
const MAX_SIZE: Limit = Limit::mebibytes(64);

/// The choices of a run.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// Passwords and shells.
    pub credentials: &'a dyn Credentials,
    /// Another source of users and groups; `&()` for any root but the machine's own.
    pub service: &'a dyn NameService,
    /// The date of new entries in shadow, in days since 1970.
    pub today: u32,
    /// The order in which files reach the disk: each before it takes its place, and the directory in the end.
    pub durable: Durable,
    /// Other programs that change users right now.
    pub waiting: Waiting,
    /// Sees every change of /etc ahead of it.
    pub watch: &'a dyn Watch,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// The result.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Users that were added: name, user id, group id.
    pub users: Vec<(String, u32, u32)>,
    /// Groups that were added: name, id.
    pub groups: Vec<(String, u32)>,
    /// The messages about it, in order.
    pub messages: Vec<Message>,
}

/// Adds to the root's databases all users and groups that its sysusers.d asks for. Entries that could not be made are
/// in the report, as warnings and errors; the rest is done all the same.
///
/// # Errors
/// A database that cannot be read or replaced. Databases are then as before, or newer ones stand beside
/// older ones, each whole.
pub fn add(tree: Tree<'_>, facts: &Facts, options: Options<'_>) -> Result<Report, SysusersError> {
    let mut definitions = Definitions::terse();
    for found in search::list(&tree)? {
        read_found(&tree, &mut definitions, &found, &found.path, facts);
    }
    if let Some(extra) = options.credentials.get("sysusers.extra") {
        definitions.parse("credential sysusers.extra", extra, facts);
    }
    let mut report = Report::default();
    add_defined(tree, definitions, options, &mut report)?;
    Ok(report)
}

/// Reads one file of the search path, which messages call `label`.
pub fn read_found(tree: &Tree<'_>, definitions: &mut Definitions, found: &Found, label: &str, facts: &Facts) {
    match found.read(tree) {
        Ok(Some(content)) => {
            definitions.parse(label, &content, facts);
        }
        Ok(None) => {}
        Err(errno) => definitions.complain(format!("Failed to read '{label}': {}", strerror(&errno.into()))),
    }
}

/// As [`add`], for definitions that were read before. The report says what came before an error.
///
/// # Errors
/// As [`add`].
pub fn add_defined(
    tree: Tree<'_>,
    mut definitions: Definitions,
    options: Options<'_>,
    report: &mut Report,
) -> Result<(), SysusersError> {
    let surroundings = look_around(&tree, &definitions, options);
    definitions.settle_shells(|shell| tree.resolve(surroundings.shell(shell)).ok());
    report.messages.extend_from_slice(definitions.messages());
    let mut held = None;
    let mut databases = Databases::default();
    if !options.dry_run {
        let etc = etc(tree.root)?;
        let lock = match lock::take(etc.as_fd(), options.waiting) {
            Err(error) if options.waiting == Waiting::Never => {
                report.messages.push(Message::new(Level::Warning, format!("{error}; going on without")));
                None
            }
            lock => Some(lock?),
        };
        databases = read(etc.as_fd())?;
        held = Some((etc, lock));
    } else if open::exists(tree.root, "etc").map_err(SysusersError::call("look at", "/etc"))? {
        databases = read(open_etc(tree.root)?.as_fd())?;
    }
    for bad in databases.bad_lines() {
        let message = format!("{}: libc passes over the line, it stays as it is", bad.reason);
        report.messages.push(Message {
            level: Level::Warning,
            place: Some((bad.file.to_owned(), bad.line)),
            text: message,
        });
    }
    let allocation = allocate(&definitions, &databases, &surroundings.owners, surroundings.service);
    report.messages.extend_from_slice(&allocation.messages);
    let plan = Plan::new(&definitions, &databases, &surroundings, allocation)?;
    report.messages.extend_from_slice(&plan.messages);
    match held {
        Some((etc, _lock)) => apply(etc.as_fd(), &plan, options.durable, options.watch)?,
        None => report.messages.extend(
            plan.concerned(&definitions)
                .map(|kind| Message::new(Level::Info, format!("Would write {}…", kind.file()))),
        ),
    }
    let allocation = plan.allocation;
    report.users = allocation.users.into_iter().map(|new| (new.user.name, new.uid, new.gid)).collect();
    report.groups = allocation.groups.into_iter().map(|new| (new.name, new.gid)).collect();
    Ok(())
}

/// Looks up the facts of the root that the plan depends on.
fn look_around<'a>(tree: &Tree<'_>, definitions: &Definitions, options: Options<'a>) -> Surroundings<'a> {
    let owner = |path: &str| tree.stat(path).ok().map(|stat| Owner { uid: stat.st_uid, gid: stat.st_gid });
    Surroundings {
        owners: definitions.owner_paths().filter_map(|path| Some((path, owner(path)?))).collect(),
        has_bash: tree.stat("/bin/bash").is_ok(),
        today: options.today,
        credentials: options.credentials,
        salt: &random_salt,
        service: options.service,
    }
}

/// Sixteen bytes of the kernel's generator, once it has been seeded.
fn random_salt() -> Option<Salt> {
    let mut salt = Salt::default();
    // Up to 256 bytes come whole.
    let filled = rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty()).ok()?;
    (filled == salt.len()).then_some(salt)
}

/// Opens /etc, and makes it when it is missing.
fn etc(root: BorrowedFd<'_>) -> Result<OwnedFd, SysusersError> {
    match fs::mkdirat(root, "etc", Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(SysusersError::call("create", "/etc")(errno)),
    }
    open_etc(root)
}

fn open_etc(root: BorrowedFd<'_>) -> Result<OwnedFd, SysusersError> {
    open::directory(root, "etc").map_err(SysusersError::call("open", "/etc"))
}

/// Reads the four databases. One that does not exist is None; one that cannot be read is an error.
///
/// # Errors
/// A database that is a link or cannot be read.
pub fn read(etc: BorrowedFd<'_>) -> Result<Databases, SysusersError> {
    let one = |name: &str| -> Result<Option<Vec<u8>>, SysusersError> {
        let Some((file, stat)) = existing(etc, name)? else { return Ok(None) };
        content(&file, &stat, name).map(Some)
    };
    Ok(Databases {
        passwd: one("passwd")?,
        group: one("group")?,
        shadow: one("shadow")?,
        gshadow: one("gshadow")?,
    })
}

/// Opens a database and looks at it.
fn existing(etc: BorrowedFd<'_>, name: &str) -> Result<Option<(OwnedFd, Stat)>, SysusersError> {
    let path = || format!("/etc/{name}");
    let file = match open::file(etc, name) {
        Err(Errno::NOENT) => return Ok(None),
        file => file.map_err(SysusersError::call("open", path()))?,
    };
    let stat = fs::fstat(&file).map_err(SysusersError::call("look at", path()))?;
    match fs::FileType::from_raw_mode(stat.st_mode) {
        fs::FileType::RegularFile => Ok(Some((file, stat))),
        _ => Err(SysusersError::call("read", path())(Errno::INVAL)),
    }
}

fn content(file: &OwnedFd, stat: &Stat, name: &str) -> Result<Vec<u8>, SysusersError> {
    read::known(file, stat, MAX_SIZE)
        .map_err(|error| SysusersError::call("read", format_args!("/etc/{name}"))(error.errno()))
}

/// Replaces the databases that the plan changes, in the open /etc.
///
/// # Errors
/// The first error; no file is then half new.
pub fn apply(
    etc: BorrowedFd<'_>,
    plan: &Plan,
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(), SysusersError> {
    let databases = [
        ("group", &plan.group, 0o644),
        ("gshadow", &plan.gshadow, 0o000),
        ("shadow", &plan.shadow, 0o000),
        ("passwd", &plan.passwd, 0o644),
    ];
    let changed: Vec<_> = databases
        .into_iter()
        .filter_map(|(name, content, mode)| Some((name, content.as_ref()?, mode)))
        .collect();
    let done = replace(etc, &changed, durable, watch);
    if done.is_err() {
        for (name, ..) in &changed {
            for name in [name.as_bytes(), format!("{name}-").as_bytes()] {
                // Tidying up only: the next run removes leftovers, and the first failure is the one to report.
                let hidden = replace::hidden(name);
                let _ = watch.before("remove", &hidden).and_then(|()| remove::file(etc, &hidden));
            }
        }
    }
    done
}

/// Writes all new files, backs all old ones up, puts all new ones in place.
fn replace(
    etc: BorrowedFd<'_>,
    changed: &[(&str, &Vec<u8>, u32)],
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(), SysusersError> {
    for (name, ..) in changed {
        // Nothing is written when one of them cannot take its place.
        if [name.as_bytes(), format!("{name}-").as_bytes()].into_iter().any(|name| fixed::stays(etc, name)) {
            return Err(SysusersError::call("replace", format_args!("/etc/{name}"))(Errno::PERM));
        }
    }
    let mut olds = Vec::new();
    for (name, new, mode) in changed {
        let old = existing(etc, name)?;
        let attributes = match &old {
            Some((_, stat)) => rights(stat),
            None => Attributes { mode: Some(*mode), ..Attributes::default() },
        };
        write(etc, name, new, &attributes, durable, watch)?;
        olds.push(old);
    }
    for ((name, ..), old) in changed.iter().zip(olds) {
        let Some((file, stat)) = old else { continue };
        let backup = format!("{name}-");
        let attributes = Attributes { times: Some(inode::times(&stat)), ..rights(&stat) };
        write(etc, &backup, &content(&file, &stat, name)?, &attributes, durable, watch)?;
        rename(etc, &backup, watch)?;
    }
    for (name, ..) in changed {
        rename(etc, name, watch)?;
    }
    if durable == Durable::Here && !changed.is_empty() {
        fs::fsync(etc).map_err(SysusersError::call("flush", "/etc"))?;
    }
    Ok(())
}

/// The owner and the mode of a file, for the one that replaces it.
fn rights(old: &Stat) -> Attributes<'static> {
    let owner = Some((old.st_uid, old.st_gid));
    Attributes { owner, mode: Some(old.st_mode & 0o7777), ..Attributes::default() }
}

/// Puts the new file of this name in its place.
fn rename(etc: BorrowedFd<'_>, name: &str, watch: &dyn Watch) -> Result<(), SysusersError> {
    let path = format!("/etc/{name}");
    watch
        .before("rename", path.as_bytes())
        .and_then(|()| replace::place(etc, &replace::hidden(name.as_bytes()), name.as_bytes()))
        .map_err(SysusersError::call("replace", path))
}

/// Writes a new file beside the one of this name.
fn write(
    etc: BorrowedFd<'_>,
    name: &str,
    content: &[u8],
    attributes: &Attributes<'_>,
    durable: Durable,
    watch: &dyn Watch,
) -> Result<(), SysusersError> {
    let hidden = replace::hidden(name.as_bytes());
    let path = || format!("/etc/{}", String::from_utf8_lossy(&hidden));
    watch.before("write", path().as_bytes()).map_err(SysusersError::call("write", path()))?;
    let file = replace::beside(etc, &hidden, content, attributes)
        .map_err(|failed| SysusersError::call(failed.step, path())(failed.errno))?;
    if durable == Durable::Here {
        watch
            .before(FLUSH, path().as_bytes())
            .and_then(|()| fs::fsync(&file))
            .map_err(SysusersError::call("flush", path()))?;
    }
    Ok(())
}
