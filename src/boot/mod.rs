//! The story: from the kernel to systemd, stage by stage. Only this room and `sys` touch the machine; this room knows no
//! format.
//!
//! A stage takes what the stages before it returned, so that a wrong order does not compile.

mod ask;
mod boot_disk;
mod credentials;
mod crypt;
mod devices;
mod disks;
mod early;
mod etc;
pub mod failure;
mod grow;
mod handover;
mod init;
mod key;
mod machine;
mod measure;
mod provision;
mod root;
mod stub;
mod timeline;
mod tpm;
mod udev;
mod unlock;
mod usr;
mod volatile;

use std::{
    fs::File,
    io::{self, Read as _},
    mem,
};

use crate::info;
use devices::Devices;
use early::Borrowed;
use failure::{Failure, OrFail as _};
use handover::Ready;
use measure::Measurements;
use timeline::Timeline;

/// What we call ourselves: version and commit.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("HERMETIC_COMMIT"), ")");

/// Takes the machine from the kernel to systemd. Returns only when that failed.
pub fn run() -> Failure {
    match boot() {
        Ok((ready, borrowed, timeline)) => handover::hand_over(&ready, borrowed, timeline),
        Err(failure) => failure,
    }
}

fn boot() -> Result<(Ready, Borrowed, Timeline), Failure> {
    let mut timeline = Timeline::start();

    let (config, borrowed) = early::prepare()?;
    let wish = early::wish(&config);
    if early::is_second_start() {
        borrowed.give_back();
        return Err(handover::pass_through(&wish));
    }
    info!("{VERSION} starts");
    stub::hand_over();
    timeline.passed("early");

    let mut devices = Devices::start(&config)?;
    timeline.passed("devices");

    let mut measurements = Measurements::begin(&config, &mut devices)?;
    measurements.phase("enter-initrd")?;

    let mut usr = usr::open(&config, &wish, &mut devices)?;
    timeline.passed("usr");

    let key = key::Key::new(&config);
    let expectation = provision::provision(&config, &mut usr, &key, &mut devices)?;
    timeline.passed("provision");

    let root = root::open(&config, &usr, &expectation, &key, &mut measurements, &mut devices)?;
    timeline.passed("root");

    etc::prepare(&config, &usr, &root)?;
    timeline.passed("etc");

    // Whatever is sealed to the phase before cannot be had from here on.
    measurements.phase("leave-initrd")?;
    Ok((Ready { usr, root, key, wish }, borrowed, timeline))
}

/// The text of a small file, at most 1 MiB of it.
fn text_of(file: File) -> io::Result<String> {
    const LIMIT: u64 = 1 << 20;
    let mut text = String::new();
    if file.take(LIMIT).read_to_string(&mut text)? as u64 == LIMIT {
        return Err(io::Error::other("it has more than 1 MiB"));
    }
    Ok(text)
}

/// Fills `bytes` from the kernel's generator, waiting until it has been seeded.
fn random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled += rustix::rand::getrandom(rest, rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

/// The kernel's generator for engines that take randomness as a function which cannot fail. Whether it failed is asked
/// afterwards, before what was made with it is used.
struct Random(io::Result<()>);

impl Default for Random {
    fn default() -> Self {
        Self(Ok(()))
    }
}

impl Random {
    fn fill(&mut self, bytes: &mut [u8]) {
        if let Err(error) = random(bytes) {
            self.0 = Err(error);
        }
    }

    /// Whether all that was filled since the last time is random.
    ///
    /// # Errors
    /// The kernel gave no random bytes.
    fn check(&mut self, stage: &'static str) -> Result<(), Failure> {
        mem::replace(&mut self.0, Ok(())).or_fail(stage, || "no random bytes from the kernel".into())
    }
}
