//! The directories of the new root that mounts move onto. The root may be a stranger's: `usr` may be a link that leads out
//! of the tree, and what was verified would then be anywhere but at /usr.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::{
    fs::{AtFlags, FileType, statat},
    io::Errno,
};

use crate::{
    boot::failure::{Failure, OrFail as _},
    sys::mount,
    tree::open,
};

/// A directory at the top of a root, opened through no link.
pub(super) struct MountPoint<'fd> {
    root: BorrowedFd<'fd>,
    name: &'static str,
    directory: OwnedFd,
}

impl<'fd> MountPoint<'fd> {
    /// Opens the directory of this name in a root.
    ///
    /// # Errors
    /// It is a link or a file, or it is missing.
    pub(super) fn open(root: BorrowedFd<'fd>, name: &'static str) -> Result<Self, Failure> {
        match open::below(root, name) {
            Ok(directory) => Ok(Self { root, name, directory }),
            Err(errno) => {
                let reason = match kind(root, name) {
                    Ok(FileType::Directory) => {
                        return Err(errno).or_fail(|| format!("cannot open the root's /{name}"));
                    }
                    Ok(FileType::Symlink) => "is a link, and a mount never follows one",
                    Ok(_) => "is a file",
                    Err(_) => "is missing",
                };
                Err(Failure::new(format!("the root's /{name} {reason} ({errno}); make it a directory")))
            }
        }
    }

    /// Moves a mount here, and looks at the root once more: the mount must be what its path leads to now.
    ///
    /// # Errors
    /// The mount cannot be moved, or is at another place afterwards.
    pub(super) fn receive(&self, mount: BorrowedFd<'_>) -> Result<(), Failure> {
        let what = || format!("cannot move /{} to the root", self.name);
        let id = mount::id(mount).or_fail(what)?;
        mount::move_to(mount, self.directory.as_fd()).or_fail(what)?;
        let there = open::below(self.root, self.name).or_fail(what)?;
        if mount::id(there.as_fd()).or_fail(what)? != id {
            let reason =
                format!("the root's /{} is another mount than that which was moved there", self.name);
            return Err(Failure::new(reason));
        }
        Ok(())
    }
}

fn kind(root: BorrowedFd<'_>, name: &str) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(statat(root, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::unix::fs::symlink,
        path::{Path, PathBuf},
        process::Command,
    };

    use rustix::mount::{MountFlags, mount_move, mount_remount};

    use super::*;

    /// Names the directory of a test, in the child that has a mount namespace of its own.
    const CHILD: &str = "HERMETIC_TEST_NAMESPACE";

    /// Runs a test again in a mount namespace of its own; the place for it in there, None out here.
    fn in_namespace(test: &str) -> Option<Place> {
        if let Some(place) = std::env::var_os(CHILD) {
            return Some(Place::new(place.into()));
        }
        let place = std::env::temp_dir().join(format!("hermetic-init-{}-{test}", std::process::id()));
        fs::create_dir(&place).unwrap();
        let name = format!("boot::stage::handover::mount_point::tests::{test}");
        let mut command = Command::new("unshare");
        command.arg("--mount").arg(std::env::current_exe().unwrap()).args(["--exact", &name, "--nocapture"]);
        let output = command.env(CHILD, &place).output().unwrap();
        fs::remove_dir(place).unwrap();
        let said =
            [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        None
    }

    /// A root, a mount that holds the file `verified`, and a directory beside the root that nothing may be mounted on. The
    /// namespace takes the mounts with it.
    struct Place(PathBuf);

    impl Place {
        fn new(place: PathBuf) -> Self {
            tmpfs(&place);
            for name in ["root", "mount", "outside"] {
                fs::create_dir(place.join(name)).unwrap();
            }
            tmpfs(&place.join("mount"));
            fs::write(place.join("mount/verified"), "").unwrap();
            Self(place)
        }

        fn at(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        /// Mounts a new root, lets it be filled, and makes it read-only.
        fn root(&self, fill: impl FnOnce(&Path)) -> File {
            tmpfs(&self.at("root"));
            fill(&self.at("root"));
            mount_remount(self.at("root"), MountFlags::RDONLY, "").unwrap();
            File::open(self.at("root")).unwrap()
        }
    }

    fn tmpfs(at: &Path) {
        mount::device("tmpfs", "tmpfs", at, MountFlags::empty(), "mode=0755").unwrap();
    }

    const NAMES: [&str; 5] = ["usr", "dev", "proc", "sys", "run"];

    #[test]
    fn nothing_is_mounted_through_a_link_of_the_root() {
        let Some(place) = in_namespace("nothing_is_mounted_through_a_link_of_the_root") else { return };
        let outside = place.at("outside");
        let targets = [outside.as_path(), Path::new("../outside"), Path::new("etc"), Path::new("missing")];
        for name in NAMES {
            for target in targets {
                let root = place.root(|root| {
                    fs::create_dir(root.join("etc")).unwrap();
                    symlink(target, root.join(name)).unwrap();
                });
                // By its name it leads away, as mount(2) goes.
                if target.ends_with("outside") {
                    mount_move(place.at("mount"), place.at("root").join(name)).unwrap();
                    assert!(outside.join("verified").exists(), "{name} -> {}", target.display());
                    mount_move(&outside, place.at("mount")).unwrap();
                }
                let refused = MountPoint::open(root.as_fd(), name).err().unwrap().reason;
                let (said, rest) = refused.split_once(" (").unwrap();
                assert_eq!(said, format!("the root's /{name} is a link, and a mount never follows one"));
                assert!(rest.ends_with("); make it a directory"), "{refused}");
                mount::unmount(place.at("root")).unwrap_err();
                drop(root);
                mount::unmount(place.at("root")).unwrap();
            }
        }
        let root = place.root(|root| fs::write(root.join("run"), "").unwrap());
        for (name, what) in [("run", "is a file"), ("usr", "is missing")] {
            let refused = MountPoint::open(root.as_fd(), name).err().unwrap().reason;
            assert!(refused.starts_with(&format!("the root's /{name} {what} (")), "{refused}");
        }
    }

    #[test]
    fn a_mount_is_where_it_was_moved_to_or_refused() {
        let Some(place) = in_namespace("a_mount_is_where_it_was_moved_to_or_refused") else { return };
        for name in NAMES {
            let root = place.root(|root| fs::create_dir(root.join(name)).unwrap());
            let mount = mount::open(place.at("mount")).unwrap();
            let moved = MountPoint::open(root.as_fd(), name).and_then(|below| below.receive(mount.as_fd()));
            assert_eq!(moved.map_err(|failure| failure.reason), Ok(()));
            assert!(place.at("root").join(name).join("verified").exists());
            mount_move(place.at("root").join(name), place.at("mount")).unwrap();
        }
        // Another directory took the name since it was opened.
        tmpfs(&place.at("root"));
        fs::create_dir(place.at("root/usr")).unwrap();
        let root = File::open(place.at("root")).unwrap();
        let below = MountPoint::open(root.as_fd(), "usr").ok().unwrap();
        fs::rename(place.at("root/usr"), place.at("root/old")).unwrap();
        fs::create_dir(place.at("root/usr")).unwrap();
        let refused = below.receive(mount::open(place.at("mount")).unwrap().as_fd()).err().unwrap().reason;
        assert_eq!(refused, "the root's /usr is another mount than that which was moved there");
    }
}
