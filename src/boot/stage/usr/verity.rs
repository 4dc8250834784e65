//! dm-verity over the partition of /usr, the proof that the root hash is the tree's, and who vouches for it.

use super::signature::{self, Voucher};
use crate::{
    boot::{
        failure::{Failure, OrFail as _},
        machine::{devices::Devices, udev},
    },
    config, image, info,
    sys::{
        block::{BlockDevice, Node},
        dm::{Mapper, MapperError, Mapping, Target},
        keyring::UserKey,
    },
    units::Bytes,
    verity::{self, Options, RootHash, Signature, Superblock, Table, dm_uuid},
    warning,
    writes::ReadAt as _,
};

/// A /usr that is to be mapped.
pub struct Wish<'a> {
    /// The partition that holds it.
    pub data: &'a BlockDevice,
    /// The partition with its hash tree.
    pub hash: &'a BlockDevice,
    /// The root hash of the tree.
    pub root_hash: &'a RootHash,
    /// Its signature, if there is one that counts.
    pub signature: Option<&'a Signature>,
    /// The reason why nothing is mapped unless somebody vouches for the signature; None when nobody has to.
    pub signed: Option<&'static str>,
    /// True when the root hash is the disk's own word, and /usr need not be verified.
    pub optional: bool,
    /// /usr as the command line has it.
    pub config: &'a config::Usr,
}

/// A mapped /usr, and who vouches for its root hash.
pub type Verified = (Mapping, Option<Voucher>);

/// Maps `data` through dm-verity and proves that the root hash is the tree's: the first block is read, which checks its
/// whole path, and the target must still say that it met no corruption. None, with a line in the log: nobody vouches for the disk's
/// own root hash, or it cannot be tried, and nobody demands it.
///
/// # Errors
/// A root hash that does not fit, or that nobody vouches for, a kernel without dm-verity, a device that cannot be read.
pub fn verify(devices: &mut Devices, wish: &Wish<'_>) -> Result<Option<Verified>, Failure> {
    let Wish { data, hash, root_hash, .. } = *wish;
    let (superblock, mapper) = match prepare(devices, wish) {
        Err(failure) if wish.optional => {
            warning!("{}; /usr is not verified, as systemd.image_policy= allows", failure.reason);
            return Ok(None);
        }
        prepared => prepared?,
    };
    let table = |options: &Options, key: Option<&str>| {
        Table::new(&superblock, root_hash, data.number, hash.number, options, key)
    };
    // Corruption options act on the first read already; so the first read comes before them, and a wrong root hash is a
    // failure with a message instead of a panic.
    let plain = Options::default();
    let create = |key: Option<&str>| {
        mapper.create("usr", &dm_uuid(superblock.uuid, "usr"), &target(&table(&plain, key)))
    };
    let (signed, voucher) = match wish.signature {
        None => (None, None),
        Some(signature) => {
            let name = Signature::key_description(superblock.uuid, "usr");
            let by_kernel = by_kernel(&name, signature, &create);
            let voucher = by_kernel.as_ref().map(|_| Voucher::Kernel);
            let voucher = match voucher {
                Ok(voucher) => Some(voucher),
                Err(refusal) => by_certificate(wish, signature, refusal)?,
            };
            if voucher.is_none() && wish.optional {
                return Ok(None);
            }
            (by_kernel.ok().map(|(mapping, key)| (mapping, key, name)), voucher)
        }
    };
    // The kernel looks the key up once more when another table is loaded.
    let (mapping, key) = match signed {
        Some((mapping, key, name)) => (mapping, Some((key, name))),
        None => (
            create(None)
                .or_fail(|| format!("cannot map {} with the hash tree on {}", data.name, hash.name))?,
            None,
        ),
    };
    let corrupt = |detail: String| Failure::new(image::mismatch(&data.name, root_hash, &detail));
    let mut block = vec![0; superblock.data_block_size as usize];
    let node = Node::open(mapping.node()).and_then(|node| {
        // Without it the kernel reads ahead, and a corrupt block behind the first would count or not as it happens.
        node.expect_random_reads()?;
        Ok(node)
    });
    let node = node.or_fail(|| format!("cannot open {}", mapping.node().display()))?;
    node.file().read_exact_at(Bytes(0), &mut block).or_else(|error| match state(&mapper, &mapping)? {
        State::Sound => Err(Failure::new(image::unreadable(silent(data, hash), &error))),
        State::Changed(_) => Err(corrupt(error.to_string())),
    })?;
    if let State::Changed(status) = state(&mapper, &mapping)? {
        return Err(corrupt(format!("dm-verity reports `{status}`")));
    }
    let words = wish.config.verity_options.join(",");
    let (options, unknown) = Options::parse(&words);
    for word in unknown {
        warning!("systemd.verity_usr_options=: {word} is not known and left out");
    }
    if options != plain {
        let name = key.as_ref().map(|(_, name)| name.as_str());
        mapper
            .load(&mapping, &target(&table(&options, name)))
            .or_fail(|| "dm-verity refuses systemd.verity_usr_options=; correct the word".into())?;
    }
    udev::link(&mapping).or_fail(|| format!("cannot link {}", mapping.link().display()))?;
    Ok(Some((mapping, voucher)))
}

/// Reads the superblock of the tree and checks that it may belong to the root hash and to the partitions.
fn prepare(devices: &mut Devices, wish: &Wish<'_>) -> Result<(Superblock, Mapper), Failure> {
    let Wish { data, hash, root_hash, .. } = *wish;
    devices.demand("dm-verity")?;
    let hash_node = Node::open(hash.node()).or_fail(|| format!("cannot open {}", hash.name))?;
    let data_node = Node::open(data.node()).or_fail(|| format!("cannot open {}", data.name))?;
    let sizes = data_node.size().and_then(|data| Ok((data, hash_node.size()?)));
    let (data_size, hash_size) =
        sizes.or_fail(|| format!("cannot measure {} and {}", data.name, hash.name))?;
    let mut bytes = [0; verity::LENGTH];
    let read = hash_node.file().read_exact_at(Bytes(0), &mut bytes).map_err(|error| error.to_string());
    let (data_size, hash_size) = ((data.name.as_str(), data_size), (hash.name.as_str(), hash_size));
    let superblock = image::superblock(root_hash, data_size, hash_size, read.map(|()| bytes.as_slice()))
        .map_err(Failure::new)?;
    let mapper = Mapper::open().or_fail(|| "cannot reach the device-mapper for dm-verity".into())?;
    Ok((superblock, mapper))
}

/// The findings of dm-verity so far.
enum State {
    /// All that could be read is as the tree says.
    Sound,
    /// A block is another one; the status word.
    Changed(String),
}

fn state(mapper: &Mapper, mapping: &Mapping) -> Result<State, Failure> {
    let status = mapper.status(mapping);
    let status = status.or_fail(|| format!("cannot ask dm-verity for the state of {}", mapping.name))?;
    Ok(if status.starts_with('V') { State::Sound } else { State::Changed(status) })
}

/// The device of the two that does not give its first block: by itself the other one does.
fn silent<'d>(data: &'d BlockDevice, hash: &'d BlockDevice) -> &'d str {
    let mut block = [0; 512];
    let read = Node::open(data.node()).and_then(|node| node.file().read_exact_at(Bytes(0), &mut block));
    if read.is_err() { &data.name } else { &hash.name }
}

/// A failure after the mapping was proven, with the reason that dm-verity knows of: a block of /usr was changed.
pub fn explain(mapping: Option<&Mapping>, failure: Failure) -> Failure {
    let Some(mapping) = mapping else { return failure };
    match Mapper::open().map(|mapper| state(&mapper, mapping)) {
        Ok(Ok(State::Changed(_))) => Failure::new(image::changed(&failure.reason)),
        // Then what failed stands for itself.
        _ => failure,
    }
}

fn target(table: &Table) -> Target<'_> {
    Target { kind: Table::TARGET, params: &table.params, length: table.sectors, read_only: true }
}

/// Maps with the signature, which the kernel checks against its own keyrings. Also returns the key that holds it.
fn by_kernel(
    name: &str,
    signature: &Signature,
    create: &dyn Fn(Option<&str>) -> Result<Mapping, MapperError>,
) -> Result<(Mapping, UserKey), String> {
    let key = UserKey::add(name, &signature.pkcs7)
        .map_err(|error| format!("its keyring does not take the signature: {error}"))?;
    create(Some(name)).map(|mapping| (mapping, key)).map_err(|error| error.to_string())
}

/// The certificate of the initramfs that vouches where the kernel does not. None: nobody does, and nobody has to.
fn by_certificate(wish: &Wish<'_>, signature: &Signature, refusal: &str) -> Result<Option<Voucher>, Failure> {
    let by_certificate = match wish.config.user_space_vouches {
        true => signature::certificate(signature),
        false => Err("systemd.allow_userspace_verity=no rules certificates of the initramfs out".into()),
    };
    let name = &wish.data.name;
    match by_certificate {
        Ok(path) => {
            info!(
                "{name}: the kernel does not vouch for the signature of the root hash ({refusal}), {path} does"
            );
            Ok(Some(Voucher::Certificate(path)))
        }
        Err(reason) => {
            let nobody = format!(
                "{name}: nobody vouches for the signature of root hash {}: neither the kernel ({refusal}) nor a \
                 certificate of the initramfs ({reason})",
                wish.root_hash
            );
            if let Some(why) = wish.signed {
                return Err(Failure::new(format!("{nobody}; {why}, sign it")));
            }
            warning!("{nobody}; going on without, as systemd.image_policy= allows");
            Ok(None)
        }
    }
}
