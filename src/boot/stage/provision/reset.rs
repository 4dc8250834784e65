//! Factory reset: the partitions whose definitions say `FactoryReset=yes` are given up, before root is opened
//! (systemd-factory-reset(8), repart.d(5)).

use std::{fs, os::fd::BorrowedFd};

use uuid::Uuid;

use super::{copies::Copies, decision::decide, steps};
use crate::{
    boot::{
        disks::Disk,
        failure::{Failure, OrFail as _},
        means::Means,
        policy::Expectation,
        stage::usr::Usr,
    },
    config::{
        Config,
        factory_reset::{Asked, FLAG, REQUEST, Reset},
    },
    disk::{
        partition::Partition,
        transaction::{RESET, Transaction},
        types::{self, Role},
    },
    fragments::{systemd, usr::os_release},
    notice,
    os_release::OsRelease,
    repart::{self, Definition},
    sys::{
        attribute,
        block::{BlockDevice, Kind},
        efi,
    },
    units::PartitionNumber,
    warning,
};

/// The file that the system's own units and udev rules look for once a reset is over (systemd-factory-reset(8)).
const COMPLETE: &str = "/run/systemd/factory-reset-complete";

/// Gives up partitions on request, or when an earlier boot began to. Afterwards the disk lacks them, and the boot goes
/// on as a first boot; when the request was on the command line, a boot that has erased something ends instead, because the word
/// would erase everything again the next time. `above` is the directory whose `usr` is /usr, and `tree` is /usr.
///
/// # Errors
/// A partition that is given up could not be made anew, or /usr is booted from it, or one that stays is plain and should be
/// encrypted: then nothing was erased. Any step
/// that fails; the next boot finishes what has begun. A firmware that keeps the request.
pub fn reset(
    means: &mut Means,
    definitions: &[Definition],
    expectation: &Expectation,
    above: BorrowedFd<'_>,
    tree: BorrowedFd<'_>,
    usr: &mut Usr,
) -> Result<(), Failure> {
    let asked = asked(&means.config, tree)?;
    let Some(disk) = usr.disk() else {
        return match asked {
            Reset::No => Ok(()),
            _ => {
                let reason =
                    "a factory reset is asked for, but /usr is on no disk with a GPT; nothing was erased";
                Err(Failure::new(reason))
            }
        };
    };
    let name = disk.device.name.clone();
    let refused =
        |reason: String| Failure::new(format!("{name}: no factory reset, and nothing was erased: {reason}"));
    let mut numbers = Vec::new();
    for (partition, definition) in given_up(definitions, disk, asked != Reset::No) {
        let number = partition.number;
        if is_booted(usr, disk, partition) {
            let what = format!("partition {number} is a part of the /usr that is booted");
            let why = definition.refuse("FactoryReset", what, "do not say FactoryReset=yes of it");
            match asked {
                Reset::No => warning!("{name}: {why}; it stays"),
                _ => return Err(refused(why.to_string())),
            }
            continue;
        }
        numbers.push(number);
    }
    if !numbers.is_empty() {
        if disk.is_read_only()? {
            let reason = "the disk is read-only; make it writable".to_owned();
            match asked {
                Reset::No => warning!("{name}: the factory reset that has begun is not finished: {reason}"),
                _ => return Err(refused(reason)),
            }
            return Ok(());
        }
        let transaction = Transaction::reset(&disk.gpt, &numbers).or_fail(|| name.clone())?;
        expectation.admit(&means.config, disk, transaction.after.partitions())?;
        let begun = |number: &PartitionNumber| disk.gpt.partition(*number).is_some_and(|p| p.label == RESET);
        // A reset that has begun is finished in any case: an erased partition cannot be opened any more.
        if !numbers.iter().all(begun) && !means.config.root_is_new() {
            let mut definitions = definitions.to_vec();
            let after = &transaction.after;
            Copies::open(&mut definitions, &after.layout(), usr, above)
                .and_then(|_| {
                    let plan = repart::plan_of_boot(&definitions, &after.layout(), Uuid::nil());
                    plan.or_fail(|| name.clone())
                })
                .and_then(|plan| decide(means, &name, after, &plan).map(drop))
                .map_err(|failure| refused(failure.reason))?;
        }
        let list = numbers.iter().map(PartitionNumber::to_string).collect::<Vec<_>>().join(", ");
        match asked {
            Reset::No => notice!("{name}: finishing the factory reset of partition {list}"),
            _ => notice!("{name}: factory reset of partition {list}"),
        }
        if let Some(disk) = usr.disk_mut() {
            steps::carry_out(disk, transaction, &mut |_, _| Ok(()))?;
        }
    }
    match asked {
        Reset::No => Ok(()),
        // As with systemd-repart, which makes what is missing then. The boot after this one must lack the word, or it erases again.
        Reset::ByCommandLine if numbers.is_empty() => {
            notice!(
                "{name}: nothing is left to reset, although systemd.factory_reset= asks for it; going on"
            );
            Ok(())
        }
        Reset::ByCommandLine => {
            let what = match numbers.len() {
                1 => "1 partition was erased and removed".into(),
                count => format!("{count} partitions were erased and removed"),
            };
            let reason =
                format!("{name}: {what}; boot without systemd.factory_reset= to make what is missing");
            Err(Failure::reset(reason))
        }
        Reset::ByFirmware(variables) => complete(&variables),
    }
}

/// True when this boot runs from the partition. Which signature belongs to the booted /usr is not looked up: none is given up.
fn is_booted(usr: &Usr, disk: &Disk, partition: &Partition) -> bool {
    let is = |device: &BlockDevice| {
        let Kind::Partition { disk: of, number, .. } = &device.kind else { return false };
        *of == disk.device.name && *number == partition.number
    };
    let signs = types::role(partition.type_guid) == Some(Role::UsrVeritySig);
    signs || is(usr.data()) || usr.hash().is_some_and(is)
}

/// The source of a request, if there is one.
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
        Some(_) => os_release(usr)
            .map(|text| OsRelease::parse(&text))
            .or_fail(|| "a factory reset is asked for, and /usr/lib/os-release cannot be read".into())?,
        None => OsRelease::default(),
    };
    let boot_id = attribute("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let asked = Asked {
        word: config.factory_reset,
        flag: flag.as_deref(),
        request: request.as_deref(),
        systemd: flag.as_ref().and_then(|_| systemd::version(usr)),
        os: &os,
        boot_id: &boot_id,
    };
    let (verdict, complaints) = asked.judge();
    for complaint in complaints {
        warning!("{complaint}; nothing is reset for it");
    }
    Ok(verdict)
}

/// The partitions that are given up, with the definitions that allow it: those that an earlier boot gave up, and on
/// request all that a definition gives up. A label alone does not decide: without a definition of its type the disk
/// would decide what is erased.
fn given_up<'a>(
    definitions: &'a [Definition],
    disk: &'a Disk,
    asked: bool,
) -> Vec<(&'a Partition, &'a Definition)> {
    let mut found = Vec::new();
    // The first definition of a type means the first partition of that type (repart.d(5), "Type=").
    let mut unmet: Vec<&Definition> = definitions.iter().collect();
    for partition in disk.gpt.partitions() {
        let same_type = |definition: &&Definition| definition.type_guid == partition.type_guid;
        let lets_go = |definition: &&Definition| definition.factory_reset;
        let met = unmet.iter().position(same_type).map(|index| unmet.remove(index));
        let any = definitions.iter().filter(same_type).find(lets_go);
        let begun = any.filter(|_| partition.label == RESET);
        let definition = begun.or(met.filter(lets_go).filter(|_| asked));
        found.extend(definition.map(|definition| (partition, definition)));
    }
    found
}

/// Takes the request back, so that it is carried out once.
fn complete(variables: &[&str]) -> Result<(), Failure> {
    for name in variables {
        efi::remove(name, efi::SYSTEMD).or_fail(|| {
            format!("the factory reset is done, but EFI variable {name} stays and would ask for it again; remove it")
        })?;
    }
    fs::create_dir_all("/run/systemd")
        .and_then(|()| fs::write(COMPLETE, ""))
        .or_fail(|| format!("cannot write {COMPLETE}"))?;
    notice!("the factory reset is complete");
    Ok(())
}
