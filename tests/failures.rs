//! The page of failures has every line of the program, and no line that the program has not.

#[path = "failures/lines.rs"]
mod lines;

use lines::{lines, shape, shapes};
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms whose texts a boot shows. Those of tmpfiles.d and sysusers.d are systemd's own words, and end no boot.
const ROOMS: [&str; 15] = [
    "boot", "config", "disk", "etc", "furnish", "image", "luks", "mkfs", "pkcs7", "populate", "repart",
    "sys", "tpm", "tree", "verity",
];

/// Texts of three words and more that are no line: names of keys and disks in a line, questions, announcements, records.
const NO_LINES: [&str; 51] = [
    "has reset this system.",
    "Waiting for somebody to look (panic=0).",
    "Rebooting in … s….",
    "Powering off in … s….",
    "Halting in … s….",
    "Panicking in … s….",
    "(… boots have failed in a row)",
    "hermetic-init … stage … reason …",
    "mount --bind /dev/null /proc/diskstats && exec \"$0\" \"$@\"",
    "reboot(2) would end the machine",
    "an end of the machine",
    "the credential system.machine_id",
    "the hypervisor's product UUID",
    "S:mapper/… S:disk/by-id/dm-name-… S:disk/by-id/dm-uuid-… I:… E:DM_UDEV_PRIMARY_SOURCE_FLAG=1 E:DM_UDEV_DISABLE_LIBRARY_FALLBACK_FLAG=1 E:DM_UDEV_RULES_VSN=3 E:DM_ACTIVATION=1 E:DM_NAME=… E:DM_UUID=… E:DM_SUSPENDED=0 G:systemd Q:systemd V:1",
    "It opens this system when the TPM does not, and is shown only now: write it down.",
    "root new on a tmpfs",
    "below an overlay",
    "/usr with root hash …",
    "…: no /usr has version … of the kernel image; taking the newest, …",
    "the firmware's disk",
    "the only disk with it, though not the firmware's",
    "the only disk with it",
    "/usr verified on …, signed: … vouches for it",
    "/usr verified on …",
    "/usr unverified on …",
    "a key file",
    "the credential cryptsetup.passphrase",
    "somebody who types a passphrase or a recovery key",
    "Passphrase or recovery key",
    "a TPM2 token that needs no PIN",
    "the credential cryptsetup.tpm2-pin",
    "somebody who types the PIN of a TPM2 token",
    "TPM2 PIN for … (nothing: another key)",
    "| word | default | what it does | |---|---|---|",
    "rd.emergency=, then systemd.crash_action=, then",
    "debug with `debug`, err with `quiet`, else",
    "the file system",
    "see how full",
    "hermetic-init /etc manifest 1",
    "hermetic-init /etc journal 1",
    "-----BEGIN X509 CERTIFICATE-----",
    "safe to call since Rust 1.94",
    "an end of the wait",
    "the key that signs for PCR …",
    "PCR … (…) as they are now…",
    "with the reference …",
    "cryptsetup luksConvertKey --pbkdf-memory",
    "cryptsetup luksConvertKey --iter-time",
    "data block size",
    "hash block size",
    "number of data blocks",
];

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn page() -> String {
    fs::read_to_string(repository().join("docs/reference/failures.md")).unwrap()
}

/// The sources of the rooms that are no tests.
fn sources() -> Vec<(PathBuf, String)> {
    let mut open: Vec<PathBuf> = ROOMS.iter().map(|room| repository().join("src").join(room)).collect();
    let mut found = Vec::new();
    while let Some(place) = open.pop() {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.extend(Some(path).filter(|path| !path.ends_with("tests")));
            } else if path.file_name().is_some_and(|name| name != "tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    found
}

/// The entries of the page: what stands in backticks in the first column of its tables.
fn entries(page: &str) -> Vec<&str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.flat_map(|(cell, _)| cell.split("`<br>`")).map(|entry| entry.trim_matches(['`', ' '])).collect()
}

/// The lines of a source that have no entry.
fn missing(source: &str, entries: &[&str]) -> Vec<String> {
    let has_entry = |line: &String| entries.iter().any(|entry| entry.contains(line.trim_matches(['`', ' '])));
    let is_line = |line: &String| !NO_LINES.contains(&line.as_str());
    lines(source).into_iter().filter(|line| is_line(line) && !has_entry(line)).collect()
}

#[test]
fn every_line_has_its_entry() {
    let page = page();
    let entries = entries(&page);
    assert!(entries.len() > 400, "{} entries: the tables have gone", entries.len());
    let gaps: Vec<String> = sources()
        .iter()
        .flat_map(|(path, source)| {
            let gap =
                |line: String| format!("{}: {line}", path.strip_prefix(repository()).unwrap().display());
            missing(source, &entries).into_iter().map(gap)
        })
        .collect();
    assert!(gaps.is_empty(), "docs/reference/failures.md has no entry for\n{}", gaps.join("\n"));
}

#[test]
fn every_entry_is_a_line() {
    let page = page();
    let known: Vec<String> = sources().iter().flat_map(|(_, source)| shapes(source)).collect();
    let is_strange = |entry: &&str| known.iter().all(|line| line.trim_matches(['`', ' ']) != *entry);
    // The first one is all of a kind.
    let strange: Vec<&str> = entries(&page).into_iter().skip(1).filter(is_strange).collect();
    assert_eq!(strange, Vec::<&str>::new());
    let stale: Vec<_> = NO_LINES.iter().filter(|text| !known.iter().any(|line| line == *text)).collect();
    assert_eq!(stale, Vec::<&&str>::new());
}

/// An entry that is taken away and a line that is added are found.
#[test]
fn planted_gaps_are_found() {
    let page = page();
    let entries = entries(&page);
    let mut fewer = entries.clone();
    let gone = fewer.remove(entries.len() / 2);
    let found = |entries: &[&str]| -> Vec<String> {
        sources().iter().flat_map(|(_, source)| missing(source, entries)).collect()
    };
    let gone_lines = found(&fewer);
    assert!(gone_lines.iter().any(|line| line.contains(gone)), "{gone}: {gone_lines:?}");
    let planted = "fn f() -> Failure { Failure::new(format!(\"{name}: the disk is on fire; put it out\")) }";
    assert_eq!(missing(planted, &entries), ["…: the disk is on fire; put it out"]);
    let silent = "fn f() { info!(\"the disk is on fire\"); debug!(\"{}\", g(\"as {} other one\")) }\n#[cfg(test)]\nmod tests { \"a b c\" }";
    assert_eq!(missing(silent, &entries), Vec::<String>::new());
}

#[test]
fn the_shape_of_a_line_has_no_names() {
    assert_eq!(shape("{name}: {} \\\"is\\\" {first} {second}, {{not}}"), "…: … \"is\" …, {not}");
    assert_eq!(shape("one \\\n      line"), "one line");
}
