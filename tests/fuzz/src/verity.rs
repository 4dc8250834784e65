//! dm-verity: superblock, root hash, options, and the table that they become; the root hash's signature and its certificate.

use hermetic_init::{
    pkcs7::{Certificate, SignedData},
    units::{Bytes, DeviceNumber},
    verity::{LENGTH, Options, RootHash, Signature, SignatureSource, Superblock, Table, Tree, dm_uuid},
};

use crate::{
    input::{Input, join, text},
    medium::Medium,
};

/// A superblock, then root hash, options and a name.
pub fn verity(data: &[u8]) {
    let mut input = Input::new(data);
    let block: [u8; LENGTH] = input.array();
    let [hash, options, name] = input.parts().map(text);
    let (options, _) = Options::parse(&options);
    let hash = hash.parse::<RootHash>();
    if let Ok(hash) = &hash {
        assert_eq!(hash.to_string().parse().as_ref(), Ok(hash));
    }
    match Superblock::parse(&block) {
        Err(error) => crate::one_line(&error),
        Ok(superblock) => {
            let (data, tree) = (superblock.data_length(), superblock.hash_length());
            assert!(data.0 > 0 && data.0 < 1 << 63 && tree.0 >= LENGTH as u64);
            let name = dm_uuid(superblock.uuid, &name);
            assert!(name.len() <= 128);
            if let Ok(hash) = &hash {
                let fits = hash.bytes().len() == superblock.algorithm.digest_length();
                assert_eq!(superblock.check(hash, data, tree).is_ok(), fits);
                assert!(superblock.check(hash, Bytes(data.0 - 1), tree).is_err());
                let number = DeviceNumber { major: 253, minor: 0 };
                let table = Table::new(&superblock, hash, number, number, &options, None);
                assert_eq!(table.sectors.bytes(), Some(data));
                // The partitions end behind the superblock: a walk ends there, too.
                let (data, hash_partition) =
                    (Medium::new(vec![0; 8192], 8192), Medium::new(block.to_vec(), 65536));
                let tree =
                    Tree { superblock: &superblock, root_hash: hash, data: &data, hash: &hash_partition };
                assert!(tree.verify(&mut |_| {}).is_err());
                assert!(table.params.split(' ').count() >= 9 && !table.params.contains('\n'));
            }
        }
    }
}

pub(crate) fn verity_seeds() -> Vec<Vec<u8>> {
    let superblock = |algorithm: &str, size: u32, blocks: u64, salt: u16| {
        let mut block = vec![0; LENGTH];
        block[..8].copy_from_slice(b"verity\0\0");
        block[8..12].copy_from_slice(&1u32.to_le_bytes());
        block[12..16].copy_from_slice(&1u32.to_le_bytes());
        block[16..32].fill(0x5a);
        block[32..32 + algorithm.len()].copy_from_slice(algorithm.as_bytes());
        block[64..68].copy_from_slice(&size.to_le_bytes());
        block[68..72].copy_from_slice(&size.to_le_bytes());
        block[72..80].copy_from_slice(&blocks.to_le_bytes());
        block[80..82].copy_from_slice(&salt.to_le_bytes());
        block[88..344].fill(7);
        block
    };
    let rest = |digits: usize| {
        join(&["a5".repeat(digits).as_bytes(), b"panic-on-corruption, restart-on-error,what", b"usr"])
    };
    vec![
        [superblock("sha256", 4096, 25600, 32), rest(32)].concat(),
        [superblock("sha512", 512, 1, 0), rest(64)].concat(),
        [superblock("sha384", 1024, 1 << 50, 256), rest(48)].concat(),
    ]
}

const CERTIFICATE: &[u8] = include_bytes!("../../pkcs7/signer.crt");
const SIGNATURES: [&[u8]; 2] =
    [include_bytes!("../../pkcs7/bare.p7s"), include_bytes!("../../pkcs7/attributes.p7s")];

/// A signature and a certificate. Nobody has signed the text that is asked for.
pub fn pkcs7(data: &[u8]) {
    let mut input = Input::new(data);
    let length = usize::from(input.short());
    let rest = input.rest();
    let (signature, certificate) = rest.split_at(length.min(rest.len()));
    let mut certificates = vec![Certificate::from_pem(&text(CERTIFICATE)).expect("a certificate")];
    for read in [Certificate::from_pem(&text(certificate)), Certificate::from_der(certificate)] {
        match read {
            Ok(certificate) => certificates.push(certificate),
            Err(error) => crate::one_line(&error),
        }
    }
    let verified = SignedData::parse(signature).and_then(|data| data.verify(b"unsigned", &certificates));
    crate::one_line(&verified.expect_err("a forged signature"));
}

pub(crate) fn pkcs7_seeds() -> Vec<Vec<u8>> {
    let seed =
        |signature: &&[u8]| [&(signature.len() as u16).to_le_bytes()[..], *signature, CERTIFICATE].concat();
    SIGNATURES.iter().map(seed).collect()
}

/// A signature partition, and the word that names another place.
pub fn verity_signature(data: &[u8]) {
    match Signature::parse(data) {
        Err(error) => crate::one_line(&error),
        Ok(signature) => {
            assert!(!signature.pkcs7.is_empty());
            assert_eq!(signature.signed().parse(), Ok(signature.root_hash));
        }
    }
    if let Some(SignatureSource::Bytes(bytes)) = SignatureSource::parse(&text(data)) {
        assert!(!bytes.is_empty());
    }
}

pub(crate) fn verity_signature_seeds() -> Vec<Vec<u8>> {
    let hash = "a5".repeat(32);
    let object = format!(r#"{{"rootHash":"{hash}","certificateFingerprint":"{hash}","signature":"AQID"}}"#);
    vec![[object.as_bytes(), &[0; 64]].concat(), object.into_bytes(), b"base64:AQID".to_vec(), vec![0; 64]]
}
