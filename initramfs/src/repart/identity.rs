//! The identity of the root directory: the machine id that UUIDs follow from, and the values of specifiers.

use hermetic_init::fragments::{Facts, facts};
use rustix::rand::{GetRandomFlags, getrandom};
use uuid::{Builder, Uuid};

use super::{
    Failure,
    args::{Choices, Seed},
};
use crate::mirror::{
    log::{Level, Log},
    machine,
    root::Root,
};

/// Random bytes from the kernel.
pub fn random() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    // A request of up to 256 bytes is answered in one piece (getrandom(2)).
    getrandom(&mut bytes, GetRandomFlags::empty())
        .map_err(|errno| Failure::new(format!("Failed to generate randomized seed: {errno}")))?;
    Ok(bytes)
}

/// Opens the root directory whose files say who the machine is.
fn root(choices: &Choices) -> Result<Root, Failure> {
    Root::open(choices.root.as_deref(), false).map_err(Failure::new)
}

fn machine_id(root: &Root) -> Option<Uuid> {
    let text = machine::text(root, "/etc/machine-id")?;
    let id = text.trim_end();
    Uuid::try_parse(id).ok().filter(|uuid| id.len() == 32 && !uuid.is_nil())
}

/// The seed that UUIDs follow from.
pub fn seed(choices: &Choices, log: Log) -> Result<Uuid, Failure> {
    match choices.seed {
        Seed::Fixed(seed) if !seed.is_nil() => return Ok(seed),
        Seed::Random => {}
        Seed::Fixed(_) | Seed::Machine => {
            if choices.image.is_some() {
                return Err(Failure::new(
                    "The file systems of an image are not opened here, nor is its machine ID read: say --seed=ID or --seed=random with --image=.",
                ));
            }
            if let Some(id) = machine_id(&root(choices)?) {
                return Ok(id);
            }
            log.say(Level::Info, "No machine ID set, using randomized partition UUIDs.");
        }
    }
    Ok(Builder::from_random_bytes(random()?).into_uuid())
}

/// The values of specifiers in definitions. The machine that builds an image is not the one that boots it: of an image
/// the architecture alone is known.
pub fn known(choices: &Choices) -> Result<Facts, Failure> {
    if choices.image.is_some() {
        let architecture = Some(facts::architecture(std::env::consts::ARCH).into());
        return Ok(Facts { architecture, ..Facts::default() });
    }
    let root = root(choices)?;
    let machine_id = machine_id(&root).map(|id| id.simple().to_string());
    Ok(Facts { machine_id, ..machine::facts(&root) })
}
