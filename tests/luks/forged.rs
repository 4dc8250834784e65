//! Headers of a stranger. Each attack is shown to work against an opener that follows the header.

use std::fs;

use base64ct::{Base64, Encoding as _};
use hermetic_init::{
    luks::{Budget, Header, LuksError, NewKdf},
    secret::Secret,
    units::Bytes,
    writes::{ReadAt, ShortImage},
};
use pbkdf2::pbkdf2_hmac;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::{
    common::tool,
    naive,
    volume::{CHEAP, KEY, MEMORY, Volume, refusal},
};

#[test]
fn no_encryption_is_no_encryption() {
    // cryptsetup formats with `--cipher null` only with loop devices and device-mapper: write the header that it would
    // make.
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

/// A volume of our own, as the naive opener opens it.
fn volume() -> Option<(Volume, naive::Opened)> {
    let (volume, key) = Volume::by_us(512, NewKdf::MACHINE, 0)?;
    let opened =
        naive::open(&fs::read(volume.disk()).unwrap(), KEY).expect("the naive opener opens an honest volume");
    assert!(opened.key == key.key.expose() && opened.cipher == "aes-xts-plain64");
    Some((volume, opened))
}

fn naively(volume: &Volume, passphrase: &[u8]) -> Option<naive::Opened> {
    naive::open(&fs::read(volume.disk()).unwrap(), passphrase)
}

#[test]
fn a_segment_of_the_null_cipher() {
    let Some((volume, honest)) = volume() else { return };
    volume.edit(|header| header["segments"]["0"]["encryption"] = json!("cipher_null-ecb"));
    let opened = naively(&volume, KEY).unwrap();
    assert!(
        opened.key == honest.key && opened.cipher == "cipher_null-ecb",
        "the secrets would go to the disk as they are"
    );
    assert_eq!(
        refusal(volume.unlock(KEY)).to_string(),
        "LUKS2 header: segments/0/encryption names the null cipher, so the data would not be encrypted; refused"
    );
}

#[test]
fn a_keyslot_that_any_passphrase_opens() {
    // A stranger's own volume key behind a keyslot that is not encrypted: it opens with any passphrase.
    let Some((volume, stranger)) = volume() else { return };
    let mut disk = fs::read(volume.disk()).unwrap();
    disk[0x8000..0x8000 + stranger.stripes.len()].copy_from_slice(&stranger.stripes);
    fs::write(volume.disk(), disk).unwrap();
    volume.edit(|header| header["keyslots"]["0"]["area"]["encryption"] = json!("cipher_null-ecb"));
    assert!(naively(&volume, b"a passphrase that the stranger has never heard").unwrap().key == stranger.key);
    assert_eq!(
        refusal(volume.unlock(KEY)).to_string(),
        "LUKS2 header: keyslots/0/area/encryption names the null cipher, so the data would not be encrypted; refused"
    );
}

/// A disk that shows one header at first, and then another.
struct Turncoat {
    honest: Vec<u8>,
    forged: Vec<u8>,
    looked: std::cell::Cell<usize>,
}

impl ReadAt for Turncoat {
    type Error = ShortImage;

    fn read_exact_at(&self, offset: Bytes, buffer: &mut [u8]) -> Result<(), ShortImage> {
        // Two copies, each in two reads.
        let image = if self.looked.replace(self.looked.get() + 1) < 4 { &self.honest } else { &self.forged };
        image.as_slice().read_exact_at(offset, buffer)
    }
}

#[test]
fn a_header_that_changes_between_check_and_use() {
    let Some((volume, honest)) = volume() else { return };
    let image = fs::read(volume.disk()).unwrap();
    volume.edit(|header| {
        header["segments"]["0"]["encryption"] = json!("cipher_null-ecb");
        header["config"]["flags"] = json!(["allow-discards"]);
    });
    let disk =
        Turncoat { honest: image, forged: fs::read(volume.disk()).unwrap(), looked: Default::default() };
    let header = Header::read(&disk).unwrap();
    // A second read, after the header was found valid, returns the other one.
    let mut again = disk.forged.clone();
    disk.read_exact_at(Bytes(0), &mut again).unwrap();
    assert_eq!(naive::open(&again, KEY).unwrap().cipher, "cipher_null-ecb");
    // We do not: key, table and flags are those of the header that was checked.
    let key = header.unlock(&disk, &Secret::new(KEY.to_vec()), &mut Budget::with_memory(MEMORY)).unwrap();
    assert!(key.key.expose() == honest.key);
    assert_eq!(header.segment().unwrap().cipher, "aes-xts-plain64");
    assert!(!header.flags().allow_discards);
}

#[test]
fn a_keyslot_whose_area_lies_in_the_data() {
    let Some((volume, honest)) = volume() else { return };
    let mut disk = fs::read(volume.disk()).unwrap();
    disk.copy_within(0x8000..0x8000 + 258_048, 17 << 20);
    fs::write(volume.disk(), disk).unwrap();
    volume.edit(|header| header["keyslots"]["0"]["area"]["offset"] = json!((17 << 20).to_string()));
    assert!(naively(&volume, KEY).unwrap().key == honest.key);
    assert_eq!(
        refusal(volume.unlock(KEY)).to_string(),
        "LUKS2 header: keyslots/0: its area is not within the keyslots area"
    );
}

#[test]
fn a_digest_of_one_iteration() {
    let Some((volume, honest)) = volume() else { return };
    volume.edit(|header| {
        let digest = &mut header["digests"]["0"];
        let salt = Base64::decode_vec(digest["salt"].as_str().unwrap()).unwrap();
        let mut one = [0; 32];
        pbkdf2_hmac::<Sha256>(&honest.key, &salt, 1, &mut one);
        digest["iterations"] = json!(1);
        digest["digest"] = json!(Base64::encode_string(&one));
    });
    assert!(naively(&volume, KEY).unwrap().key == honest.key);
    assert_eq!(
        refusal(volume.unlock(KEY)).to_string(),
        "LUKS2 header: digests/0/iterations: fewer than 1000"
    );
}

#[test]
fn a_header_of_luks1() {
    // The downgrade: everything that LUKS2 has checksums for is the word of the disk again.
    let Some(volume) = Volume::empty() else { return };
    let options = ["--type", "luks1", "--key-file", "@key", "--pbkdf-force-iterations", "1000"];
    volume.print("luksFormat", &options);
    assert!(volume.opens("@key"), "cryptsetup opens whatever it finds");
    assert_eq!(
        refusal(volume.unlock(KEY)).to_string(),
        "this is a LUKS1 header, and only LUKS2 is opened (`cryptsetup convert --type luks2` converts it)"
    );
}

#[test]
fn a_keyslot_that_wants_two_gigabytes() {
    let Some(volume) = Volume::by_cryptsetup(&CHEAP) else { return };
    volume.print(
        "luksAddKey",
        &["--key-file", "@key", "--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000", "@disk", "@other"],
    );
    volume.edit(|header| {
        header["keyslots"]["0"]["kdf"]["memory"] = json!(2 << 20);
        header["keyslots"]["0"]["priority"] = json!(2);
    });
    // cryptsetup gives up at the first, though the second one would open.
    let mut naive = tool("prlimit").unwrap();
    naive.args(["--as=1000000000", "cryptsetup", "open", "--test-passphrase", "--key-file"]);
    let naive =
        naive.arg(volume.scratch.inside("other")).arg(volume.scratch.inside("disk")).output().unwrap();
    assert!(!naive.status.success(), "{naive:?}");
    let disk = fs::File::open(volume.disk()).unwrap();
    let passphrase = Secret::new(b"a word".to_vec());
    let key = volume.header().unwrap().unlock(&disk, &passphrase, &mut Budget::with_memory(900_000)).unwrap();
    assert_eq!(key.keyslot, 1);
    assert_eq!(
        key.skipped[0].reason,
        "Argon2 needs 2 GiB of memory, this machine can spare 878.9 MiB; `cryptsetup luksConvertKey \
         --pbkdf-memory` lowers it"
    );
}

#[test]
fn one_budget_for_all_attempts() {
    let Some((volume, _)) = Volume::by_us(512, NewKdf::MACHINE, 0) else { return };
    // 32 keyslots in their own areas, each as cheap as a header may have it.
    volume.edit(|header| {
        let mut keyslot = header["keyslots"]["0"].clone();
        for number in 0..32_u64 {
            keyslot["area"]["offset"] = json!((32_768 + number * 258_048).to_string());
            header["keyslots"][number.to_string()] = keyslot.clone();
        }
        header["digests"]["0"]["keyslots"] = (0..32).map(|number| number.to_string()).collect();
    });
    let disk = fs::File::open(volume.disk()).unwrap();
    let header = volume.header().unwrap();
    let wrong = Secret::new(b"wrong".to_vec());
    let cost = |numbers: &[u32]| {
        let mut budget = Budget::with_memory(0);
        let before = budget.work;
        let error = refusal(header.unlock_keyslots(numbers, &disk, &wrong, &mut budget));
        (before - budget.work, error)
    };
    let (once, error) = cost(&[7]);
    assert_eq!(error, LuksError::WrongKey { tried: vec![7] });
    assert_eq!(cost(&[7; 20_000]), (once, error), "a number that comes twice counts once");
    // All attempts, of whichever key, are paid from one budget. When it is used up nothing more is tried.
    let mut budget = Budget { work: 40 * once, ..Budget::with_memory(0) };
    let mut unlock = || refusal(header.unlock(&disk, &wrong, &mut budget));
    assert_eq!(unlock(), LuksError::WrongKey { tried: (0..32).collect() });
    let LuksError::NotAllTried { tried, skipped } = unlock() else { panic!("more was tried than was paid") };
    assert_eq!((tried.len(), skipped.len()), (8, 24));
    let error = unlock();
    assert!(matches!(&error, LuksError::NotAllTried { tried, .. } if tried.is_empty()));
    let text = error.to_string();
    assert!(
        text.contains("take longer than an unlock may") && text.ends_with("; nor could 30 more"),
        "{text}"
    );
    assert!(text.len() < 500, "{text}");
    // A header's keyslots and digests cannot cost years: they are refused at once.
    volume.edit(|header| {
        for number in 0..32 {
            header["keyslots"][number.to_string()]["kdf"]["iterations"] = json!(u32::MAX);
        }
    });
    let mut budget = Budget::with_memory(0);
    refusal(volume.header().unwrap().unlock(&disk, &wrong, &mut budget));
    assert!(budget.is_whole(), "something was paid for what was not done");
}

#[test]
fn a_text_that_explodes() {
    let Some(volume) =
        Volume::by_cryptsetup(&[&CHEAP[..], &["--luks2-metadata-size", "4m", "--offset", "32768"]].concat())
    else {
        return;
    };
    assert!(volume.unlock(KEY).is_ok());
    let mut disk = fs::read(volume.disk()).unwrap();
    for copy in disk[..8 << 20].chunks_mut(4 << 20) {
        let text = format!("{{\"tokens\":{{\"0\":[{}0]}}}}", "[],".repeat(1_390_000));
        // A reader without bounds makes more than a million values of it, of 32 bytes and more each.
        let naive: Value = serde_json::from_slice(text.as_bytes()).unwrap();
        assert!(naive["tokens"]["0"].as_array().unwrap().len() > 1_000_000);
        copy[4096..].fill(0);
        copy[4096..4096 + text.len()].copy_from_slice(text.as_bytes());
        Volume::seal(copy);
    }
    fs::write(volume.disk(), disk).unwrap();
    assert_eq!(
        refusal(volume.unlock(KEY)).to_string(),
        "LUKS2 header: JSON area: the text has too many members"
    );
}
