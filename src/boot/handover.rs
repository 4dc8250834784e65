//! Stage "handover": what the real systemd finds (contract §8), and the step into it.

use std::{
    fs::{self, File},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    credentials,
    early::{self, Borrowed, OURS},
    failure::{Failure, OrFail},
    init::Wish,
    key::Key,
    root::Root,
    timeline::Timeline,
    udev,
    usr::Usr,
};
use crate::{
    info,
    sys::{console, mount, rootfs},
};

const STAGE: &str = "handover";

/// The mounts that move along, and stay what they are.
const API: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// Everything that the stages before made and the real system goes on with.
pub struct Ready {
    /// The mounted /usr.
    pub usr: Usr,
    /// The mounted root.
    pub root: Root,
    /// The key file.
    pub key: Key,
    /// Which program comes next.
    pub wish: Wish,
}

/// Hands the machine over. Returns only on failure.
pub fn hand_over(ready: &Ready, borrowed: Borrowed, mut timeline: Timeline) -> Failure {
    match prepare(ready, borrowed, &mut timeline) {
        Ok((init, environment)) => execute(&init, &environment),
        Err(failure) => failure,
    }
}

/// Which program comes next, and what it is told besides what the kernel said.
type Next = (PathBuf, Vec<(&'static str, &'static str)>);

fn prepare(ready: &Ready, borrowed: Borrowed, timeline: &mut Timeline) -> Result<Next, Failure> {
    let Ready { usr, root, key, wish } = ready;
    key.shred().or_fail(STAGE, || format!("cannot erase the key file {}", key.path().display()))?;
    for mapping in [usr.mapping(), root.mapping()].into_iter().flatten() {
        udev::record(mapping).or_fail(STAGE, || format!("cannot record {} for udev", mapping.name))?;
    }
    let below = root.path().join("usr");
    mount::move_to(usr.path(), &below)
        .or_fail(STAGE, || format!("cannot move /usr to {}", below.display()))?;
    let tree = File::open(root.path()).or_fail(STAGE, || format!("cannot open {}", root.path().display()))?;
    let init = wish.find(tree.as_fd()).map_err(|reason| Failure::new(STAGE, reason))?;
    drop(tree);
    let environment =
        credentials::hand_over().or_fail(STAGE, || "cannot leave credentials in /run/credentials".into())?;
    timeline.passed(STAGE);
    info!("{}, {}; {timeline}; starting {}", usr.summary(), root.summary(), init.display());
    fs::write(format!("{OURS}/timeline"), format!("{timeline}\n"))
        .or_fail(STAGE, || format!("cannot write {OURS}"))?;
    early::set_guard().or_fail(STAGE, || format!("cannot write {OURS}"))?;
    borrowed.give_back();
    for api in API {
        let target = root.path().join(api.trim_start_matches('/'));
        mount::move_to(api, &target)
            .or_fail(STAGE, || format!("cannot move {api} to {}", target.display()))?;
    }
    rootfs::switch(root.path()).or_fail(STAGE, || "cannot switch the root".into())?;
    for staging in [&usr.path(), usr.tree()] {
        fs::remove_dir(staging).or_fail(STAGE, || format!("cannot remove {}", staging.display()))?;
    }
    Ok((init, environment))
}

/// Becomes the next init: the kernel's arguments and environment are passed on as they came, with what is to be added, signals are as
/// the kernel gives them to PID 1 (`exec` of std restores SIGPIPE and the mask), and every descriptor above 2 closes itself.
fn execute(path: &Path, environment: &[(&'static str, &'static str)]) -> Failure {
    if let Err(error) = console::open() {
        info!("no console: {error}");
    }
    let words = std::env::args_os().skip(1);
    let error = Command::new(path).args(words).envs(environment.iter().copied()).exec();
    Failure::new(STAGE, format!("cannot execute {}: {error}", path.display()))
}

/// Goes straight to systemd: hermetic-init was started a second time in the same boot, because `init=` of the real root
/// names it (contract §1.6).
pub fn pass_through(wish: &Wish) -> Failure {
    let found =
        File::open("/").map_err(|error| error.to_string()).and_then(|root| wish.find_another(root.as_fd()));
    match found {
        Ok(init) => {
            info!("started again as the init of the real root; passing on to {}", init.display());
            execute(&init, &[])
        }
        Err(reason) => Failure::new(STAGE, reason),
    }
}
