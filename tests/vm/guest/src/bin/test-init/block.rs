//! Block devices and mappings, as sysfs and dmsetup tell of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use crate::machine::text;
use crate::words;

/// Every block device by its kernel name.
pub fn devices() -> BTreeMap<String, Value> {
    let list = std::fs::read_dir("/sys/class/block").into_iter().flatten().flatten();
    list.map(|entry| (entry.file_name().to_string_lossy().into_owned(), device(&entry.path()))).collect()
}

fn device(at: &Path) -> Value {
    let line = |name: &str| Some(text(at.join(name)).trim_end().to_string()).filter(|line| !line.is_empty());
    let number = |name: &str| line(name)?.parse::<u64>().ok();
    let names = |directory: &str| {
        let list = std::fs::read_dir(at.join(directory)).into_iter().flatten().flatten();
        let mut names: Vec<_> = list.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    };
    let uevent = text(at.join("uevent"));
    let uevent: BTreeMap<_, _> = uevent.lines().filter_map(|line| line.split_once('=')).collect();
    json!({
        "device": line("dev"),
        // Start and size are in sectors of 512 bytes, with any sectors of the disk.
        "start": number("start"),
        "size": number("size"),
        "partition": number("partition"),
        "ro": number("ro"),
        "logical_block_size": number("queue/logical_block_size"),
        "diskseq": number("diskseq"),
        "uevent": uevent,
        "holders": names("holders"),
        "slaves": names("slaves"),
        "dm": line("dm/name").map(|name| json!({
            "name": name, "uuid": line("dm/uuid"), "suspended": number("dm/suspended"),
        })),
    })
}

/// The table of every mapping by dmsetup of /usr, keys included if it showed any; None without dmsetup or without
/// mappings.
pub fn dm_tables() -> Option<Value> {
    const DMSETUP: &str = "/usr/sbin/dmsetup";
    let mapped = devices().values().any(|device| device.get("dm").is_some_and(|dm| !dm.is_null()));
    (mapped && Path::new(DMSETUP).exists()).then(|| words::run(&[DMSETUP, "table", "--showkeys"]))
}
