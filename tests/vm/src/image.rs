//! A disk image: a sparse file with a GPT that sfdisk wrote and partitions whose content is copied in.

use crate::command;
use crate::toolroot::ToolRoot;
use crate::usr::Usr;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Discoverable partition types (UAPI.2) of x86-64.
pub mod types {
    /// /usr.
    pub const USR: &str = "8484680c-9521-48c6-9c11-b0720656f69e";
    /// The hash tree of /usr.
    pub const USR_VERITY: &str = "77ff5f63-e7b6-4633-acf4-1565b864c0e6";
    /// The root file system.
    pub const ROOT: &str = "4f68bce3-e8cd-4db1-96e7-fbcaf984b709";
    /// Swap space.
    pub const SWAP: &str = "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f";
    /// Home directories.
    pub const HOME: &str = "933ac7e1-2eb4-4f13-b844-0e14e2aef915";
    /// Variable data.
    pub const VAR: &str = "4d21b016-b534-45c2-a9fb-5c16e091fd2d";
    /// The EFI system partition.
    pub const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
    /// A Linux partition of no known use.
    pub const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
}

/// Partitions begin at multiples of this many bytes.
const GRAIN: u64 = 1 << 20;

/// Bytes kept free at the end for the backup table; 33 sectors of 4096 bytes fit.
const BACKUP: u64 = GRAIN;

/// A partition to be.
#[derive(Clone, Debug)]
pub struct Partition {
    /// Type GUID.
    pub kind: String,
    /// Partition GUID.
    pub uuid: String,
    /// Label.
    pub label: String,
    /// Bytes; rounded up to whole grains.
    pub size: u64,
    /// The file that is copied into it.
    pub content: Option<PathBuf>,
    /// True when attribute bit 60 (read-only, UAPI.2) is set.
    pub read_only: bool,
}

impl Partition {
    /// An empty, writable partition.
    #[must_use]
    pub fn empty(kind: &str, uuid: &str, label: &str, size: u64) -> Self {
        Self {
            kind: kind.to_owned(),
            uuid: uuid.to_owned(),
            label: label.to_owned(),
            size,
            content: None,
            read_only: false,
        }
    }

    /// A partition as large as the file whose content it gets.
    ///
    /// # Errors
    /// The file cannot be looked at.
    pub fn of(kind: &str, uuid: &str, label: &str, content: &Path) -> Result<Self> {
        let size =
            fs::metadata(content).with_context(|| format!("cannot look at {}", content.display()))?.len();
        Ok(Self { content: Some(content.to_owned()), ..Self::empty(kind, uuid, label, size) })
    }
}

/// The partitions of a /usr: data and hash tree, named by the halves of the root hash as systemd looks for them
/// (systemd-veritysetup-generator(8)); without verity one partition with a UUID.
///
/// # Errors
/// The image's files are not there.
pub fn usr_partitions(usr: &Usr, label: &str) -> Result<Vec<Partition>> {
    let mut partitions = Vec::new();
    match (usr.root_hash(), usr.hashes()) {
        (Some(root_hash), Some(hashes)) => {
            let (data, tree) = uuids(root_hash)?;
            partitions.push(Partition::of(types::USR, &data, label, &usr.data())?);
            partitions.push(Partition::of(types::USR_VERITY, &tree, &format!("{label}_verity"), &hashes)?);
        }
        _ => partitions.push(Partition::of(types::USR, UNVERIFIED_USR, label, &usr.data())?),
    }
    for partition in &mut partitions {
        partition.read_only = true;
    }
    Ok(partitions)
}

/// The partition GUID of a /usr without a root hash to derive it from.
pub const UNVERIFIED_USR: &str = "5f1c1a86-2a0e-4d3b-9c0e-6f1f0f2f8a11";

/// The GUIDs of the data and the hash partition: the first and the last 128 bits of the root hash.
fn uuids(root_hash: &str) -> Result<(String, String)> {
    let uuid = |hex: &str| -> Option<String> {
        let parts = [hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..32)?];
        Some(parts.join("-"))
    };
    let last = root_hash.len().checked_sub(32).and_then(|from| root_hash.get(from..));
    match (uuid(root_hash), last.and_then(uuid)) {
        (Some(data), Some(tree)) => Ok((data, tree)),
        _ => bail!("`{root_hash}` is too short for two partition UUIDs"),
    }
}

/// A disk to be.
#[derive(Clone, Debug)]
pub struct Image {
    /// Bytes of the whole disk.
    pub size: u64,
    /// Bytes of a logical sector: 512 or 4096.
    pub sector: u32,
    /// GUID of the disk.
    pub uuid: String,
    /// The partitions, in order of place and number.
    pub partitions: Vec<Partition>,
}

impl Image {
    /// A disk of 2 GiB with sectors of 512 bytes.
    #[must_use]
    pub fn new(partitions: Vec<Partition>) -> Self {
        Self {
            size: 2 << 30,
            sector: 512,
            uuid: "0d7b4b6e-7a0c-4c3e-8d5c-3b9a2f6e1c70".to_owned(),
            partitions,
        }
    }

    /// Writes the image into a new sparse file, or over an old one.
    ///
    /// # Errors
    /// The partitions do not fit, sfdisk fails, or the file cannot be written.
    pub fn write(&self, tools: &ToolRoot, path: &Path) -> Result<()> {
        let places = self.places()?;
        let mut file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        file.set_len(self.size)?;
        for (partition, place) in self.partitions.iter().zip(&places) {
            if let Some(content) = &partition.content {
                let mut source =
                    File::open(content).with_context(|| format!("cannot read {}", content.display()))?;
                file.seek(SeekFrom::Start(place.start))?;
                io::copy(&mut source, &mut file)?;
            }
        }
        drop(file);
        write_table(tools, path, self.sector, &[], &self.script(&places))
    }

    /// The start and length of each partition in bytes.
    fn places(&self) -> Result<Vec<Place>> {
        let mut next = GRAIN;
        let mut places = Vec::new();
        for partition in &self.partitions {
            let length = partition.size.next_multiple_of(GRAIN);
            places.push(Place { start: next, length });
            next += length;
        }
        if next + BACKUP > self.size {
            bail!(
                "a disk of {} bytes is too small: its partitions and tables need {}",
                self.size,
                next + BACKUP
            );
        }
        Ok(places)
    }

    /// The table as sfdisk(8) reads it.
    fn script(&self, places: &[Place]) -> String {
        let sector = u64::from(self.sector);
        let mut script = format!("label: gpt\nlabel-id: {}\nunit: sectors\n", self.uuid);
        for (partition, place) in self.partitions.iter().zip(places) {
            let attributes = if partition.read_only { ", attrs=\"GUID:60\"" } else { "" };
            script += &format!(
                "start={}, size={}, type={}, uuid={}, name=\"{}\"{attributes}\n",
                place.start / sector,
                place.length / sector,
                partition.kind,
                partition.uuid,
                partition.label,
            );
        }
        script
    }
}

/// Adds a partition behind all others of a disk with sectors of 512 bytes, and says in which entry.
///
/// # Errors
/// There is no room for it.
pub fn append(tools: &ToolRoot, path: &Path, partition: &Partition) -> Result<usize> {
    let Partition { kind, uuid, label, size, content, .. } = partition;
    let sectors = size.next_multiple_of(GRAIN) / 512;
    let row = format!("size={sectors}, type={kind}, uuid={uuid}, name=\"{label}\"\n");
    write_table(tools, path, 512, &["--append"], &row)?;
    let table = command::output(tools.tool("sfdisk")?.arg("--json").arg(path))?;
    let table: serde_json::Value = serde_json::from_str(&table)?;
    let rows = table.pointer("/partitiontable/partitions").and_then(serde_json::Value::as_array);
    let rows = rows.context("sfdisk lists no partitions")?;
    let start = rows.last().and_then(|row| row.get("start")?.as_u64()).context("sfdisk names no place")?;
    if let Some(content) = content {
        overwrite(path, 512 * start, &fs::read(content)?)?;
    }
    Ok(rows.len())
}

/// Makes a disk with sectors of 512 bytes larger, and adds partitions behind all others, as many as its table takes.
///
/// # Errors
/// sfdisk refuses them.
pub fn widen(tools: &ToolRoot, path: &Path, partitions: &[Partition]) -> Result<()> {
    let more: u64 = partitions.iter().map(|partition| partition.size.next_multiple_of(GRAIN)).sum();
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(file.metadata()?.len() + more + GRAIN)?;
    drop(file);
    command::run(
        tools
            .tool("sfdisk")?
            .args(["--quiet", "--no-reread", "--no-tell-kernel", "--relocate", "gpt-bak-std"])
            .arg(path),
    )?;
    let mut rows = String::new();
    for Partition { kind, uuid, label, size, .. } in partitions {
        let sectors = size.next_multiple_of(GRAIN) / 512;
        rows += &format!("size={sectors}, type={kind}, uuid={uuid}, name=\"{label}\"\n");
    }
    write_table(tools, path, 512, &["--append"], &rows)
}

/// Has sfdisk write the table of a script, or change it by one.
fn write_table(tools: &ToolRoot, path: &Path, sector: u32, words: &[&str], script: &str) -> Result<()> {
    let mut sfdisk = tools.tool("sfdisk")?;
    sfdisk.args(["--quiet", "--no-reread", "--no-tell-kernel", "--wipe", "never"]).args(words);
    sfdisk.args(["--sector-size", &sector.to_string()]).arg(path);
    let mut child = sfdisk
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start sfdisk")?;
    child.stdin.take().context("sfdisk has no input")?.write_all(script.as_bytes())?;
    let result = child.wait_with_output().context("cannot wait for sfdisk")?;
    if !result.status.success() {
        let said = String::from_utf8_lossy(&result.stderr);
        bail!("sfdisk refused the table of {}:\n{}\n{script}", path.display(), command::tail(&said));
    }
    Ok(())
}

/// The place of a partition in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    start: u64,
    length: u64,
}

/// Copies an image with its holes, sharing blocks where the file system can.
///
/// # Errors
/// cp fails.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = std::process::Command::new("cp");
    command::run(cp.args(["--sparse=always", "--reflink=auto"]).arg(from).arg(to))
}

/// Reads or changes bytes of a disk: as a stranger with the disk in hand would.
///
/// # Errors
/// The disk cannot be opened or written.
pub fn overwrite(disk: &Path, offset: u64, bytes: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .open(disk)
        .with_context(|| format!("cannot open the disk {}", disk.display()))?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes).with_context(|| format!("cannot write to the disk {}", disk.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_uuids_are_the_ends_of_the_root_hash() {
        let hash = "00112233445566778899aabbccddeeff0123456789abcdef0011223344556677";
        let (data, tree) = uuids(hash).unwrap();
        assert_eq!(data, "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(tree, "01234567-89ab-cdef-0011-223344556677");
        assert!(uuids("0011").is_err());
    }

    #[test]
    fn places_are_whole_grains_and_leave_room_for_the_backup() {
        let part = |size| Partition::empty(types::LINUX, UNVERIFIED_USR, "p", size);
        let mut image = Image { size: 8 << 20, ..Image::new(vec![part(1), part(3 << 20)]) };
        let places = image.places().unwrap();
        assert_eq!(places[1], Place { start: 2 << 20, length: 3 << 20 });
        image.size = 5 << 20;
        assert!(image.places().is_err());
    }

    #[test]
    fn script_counts_in_sectors() {
        let part = Partition { read_only: true, ..Partition::empty("T", "U", "usr", 1 << 20) };
        let image = Image { sector: 4096, uuid: "D".into(), ..Image::new(vec![part]) };
        let script = image.script(&image.places().unwrap());
        assert_eq!(
            script,
            "label: gpt\nlabel-id: D\nunit: sectors\n\
             start=256, size=256, type=T, uuid=U, name=\"usr\", attrs=\"GUID:60\"\n"
        );
    }
}
