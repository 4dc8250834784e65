//! LUKS2 headers: raw, and in copies with valid checksums, so that the checks behind them are reached.

use std::sync::OnceLock;

use hermetic_init::{
    luks::{self, Budget, FormatParams, Header, LuksError, NewKdf, SegmentSize},
    secret::Secret,
    units::{Bytes, DeviceNumber},
    writes::Write,
};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{input::Input, medium::Medium};

/// The binary header of a copy.
const BINARY: usize = 4096;
/// The lengths that a copy may have; the first is the usual one.
const SIZES: [usize; 3] = [0x4000, 0x8000, 0x1_0000];
const PASSPHRASE: &[u8] = b"a key file of the right length, 32";
/// The size of the volume.
const SIZE: u64 = 32 << 20;

/// A volume that opens, and its key.
fn volume() -> &'static (Medium, Vec<u8>) {
    static VOLUME: OnceLock<(Medium, Vec<u8>)> = OnceLock::new();
    VOLUME.get_or_init(|| {
        let mut state = 1u64;
        let mut random = |buffer: &mut [u8]| {
            for byte in buffer {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 56) as u8;
            }
        };
        let (writes, key) = luks::format(FormatParams {
            uuid: Uuid::from_u128(7),
            label: "root",
            subsystem: "",
            sector_size: 4096,
            allow_discards: false,
            passphrase: &Secret::new(PASSPHRASE.to_vec()),
            kdf: NewKdf::for_key_file(PASSPHRASE.len()),
            random: &mut random,
            device_size: Bytes(SIZE),
        })
        .expect("the parameters are right");
        let mut disk = Medium::new(Vec::new(), SIZE);
        writes.0.iter().for_each(|write| disk.write(write));
        // Behind the first keyslot are zeroes alone.
        disk.truncate(1 << 19);
        (disk, key.key.expose().to_vec())
    })
}

/// A disk as it is.
pub fn luks_header(data: &[u8]) {
    let mut input = Input::new(data);
    let correct = input.byte() & 1 == 0;
    let mut disk = Medium::new(input.rest().to_vec(), SIZE);
    if correct && let Some(size) = disk.data.get(8..16) {
        let size = u64::from_be_bytes(size.try_into().expect("eight bytes")) as usize;
        for at in [0, size] {
            if SIZES.contains(&size) && disk.data.len() > at {
                disk.data.resize(disk.data.len().max(at + size), 0);
                correct_checksum(&mut disk.data[at..at + size]);
            }
        }
    }
    look(&disk);
    // With any claims of a header, erasing it stays in the device and covers at least the usual length.
    for write in luks::erase(&disk, Bytes(SIZE)).0 {
        let (offset, length) = match write {
            Write::Zero { offset, length } => (offset, length.0),
            Write::Data { offset, data } => (offset, data.len() as u64),
            Write::Barrier => continue,
        };
        assert!(offset.0 + length <= SIZE, "{length} at {offset:?}");
    }
    assert!(luks::erase(&disk, Bytes(SIZE)).volume() >= luks::DATA_OFFSET);
}

fn correct_checksum(copy: &mut [u8]) {
    copy[448..512].fill(0);
    let checksum = Sha256::digest(&*copy);
    copy[448..448 + checksum.len()].copy_from_slice(&checksum);
}

/// JSON texts of both copies, in headers that are right, on a volume that opens.
pub fn luks_json(data: &[u8]) {
    look(&disk_of(data));
}

/// The volume with the texts that an input brings.
fn disk_of(data: &[u8]) -> Medium {
    let mut input = Input::new(data);
    let options = input.byte();
    let size = SIZES[usize::from(options & 3) % SIZES.len()];
    let [first, second]: [&[u8]; 2] = input.parts();
    let mut disk = volume().0.clone();
    for (at, text, sequence) in [(0, first, 3), (size, second, 1 + u64::from(options >> 2 & 3))] {
        if text.is_empty() {
            disk.data[at..at + 16].fill(0);
            continue;
        }
        let text = &text[..text.len().min(size - BINARY)];
        let mut copy = volume().0.data[if at == 0 { 0 } else { SIZES[0] }..][..BINARY].to_vec();
        copy[8..16].copy_from_slice(&(size as u64).to_be_bytes());
        copy[16..24].copy_from_slice(&sequence.to_be_bytes());
        copy[256..264].copy_from_slice(&(at as u64).to_be_bytes());
        copy.extend_from_slice(text);
        copy.resize(size, 0);
        correct_checksum(&mut copy);
        disk.data[at..at + size].copy_from_slice(&copy);
    }
    disk
}

/// Reads a header and does with it all that a boot does.
fn look(disk: &Medium) {
    let header = match Header::read(disk) {
        Ok(header) => header,
        Err(error) => return crate::one_line(&error),
    };
    assert!(header.label().len() <= 48 && header.subsystem().len() <= 48);
    match header.segment() {
        Err(error) => crate::one_line(&error),
        Ok(segment) => {
            // Encrypted data begins behind both copies, and is never unencrypted.
            assert!(segment.offset.0 >= 2 * SIZES[0] as u64 && segment.cipher == "aes-xts-plain64");
            if let SegmentSize::Fixed(Bytes(length)) = segment.size {
                assert!(segment.offset.0.checked_add(length).is_some() && length > 0);
            }
            if let Ok(sectors) = segment.sectors(Bytes(disk.size)) {
                assert!(sectors.0 > 0 && segment.offset.0 + sectors.0 * 512 <= disk.size);
            }
            let name = luks::key_description(header.uuid(), segment.number);
            let number = DeviceNumber { major: 8, minor: 1 };
            let table = segment.table_params(64, &name, number, &header.flags());
            assert!(table.starts_with("aes-xts-plain64 :64:logon:cryptsetup:") && !table.contains('\n'));
        }
    }
    // Far below what a boot allows, and enough for the volume's own keyslot.
    let mut budget = Budget { memory: 256, work: 16_384 };
    match header.unlock(disk, &Secret::new(PASSPHRASE.to_vec()), &mut budget) {
        Ok(key) => assert!(key.key.expose() == volume().1, "a digest vouched for another key"),
        Err(LuksError::WrongKey { tried }) => assert!(!tried.is_empty() && tried.len() <= 32),
        Err(error) => crate::one_line(&error),
    }
}

/// The text in the volume's header.
fn text() -> Vec<u8> {
    volume().0.data[BINARY..SIZES[0]].split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

pub(crate) fn luks_header_seeds() -> Vec<Vec<u8>> {
    let image = &volume().0.data[..2 * SIZES[0]];
    let mut one = vec![0];
    one.extend_from_slice(&image[..SIZES[0]]);
    let mut both = vec![1];
    both.extend_from_slice(image);
    let short = [&[0], &image[..BINARY + text().len()]].concat();
    vec![one, both, short]
}

pub(crate) fn luks_json_seeds() -> Vec<Vec<u8>> {
    let text = text();
    let replaced = |from: &str, to: &str| String::from_utf8_lossy(&text).replace(from, to).into_bytes();
    let argon2 = r#""kdf":{"type":"argon2id","time":1,"memory":64,"cpus":4,"salt":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},"x":{"#;
    let tokens = r#""tokens":{"0":{"type":"systemd-tpm2","keyslots":["0"]}}"#;
    vec![
        [&[0], &crate::input::join(&[&text, &text])[..]].concat(),
        [&[0], &crate::input::join(&[&replaced("aes-xts-plain64", "cipher_null"), &text])[..]].concat(),
        // The secondary copy is the newer one.
        [&[12], &crate::input::join(&[&text, &text])[..]].concat(),
        [&[0], &replaced(r#""kdf":{"#, argon2)[..]].concat(),
        [&[0], &replaced(r#""tokens":{}"#, tokens)[..]].concat(),
        [
            &[0],
            &replaced(
                r#""json_size""#,
                r#""flags":["allow-discards"],"requirements":{"mandatory":["online-reencrypt"]},"json_size""#,
            )[..],
        ]
        .concat(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_seeds_are_volumes_that_open() {
        let mut budget = Budget { memory: 256, work: 16_384 };
        let disk = disk_of(&luks_json_seeds()[0]);
        let key = Header::read(&disk).unwrap().unlock(&disk, &Secret::new(PASSPHRASE.to_vec()), &mut budget);
        assert!(key.unwrap().key.expose() == volume().1);
        let unencrypted = Header::read(&disk_of(&luks_json_seeds()[1])).unwrap();
        assert!(matches!(unencrypted.segment(), Err(LuksError::NullCipher { .. })));
        for seed in luks_json_seeds() {
            assert!(Header::read(&disk_of(&seed)).is_ok(), "{}", String::from_utf8_lossy(&seed));
        }
    }
}
