//! The clock of a machine that has lost it: time begins when this /usr was made, as it does for systemd (systemd(1),
//! /usr/lib/clock-epoch). Whatever is written from here on has a time that may be true: a password of 1970 would have to be
//! changed at once.

use std::{os::fd::BorrowedFd, time::Duration};

use rustix::fs::Stat;

use crate::{notice, sys::clock, tree::Tree, warning};

/// The file whose time counts alone.
const CLOCK_EPOCH: &str = "/usr/lib/clock-epoch";

/// The other times of a /usr, where systemd has the time of its own build. The latest counts.
const MADE: [&str; 2] = ["/usr/lib/os-release", "/usr"];

/// Sets a clock that stands before the time of the `usr` in this directory to that time. It never goes back; a clock that cannot be
/// set is no reason not to boot.
pub fn apply(above: BorrowedFd<'_>) {
    let Some(epoch) = epoch(above) else { return };
    match clock::advance(epoch) {
        Ok(None) => {}
        Ok(Some(by)) => {
            let hours = by.as_secs().div_ceil(3600);
            notice!("the clock stood {hours} hours before this /usr was made, and begins there");
        }
        Err(error) => warning!("the clock stands before this /usr was made and cannot be set: {error}"),
    }
}

/// The time of a /usr since 1970; None when it has none.
fn epoch(above: BorrowedFd<'_>) -> Option<Duration> {
    // What cannot be looked at tells nothing; a /usr that cannot be read is found out by those who need it.
    let time = |path: &str| Tree::whole(above).stat(path).ok().as_ref().and_then(modified);
    time(CLOCK_EPOCH).or_else(|| MADE.into_iter().filter_map(time).max())
}

/// The time of the last modification.
fn modified(stat: &Stat) -> Option<Duration> {
    let seconds = stat.st_mtime.try_into().ok()?;
    Some(Duration::new(
        seconds,
        u32::try_from(stat.st_mtime_nsec).ok().filter(|nanos| *nanos < 1_000_000_000)?,
    ))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        os::{fd::AsFd as _, unix::fs::symlink},
        time::UNIX_EPOCH,
    };

    use super::*;

    #[test]
    fn time_begins_when_usr_was_made() {
        let above = std::env::temp_dir().join(format!("hermetic-epoch-{}", std::process::id()));
        let usr = above.join("usr");
        fs::create_dir_all(usr.join("lib")).unwrap();
        let set = |path: &str, seconds| {
            let file = File::open(usr.join(path)).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
        };
        let directory = File::open(&above).unwrap();
        let begins = |seconds| assert_eq!(epoch(directory.as_fd()), Some(Duration::from_secs(seconds)));
        fs::write(usr.join("lib/os-release"), "").unwrap();
        set("lib/os-release", 20);
        set("", 30);
        begins(30);
        set("lib/os-release", 40);
        begins(40);
        fs::write(usr.join("lib/epoch"), "").unwrap();
        set("lib/epoch", 10);
        symlink("epoch", usr.join("lib/clock-epoch")).unwrap();
        begins(10);
        fs::remove_dir_all(above).unwrap();
    }
}
