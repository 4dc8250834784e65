//! `C`: a file or a tree copied (systemd's src/shared/copy.c with `COPY_MERGE_EMPTY` or `COPY_MERGE`,
//! `COPY_HARDLINKS`): modes, times, owners unless the line names others, and attributes of users; never over an
//! existing entry.
//!
//! Half a copy would exist, and so stay half a copy. When that matters, a copy is made beside its place, flushed, and
//! put there by one rename.

use std::{
    fs::File,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{self, AtFlags, FileType, Mode, Stat},
    io::Errno,
};

use super::{
    super::path::{self, join, show},
    Applier, Creation, Done, Failed, Item, Level,
};
use crate::{
    durable::Durable,
    map::Map,
    tree::{
        Last,
        attributes::Attributes,
        flags,
        inode::{self, Inode},
        open,
        remove::{self, names},
        replace,
        watch::{FLUSH, Watch},
        xattr::Xattrs,
    },
};

/// The depth to which a tree is descended into.
const MAX_DEPTH: usize = 256;
const PERMISSIONS: u32 = 0o7777;

impl Applier<'_> {
    /// Copies the source that the argument names to the item's path, if that is free or an empty directory; with `+`
    /// into an existing directory.
    pub(super) fn copy(&mut self, item: &Item) -> Done {
        let shown = show(&item.path);
        let from = item.argument.as_deref().unwrap_or_default();
        let shown_from = show(from);
        self.act(["Would copy", "Copying"], format_args!("tree \"{shown_from}\" to \"{shown}\""));
        if self.is_dry_run {
            return Ok(());
        }
        let parent = self.parent(item, None)?;
        let copied = path::split(from).ok_or(Errno::INVAL).and_then(|(holder, name)| {
            let (holder, _) = self.tree.walk(holder, Last::Followed, &mut ())?;
            let copier = Copier {
                uid: item.user.map(|owner| owner.id),
                gid: item.group.map(|owner| owner.id),
                merges: item.append_or_force,
                durable: self.durable,
                watch: self.watch,
                top: parent.fd.as_fd(),
                linked: Map::new(),
            };
            copier.run(&holder, name, parent.name)
        });
        let (fd, stat) = match (parent.open(), copied) {
            (Ok(found), Ok(()) | Err(Errno::EXIST)) => found,
            (Ok(found), Err(errno)) => {
                self.fail_at(
                    Level::Warning,
                    format_args!("Failed to copy all files to {shown}, ignoring"),
                    errno,
                );
                found
            }
            (Err(Errno::REMOTE), _) => return Err(Failed(Errno::REMOTE)),
            (Err(_), Err(errno)) | (Err(errno), Ok(())) => {
                return Err(self.fail(format_args!("Failed to copy files to {shown}"), errno));
            }
        };
        let (_, source) = self
            .tree
            .walk(from, Last::Followed, &mut ())
            .map_err(|errno| self.fail(format_args!("Failed to stat({shown_from})"), errno))?;
        if FileType::from_raw_mode(source.st_mode) != FileType::from_raw_mode(stat.st_mode) {
            self.debug(format!("Can't copy to {shown}, file exists already and is of different type"));
            return Ok(());
        }
        // The owner that the line names belongs to the copied file, so its `:` does not hold it back.
        self.set_permissions(item, &fd, &stat, &shown, Creation::New)
    }
}

/// A copy under way.
struct Copier<'fd> {
    uid: Option<u32>,
    gid: Option<u32>,
    /// Directories that exist and hold something are copied into.
    merges: bool,
    /// `Here` where the power may be cut.
    durable: Durable,
    watch: &'fd dyn Watch,
    /// The directory in which the copy is made.
    top: BorrowedFd<'fd>,
    /// The first copy of a source file with several names: its path from `top`.
    linked: Map<Vec<u8>>,
}

/// A target: directory, name there, path from the top.
#[derive(Clone, Copy)]
struct Place<'p> {
    directory: BorrowedFd<'p>,
    name: &'p [u8],
    path: &'p [u8],
}

impl<'p> Place<'p> {
    /// The entry that was just made there.
    fn inode(self) -> Inode<'p> {
        Inode::Named(self.directory, self.name)
    }
}

impl Copier<'_> {
    fn run(mut self, holder: &OwnedFd, name: &[u8], to: &[u8]) -> Result<(), Errno> {
        let stat = fs::statat(holder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let place = Place { directory: self.top, name: to, path: to };
        self.placed(holder, name, &stat, place, MAX_DEPTH)
    }

    /// Copies to a place in a directory that was there before.
    fn placed(
        &mut self,
        from: &OwnedFd,
        name: &[u8],
        stat: &Stat,
        to: Place<'_>,
        depth: usize,
    ) -> Result<(), Errno> {
        let there = match fs::statat(to.directory, to.name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => None,
            there => Some(there?),
        };
        let is_directory = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        match &there {
            _ if self.durable == Durable::Caller => return self.entry(from, name, stat, to, depth),
            None => {}
            Some(there) if is_directory(there) && is_directory(stat) => {
                let directory = open::directory(to.directory, to.name)?;
                // One that holds something is merged with, entry by entry, or stays as it is.
                if !names(&directory)?.is_empty() {
                    return self.directory(from, name, stat, to, depth);
                }
            }
            Some(_) => return Err(Errno::EXIST),
        }
        let hidden = replace::hidden(to.name);
        let beside = [to.path.strip_suffix(to.name).unwrap_or_default(), &hidden].concat();
        // A copy that a power cut left behind.
        self.watch.before("remove", &beside)?;
        remove::tree(to.directory, &hidden)?;
        let beside = Place { name: &hidden, path: &beside, ..to };
        let done = self
            .entry(from, name, stat, beside, depth)
            .and_then(|()| there.map_or(Ok(()), |there| adopt(beside, &there)))
            .and_then(|()| open::directory(to.directory, "."))
            .and_then(|directory| self.watch.before(FLUSH, b"").and_then(|()| fs::syncfs(directory)))
            .and_then(|()| self.watch.before("rename", to.path))
            .and_then(|()| replace::place(to.directory, beside.name, to.name));
        if done.is_err() && self.watch.before("remove", beside.path).is_ok() {
            // Tidying up only; the first failure is the one to report.
            let _ = remove::tree(to.directory, &hidden);
        }
        done
    }

    fn entry(
        &mut self,
        from: &OwnedFd,
        name: &[u8],
        stat: &Stat,
        to: Place<'_>,
        depth: usize,
    ) -> Result<(), Errno> {
        self.watch.before("copy", to.path)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.directory(from, name, stat, to, depth);
        }
        if kind != FileType::Symlink && self.link(stat, to) {
            return Ok(());
        }
        match kind {
            FileType::RegularFile => self.file(from, name, stat, to)?,
            FileType::Symlink => self.symlink(from, name, stat, to)?,
            kind => self.special(kind, stat, to)?,
        }
        if kind != FileType::Symlink && stat.st_nlink > 1 {
            self.linked.insert(inode::name(stat), to.path.to_vec());
        }
        Ok(())
    }

    /// Gives a file that was copied already one more name. Returns true when that worked; else it is copied again.
    fn link(&self, stat: &Stat, to: Place<'_>) -> bool {
        let Some(first) = self.linked.get(&inode::name(stat)) else { return false };
        open::inside(self.top, first.as_slice(), flags::PATH)
            .and_then(|first| fs::linkat(&first, "", to.directory, to.name, AtFlags::EMPTY_PATH))
            .is_ok()
    }

    fn directory(
        &mut self,
        from: &OwnedFd,
        name: &[u8],
        stat: &Stat,
        to: Place<'_>,
        depth: usize,
    ) -> Result<(), Errno> {
        let depth = depth.checked_sub(1).ok_or(Errno::NAMETOOLONG)?;
        let source = open::directory(from, name)?;
        let mode = Mode::from_raw_mode(stat.st_mode & PERMISSIONS);
        let is_new = match fs::mkdirat(to.directory, to.name, mode) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(errno) => return Err(errno),
        };
        let target = match open::directory(to.directory, to.name) {
            Err(Errno::NOTDIR | Errno::LOOP) => return Err(Errno::EXIST),
            target => target?,
        };
        if !is_new && !self.merges && !names(&target)?.is_empty() {
            return Err(Errno::EXIST);
        }
        let mut result = Ok(());
        for name in names(&source)? {
            let path = join(to.path, &name);
            let place = Place { directory: target.as_fd(), name: &name, path: &path };
            let copied =
                fs::statat(&source, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).and_then(
                    |stat| match is_new {
                        true => self.entry(&source, &name, &stat, place, depth),
                        false => self.placed(&source, &name, &stat, place, depth),
                    },
                );
            match copied {
                Err(Errno::EXIST) if self.merges => {}
                Err(errno) => result = Err(errno),
                Ok(()) => {}
            }
        }
        if is_new {
            self.finish(&source, &target, stat)?;
        }
        result
    }

    fn file(&self, from: &OwnedFd, name: &[u8], stat: &Stat, to: Place<'_>) -> Result<(), Errno> {
        let source = open::file(from, name)?;
        let target = open::new(to.directory, to.name, stat.st_mode & PERMISSIONS)?;
        let (mut source, mut target) = (File::from(source), File::from(target));
        if let Err(error) = std::io::copy(&mut source, &mut target) {
            // Half a file is worse than none; the error that matters is the first.
            let _ = fs::unlinkat(to.directory, to.name, AtFlags::empty());
            return Err(error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error));
        }
        self.finish(&source.into(), &target.into(), stat)
    }

    /// Gives what is open the owner, the attributes of users, the mode and the times.
    fn finish(&self, source: &OwnedFd, target: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
        let (from, to) = (Inode::open(source), Inode::open(target));
        let xattrs = Xattrs::some(from, &mut Vec::new(), |name| name.to_bytes().starts_with(b"user."));
        for (name, value) in xattrs.unwrap_or_default().iter() {
            // As with systemd: a copy without them is a copy.
            let _ = to.set_xattr(name, value);
        }
        self.give(to, stat)
    }

    /// Gives an inode owner, mode and times; a link has no mode.
    fn give(&self, to: Inode<'_>, stat: &Stat) -> Result<(), Errno> {
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let attributes = Attributes {
            owner: Some((self.uid.unwrap_or(stat.st_uid), self.gid.unwrap_or(stat.st_gid))),
            mode: (!is_link).then_some(stat.st_mode & PERMISSIONS),
            times: Some(inode::times(stat)),
            ..Attributes::default()
        };
        attributes.give(to).map_err(|failed| failed.errno)
    }

    fn symlink(&self, from: &OwnedFd, name: &[u8], stat: &Stat, to: Place<'_>) -> Result<(), Errno> {
        let target = fs::readlinkat(from, name, Vec::new())?;
        fs::symlinkat(target.as_c_str(), to.directory, to.name)?;
        self.give(to.inode(), stat)
    }

    fn special(&self, kind: FileType, stat: &Stat, to: Place<'_>) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(stat.st_mode & PERMISSIONS);
        fs::mknodat(to.directory, to.name, kind, mode, stat.st_rdev)?;
        self.give(to.inode(), stat)
    }
}

/// Gives a new directory the owner and the mode of the empty one whose place it takes.
fn adopt(directory: Place<'_>, old: &Stat) -> Result<(), Errno> {
    let attributes = Attributes {
        owner: Some((old.st_uid, old.st_gid)),
        mode: Some(old.st_mode & PERMISSIONS),
        ..Attributes::default()
    };
    attributes.give(directory.inode()).map_err(|failed| failed.errno)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        mem::MaybeUninit,
        os::unix::fs::{PermissionsExt as _, symlink},
        path::{Path, PathBuf},
    };

    use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

    use super::super::super::{Log, Operation, Request, Selection, Specifiers, run};
    use crate::{durable::Durable, fragments::Facts, level::Level, tree::Tree};

    struct Silent;

    impl Log for Silent {
        fn say(&mut self, level: Level, message: String) {
            assert!(level > Level::Warning, "{message}");
        }
    }

    fn copy(root: &Path) {
        let directory = crate::tree::open::root(root).unwrap();
        let request = Request {
            specifiers: &Specifiers::of_system(Facts::default()),
            credentials: &(),
            selection: &Selection { boot: true, ..Selection::default() },
            operations: &[Operation::Create],
            is_dry_run: false,
            durable: Durable::Here,
            watch: &crate::tree::watch::Unwatched,
        };
        let tree = Tree::whole(std::os::fd::AsFd::as_fd(&directory));
        run(tree, &request, &mut Silent).unwrap();
    }

    /// A root whose factory has a file and a tree, and lines that copy both.
    fn root(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("hermetic-copies-{name}-{}", std::process::id()));
        let factory = root.join("usr/share/factory/etc");
        fs::create_dir_all(factory.join("tree/below")).unwrap();
        fs::create_dir_all(root.join("usr/lib/tmpfiles.d")).unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        for file in ["file", "tree/a", "tree/below/b"] {
            fs::write(factory.join(file), format!("{file} of the factory")).unwrap();
        }
        symlink("a", factory.join("tree/link")).unwrap();
        let lines = "C /etc/file\nC /etc/tree\nC+ /etc/merged - - - - /usr/share/factory/etc/tree\n";
        fs::write(root.join("usr/lib/tmpfiles.d/x.conf"), lines).unwrap();
        root
    }

    /// The events on the names in a directory.
    fn events(of: &Path, meanwhile: impl FnOnce()) -> Vec<(String, &'static str)> {
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&watch, of, WatchFlags::CREATE | WatchFlags::MOVED_TO).unwrap();
        meanwhile();
        let mut space = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(&watch, &mut space);
        let mut all = Vec::new();
        while let Ok(event) = reader.next() {
            let how = if event.events().contains(ReadFlags::MOVED_TO) { "moved" } else { "made" };
            all.push((event.file_name().unwrap().to_str().unwrap().to_owned(), how));
        }
        all
    }

    #[test]
    fn a_copy_takes_its_place_when_it_is_whole() {
        let root = root("whole");
        let etc = root.join("etc");
        fs::create_dir(etc.join("merged")).unwrap();
        fs::write(etc.join("merged/a"), "mine").unwrap();
        fs::create_dir(etc.join("tree")).unwrap();
        fs::set_permissions(etc.join("tree"), fs::Permissions::from_mode(0o700)).unwrap();
        // A cut in an earlier boot.
        fs::create_dir(etc.join(".#tree.hermetic")).unwrap();
        fs::write(etc.join(".#tree.hermetic/a"), "a of th").unwrap();
        fs::write(etc.join(".#file.hermetic"), "").unwrap();
        let merged = etc.join("merged");
        let (mut above, mut below) = (Vec::new(), Vec::new());
        above.extend(events(&etc, || below.extend(events(&merged, || copy(&root)))));
        let placed = |events: &[(String, &'static str)]| -> Vec<String> {
            let (moved, made): (Vec<_>, Vec<_>) =
                events.iter().cloned().partition(|(_, how)| *how == "moved");
            assert!(made.iter().all(|(name, _)| name.ends_with(".hermetic")), "{made:?}");
            let mut names: Vec<String> = moved.into_iter().map(|(name, _)| name).collect();
            names.sort();
            names
        };
        assert_eq!(placed(&above), ["file", "tree"]);
        assert_eq!(placed(&below), ["below", "link"]);
        let read = |path: &str| fs::read_to_string(etc.join(path)).unwrap();
        assert_eq!(read("file"), "file of the factory");
        assert_eq!(
            (read("tree/a"), read("tree/below/b")),
            ("tree/a of the factory".into(), "tree/below/b of the factory".into())
        );
        assert_eq!(
            (read("merged/a"), read("merged/below/b")),
            ("mine".into(), "tree/below/b of the factory".into())
        );
        assert_eq!(fs::metadata(etc.join("tree")).unwrap().permissions().mode() & 0o7777, 0o700);
        let left: Vec<_> = fs::read_dir(&etc).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 3, "{left:?}");
        // A second run has nothing to do.
        assert_eq!(events(&etc, || copy(&root)), []);
        fs::remove_dir_all(root).unwrap();
    }
}
