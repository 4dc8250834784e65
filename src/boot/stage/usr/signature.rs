//! The signature of /usr's root hash: the place that it is read from, and the certificate of the initramfs that vouches for it.

use std::{fmt, fs::File, os::fd::AsFd as _};

use crate::{
    boot::disks::Disk,
    fragments::search,
    pkcs7::{Certificate, Pkcs7Error, SignedData},
    sys::block::{BlockDevice, Node},
    tree::{
        Tree,
        read::{self, Limit},
    },
    units::{Bytes, PartitionNumber},
    verity::{RootHash, SIGNATURE_PARTITION_MAX, Signature, SignatureError, SignatureSource},
    warning,
    writes::ReadAt as _,
};

/// The largest signature in a file; a kernel takes 32,767 bytes.
const LIMIT: Limit = Limit::bytes(1 << 15);
/// The reasons that a line names; the rest is counted.
const NAMED: usize = 3;

/// The partitions that are read. A disk has one for each slot, and those of the slot come first.
const READ: usize = 16;

/// A signature and its place.
pub struct Signed {
    pub signature: Signature,
    /// The partition that it stands in, if it stands in one.
    pub partition: Option<BlockDevice>,
}

/// The signature for this root hash from where `source` says; without a root hash the first that there is. None: nothing holds
/// one.
///
/// # Errors
/// Something is there, and it is not it: the reason.
pub fn find(
    source: &SignatureSource,
    disk: Option<&Disk>,
    partitions: &[PartitionNumber],
    root_hash: Option<&RootHash>,
) -> Result<Option<Signed>, String> {
    let given = |bytes: Vec<u8>, place: &str| match root_hash {
        None => Err(format!("{place}: there is no usrhash= that it could be for; add it")),
        Some(root_hash) => Signature::of(root_hash, bytes)
            .map(|signature| Some(Signed { signature, partition: None }))
            .map_err(|error| format!("{place}: {error}")),
    };
    match source {
        SignatureSource::File(path) => {
            let bytes = File::open(path)
                .and_then(|file| Ok(read::whole(file, LIMIT)?))
                .map_err(|error| format!("cannot read {path} of the initramfs: {error}"))?;
            given(bytes, path)
        }
        SignatureSource::Bytes(bytes) => given(bytes.clone(), "root-hash-signature="),
        SignatureSource::Discovered | SignatureSource::Partition => match disk {
            Some(disk) => on(disk, partitions, root_hash),
            None => Ok(None),
        },
    }
}

/// The first of these partitions that holds the signature.
fn on(
    disk: &Disk,
    partitions: &[PartitionNumber],
    root_hash: Option<&RootHash>,
) -> Result<Option<Signed>, String> {
    let mut reasons = Vec::new();
    for entry in partitions.iter().take(READ).filter_map(|number| disk.gpt.partition(*number)) {
        let read = disk.partition(entry).map_err(|failure| failure.reason).and_then(|device| {
            let signature = read_partition(&device).map_err(|reason| format!("{}: {reason}", device.name))?;
            Ok(Signed { signature, partition: Some(device) })
        });
        match (read, root_hash) {
            (Ok(Signed { signature, partition }), Some(root_hash)) if signature.root_hash != *root_hash => {
                let name = partition.map(|device| device.name).unwrap_or_default();
                reasons.push(format!("{name} is for root hash {}", signature.root_hash));
            }
            (Ok(signed), _) => return Ok(Some(signed)),
            (Err(reason), _) => reasons.push(reason),
        }
    }
    let rest = reasons.len().saturating_sub(NAMED);
    reasons.truncate(NAMED);
    if rest > 0 {
        reasons.push(format!("{rest} more"));
    }
    if reasons.is_empty() { Ok(None) } else { Err(reasons.join(", ")) }
}

fn read_partition(device: &BlockDevice) -> Result<Signature, String> {
    let node = Node::open(device.node()).map_err(|error| format!("cannot open it: {error}"))?;
    let size = node.size().map_err(|error| format!("cannot measure it: {error}"))?;
    if size > SIGNATURE_PARTITION_MAX {
        return Err(SignatureError::TooLarge.to_string());
    }
    let mut bytes = vec![0; size.0 as usize];
    node.file().read_exact_at(Bytes(0), &mut bytes).map_err(|error| format!("cannot read it: {error}"))?;
    Signature::parse(&bytes).map_err(|error| error.to_string())
}

/// The one that vouches for the root hash of a mapping.
pub enum Voucher {
    /// The kernel, by a certificate in its keyrings.
    Kernel,
    /// A certificate of the initramfs; its path.
    Certificate(String),
}

impl fmt::Display for Voucher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("the kernel"),
            Self::Certificate(path) => f.write_str(path),
        }
    }
}

/// Finds the certificate of the initramfs whose key made the signature; returns its path.
///
/// # Errors
/// There is none: the reason.
pub fn certificate(signature: &Signature) -> Result<String, String> {
    let root = File::open("/").map_err(|error| format!("cannot open /: {error}"))?;
    let tree = Tree::whole(root.as_fd());
    let found = search::find_certificates(&tree, "verity.d")
        .map_err(|error| format!("cannot {} {}: {}", error.step, error.path, error.errno))?;
    let (mut paths, mut certificates) = (Vec::new(), Vec::new());
    for file in found {
        let certificate = match file.read(&tree) {
            // Nothing in it hides a file of the same name in a directory that counts less.
            Ok(None) => continue,
            Ok(Some(text)) if text.is_empty() => continue,
            Ok(Some(text)) => {
                Certificate::from_pem(&String::from_utf8_lossy(&text)).map_err(|error| error.to_string())
            }
            Err(errno) => Err(errno.to_string()),
        };
        match certificate {
            Ok(certificate) => {
                paths.push(file.path);
                certificates.push(certificate);
            }
            Err(error) => warning!("{}: {error}; it vouches for nothing", file.path),
        }
    }
    if certificates.is_empty() {
        return Err("the initramfs has no certificate in /usr/lib/verity.d; add it with \
                    `hermetic initramfs --verity-certificate`"
            .into());
    }
    let data = SignedData::parse(&signature.pkcs7).map_err(|error| format!("its signature: {error}"))?;
    match (data.verify(signature.signed().as_bytes(), &certificates), &signature.fingerprint) {
        (Ok(index), _) => Ok(paths.get(index).cloned().unwrap_or_default()),
        (Err(error @ Pkcs7Error::UnknownSigner), Some(fingerprint)) => {
            Err(format!("its signature: {error} (SHA-256 {fingerprint})"))
        }
        (Err(error), _) => Err(format!("its signature: {error}")),
    }
}
