//! A root that is there.

use hermetic_init::{
    config::{Config, RootSource},
    disk::{partition::Partition, probe::Format, slot::select_root},
    file_system::FileSystem,
    image,
    luks::Header,
};

use super::{disk::Named, provision::Expected, report::Report, usr};
use crate::repart::Failure;

/// The stage of the boot.
const STAGE: &str = "root";

/// Looks at the root that the boot would open. One that is made is described by its definition.
///
/// # Errors
/// The image cannot be read.
pub fn look(config: &Config, disk: &Named, expected: &Expected, report: &mut Report) -> Result<(), Failure> {
    if config.root_is_new() {
        report.fact(STAGE, "root new on a tmpfs");
        return Ok(());
    }
    let found = match &config.root.source {
        RootSource::Device(spec) => {
            let found = disk.answering(spec)?;
            match expected.answers(spec).filter(|_| found.is_none()) {
                _ if found.is_some() => {}
                Some(true) => report.fact(STAGE, format!("root={spec} is made")),
                None => report.warn(STAGE, format!("root={spec}: what is made may answer to that or not")),
                Some(false) => {
                    let subject = format!("root={spec}");
                    report.refuse(STAGE, usr::missing(config, disk, &subject, "no device answers to that"));
                }
            }
            found
        }
        RootSource::Auto if disk.gpt().is_none() => {
            report.refuse(STAGE, image::NO_TABLE_FOR_ROOT);
            None
        }
        RootSource::Auto => {
            let found = select_root(disk.partitions(), &config.image_filter);
            if found.is_none() && !expected.makes_root {
                report.refuse(STAGE, image::no_root(disk.name()));
            }
            found
        }
        RootSource::Tmpfs => None,
    };
    match found {
        Some(partition) => open(config, disk, partition, expected, report),
        None => Ok(()),
    }
}

/// Opens the root as far as that goes without a key.
fn open(
    config: &Config,
    disk: &Named,
    partition: &Partition,
    expected: &Expected,
    report: &mut Report,
) -> Result<(), Failure> {
    let name = disk.partition_name(partition.number);
    let superblock = disk.superblock(partition)?;
    let format = superblock.as_ref().map(|superblock| superblock.format);
    if let Err(line) = image::admit_root(config, &expected.definitions, &name, format) {
        report.refuse(STAGE, line);
        return Ok(());
    }
    if format == Some(Format::LUKS2) {
        match Header::read(&disk.range(partition)).and_then(|header| header.segment().map(|_| header)) {
            Ok(header) => report.fact(STAGE, format!("{name} is encrypted: {}", keys(&header))),
            Err(error) => report.refuse(STAGE, format!("{name}: {error}")),
        }
        return Ok(());
    }
    let policy = config.image_policy.root;
    let wanted = config.root.mount.fstype.as_deref();
    let node = format!("/dev/{name}");
    match image::file_system(&node, superblock.as_ref(), FileSystem::mounts_as_root, policy, wanted) {
        Ok(system) => report.fact(STAGE, format!("root plain on {name} ({system})")),
        Err(line) => report.refuse(STAGE, line),
    }
    Ok(())
}

/// The sources of keys that a header names; a key file and a typed passphrase are named by none.
fn keys(header: &Header) -> String {
    let mut tokens: Vec<&str> = header.tokens().map(|(_, kind)| kind).collect();
    tokens.sort_unstable();
    match tokens.as_slice() {
        [] => "no token, so a key file or a passphrase opens it".into(),
        kinds => format!("tokens {}", kinds.join(", ")),
    }
}
