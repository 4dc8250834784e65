//! The sources that are copied block by block into new partitions (`CopyBlocks=`, `--copy-from=`), opened before
//! anything is planned: the size of a source decides how large its partition gets.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use hermetic_init::{
    disk::{
        gpt::Gpt,
        partition::Partition,
        types::{self, Identifier, Role},
    },
    repart::{CopyBlocks, Definition},
};
use rustix::fs::OFlags;
use uuid::Uuid;

use super::{
    Failure,
    args::Choices,
    disk::{Disk, disk_of},
    medium::Output,
};

/// Something to be copied.
pub struct Source {
    file: File,
    path: PathBuf,
    offset: u64,
    /// None for a device without an end, which fills the partition.
    length: Option<u64>,
}

/// The sources of definitions, by their place.
pub type Sources = BTreeMap<usize, Source>;

impl Source {
    /// Copies onto `disk` at `offset`, at most `length` bytes. Zeroes are not written when the target is known to read
    /// as zeroes already.
    pub fn copy(&self, disk: &dyn Output, offset: u64, length: u64, sparse: bool) -> Result<(), Failure> {
        let failure =
            |error| Failure::new(format!("Failed to copy in data from '{}': {error}", self.path.display()));
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        let total = self.length.unwrap_or(length).min(length);
        while done < total {
            let chunk = (total - done).min(buffer.len() as u64) as usize;
            let part = buffer.get_mut(..chunk).unwrap_or_default();
            match self.length {
                Some(_) => self.file.read_exact_at(part, self.offset + done).map_err(failure)?,
                // A character device has no offsets.
                None => (&self.file).read_exact(part).map_err(failure)?,
            }
            if !sparse || part.iter().any(|byte| *byte != 0) {
                disk.put(offset + done, part).map_err(failure)?;
            }
            done += chunk as u64;
        }
        Ok(())
    }
}

/// Opens the sources of the definitions whose partition does not exist yet, and gives them the sizes.
pub fn open(
    definitions: &mut [Definition],
    existing: &[bool],
    sources: &mut Sources,
    choices: &Choices,
) -> Result<(), Failure> {
    for (position, (definition, exists)) in definitions.iter_mut().zip(existing).enumerate() {
        if *exists || sources.contains_key(&position) {
            continue;
        }
        let source = match &definition.copy_blocks {
            None => continue,
            Some(CopyBlocks::Path(path)) => named(path, choices)?,
            Some(CopyBlocks::Auto) => {
                let (source, guid) = automatic(definition.type_guid, choices)?;
                // The partition keeps its identity, unless the definition gives it another.
                definition.uuid.get_or_insert(guid);
                source
            }
        };
        definition.copy_size = source.length;
        sources.insert(position, source);
    }
    Ok(())
}

/// A file, a device, or the device below a directory.
fn named(path: &str, choices: &Choices) -> Result<Source, Failure> {
    let failure = |error: std::io::Error| Failure::new(format!("Failed to open '{path}': {error}"));
    let inside = match &choices.root {
        Some(root) => within(root, path).map_err(failure)?,
        None => PathBuf::from(path),
    };
    let open =
        |path: &Path| OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    let mut file = open(&inside).map_err(failure)?;
    let mut path = fs::canonicalize(&inside).map_err(failure)?;
    let metadata = file.metadata().map_err(failure)?;
    let confined = choices.root.is_some() || choices.image.is_some();
    if confined && !metadata.is_file() {
        return Err(Failure::new(
            "Copying from block device node is not permitted in --image=/--root= mode, refusing.",
        ));
    }
    if metadata.is_dir() {
        let (major, minor) = (rustix::fs::major(metadata.dev()), rustix::fs::minor(metadata.dev()));
        let device = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).map_err(failure)?;
        path = Path::new("/dev").join(device.file_name().unwrap_or_default());
        file = open(&path).map_err(failure)?;
    }
    let kind = file.metadata().map_err(failure)?.file_type();
    let length = if kind.is_file() || kind.is_block_device() {
        Some(file.seek(SeekFrom::End(0)).map_err(failure)?)
    } else if kind.is_char_device() {
        None
    } else {
        return Err(Failure::new(format!(
            "Specified path to copy blocks from '{}' is not a regular file, block device or directory, refusing.",
            path.display()
        )));
    };
    match length {
        Some(0) => Err(Failure::new(format!(
            "File to copy bytes from '{}' has zero size, refusing.",
            path.display()
        ))),
        Some(length) if length % 512 != 0 => Err(Failure::new(format!(
            "File to copy bytes from '{}' has size that is not multiple of 512, refusing.",
            path.display()
        ))),
        length => Ok(Source { file, path, offset: 0, length }),
    }
}

/// `path` below `root`, links resolved as if `root` were the root directory, so that none leads out of it.
fn within(root: &Path, path: &str) -> std::io::Result<PathBuf> {
    use rustix::fs::{Mode, ResolveFlags, openat2};
    let root = File::open(root)?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(&root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found)))
}

/// `CopyBlocks=auto`: the partition of this type in the image, or the one that is mounted where the type belongs.
fn automatic(type_guid: Uuid, choices: &Choices) -> Result<(Source, Uuid), Failure> {
    if choices.root.is_some() {
        return Err(Failure::new(
            "Automatic discovery of backing block devices not permitted in --root= mode, refusing.",
        ));
    }
    let places: &[&str] = match (types::role(type_guid), type_guid) {
        (Some(Role::Root | Role::RootVerity), _) => &["/"],
        (Some(Role::Usr | Role::UsrVerity), _) => &["/usr"],
        (_, types::ESP) => &["/efi", "/boot"],
        (_, types::XBOOTLDR) => &["/boot"],
        _ => {
            return Err(Failure::new(format!(
                "Partition type {} not supported from automatic source block device discovery.",
                Identifier(type_guid)
            )));
        }
    };
    let path = match &choices.image {
        Some(image) => image.clone(),
        None => mounted(places).ok_or_else(|| {
            Failure::new(format!(
                "Failed to resolve automatic CopyBlocks= path for partition type {}, sorry.",
                Identifier(type_guid)
            ))
        })?,
    };
    let disk = table(&path)?;
    let mut matching = disk.partitions.iter().filter(|partition| partition.type_guid == type_guid);
    match (matching.next(), matching.next()) {
        (Some(partition), None) => {
            let offset = partition.offset(disk.block_size).0;
            let length = Some(partition.length(disk.block_size).0);
            Ok((Source { file: disk.file, path, offset, length }, partition.guid))
        }
        (None, _) => {
            Err(Failure::new("Unable to automatically discover suitable partition to copy blocks from."))
        }
        (Some(_), Some(_)) => Err(Failure::new("Multiple matching partitions found, refusing.")),
    }
}

/// The disk below the first of these directories that is a mount point.
fn mounted(places: &[&str]) -> Option<PathBuf> {
    places.iter().find_map(|place| {
        let here = fs::metadata(place).ok()?;
        let above = fs::metadata(Path::new(place).join("..")).ok()?;
        let is_mount_point = *place == "/" || here.dev() != above.dev();
        let name = disk_of(here.dev()).ok()??;
        is_mount_point.then(|| Path::new("/dev").join(name))
    })
}

/// A disk that is only read.
struct Table {
    file: File,
    block_size: u32,
    partitions: Vec<Partition>,
}

fn table(path: &Path) -> Result<Table, Failure> {
    let disk = Disk::source(path)?;
    let gpt = Gpt::read(&disk.file, disk.geometry())
        .map_err(|error| Failure::new(format!("Cannot copy from disk {}: {error}", path.display())))?;
    let file = disk.file.try_clone().map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok(Table { file, block_size: disk.block_size, partitions: gpt.partitions().to_vec() })
}

/// A definition for each partition of the images that are copied whole, in front of all others.
pub fn images(choices: &Choices, sources: &mut Sources) -> Result<Vec<Definition>, Failure> {
    let mut definitions = Vec::new();
    for path in &choices.copy_from {
        if !path.is_file() {
            return Err(Failure::new(format!("{} is not a file.", path.display())));
        }
        let table = table(path)?;
        let filter = choices.types.filter();
        for partition in table.partitions.iter().filter(|partition| filter.passes(partition.type_guid)) {
            let size = partition.length(table.block_size).0;
            let padding = padding(&table, partition);
            let file = table.file.try_clone();
            let file = file.map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
            let offset = partition.offset(table.block_size).0;
            sources
                .insert(definitions.len(), Source { file, path: path.clone(), offset, length: Some(size) });
            definitions.push(Definition {
                file: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
                path: path.display().to_string(),
                uuid: Some(partition.guid),
                label: Some(partition.label.clone()).filter(|label| !label.is_empty()),
                size_min: Some(size),
                size_max: Some(size),
                padding_min: Some(padding),
                padding_max: Some(padding),
                copy_blocks: Some(CopyBlocks::Path(path.display().to_string())),
                copy_size: Some(size),
                flags: partition.attributes,
                ..Definition::of_type(partition.type_guid)
            });
        }
    }
    Ok(definitions)
}

/// The space between a partition of an image and the next one; none behind the last.
fn padding(table: &Table, partition: &Partition) -> u64 {
    let next =
        table.partitions.iter().map(|other| other.first.0).filter(|first| *first > partition.last.0).min();
    let blocks = next.map_or(0, |next| next.saturating_sub(partition.last.0.saturating_add(1)));
    blocks.saturating_mul(table.block_size.into())
}
