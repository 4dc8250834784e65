//! A new volume, as a plan of writes: what cryptsetup 2.7 makes by default, with one keyslot.

use std::prelude::v1::*;

use base64ct::{Base64, Encoding as _};
use serde_json::json;
use uuid::Uuid;

use super::{
    binary::{self, Binary},
    error::LuksError,
    hash::Hash,
    kdf::SALT,
    new_keyslot::{NewKdf, NewKeyslot, area_size},
    segment::CIPHER,
    unlock::VolumeKey,
};
use crate::{secret::Secret, units::Bytes, writes::Writes};

/// The start of the data of a new volume: 16 MiB, of which two copies of the header take 32 KiB and keyslots the rest.
pub const DATA_OFFSET: Bytes = Bytes(16 << 20);

/// The length of a copy of the header.
pub(super) const HEADER_SIZE: u64 = 0x4000;
/// The start of the first keyslot's area, in bytes.
const AREA_OFFSET: u64 = 2 * HEADER_SIZE;
/// The volume key: two AES-256 keys, for XTS.
const KEY_SIZE: usize = 64;
/// The iterations of the digest: it checks a key of full entropy, which cannot be guessed, so cryptsetup's minimum is
/// enough.
const DIGEST_ITERATIONS: u32 = 1000;

/// The parameters of a new volume.
pub struct FormatParams<'a> {
    /// Its UUID.
    pub uuid: Uuid,
    /// Its label, at most 47 bytes, empty for none.
    pub label: &'a str,
    /// Its subsystem label, at most 47 bytes, empty for none.
    pub subsystem: &'a str,
    /// The unit of encryption in bytes: 512, 1024, 2048 or 4096.
    pub sector_size: u32,
    /// Those who open it pass discards on: they show which sectors are in use.
    pub allow_discards: bool,
    /// The passphrase of keyslot 0.
    pub passphrase: &'a Secret,
    /// The key derivation of keyslot 0.
    pub kdf: NewKdf,
    /// Fills a buffer with random bytes from the kernel's initialised pool.
    pub random: &'a mut dyn FnMut(&mut [u8]),
    /// The size of the device, a multiple of the sector size.
    pub device_size: Bytes,
}

/// Plans a new volume and returns its key, so that it can be opened without asking for the passphrase again.
///
/// The plan writes the first keyslot's area, both copies of the header, and zeroes where another format might still be
/// recognised on a used device; one barrier ends it. It does not fill the areas of keyslots that are not in use: the
/// keyslots of an old volume there cannot be opened, because its salts went with its header.
///
/// # Errors
/// Invalid parameters, a device that is too small, or too little memory for Argon2.
pub fn format(params: FormatParams<'_>) -> Result<(Writes, VolumeKey), LuksError> {
    let FormatParams {
        uuid,
        label,
        subsystem,
        sector_size,
        allow_discards,
        passphrase,
        kdf,
        random,
        device_size,
    } = params;
    if !matches!(sector_size, 512 | 1024 | 2048 | 4096) {
        return Err(LuksError::Parameter("the sector size is not 512, 1024, 2048 or 4096"));
    }
    for text in [label, subsystem] {
        if text.len() > binary::LABEL_MAX || text.contains('\0') {
            return Err(LuksError::Parameter("a label has more than 47 bytes or a NUL"));
        }
    }
    let problem = match device_size.0.checked_sub(DATA_OFFSET.0) {
        None | Some(0) => Some("has no room behind the 16 MiB of a LUKS2 header"),
        Some(data) => {
            (!data.is_multiple_of(u64::from(sector_size))).then_some("is not a multiple of the sector size")
        }
    };
    if let Some(problem) = problem {
        return Err(LuksError::DeviceSize { device: device_size, problem });
    }

    let mut digest_salt = [0; SALT];
    random(&mut digest_salt);
    let mut key = Secret::zeroed(KEY_SIZE);
    random(key.expose_mut());
    if key.expose().iter().all(|byte| *byte == 0) {
        return Err(LuksError::Parameter("the source of random bytes gives none"));
    }
    let keyslot = NewKeyslot::seal(&key, passphrase, kdf, random)?;
    let document = document(&key, &keyslot, &digest_salt, sector_size, allow_discards);

    let mut writes = Writes::new();
    writes.data(Bytes(AREA_OFFSET), keyslot.area);
    wipe(&mut writes, device_size);
    let binary =
        Binary { size: HEADER_SIZE, sequence: 1, label: label.into(), subsystem: subsystem.into(), uuid };
    for offset in [HEADER_SIZE, 0] {
        let mut salt = [0; binary::SALT];
        random(&mut salt);
        let copy = binary.encode(offset, &salt, document.as_bytes());
        writes.data(Bytes(offset), copy.ok_or(LuksError::Parameter("the header does not fit"))?);
    }
    writes.barrier();
    Ok((writes, VolumeKey { key, digest: 0, keyslot: 0, skipped: Vec::new() }))
}

/// The JSON text.
fn document(
    key: &Secret,
    keyslot: &NewKeyslot,
    digest_salt: &[u8],
    sector_size: u32,
    allow_discards: bool,
) -> String {
    let mut digest = [0; 32];
    Hash::Sha256.pbkdf2(key.expose(), digest_salt, DIGEST_ITERATIONS, &mut digest);
    let mut config = json!({
        "json_size": (HEADER_SIZE - binary::LENGTH as u64).to_string(),
        "keyslots_size": (DATA_OFFSET.0 - AREA_OFFSET).to_string(),
    });
    if let Some(config) = config.as_object_mut().filter(|_| allow_discards) {
        config.insert("flags".into(), json!(["allow-discards"]));
    }
    json!({
        "keyslots": { "0": keyslot.to_json(AREA_OFFSET) },
        "tokens": {},
        "segments": { "0": {
            "type": "crypt",
            "offset": DATA_OFFSET.0.to_string(),
            "size": "dynamic",
            "iv_tweak": "0",
            "encryption": CIPHER,
            "sector_size": sector_size,
        }},
        "digests": { "0": {
            "type": "pbkdf2",
            "keyslots": ["0"],
            "segments": ["0"],
            "hash": Hash::Sha256.name(),
            "iterations": DIGEST_ITERATIONS,
            "salt": Base64::encode_string(digest_salt),
            "digest": Base64::encode_string(&digest),
        }},
        "config": config,
    })
    .to_string()
}

/// Zeroes the places where a reader might recognise old content of the device.
///
/// cryptsetup writes all 16 MiB. Enough are: the bytes from the first area up to 512 KiB, for the labels of ZFS
/// (superblocks of file systems lie within the first 128 KiB, which header and area cover); 4 KiB at each place where a
/// secondary header of another length may lie, because readers that find the primary damaged look there; and the last
/// 512 KiB, where md RAID and ZFS have theirs, which udev would see beside ours until the data grows over them.
fn wipe(writes: &mut Writes, device_size: Bytes) {
    const NEAR_END: u64 = 512 << 10;
    let covered = AREA_OFFSET + area_size(KEY_SIZE);
    writes.zero(Bytes(covered), Bytes(NEAR_END.saturating_sub(covered)));
    for offset in binary::SIZES.into_iter().filter(|offset| *offset >= NEAR_END) {
        writes.zero(Bytes(offset), Bytes(4096));
    }
    let last = device_size.0.saturating_sub(512 << 10).max(DATA_OFFSET.0);
    writes.zero(Bytes(last), Bytes(device_size.0.saturating_sub(last)));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        luks::{Budget, Header, Origin},
        writes::{ReadAt, Write},
    };

    const SIZE: u64 = (16 << 20) + (1 << 20);
    const KEY: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn params<'a>(
        passphrase: &'a Secret,
        random: &'a mut dyn FnMut(&mut [u8]),
        sector_size: u32,
        device_size: u64,
    ) -> FormatParams<'a> {
        FormatParams {
            uuid: Uuid::from_u128(1),
            label: "root",
            subsystem: "",
            sector_size,
            allow_discards: false,
            passphrase,
            kdf: NewKdf::for_key_file(passphrase.expose().len()),
            random,
            device_size: Bytes(device_size),
        }
    }

    /// Numbers that differ; nothing here depends on them being unpredictable.
    fn counter() -> impl FnMut(&mut [u8]) {
        let mut state = 1u64;
        move |buffer: &mut [u8]| {
            for byte in buffer {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *byte = (state >> 33) as u8;
            }
        }
    }

    /// The start of a new volume in memory, and its key.
    fn volume() -> (Vec<u8>, VolumeKey) {
        let (writes, key) = format(params(&Secret::new(KEY.to_vec()), &mut counter(), 512, SIZE)).unwrap();
        let mut image = vec![0xaa; SIZE as usize];
        for write in writes.0 {
            match write {
                Write::Data { offset, data } => {
                    image[offset.0 as usize..offset.0 as usize + data.len()].copy_from_slice(&data)
                }
                Write::Zero { offset, length } => {
                    image[offset.0 as usize..(offset.0 + length.0) as usize].fill(0)
                }
                Write::Barrier => {}
            }
        }
        (image, key)
    }

    #[test]
    fn the_plan_is_small_and_ends_with_header_and_barrier() {
        let (writes, _) = format(params(&Secret::new(KEY.to_vec()), &mut counter(), 512, SIZE)).unwrap();
        let Some([.., Write::Data { offset, .. }, Write::Barrier]) = writes.0.get(..) else {
            panic!("no header at the end: {:?}", writes.0.len());
        };
        assert_eq!(*offset, Bytes(0));
        assert!(writes.volume() < Bytes(2 << 20), "{}", writes.volume());
        let end = |write: &Write| match write {
            Write::Data { offset, data } => offset.0 + data.len() as u64,
            Write::Zero { offset, length } => offset.0 + length.0,
            Write::Barrier => 0,
        };
        assert_eq!(writes.0.iter().map(end).max(), Some(SIZE), "nothing beyond the device");
    }

    #[test]
    fn a_new_volume_opens_and_no_write_carries_its_key() {
        let (image, key) = volume();
        let header = Header::read(&image[..]).unwrap();
        assert_eq!(
            (header.origin(), header.label(), header.uuid()),
            (Origin::Primary, "root", Uuid::from_u128(1))
        );
        let opened =
            header.unlock(&image[..], &Secret::new(KEY.to_vec()), &mut Budget::with_memory(0)).unwrap();
        assert!(opened.key.expose() == key.key.expose());
        assert!(!image.windows(16).any(|window| key.key.expose().starts_with(window)));
    }

    #[test]
    fn parameters_that_make_no_volume_are_refused() {
        let passphrase = Secret::new(KEY.to_vec());
        for (sector_size, device_size) in [(256, SIZE), (4096, SIZE + 512), (512, 16 << 20), (512, 0)] {
            assert!(format(params(&passphrase, &mut counter(), sector_size, device_size)).is_err());
        }
        assert!(format(params(&passphrase, &mut |_| {}, 512, SIZE)).is_err(), "random bytes that are none");
        let long = "x".repeat(48);
        let mut random = counter();
        assert!(
            format(FormatParams { label: &long, ..params(&passphrase, &mut random, 512, SIZE) }).is_err()
        );
    }

    /// A device that counts the bytes that are read from it.
    struct Counting<'a>(&'a [u8], core::cell::Cell<usize>);

    impl ReadAt for Counting<'_> {
        type Error = crate::writes::ShortImage;

        fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> Result<(), Self::Error> {
            self.1.set(self.1.get() + buffer.len());
            self.0.read_exact_at(offset, buffer)
        }
    }

    #[test]
    fn only_what_is_needed_is_read() {
        let (image, _) = volume();
        let device = Counting(&image, Default::default());
        let header = Header::read(&device).unwrap();
        assert_eq!(device.1.get(), 2 * 0x4000);
        header.unlock(&device, &Secret::new(KEY.to_vec()), &mut Budget::with_memory(0)).unwrap();
        assert_eq!(device.1.get(), 2 * 0x4000 + 256_000);
    }

    /// The JSON text of both copies replaced by `text`, with right checksums.
    fn with_text(image: &mut [u8], text: &[u8]) {
        for (offset, copy) in image[..0x8000].chunks_mut(0x4000).enumerate() {
            let binary = Binary::parse(&copy[..4096], (offset * 0x4000) as u64).unwrap();
            copy.copy_from_slice(&binary.encode((offset * 0x4000) as u64, &[0; 64], text).unwrap());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_mutated_header_is_read_or_refused(
            flips in proptest::collection::vec((0usize..2800, any::<u8>()), 1..12),
        ) {
            // Bytes of the text change and the checksum is valid: a stranger can do that.
            let (mut image, _) = volume();
            let mut text: Vec<u8> = image[4096..0x4000].split(|byte| *byte == 0).next().unwrap().to_vec();
            for (at, byte) in flips {
                let at = at % text.len();
                text[at] = byte;
            }
            with_text(&mut image, &text);
            if let Ok(header) = Header::read(&image[..]) {
                let mut budget = Budget { memory: 64, work: 16_000 };
                header.unlock(&image[..], &Secret::new(KEY.to_vec()), &mut budget).ok();
            }
        }

        #[test]
        fn values_out_of_range_are_read_or_refused(which in 0usize..40, value in prop_oneof![
            Just("\"18446744073709551615\""), Just("18446744073709551615"), Just("-1"), Just("0"), Just("\"0\""),
            Just("4294967295"), Just("1e308"), Just("[]"), Just("{}"), Just("null"), Just("\"\""), Just("[\"0\",\"0\"]"),
        ]) {
            let (mut image, _) = volume();
            let text = core::str::from_utf8(image[4096..0x4000].split(|byte| *byte == 0).next().unwrap()).unwrap();
            let colon = text.match_indices(':').map(|(at, _)| at).nth(which % text.matches(':').count()).unwrap();
            let rest = text[colon + 1..].find([',', '}']).unwrap_or(0);
            let text = format!("{}{value}{}", &text[..=colon], &text[colon + 1 + rest..]);
            with_text(&mut image, text.as_bytes());
            if let Ok(header) = Header::read(&image[..]) {
                let mut budget = Budget { memory: 64, work: 16_000 };
                header.unlock(&image[..], &Secret::new(KEY.to_vec()), &mut budget).ok();
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..70_000)) {
            Header::read(&bytes[..]).ok();
        }
    }
}
