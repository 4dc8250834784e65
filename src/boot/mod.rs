//! The boot: from the kernel to systemd, stage by stage. Only this room and `sys` touch the machine; this room knows no
//! format.
//!
//! | room | content |
//! |---|---|
//! | `stage` | the seven stages; one takes the results of those before it, and imports no other |
//! | `means` | the means of every stage |
//! | `policy` | the demands of /usr's definitions on what exists |
//! | `furnished` | roots, furnished for this machine |
//! | `volume` | encrypted volumes: the sources of the key, and the mapping |
//! | `disks` | disks with their tables and their content |
//! | `machine` | the machine around them: drivers, credentials, TPM, the state for systemd |
//! | `random`, [`failure`], `watch`, `story` | randomness; the end of a boot that cannot go on, and of one that hangs; the stage that is running |

mod disks;
pub mod failure;
mod furnished;
mod machine;
mod means;
mod policy;
mod random;
mod stage;
mod story;
mod volume;
mod watch;

use std::convert::Infallible;

use failure::Failure;
use stage::{devices, early, etc, handover, provision, root, usr};
pub use story::VERSION;
use story::stage;

/// Takes the machine from the kernel to systemd. Returns only when that failed.
pub fn run() -> Failure {
    match boot() {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn boot() -> Result<Infallible, Failure> {
    let early = stage("early", early::prepare)?;
    let mut means = stage("devices", || devices::start(early))?;
    let mut usr = stage("usr", || usr::open(&mut means))?;
    let expected = stage("provision", || provision::provision(&mut means, &mut usr))?;
    let root = stage("root", || root::open(&mut means, &usr, &expected))?;
    let ready = stage("etc", || etc::prepare(&means, &usr, root))?;
    stage("handover", || handover::hand_over(means, usr, ready, &expected))
}
