//! LUKS2 against cryptsetup, in both directions: what it makes we open, what we make it opens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{fs, path::PathBuf, process::Output};

use common::{Scratch, tool};
use hermetic_init::{
    luks::{FormatParams, Header, Limits, LuksError, NewKdf, Origin, SegmentSize, VolumeKey, format},
    secret::Secret,
    units::Bytes,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

const KEY: &[u8; 32] = b"thirty-two bytes of random, say.";
const SIZE: u64 = 20 << 20;
const LIMITS: Limits = Limits::with_memory(128 << 10);
const CHEAP: [&str; 4] = ["--pbkdf-force-iterations", "4", "--pbkdf-memory", "32768"];

/// An image file that both sides see, and the key files for it.
struct Volume {
    scratch: Scratch,
}

impl Volume {
    fn empty() -> Option<Self> {
        let scratch = Scratch::new()?;
        fs::File::create(scratch.host("disk")).unwrap().set_len(SIZE).unwrap();
        fs::write(scratch.host("key"), KEY).unwrap();
        fs::write(scratch.host("other"), b"a word").unwrap();
        Some(Self { scratch })
    }

    /// One that cryptsetup formatted with `key`.
    fn by_cryptsetup(options: &[&str]) -> Option<Self> {
        let volume = Self::empty()?;
        let output =
            volume.cryptsetup("luksFormat", &[&["--type", "luks2", "--key-file", "@key"], options].concat());
        assert!(output.status.success(), "{output:?}");
        Some(volume)
    }

    /// One that we formatted with `key`.
    fn by_us(sector_size: u32, kdf: NewKdf, noise: u8) -> Option<(Self, VolumeKey)> {
        let volume = Self::empty()?;
        fs::write(volume.disk(), vec![noise; SIZE as usize]).unwrap();
        let key = volume.format(sector_size, kdf);
        Some((volume, key))
    }

    /// Formats the disk as it is with `key`.
    fn format(&self, sector_size: u32, kdf: NewKdf) -> VolumeKey {
        let (writes, key) = format(FormatParams {
            uuid: UUID,
            label: "root-x86-64",
            subsystem: "hermetic",
            sector_size,
            passphrase: &Secret::new(KEY.to_vec()),
            kdf,
            random: &mut random,
            device_size: Bytes(SIZE),
        })
        .unwrap();
        writes.apply(&fs::File::options().write(true).open(self.disk()).unwrap()).unwrap();
        key
    }

    fn disk(&self) -> PathBuf {
        self.scratch.host("disk")
    }

    /// Runs `cryptsetup ACTION OPTIONS disk`; a word that begins with @ names a file.
    fn cryptsetup(&self, action: &str, options: &[&str]) -> Output {
        let words = options.iter().map(|word| match word.strip_prefix('@') {
            Some(file) => self.scratch.inside(file),
            None => (*word).into(),
        });
        let mut command = tool("cryptsetup").unwrap();
        command.arg(action).arg("--batch-mode").args(words);
        // luksAddKey and the like take the device first and then their file.
        if !options.contains(&"@disk") {
            command.arg(self.scratch.inside("disk"));
        }
        command.output().unwrap()
    }

    /// What cryptsetup prints; it must succeed.
    fn print(&self, action: &str, options: &[&str]) -> String {
        let output = self.cryptsetup(action, options);
        assert!(output.status.success(), "{action} {options:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The volume key as cryptsetup knows it.
    fn volume_key(&self) -> Vec<u8> {
        let _there_may_be_none = fs::remove_file(self.scratch.host("vk"));
        self.print("luksDump", &["--dump-volume-key", "--volume-key-file", "@vk", "--key-file", "@key"]);
        fs::read(self.scratch.host("vk")).unwrap()
    }

    fn opens(&self, key_file: &str) -> bool {
        self.cryptsetup("open", &["--test-passphrase", "--key-file", key_file]).status.success()
    }

    fn header(&self) -> Result<Header, LuksError> {
        Header::read(&fs::File::open(self.disk()).unwrap())
    }

    fn unlock(&self, key: &[u8]) -> Result<VolumeKey, LuksError> {
        let disk = fs::File::open(self.disk()).unwrap();
        self.header()?.unlock(&disk, &Secret::new(key.to_vec()), LIMITS)
    }

    /// Overwrites bytes of the disk.
    fn damage(&self, offset: usize, length: usize) {
        let mut disk = fs::read(self.disk()).unwrap();
        disk[offset..offset + length].fill(0x55);
        fs::write(self.disk(), disk).unwrap();
    }

    /// Changes the JSON text of both copies and makes their checksums right again.
    fn edit(&self, change: impl Fn(&mut Value)) {
        let mut disk = fs::read(self.disk()).unwrap();
        for copy in disk[..0x8000].chunks_mut(0x4000) {
            let text = copy[4096..].split(|byte| *byte == 0).next().unwrap();
            let mut document: Value = serde_json::from_slice(text).unwrap();
            change(&mut document);
            let text = document.to_string();
            copy[4096..].fill(0);
            copy[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
            copy[448..512].fill(0);
            let checksum = Sha256::digest(&*copy);
            copy[448..480].copy_from_slice(&checksum);
        }
        fs::write(self.disk(), disk).unwrap();
    }
}

const UUID: Uuid = Uuid::from_u128(0x2dfe5bf9_1c0e_4b43_9a7e_61ab1b0e4d3c);

fn random(buffer: &mut [u8]) {
    use std::io::Read;
    fs::File::open("/dev/urandom").unwrap().read_exact(buffer).unwrap();
}

/// The error of an unlock, without the key that it would have given.
fn refusal(result: Result<VolumeKey, LuksError>) -> LuksError {
    result.err().expect("this must be refused")
}

#[test]
fn what_cryptsetup_formats_we_open() {
    for kdf in [
        &["--pbkdf", "argon2id", "--pbkdf-parallel", "1"][..],
        &["--pbkdf", "argon2id", "--pbkdf-parallel", "4"],
        &["--pbkdf", "argon2i", "--pbkdf-parallel", "2"],
        &["--pbkdf", "pbkdf2", "--hash", "sha1", "--pbkdf-force-iterations", "1000"],
        &["--pbkdf", "pbkdf2", "--hash", "sha256", "--pbkdf-force-iterations", "1001"],
        &["--pbkdf", "pbkdf2", "--hash", "sha512", "--pbkdf-force-iterations", "1000"],
        &["--pbkdf", "argon2id", "--pbkdf-parallel", "2", "--hash", "sha1"],
        &["--pbkdf", "argon2id", "--pbkdf-parallel", "3", "--hash", "sha512"],
    ] {
        let cost: &[&str] = if kdf.contains(&"pbkdf2") { &[] } else { &CHEAP };
        for sector_size in ["512", "4096"] {
            for key_size in ["256", "512"] {
                let more = [
                    "--sector-size",
                    sector_size,
                    "--key-size",
                    key_size,
                    "--label",
                    "Röt",
                    "--subsystem",
                    "s",
                ];
                let Some(volume) = Volume::by_cryptsetup(&[kdf, cost, &more].concat()) else {
                    return;
                };
                let header = volume.header().unwrap();
                let segment = header.segment().unwrap();
                assert_eq!((header.label(), header.subsystem(), header.complaint()), ("Röt", "s", None));
                assert_eq!(header.uuid().to_string(), volume.print("luksUUID", &[]).trim());
                assert_eq!((segment.offset, segment.size), (Bytes(16 << 20), SegmentSize::Dynamic));
                assert_eq!((segment.sector_size.to_string(), segment.iv_tweak), (sector_size.into(), 0));
                let key = volume.unlock(KEY).unwrap();
                assert!(key.key.expose() == volume.volume_key(), "{kdf:?} {more:?}");
                assert_eq!((key.keyslot, key.digest), (0, 0));
                assert_eq!(refusal(volume.unlock(b"wrong")), LuksError::WrongKey { tried: vec![0] });
            }
        }
    }
}

#[test]
fn other_header_sizes_and_fixed_sizes_open() {
    for size in ["32k", "64k", "4m"] {
        let options = [&["--luks2-metadata-size", size, "--offset", "32768"][..], &CHEAP].concat();
        let Some(volume) = Volume::by_cryptsetup(&options) else { return };
        assert!(volume.unlock(KEY).unwrap().key.expose() == volume.volume_key(), "{size}");
        volume.damage(0, 4096);
        assert_eq!(volume.header().unwrap().origin(), Origin::Secondary, "{size}");
        assert!(volume.unlock(KEY).is_ok(), "{size}");
    }
}

#[test]
fn keyslots_are_tried_by_priority() {
    let Some(volume) = Volume::by_cryptsetup(&CHEAP) else { return };
    for pbkdf in ["argon2id", "pbkdf2", "argon2i"] {
        let cost: &[&str] = if pbkdf == "pbkdf2" { &["--pbkdf-force-iterations", "1000"] } else { &CHEAP };
        let new = ["--key-file", "@key", "--pbkdf", pbkdf];
        volume.print("luksAddKey", &[&new[..], cost, &["@disk", "@other"]].concat());
    }
    let key = volume.volume_key();
    assert_eq!(volume.unlock(KEY).unwrap().keyslot, 0);
    for (priority, slot, opened) in
        [("prefer", "3", 3), ("ignore", "3", 1), ("ignore", "1", 2), ("normal", "1", 1)]
    {
        volume.print("config", &["--priority", priority, "--key-slot", slot]);
        let found = volume.unlock(b"a word").unwrap();
        assert_eq!(found.keyslot, opened, "{priority} {slot}");
        assert!(found.key.expose() == key);
    }
    volume.print("config", &["--priority", "prefer", "--key-slot", "2"]);
    assert_eq!(refusal(volume.unlock(b"wrong")), LuksError::WrongKey { tried: vec![2, 0, 1] });
    volume.print("luksKillSlot", &["--key-file", "@key", "@disk", "2"]);
    assert_eq!(refusal(volume.unlock(b"wrong")), LuksError::WrongKey { tried: vec![0, 1] });
}

#[test]
fn a_keyslot_that_costs_too_much_is_named_and_the_next_one_opens() {
    let Some(volume) = Volume::by_cryptsetup(&CHEAP) else { return };
    let disk = fs::File::open(volume.disk()).unwrap();
    let small = Limits::with_memory(16 << 10);
    let unlock = |key: &[u8]| volume.header().unwrap().unlock(&disk, &Secret::new(key.to_vec()), small);
    assert_eq!(
        refusal(unlock(KEY)).to_string(),
        "keyslot 0 could not be tried: Argon2 needs 32 MiB of memory, this machine can spare 16 MiB; \
         `cryptsetup luksConvertKey --pbkdf-memory` lowers it"
    );
    let new =
        ["--key-file", "@key", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "@disk", "@other"];
    volume.print("luksAddKey", &new);
    assert_eq!(unlock(b"a word").unwrap().keyslot, 1);
    volume.edit(|header| {
        header["keyslots"]["1"]["kdf"]["iterations"] = json!(u32::MAX);
    });
    assert!(
        matches!(refusal(unlock(b"a word")), LuksError::NotAllTried { tried, skipped } if tried.is_empty() && skipped.len() == 2)
    );
    volume.edit(|header| {
        header["keyslots"]["0"]["kdf"] =
            json!({"type": "scrypt", "salt": header["keyslots"]["0"]["kdf"]["salt"]});
    });
    assert!(refusal(unlock(KEY)).to_string().contains("keyslots/0/kdf/type is \"scrypt\", not supported"));
}

#[test]
fn what_we_format_cryptsetup_opens() {
    for (sector_size, kdf) in [
        (512, NewKdf::for_key_file(KEY.len())),
        (4096, NewKdf::for_key_file(KEY.len())),
        (4096, NewKdf::for_key_file(8)),
    ] {
        let Some((volume, key)) = Volume::by_us(sector_size, kdf, 0xaa) else { return };
        let dump = volume.print("luksDump", &[]);
        let fields: Vec<String> =
            dump.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let kdf_lines: &[&str] = match kdf {
            NewKdf::Pbkdf2Sha512 { .. } => &["PBKDF: pbkdf2", "Hash: sha512", "Iterations: 1000"],
            NewKdf::Argon2id { .. } => &["PBKDF: argon2id", "Time cost: 3", "Memory: 65536", "Threads: 4"],
        };
        let sector_line = format!("sector: {sector_size} [bytes]");
        for expected in [
            "Version: 2",
            "Epoch: 1",
            "Metadata area: 16384 [bytes]",
            "Keyslots area: 16744448 [bytes]",
            "UUID: 2dfe5bf9-1c0e-4b43-9a7e-61ab1b0e4d3c",
            "Label: root-x86-64",
            "Subsystem: hermetic",
            "0: crypt",
            "offset: 16777216 [bytes]",
            "length: (whole device)",
            "cipher: aes-xts-plain64",
            &sector_line,
            "0: luks2",
            "Key: 512 bits",
            "Priority: normal",
            "Cipher key: 512 bits",
            "AF stripes: 4000",
            "AF hash: sha256",
            "Area offset:32768 [bytes]",
            "Area length:258048 [bytes]",
            "Digest ID: 0",
        ]
        .iter()
        .chain(kdf_lines)
        {
            assert!(fields.iter().any(|field| field == expected), "{expected:?} is not in\n{dump}");
        }
        assert!(volume.opens("@key"));
        assert!(!volume.opens("@other"));
        assert!(volume.volume_key() == key.key.expose());
        let reopened = volume.unlock(KEY).unwrap();
        assert!(reopened.key.expose() == key.key.expose());
        assert_eq!(volume.header().unwrap().complaint(), None);

        // The volume lives on under cryptsetup.
        let more = [&["--key-file", "@key"][..], &CHEAP, &["@disk", "@other"]].concat();
        volume.print("luksAddKey", &more);
        assert!(volume.opens("@other"));
        assert_eq!(volume.unlock(b"a word").unwrap().keyslot, 1);
        assert_eq!(volume.unlock(KEY).unwrap().keyslot, 0);
        volume.print("luksKillSlot", &["--key-file", "@other", "@disk", "0"]);
        assert!(!volume.opens("@key"));
        assert_eq!(refusal(volume.unlock(KEY)), LuksError::WrongKey { tried: vec![1] });
        assert!(volume.unlock(b"a word").unwrap().key.expose() == key.key.expose());
        assert!(volume.header().unwrap().sequence() > 1);
    }
}

#[test]
fn nothing_else_is_recognised_on_what_we_format() {
    let Some((volume, _)) = Volume::by_us(512, NewKdf::for_key_file(32), 0) else { return };
    // A device that held other things: their superblocks, a LUKS2 volume with a header of another length.
    let make = |name: &str, args: &[&str]| {
        let output = tool(name).unwrap().args(args).arg(volume.scratch.inside("disk")).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    for (name, args) in [("mkfs.ext4", &["-q", "-F"][..]), ("mkswap", &["-f"])] {
        make(name, args);
        volume.format(512, NewKdf::for_key_file(32));
        let found =
            tool("wipefs").unwrap().arg("--noheadings").arg(volume.scratch.inside("disk")).output().unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        assert!(
            !found.is_empty() && found.lines().all(|line| line.contains("crypto_LUKS")),
            "{name}: {found}"
        );
        assert!(volume.opens("@key"));
    }
    volume
        .print("luksFormat", &[&["--key-file", "@key", "--luks2-metadata-size", "1m"][..], &CHEAP].concat());
    volume.format(512, NewKdf::for_key_file(32));
    volume.damage(0, 4096);
    volume.damage(0x4000, 4096);
    assert!(volume.header().is_err(), "the old secondary header is gone");
    assert!(!volume.cryptsetup("luksDump", &[]).status.success());
}

#[test]
fn a_damaged_copy_does_not_matter_to_either() {
    for (offset, complaint) in [
        (0, "the primary header is damaged"),
        (4096, "the primary header is damaged"),
        (0x4000, "the secondary header is damaged"),
    ] {
        let Some((volume, key)) = Volume::by_us(512, NewKdf::for_key_file(32), 0) else {
            return;
        };
        volume.damage(offset, 64);
        assert_eq!(volume.header().unwrap().complaint(), Some(complaint));
        assert!(volume.unlock(KEY).unwrap().key.expose() == key.key.expose());
        // cryptsetup takes the other copy of ours for good and rewrites the damaged one from it.
        volume.print("repair", &[]);
        assert_eq!(volume.header().unwrap().complaint(), None);
        assert!(volume.opens("@key"));
        assert!(volume.unlock(KEY).unwrap().key.expose() == key.key.expose());
    }
}

#[test]
fn without_a_good_copy_there_is_an_error() {
    let Some(volume) = Volume::by_cryptsetup(&CHEAP) else { return };
    volume.damage(5000, 1);
    assert_eq!(volume.header().unwrap().origin(), Origin::Secondary);
    assert!(volume.unlock(KEY).is_ok());
    volume.damage(0x4000 + 5000, 1);
    let wrong = "its checksum is wrong";
    assert_eq!(volume.header().unwrap_err(), LuksError::Damaged { primary: wrong, secondary: wrong });
    volume.damage(0, 6);
    volume.damage(0x4000, 6);
    assert_eq!(volume.header().unwrap_err(), LuksError::NotLuks);
}

#[test]
fn the_newer_copy_counts() {
    let Some(volume) = Volume::by_cryptsetup(&CHEAP) else { return };
    let old = fs::read(volume.disk()).unwrap();
    volume.print("config", &["--label", "newer"]);
    let mut disk = fs::read(volume.disk()).unwrap();
    // As after a power cut between the two copies, in either order.
    disk[..0x4000].copy_from_slice(&old[..0x4000]);
    fs::write(volume.disk(), &disk).unwrap();
    let header = volume.header().unwrap();
    assert_eq!((header.label(), header.origin()), ("newer", Origin::Secondary));
    assert_eq!(header.complaint(), Some("the primary header is older than the secondary"));
}

#[test]
fn luks1_is_named() {
    let Some(volume) = Volume::empty() else { return };
    let options = ["--type", "luks1", "--key-file", "@key", "--pbkdf-force-iterations", "1000"];
    volume.print("luksFormat", &options);
    assert_eq!(volume.header().unwrap_err(), LuksError::Luks1);
}

#[test]
fn a_digest_of_a_converted_volume_is_understood() {
    // `cryptsetup convert` needs device-mapper: make what it would leave, a digest cut to LUKS1's 20 bytes.
    let Some(volume) = Volume::by_cryptsetup(&CHEAP) else { return };
    volume.edit(|header| {
        let digest = header["digests"]["0"]["digest"].as_str().unwrap();
        // 27 digits hold 162 bits: the last two bits go.
        let last = char::from(
            b"AEIMQUYcgkosw048"["ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
                .find(&digest[26..27])
                .unwrap()
                / 4],
        );
        header["digests"]["0"]["digest"] = json!(format!("{}{last}=", &digest[..26]));
    });
    assert!(volume.unlock(KEY).unwrap().key.expose() == volume.volume_key());
}

#[test]
fn no_encryption_is_no_encryption() {
    // cryptsetup formats with `--cipher null` only where it has loop devices and device-mapper: write what it would.
    for (place, pointer) in
        [("segments/0", "/segments/0/encryption"), ("keyslots/0/area", "/keyslots/0/area/encryption")]
    {
        for cipher in ["cipher_null-ecb", "null", "capi:ecb(cipher_null)-plain64"] {
            let Some(volume) = Volume::by_cryptsetup(&CHEAP) else { return };
            assert!(volume.unlock(KEY).is_ok());
            volume.edit(|header| *header.pointer_mut(pointer).unwrap() = json!(cipher));
            let expected = LuksError::NullCipher { path: format!("{place}/encryption") };
            assert_eq!(refusal(volume.unlock(KEY)), expected);
        }
    }
}

#[test]
fn what_is_not_understood_is_refused() {
    type Change = fn(&mut Value);
    let Some(volume) = Volume::by_cryptsetup(&CHEAP) else { return };
    let good = fs::read(volume.disk()).unwrap();
    let cases: &[(Change, &str)] = &[
        (
            |h| h["config"]["requirements"] = json!({"mandatory": ["online-reencrypt-v3"]}),
            "requires \"online-reencrypt-v3\"",
        ),
        (
            |h| h["segments"]["0"]["encryption"] = json!("serpent-xts-plain64"),
            "segments/0/encryption is \"serpent-xts",
        ),
        (|h| h["segments"]["0"]["type"] = json!("linear"), "segments/0/type is \"linear\""),
        (|h| h["segments"]["0"]["integrity"] = json!({"type": "aead"}), "segments/0/integrity"),
        (|h| h["segments"]["0"]["offset"] = json!("0"), "segments/0/offset: not a multiple"),
        (|h| h["segments"]["0"]["offset"] = json!("32768"), "segments/0/offset: not a multiple"),
        (|h| h["segments"]["0"]["sector_size"] = json!(8192), "segments/0/sector_size"),
        (|h| h["segments"]["1"] = h["segments"]["0"].clone(), "more than one segment"),
        (|h| h["keyslots"]["0"]["area"]["offset"] = json!("16384"), "keyslots/0: its area is not within"),
        (|h| h["keyslots"]["0"]["area"]["offset"] = json!("18446744073709551615"), "keyslots/0/area"),
        (|h| h["keyslots"]["0"]["area"]["size"] = json!("4096"), "too small for its stripes"),
        (|h| h["keyslots"]["1"] = h["keyslots"]["0"].clone(), "overlaps"),
        (|h| h["keyslots"]["32"] = h["keyslots"]["0"].clone(), "keyslots: a member's name"),
        (|h| h["keyslots"]["0"]["af"]["stripes"] = json!(4_000_000_000u32), "not 4000"),
        (|h| h["keyslots"]["0"]["key_size"] = json!(1 << 30), "keyslots/0/key_size is 1073741824 bytes"),
        (|h| h["keyslots"]["0"]["kdf"]["memory"] = json!(-1), "keyslots/0/kdf/memory"),
        (|h| h["keyslots"]["0"]["kdf"]["cpus"] = json!(0), "keyslots/0/kdf/cpus"),
        (|h| h["keyslots"]["0"]["kdf"]["memory"] = json!(u32::MAX), "Argon2 needs 3.9 TiB"),
        (|h| h["digests"]["0"]["digest"] = json!(""), "digests/0/digest: not of the hash's length"),
        (|h| h["digests"]["0"]["iterations"] = json!(u32::MAX), "take longer than an unlock may"),
        (|h| h["digests"]["0"]["segments"] = json!([]), "no keyslot leads"),
        (|h| h["digests"]["0"]["keyslots"] = json!(["7"]), "a keyslot that is not there"),
        (|h| h["config"]["json_size"] = json!("4096"), "config/json_size"),
        (|h| h["config"]["keyslots_size"] = json!("134221824"), "config/keyslots_size"),
        (|h| h["tokens"] = json!([]), "tokens: not an object"),
    ];
    for (change, complaint) in cases {
        fs::write(volume.disk(), &good).unwrap();
        volume.edit(change);
        let error = refusal(volume.unlock(KEY)).to_string();
        assert!(error.contains(complaint), "{complaint:?} is not in {error:?}");
    }
    // And the premise: unknown members and flags change nothing, known flags are seen.
    fs::write(volume.disk(), &good).unwrap();
    volume.edit(|header| {
        header["config"]["flags"] = json!(["allow-discards", "from-the-future"]);
        header["future"] = json!({"a": [1, 2.5, null]});
    });
    let header = volume.header().unwrap();
    assert!(volume.unlock(KEY).is_ok() && header.flags().allow_discards);
    assert_eq!(header.document()["future"], json!({"a": [1, 2.5, null]}));
}
