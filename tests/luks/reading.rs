//! Volumes of cryptsetup are opened.

use std::fs;

use hermetic_init::{
    luks::{Budget, Complaint, LuksError, Origin, SegmentSize},
    secret::Secret,
    units::Bytes,
};
use serde_json::json;

use crate::volume::{CHEAP, KEY, Volume, refusal};

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
        let sector_sizes: &[&str] =
            if kdf.contains(&"pbkdf2") { &["512", "1024", "2048", "4096"] } else { &["512", "4096"] };
        for sector_size in sector_sizes {
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
                assert_eq!((segment.sector_size.to_string(), segment.iv_tweak), ((*sector_size).into(), 0));
                let key = volume.unlock(KEY).unwrap();
                assert!(key.key.expose() == volume.volume_key(), "{kdf:?} {more:?}");
                assert_eq!((key.keyslot, key.digest), (0, 0));
                assert_eq!(refusal(volume.unlock(b"wrong")), LuksError::WrongKey { tried: vec![0] });
            }
        }
    }
}

/// Of the keyslots that cryptsetup makes by benchmark (two seconds, up to 1 GiB) six and more can be tried.
#[test]
fn headers_made_by_benchmark_fit_into_the_budget() {
    for kdf in [&[][..], &["--pbkdf", "pbkdf2"], &["--pbkdf", "pbkdf2", "--hash", "sha512"]] {
        let Some(volume) = Volume::by_cryptsetup(kdf) else { return };
        let disk = fs::File::open(volume.disk()).unwrap();
        let mut budget = Budget::with_memory(u32::MAX);
        let whole = budget.work;
        let key = volume.header().unwrap().unlock(&disk, &Secret::new(KEY.to_vec()), &mut budget).unwrap();
        assert!(key.skipped.is_empty());
        let cost = whole - budget.work;
        let header = volume.header().unwrap();
        let kdf = &header.document()["keyslots"]["0"]["kdf"];
        assert!(6 * cost <= whole, "{cost} units for {kdf}");
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
    let unlock = |key: &[u8]| {
        let mut small = Budget::with_memory(16 << 10);
        volume.header().unwrap().unlock(&disk, &Secret::new(key.to_vec()), &mut small)
    };
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
    assert_eq!(header.complaint(), Some(Complaint::Older(Origin::Primary)));
}

#[test]
fn a_digest_of_a_converted_volume_is_understood() {
    // `cryptsetup convert` needs device-mapper: make its result, a digest cut to LUKS1's 20 bytes.
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
