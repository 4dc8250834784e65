//! The file by which a /usr says what it is.

use std::os::fd::BorrowedFd;

use crate::tree::{
    Tree,
    read::{self, Limit, ReadError},
};

/// The most that it may have.
const LIMIT: Limit = Limit::mebibytes(1);

/// Reads the text of `lib/os-release` in the open /usr. A link is followed inside /usr: what lies around it, in the initramfs or on a
/// builder's machine, is of another system.
///
/// # Errors
/// It is missing, cannot be read, is too large, or is not UTF-8.
pub fn os_release(usr: BorrowedFd<'_>) -> Result<String, ReadError> {
    read::text(Tree::whole(usr).open_read("/lib/os-release")?, LIMIT)
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::{fd::AsFd as _, unix::fs::symlink},
    };

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn links_are_followed_inside_usr() {
        let above = std::env::temp_dir().join(format!("hermetic-os-release-{}", std::process::id()));
        let usr = above.join("usr");
        fs::create_dir_all(usr.join("lib/os.release.d")).unwrap();
        fs::write(above.join("os-release"), "ID=outside\n").unwrap();
        fs::write(usr.join("lib/os.release.d/server"), "ID=inside\n").unwrap();
        let (link, directory) = (usr.join("lib/os-release"), File::open(&usr).unwrap());
        let missing = Err(ReadError::Call(Errno::NOENT));
        for (target, expected) in [
            ("os.release.d/server".to_owned(), Ok("ID=inside\n".to_owned())),
            ("../../os-release".to_owned(), missing.clone()),
            (above.join("os-release").display().to_string(), missing),
        ] {
            symlink(&target, &link).unwrap();
            assert_eq!(os_release(directory.as_fd()), expected, "{target}");
            fs::remove_file(&link).unwrap();
        }
        fs::write(&link, vec![b'#'; 2 << 20]).unwrap();
        assert_eq!(os_release(directory.as_fd()), Err(ReadError::TooLarge(LIMIT)));
        fs::remove_dir_all(above).unwrap();
    }
}
