//! dm-verity over the partition of /usr, and the proof that the root hash is the tree's.

use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::{devices::Devices, udev},
    },
    config::Verity,
    sys::{
        block::{BlockDevice, Node},
        dm::{Mapper, Mapping, Target},
    },
    units::Bytes,
    verity::{self, Options, Superblock, Table, dm_uuid},
    warning,
    writes::ReadAt as _,
};

/// Maps `data` through dm-verity and proves that the root hash is the tree's: the first block is read, which checks its
/// whole path, and the target must still say that it met no corruption.
///
/// # Errors
/// A root hash that does not fit, a kernel without dm-verity, a device that cannot be read.
pub fn verify(
    devices: &mut Devices,
    data: &BlockDevice,
    hash: &BlockDevice,
    Verity { root_hash, options: words, .. }: &Verity,
) -> Result<Mapping, Failure> {
    devices.demand("dm-verity")?;
    let hash_node = Node::open(hash.node()).or_fail(|| format!("cannot open {}", hash.name))?;
    let data_node = Node::open(data.node()).or_fail(|| format!("cannot open {}", data.name))?;
    let sizes = data_node.size().and_then(|data| Ok((data, hash_node.size()?)));
    let (data_size, hash_size) =
        sizes.or_fail(|| format!("cannot measure {} and {}", data.name, hash.name))?;
    let superblock = read_superblock(&hash_node)
        .or_fail(|| format!("{}: cannot read the verity superblock", hash.name))?;
    superblock
        .check(root_hash, data_size, hash_size)
        .or_fail(|| format!("{}: its hash tree on {} is not for it", data.name, hash.name))?;
    let mapper = Mapper::open().or_fail(|| "cannot reach the device-mapper for dm-verity".into())?;
    // Corruption options act on the first read already; so the first read comes before them, and a wrong root hash is a
    // failure with a message instead of a panic.
    let plain = Options::default();
    let table = Table::new(&superblock, root_hash, data.number, hash.number, &plain);
    let target =
        Target { kind: Table::TARGET, params: &table.params, length: table.sectors, read_only: true };
    let mapping = mapper
        .create("usr", &dm_uuid(superblock.uuid, "usr"), &target)
        .or_fail(|| format!("cannot map {} with the hash tree on {}", data.name, hash.name))?;
    let corrupt = |detail: String| {
        let reason = format!(
            "{} does not match root hash {root_hash}: {detail}; /usr, its hash tree or the command line was changed, \
             write the image anew",
            data.name
        );
        Failure::new(reason)
    };
    let mut block = vec![0; superblock.data_block_size as usize];
    Node::open(mapping.node())
        .and_then(|node| {
            // Without it the kernel reads ahead, and a corrupt block behind the first would count or not as it happens.
            node.expect_random_reads()?;
            node.file().read_exact_at(Bytes(0), &mut block)
        })
        .map_err(|error| corrupt(error.to_string()))?;
    let status = mapper
        .status(&mapping)
        .or_fail(|| format!("cannot ask dm-verity for the state of {}", mapping.name))?;
    if !status.starts_with('V') {
        return Err(corrupt(format!("dm-verity reports `{status}`")));
    }
    let words = words.join(",");
    let (options, unknown) = Options::parse(&words);
    for word in unknown {
        warning!("systemd.verity_usr_options=: {word} is not known and left out");
    }
    if options != plain {
        let table = Table::new(&superblock, root_hash, data.number, hash.number, &options);
        let target = Target { params: &table.params, ..target };
        mapper
            .load(&mapping, &target)
            .or_fail(|| "dm-verity refuses systemd.verity_usr_options=; correct the word".into())?;
    }
    udev::link(&mapping).or_fail(|| format!("cannot link {}", mapping.link().display()))?;
    Ok(mapping)
}

fn read_superblock(hash: &Node) -> Result<Superblock, String> {
    let mut bytes = [0; verity::LENGTH];
    hash.file().read_exact_at(Bytes(0), &mut bytes).map_err(|error| error.to_string())?;
    Superblock::parse(&bytes).map_err(|error| error.to_string())
}
