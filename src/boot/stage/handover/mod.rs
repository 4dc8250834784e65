//! Stage "handover": the state that the real systemd expects (<https://systemd.io/INITRD_INTERFACE>), and the step into
//! it.

mod mount_point;

use std::{
    convert::Infallible,
    fs::{self, File},
    os::fd::AsFd as _,
    path::PathBuf,
};

use mount_point::MountPoint;

use crate::{
    boot::{
        failure::{Failure, OrFail as _, history},
        machine::{
            next_init,
            run::{OURS, set_guard},
            udev,
        },
        means::Means,
        policy::Expectation,
        stage::{etc::Ready, root::Root, usr::Usr},
        story::Timeline,
    },
    config::RootPolicy,
    info,
    sys::{mount, rootfs},
};

/// The mounts that move along unchanged.
const API: [&str; 4] = ["dev", "proc", "sys", "run"];

/// Hands the machine over. Everything that was known of keys is wiped before the next init is executed.
///
/// # Errors
/// A partition that is plain and should be encrypted, anything that could not be handed over, an init that is not executed.
pub fn hand_over(
    means: Means,
    usr: Usr,
    ready: Ready,
    expectation: &Expectation,
) -> Result<Infallible, Failure> {
    let root = ready.root();
    // Again, for the next system takes them without asking, and a disk may answer otherwise by now.
    if means.config.hermetic.root_policy == RootPolicy::Strict {
        for disk in usr.disk().into_iter().chain(root.elsewhere()) {
            expectation.admit(&means.config, disk, disk.gpt.partitions())?;
        }
    }
    let (init, environment) = prepare(means, &usr, root)?;
    history::forget();
    Err(next_init::execute(&init, &environment))
}

/// The next program, and its environment beside that of the kernel.
type Next = (PathBuf, Vec<(&'static str, &'static str)>);

fn prepare(means: Means, usr: &Usr, root: &Root) -> Result<Next, Failure> {
    let Means { next, credentials, key, devices, mut measurements, borrowed, .. } = means;
    devices.end();
    // A secret that is sealed to the phase before cannot be unsealed from here on.
    measurements.phase("leave-initrd")?;
    key.shred().or_fail(|| format!("cannot erase the key file {}", key.path().display()))?;
    for mapping in [usr.mapping(), root.mapping()].into_iter().flatten() {
        udev::record(mapping).or_fail(|| format!("cannot record {} for udev", mapping.name))?;
    }
    let tree = File::open(root.path()).or_fail(|| format!("cannot open {}", root.path().display()))?;
    // All of them before the first mount moves.
    let below = MountPoint::open(tree.as_fd(), "usr")?;
    let mut others = Vec::new();
    for api in API {
        others.push((api, MountPoint::open(tree.as_fd(), api)?));
    }
    below.receive(usr.open()?.as_fd())?;
    let init = next.find(tree.as_fd()).map_err(|none| Failure::new(none.reason))?;
    let environment =
        credentials.hand_over().or_fail(|| "cannot leave credentials in /run/credentials".into())?;
    let timeline = Timeline::now();
    info!("{}, {}; {timeline}; starting {}", usr.summary(), root.summary(), init.display());
    fs::write(format!("{OURS}/timeline"), format!("{timeline}\n"))
        .or_fail(|| format!("cannot write {OURS}"))?;
    set_guard().or_fail(|| format!("cannot write {OURS}"))?;
    borrowed.give_back();
    for (api, below) in others {
        let mount = mount::open(format!("/{api}")).or_fail(|| format!("cannot open /{api}"))?;
        below.receive(mount.as_fd())?;
    }
    rootfs::switch(tree.as_fd()).or_fail(|| "cannot switch the root".into())?;
    for staging in [&usr.path(), usr.tree()] {
        fs::remove_dir(staging).or_fail(|| format!("cannot remove {}", staging.display()))?;
    }
    Ok((init, environment))
}
