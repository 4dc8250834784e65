//! The program that becomes PID 1 after us, looked up inside the new root (bootup(7), kernel-command-line(7) `init=`).

use std::{
    fs::File,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode, OFlags, ResolveFlags, fstat, openat2, readlinkat, statat},
    io::Errno,
};

use crate::config::{Config, options};

/// The paths of systemd, in the order in which systemd's own switch-root looks.
const SYSTEMD: [&str; 3] = [options::SYSTEMD, "/lib/systemd/systemd", "/sbin/init"];

/// The command line's choices for it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NextInit {
    /// `hermetic.init=`: this one or none.
    pub ours: Option<String>,
    /// `init=`: this one unless it names hermetic-init itself, as it does when the kernel started us by that word.
    pub kernel: Option<String>,
}

/// A tree without a program to go on with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoInit {
    /// One line that names the missing program.
    pub reason: String,
    /// True when the disk failed where it was looked for: then nobody knows what the tree holds.
    pub is_unread: bool,
}

impl NoInit {
    fn missing(reason: String) -> Self {
        Self { reason, is_unread: false }
    }

    /// The refusal of the /usr on the device `name`.
    pub fn on(&self, name: &str) -> String {
        let remedy = if self.is_unread { "check the disk and its cable" } else { "install systemd into it" };
        format!("{name}: {}; {remedy}", self.reason)
    }
}

impl NextInit {
    /// The choices of this command line.
    pub fn of(config: &Config) -> Self {
        Self { ours: config.init.clone(), kernel: config.kernel_init.clone() }
    }

    /// Finds the program in the tree at `root`: the new root, or a directory that holds only its `usr`.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, root: BorrowedFd<'_>) -> Result<PathBuf, NoInit> {
        if let Some(path) = &self.ours {
            return match is_program(root, path) {
                Ok(true) => Ok(path.into()),
                Ok(false) => Err(NoInit::missing(format!(
                    "hermetic.init={path} is not an executable file of this system"
                ))),
                Err(errno) => Err(NoInit {
                    reason: format!("hermetic.init={path}: {errno}"),
                    is_unread: errno == Errno::IO,
                }),
            };
        }
        self.world(root, |path| !is_ourselves(root, path))
    }

    /// As [`NextInit::find`], for a start after the hand-over: this program, by any of its names, would start itself
    /// again for ever.
    ///
    /// # Errors
    /// There is none.
    pub fn find_another(&self, root: BorrowedFd<'_>) -> Result<PathBuf, NoInit> {
        let another = |path: &str| !is_ourselves(root, path);
        match self.ours.as_deref().filter(|path| another(path) && is_program(root, path).unwrap_or(false)) {
            Some(path) => Ok(path.into()),
            None => self.world(root, another),
        }
    }

    /// The program that the kernel's word or systemd's custom names, as far as it is `eligible`.
    fn world(&self, root: BorrowedFd<'_>, eligible: impl Fn(&str) -> bool) -> Result<PathBuf, NoInit> {
        let wished = self.kernel.as_deref().filter(|path| path.starts_with('/'));
        // A /usr that cannot be read is not one without systemd.
        let (mut unread, mut is_unread) = (String::new(), false);
        let found = wished.into_iter().chain(SYSTEMD).filter(|path| eligible(path)).find(|path| {
            is_program(root, path).unwrap_or_else(|errno| {
                unread = format!("; {path}: {errno}");
                is_unread |= errno == Errno::IO;
                false
            })
        });
        found.map(PathBuf::from).ok_or_else(|| NoInit {
            reason: format!("/usr holds no systemd (looked for {}{unread})", SYSTEMD.join(", ")),
            is_unread,
        })
    }
}

fn open(root: BorrowedFd<'_>, path: &str) -> Result<File, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(root, path.trim_start_matches('/'), flags, Mode::empty(), ResolveFlags::IN_ROOT).map(File::from)
}

fn is_program(root: BorrowedFd<'_>, path: &str) -> Result<bool, Errno> {
    let stat = match open(root, path).or_else(|errno| open_below_usr(root, path).ok_or(errno)) {
        Ok(file) => fstat(&file)?,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(false),
        Err(errno) => return Err(errno),
    };
    let mode = Mode::from_raw_mode(stat.st_mode);
    Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() && mode.intersects(Mode::XUSR))
}

/// Before root exists only /usr is there, without the links that lead into it; a link in /usr may go through one.
fn open_below_usr(root: BorrowedFd<'_>, path: &str) -> Option<File> {
    let path = below_usr(path).unwrap_or_else(|| path.to_owned());
    open(root, &path).ok().or_else(|| {
        let target = readlinkat(root, path.trim_start_matches('/'), Vec::new()).ok()?;
        open(root, &below_usr(target.to_str().ok()?)?).ok()
    })
}

/// `/sbin/init` as merged-usr systems mean it: `/usr/sbin/init`.
fn below_usr(path: &str) -> Option<String> {
    ["/bin/", "/sbin/", "/lib/"].iter().any(|top| path.starts_with(top)).then(|| format!("/usr{path}"))
}

/// By name, or because it is the very file that runs.
fn is_ourselves(root: BorrowedFd<'_>, path: &str) -> bool {
    if Path::new(path).file_name().is_some_and(|name| name == "hermetic-init") {
        return true;
    }
    let Ok(file) = open(root, path) else { return false };
    let Ok(own) = statat(rustix::fs::CWD, "/proc/self/exe", AtFlags::empty()) else { return false };
    fstat(file.as_fd()).is_ok_and(|stat| (stat.st_dev, stat.st_ino) == (own.st_dev, own.st_ino))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn tree(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("hermetic-init-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("usr/lib/systemd")).unwrap();
        fs::create_dir_all(root.join("usr/sbin")).unwrap();
        let systemd = root.join("usr/lib/systemd/systemd");
        fs::write(&systemd, "").unwrap();
        fs::set_permissions(&systemd, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("../lib/systemd/systemd", root.join("usr/sbin/init")).unwrap();
        root
    }

    #[test]
    fn the_words_are_weighed_in_their_order() {
        let root = tree("words");
        let fd = File::open(&root).unwrap();
        let find = |ours: Option<&str>, kernel: Option<&str>| {
            NextInit { ours: ours.map(Into::into), kernel: kernel.map(Into::into) }.find(fd.as_fd())
        };
        let systemd = Ok(PathBuf::from("/usr/lib/systemd/systemd"));
        assert_eq!(find(None, None), systemd);
        assert_eq!(find(None, Some("/hermetic-init")), systemd);
        assert_eq!(find(None, Some("/nowhere")), systemd);
        assert_eq!(find(None, Some("relative")), systemd);
        assert_eq!(find(None, Some("/sbin/init")), Ok("/sbin/init".into()));
        assert_eq!(find(Some("/usr/lib/systemd/systemd"), Some("/sbin/init")), systemd);
        assert!(find(Some("/usr/bin/missing"), None).is_err());
        // An absolute link is followed inside the tree, not on the machine.
        std::os::unix::fs::symlink("/usr/lib/systemd/systemd", root.join("usr/sbin/abs")).unwrap();
        assert_eq!(find(Some("/usr/sbin/abs"), None), Ok("/usr/sbin/abs".into()));
        // Also through a link of the root that is not there yet.
        std::os::unix::fs::symlink("/lib/systemd/systemd", root.join("usr/sbin/old")).unwrap();
        assert_eq!(find(Some("/usr/sbin/old"), None), Ok("/usr/sbin/old".into()));
        assert_eq!(find(Some("/sbin/old"), None), Ok("/sbin/old".into()));

        // After the hand-over this program is passed over, by any of its names.
        let another = |ours: Option<&str>, kernel: Option<&str>| {
            NextInit { ours: ours.map(Into::into), kernel: kernel.map(Into::into) }.find_another(fd.as_fd())
        };
        std::os::unix::fs::symlink("/usr/lib/systemd/systemd", root.join("usr/sbin/hermetic-init")).unwrap();
        assert_eq!(another(Some("/usr/sbin/hermetic-init"), None), systemd);
        assert_eq!(another(None, Some("/usr/sbin/hermetic-init")), systemd);
        assert_eq!(another(Some("/usr/sbin/init"), None), Ok("/usr/sbin/init".into()));
        fs::remove_file(root.join("usr/lib/systemd/systemd")).unwrap();
        assert!(find(None, None).is_err());
        let unreadable = find(None, Some(&format!("/{}", "x".repeat(256)))).unwrap_err();
        assert!(unreadable.reason.ends_with(&format!("x: {})", Errno::NAMETOOLONG)), "{unreadable:?}");
        assert!(!unreadable.is_unread, "nothing is wrong with the disk");
        fs::remove_dir_all(root).unwrap();
    }
}
