//! Stage "handover": what the real systemd finds (contract §8), and the step into it.

use std::{
    convert::Infallible,
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
    story::Timeline,
    udev,
    usr::Usr,
};
use crate::{
    info,
    sys::{console, mount, rootfs},
};

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

/// Hands the machine over.
///
/// # Errors
/// Anything that could not be handed over, an init that is not executed.
pub fn hand_over(ready: &Ready, borrowed: Borrowed) -> Result<Infallible, Failure> {
    let (init, environment) = prepare(ready, borrowed)?;
    Err(execute(&init, &environment))
}

/// Which program comes next, and what it is told besides what the kernel said.
type Next = (PathBuf, Vec<(&'static str, &'static str)>);

fn prepare(ready: &Ready, borrowed: Borrowed) -> Result<Next, Failure> {
    let Ready { usr, root, key, wish } = ready;
    key.shred().or_fail(|| format!("cannot erase the key file {}", key.path().display()))?;
    for mapping in [usr.mapping(), root.mapping()].into_iter().flatten() {
        udev::record(mapping).or_fail(|| format!("cannot record {} for udev", mapping.name))?;
    }
    let below = root.path().join("usr");
    mount::move_to(usr.path(), &below).or_fail(|| format!("cannot move /usr to {}", below.display()))?;
    let tree = File::open(root.path()).or_fail(|| format!("cannot open {}", root.path().display()))?;
    let init = wish.find(tree.as_fd()).map_err(Failure::new)?;
    drop(tree);
    let environment =
        credentials::hand_over().or_fail(|| "cannot leave credentials in /run/credentials".into())?;
    let timeline = Timeline::now();
    info!("{}, {}; {timeline}; starting {}", usr.summary(), root.summary(), init.display());
    fs::write(format!("{OURS}/timeline"), format!("{timeline}\n"))
        .or_fail(|| format!("cannot write {OURS}"))?;
    early::set_guard().or_fail(|| format!("cannot write {OURS}"))?;
    borrowed.give_back();
    for api in API {
        let target = root.path().join(api.trim_start_matches('/'));
        mount::move_to(api, &target).or_fail(|| format!("cannot move {api} to {}", target.display()))?;
    }
    rootfs::switch(root.path()).or_fail(|| "cannot switch the root".into())?;
    for staging in [&usr.path(), usr.tree()] {
        fs::remove_dir(staging).or_fail(|| format!("cannot remove {}", staging.display()))?;
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
    Failure::new(format!("cannot execute {}: {error}", path.display()))
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
        Err(reason) => Failure::new(reason),
    }
}
