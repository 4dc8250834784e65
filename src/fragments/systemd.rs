//! The version of the systemd in a /usr. It is nowhere written but in the name of the library that all of its programs load,
//! `libsystemd-shared-262.so` or `libsystemd-shared-257.4-1.fc42.so`; os-release(5) knows a distribution's version alone.

use std::os::fd::BorrowedFd;

use rustix::fs::Dir;

use crate::tree::Tree;

/// The start of the library's name; the version follows.
const LIBRARY: &str = "libsystemd-shared-";

/// The version of the systemd in the open /usr, as in 262; None when it has none, or one without the library. Of several it is the
/// newest.
pub fn version(usr: BorrowedFd<'_>) -> Option<u32> {
    let tree = Tree::whole(usr);
    // Debian has a directory of libraries for each architecture.
    let triplets = names(&tree, "/lib").into_iter().filter(|name| name.contains("-linux-"));
    let places =
        ["/lib", "/lib64"].into_iter().map(String::from).chain(triplets.map(|name| format!("/lib/{name}")));
    places
        .flat_map(|place| names(&tree, &format!("{place}/systemd")))
        .filter_map(|name| of_library(&name))
        .max()
}

fn of_library(name: &str) -> Option<u32> {
    let version = name.strip_prefix(LIBRARY)?;
    let end = version.find(|letter: char| !letter.is_ascii_digit())?;
    let (version, rest) = version.split_at_checked(end)?;
    version.parse().ok().filter(|_| rest.contains(".so"))
}

/// The names in a directory; none when it cannot be read.
fn names(tree: &Tree<'_>, directory: &str) -> Vec<String> {
    let entries = tree.open_directory(directory).and_then(Dir::read_from);
    let names = entries.into_iter().flatten().filter_map(Result::ok);
    names.filter_map(|entry| entry.file_name().to_str().ok().map(Into::into)).collect()
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::fd::AsFd as _,
    };

    use super::*;

    #[test]
    fn the_library_says_it() {
        for (name, version) in [
            ("libsystemd-shared-257.so", Some(257)),
            ("libsystemd-shared-262~rc1.so", Some(262)),
            ("libsystemd-shared-257.4-1.fc42.so", Some(257)),
            ("libsystemd-shared-262", None),
            ("libsystemd-shared-.so", None),
            ("libsystemd-shared-99999999999.so", None),
            ("libsystemd-core-262.so", None),
        ] {
            assert_eq!(of_library(name), version, "{name}");
        }
    }

    #[test]
    fn every_place_of_a_distribution_is_looked_at() {
        let usr = std::env::temp_dir().join(format!("hermetic-systemd-{}", std::process::id()));
        fs::create_dir_all(&usr).unwrap();
        let open = File::open(&usr).unwrap();
        assert_eq!(version(open.as_fd()), None);
        for (place, newest) in
            [("lib/systemd", 250), ("lib64/systemd", 257), ("lib/x86_64-linux-gnu/systemd", 262)]
        {
            fs::create_dir_all(usr.join(place)).unwrap();
            fs::write(usr.join(format!("{place}/libsystemd-shared-{newest}.so")), "").unwrap();
            assert_eq!(version(open.as_fd()), Some(newest));
        }
        fs::remove_dir_all(usr).unwrap();
    }
}
