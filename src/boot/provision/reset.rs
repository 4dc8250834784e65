//! Factory reset: the partitions whose definitions say `FactoryReset=yes` are given up, before root is opened (contract
//! §4.6 and §9).

use std::{
    fs::{self, File},
    io,
    os::fd::BorrowedFd,
};

use rustix::fs::{Mode, OFlags, openat};

use super::{
    super::{
        disks::Disk,
        failure::{Failure, OrFail},
    },
    STAGE, steps,
};
use crate::{
    config::{
        Config, OsRelease,
        factory_reset::{Asked, FLAG, REQUEST, Reset},
    },
    disk::transaction::{RESET, Transaction},
    notice,
    repart::Definition,
    sys::{attribute, efi},
    units::PartitionNumber,
    warning,
};

/// What the system's own units and udev rules look for once a reset is over (systemd-factory-reset(8)).
const COMPLETE: &str = "/run/systemd/factory-reset-complete";

/// Gives partitions up when that is asked for, or when an earlier boot began to. Afterwards the disk lacks them, and the
/// boot goes on as a first boot; when it was the command line that asked, the boot ends instead, because the word would
/// erase everything again the next time.
///
/// # Errors
/// Any step that fails; the next boot finishes what has begun. A firmware that keeps the request.
pub fn reset(
    config: &Config,
    definitions: &[Definition],
    usr: BorrowedFd<'_>,
    disk: Option<&mut Disk>,
) -> Result<(), Failure> {
    let asked = asked(config, usr)?;
    let Some(disk) = disk else {
        return match asked {
            Reset::No => Ok(()),
            _ => {
                let reason =
                    "a factory reset is asked for, but /usr is on no disk with a GPT; nothing was erased";
                Err(Failure::new(STAGE, reason))
            }
        };
    };
    let name = disk.device.name.clone();
    let numbers = given_up(definitions, disk, asked != Reset::No);
    if !numbers.is_empty() {
        let list = numbers.iter().map(PartitionNumber::to_string).collect::<Vec<_>>().join(", ");
        match asked {
            Reset::No => notice!("{name}: finishing the factory reset of partition {list}"),
            _ => notice!("{name}: factory reset of partition {list}"),
        }
        let transaction = Transaction::reset(&disk.gpt, &numbers).or_fail(STAGE, || name.clone())?;
        steps::carry_out(disk, transaction, &mut |_, _| Ok(()))?;
    }
    match asked {
        Reset::No => Ok(()),
        Reset::ByCommandLine => {
            let what = match numbers.len() {
                0 => "nothing was left to reset".into(),
                count => format!("{count} partitions were erased and removed"),
            };
            let reason = format!("{name}: {what}; boot without systemd.factory_reset= to make them anew");
            Err(Failure::reset(STAGE, reason))
        }
        Reset::ByFirmware(variables) => complete(&variables),
    }
}

/// Who asks, if anybody does.
fn asked(config: &Config, usr: BorrowedFd<'_>) -> Result<Reset, Failure> {
    let variable = |name| match efi::is_available() {
        true => efi::text(name, efi::SYSTEMD).unwrap_or_else(|error| {
            warning!("EFI variable {name}: {error}; it is not heeded");
            None
        }),
        false => None,
    };
    let (flag, request) = (variable(FLAG), variable(REQUEST));
    let os = match &request {
        Some(_) => os_release(usr).or_fail(STAGE, || "/usr/lib/os-release".into())?,
        None => OsRelease::default(),
    };
    let boot_id = attribute("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let asked = Asked {
        word: config.factory_reset,
        flag: flag.as_deref(),
        request: request.as_deref(),
        os: &os,
        boot_id: &boot_id,
    };
    let (verdict, complaints) = asked.judge();
    for complaint in complaints {
        warning!("{complaint}; nothing is reset for it");
    }
    Ok(verdict)
}

fn os_release(usr: BorrowedFd<'_>) -> io::Result<OsRelease> {
    let file = openat(usr, "lib/os-release", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    Ok(OsRelease::parse(&crate::boot::text_of(File::from(file))?))
}

/// The partitions that go: those that an earlier boot gave up, and with a request all that a definition lets go. A label
/// alone does not decide: without a definition of its type the disk would say what is erased.
fn given_up(definitions: &[Definition], disk: &Disk, asked: bool) -> Vec<PartitionNumber> {
    let mut numbers = Vec::new();
    // The first definition of a type means the first partition of that type (contract §4.3).
    let mut unmet: Vec<&Definition> = definitions.iter().collect();
    for partition in disk.gpt.partitions() {
        let same_type = |definition: &&Definition| definition.type_guid == partition.type_guid;
        let begun = partition.label == RESET && definitions.iter().filter(same_type).any(|d| d.factory_reset);
        let met = unmet.iter().position(same_type).map(|index| unmet.remove(index));
        if begun || asked && met.is_some_and(|definition| definition.factory_reset) {
            numbers.push(partition.number);
        }
    }
    numbers
}

/// Takes the request back, so that it is carried out once.
fn complete(variables: &[&str]) -> Result<(), Failure> {
    for name in variables {
        efi::remove(name, efi::SYSTEMD).or_fail(STAGE, || {
            format!("the factory reset is done, but EFI variable {name} stays and would ask for it again; remove it")
        })?;
    }
    fs::create_dir_all("/run/systemd")
        .and_then(|()| fs::write(COMPLETE, ""))
        .or_fail(STAGE, || format!("cannot write {COMPLETE}"))?;
    notice!("the factory reset is complete");
    Ok(())
}
