//! `--list-devices`: the disks that could be partitioned, and the links by which people know them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hermetic_init::units::PartitionNumber;

/// The nodes of all block devices that can have partitions, each with the links to it.
pub fn list() -> Vec<(PathBuf, Vec<PathBuf>)> {
    let mut devices: Vec<(PathBuf, Vec<PathBuf>)> = fs::read_dir("/sys/class/block")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| has_partitions(name))
        .map(|name| {
            let node = Path::new("/dev").join(name);
            let links = links(&node);
            (node, links)
        })
        .collect();
    devices.sort();
    devices
}

/// Returns true when the kernel looks for partitions on it: not on a partition, not on a device for which that is off
/// (Documentation/ABI/stable/sysfs-block: `ext_range` is the number of minors for them; 1 for a device without).
fn has_partitions(name: &str) -> bool {
    let attribute = |attribute: &str| {
        let path = Path::new("/sys/class/block").join(name).join(attribute);
        fs::read_to_string(path).ok().map(|text| text.trim_end().to_owned())
    };
    let is_partition = attribute("partition").is_some();
    let range: u32 = attribute("ext_range").and_then(|text| text.parse().ok()).unwrap_or(0);
    let scans = attribute("partscan").is_none_or(|text| text == "1");
    !is_partition && range > 1 && scans && !name.starts_with("zram")
}

/// The partitions of a disk that the kernel knows.
pub fn partitions(node: &Path) -> Vec<PartitionNumber> {
    let directory = Path::new("/sys/class/block").join(node.file_name().unwrap_or_default());
    fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path().join("partition")).ok()?.trim_end().parse().ok())
        .map(PartitionNumber)
        .collect()
}

/// The links below /dev/disk to a node.
fn links(node: &Path) -> Vec<PathBuf> {
    let kinds = fs::read_dir("/dev/disk").into_iter().flatten().flatten();
    let mut links: Vec<PathBuf> = kinds
        .flat_map(|kind| fs::read_dir(kind.path()).into_iter().flatten().flatten())
        .map(|link| link.path())
        .filter(|link| fs::canonicalize(link).is_ok_and(|target| target == node))
        .collect();
    links.sort();
    links
}
