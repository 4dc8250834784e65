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
pub mod story;
mod stub;
mod tpm;
mod udev;
mod unlock;
mod usr;
mod volatile;

use std::{
    convert::Infallible,
    fs::File,
    io::{self, Read as _},
    mem,
};

use devices::Devices;
use failure::{Failure, OrFail as _};
use handover::Ready;
use measure::Measurements;
use story::Story;

/// What we call ourselves: version and commit.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("HERMETIC_COMMIT"), ")");

/// Takes the machine from the kernel to systemd. Returns only when that failed.
pub fn run() -> Failure {
    match boot() {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn boot() -> Result<Infallible, Failure> {
    let (config, wish, borrowed) = Story::stage("early", early::prepare)?;
    let (mut devices, mut measurements) = Story::stage("devices", || {
        let mut devices = Devices::start(&config)?;
        let mut measurements = Measurements::begin(&config, &mut devices)?;
        measurements.phase("enter-initrd")?;
        Ok((devices, measurements))
    })?;
    let mut usr = Story::stage("usr", || usr::open(&config, &wish, &mut devices))?;
    let key = key::Key::new(&config);
    let expectation =
        Story::stage("provision", || provision::provision(&config, &mut usr, &key, &mut devices))?;
    let root = Story::stage("root", || {
        root::open(&config, &usr, &expectation, &key, &mut measurements, &mut devices)
    })?;
    Story::stage("etc", || etc::prepare(&config, &usr, &root))?;
    Story::stage("handover", || {
        // Whatever is sealed to the phase before cannot be had from here on.
        measurements.phase("leave-initrd")?;
        handover::hand_over(&Ready { usr, root, key, wish }, borrowed)
    })
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
    fn check(&mut self) -> Result<(), Failure> {
        mem::replace(&mut self.0, Ok(())).or_fail(|| "no random bytes from the kernel".into())
    }
}
