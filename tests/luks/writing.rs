//! Volumes made here are opened, changed and re-encoded by cryptsetup; and opened here again.

use std::fs;

use hermetic_init::{
    luks::{self, AddKeyslot, Complaint, LuksError, NewKdf, Origin, RecoveryKey},
    secret::Secret,
    units::Bytes,
    writes::Write,
};
use serde_json::json;

use crate::{
    common::tool,
    volume::{CHEAP, KEY, SIZE, Volume, random, refusal},
};

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
        (0, Complaint::Damaged(Origin::Primary)),
        (4096, Complaint::Damaged(Origin::Primary)),
        (0x4000, Complaint::Damaged(Origin::Secondary)),
    ] {
        let Some((volume, key)) = Volume::by_us(512, NewKdf::for_key_file(32), 0) else {
            return;
        };
        volume.damage(offset, 64);
        assert_eq!(volume.header().unwrap().complaint(), Some(complaint));
        assert!(volume.unlock(KEY).unwrap().key.expose() == key.key.expose());
        // cryptsetup takes the other copy for valid and rewrites the damaged one from it.
        volume.print("repair", &[]);
        assert_eq!(volume.header().unwrap().complaint(), None);
        assert!(volume.opens("@key"));
        assert!(volume.unlock(KEY).unwrap().key.expose() == key.key.expose());
    }
}

/// Checks that every prefix of a plan leaves a header with the old number of keyslots or the new one.
fn survives_power_cuts(volume: &Volume, plan: &hermetic_init::writes::Writes, old: usize, new: usize) {
    let before = fs::read(volume.disk()).unwrap();
    for end in 0..=plan.0.len() {
        let file = fs::File::options().write(true).open(volume.disk()).unwrap();
        hermetic_init::writes::Writes(plan.0[..end].to_vec()).apply(&file).unwrap();
        let keyslots = volume.header().unwrap().document()["keyslots"].as_object().unwrap().len();
        assert!([old, new].contains(&keyslots), "{keyslots} after {end} steps");
        fs::write(volume.disk(), &before).unwrap();
    }
}

#[test]
fn keyslots_come_and_go_under_both() {
    for key_size in ["256", "512"] {
        let Some(volume) = Volume::by_cryptsetup(&[&CHEAP[..], &["--key-size", key_size]].concat()) else {
            return;
        };
        // Unknown members stay, byte for byte.
        volume.edit(|header| {
            header["tokens"]["3"] =
                json!({"type": "from-the-future", "keyslots": ["0"], "blob": [1, {"a": null}]});
            header["config"]["future"] = json!(2.5);
        });
        let key = volume.unlock(KEY).unwrap();
        let passphrase = Secret::new(b"a word".to_vec());
        let new = AddKeyslot {
            key: &key,
            passphrase: &passphrase,
            kdf: NewKdf::MACHINE,
            number: None,
            token: None,
        };
        let (plan, number) = volume.header().unwrap().add_keyslot(&new, &mut random).unwrap();
        assert_eq!(number, 1);
        survives_power_cuts(&volume, &plan, 1, 2);
        let sequence = volume.header().unwrap().sequence();
        volume.apply(&plan);
        let header = volume.header().unwrap();
        assert_eq!(
            (header.sequence(), header.complaint(), header.origin()),
            (sequence + 1, None, Origin::Primary)
        );
        assert_eq!(header.document()["tokens"]["3"]["blob"], json!([1, {"a": null}]));
        assert_eq!(header.document()["config"]["future"], json!(2.5));
        assert!(volume.opens("@other") && volume.opens("@key"));
        assert!(volume.volume_key() == key.key.expose());

        // A recovery key with its token, in a slot that we choose; cryptsetup then takes the next one.
        let recovery = RecoveryKey::random(&mut random);
        let new = AddKeyslot {
            passphrase: recovery.passphrase(),
            number: Some(7),
            token: Some(RecoveryKey::token()),
            ..new
        };
        let (plan, number) = header.add_keyslot(&new, &mut random).unwrap();
        volume.apply(&plan);
        assert_eq!(number, 7);
        fs::write(volume.scratch.host("recovery"), recovery.passphrase().expose()).unwrap();
        assert!(volume.opens("@recovery"));
        assert!(volume.print("luksDump", &[]).contains("0: systemd-recovery\n\tKeyslot:    7"));
        volume.print("luksAddKey", &[&["--key-file", "@key"][..], &CHEAP, &["@disk", "@other"]].concat());

        let plan = volume.header().unwrap().kill_keyslot(1, &mut random).unwrap();
        survives_power_cuts(&volume, &plan, 4, 3);
        volume.apply(&plan);
        let header = volume.header().unwrap();
        assert_eq!(header.document()["digests"]["0"]["keyslots"], json!(["0", "7", "2"]));
        assert_eq!(refusal(volume.unlock(b"wrong")), LuksError::WrongKey { tried: vec![0, 2, 7] });
        volume.apply(&header.kill_keyslot(7, &mut random).unwrap());
        assert!(!volume.opens("@recovery") && volume.opens("@other") && volume.opens("@key"));
        assert_eq!(volume.header().unwrap().document()["tokens"]["0"]["keyslots"], json!([]));
        // The gap is used again.
        let (plan, number) = volume
            .header()
            .unwrap()
            .add_keyslot(&AddKeyslot { number: None, token: None, ..new }, &mut random)
            .unwrap();
        volume.apply(&plan);
        assert_eq!(number, 1);
        assert!(volume.opens("@recovery"));
        for number in [0, 1] {
            volume.apply(&volume.header().unwrap().kill_keyslot(number, &mut random).unwrap());
        }
        let last = volume.header().unwrap().kill_keyslot(2, &mut random).unwrap_err();
        assert!(last.to_string().contains("last keyslot"), "{last}");
    }
}

/// cryptsetup gives keyslots as much as it is told. What is erased may not become a hole, which flash would fill with the old content.
#[test]
fn keyslots_of_any_size_are_overwritten() {
    let options = ["--luks2-keyslots-size", "18m", "--offset", "38912"];
    let Some(volume) = Volume::by_cryptsetup(&[&CHEAP[..], &options].concat()) else { return };
    let data = volume.header().unwrap().segment().unwrap().offset;
    assert_eq!(data, Bytes(19 << 20));
    let plan = luks::erase(&fs::File::open(volume.disk()).unwrap(), Bytes(SIZE));
    let mut covered = vec![false; data.0 as usize];
    for write in &plan.0 {
        match write {
            Write::Data { offset, data } => {
                covered[offset.0 as usize..offset.0 as usize + data.len()].fill(true);
                assert!(data.iter().all(|byte| *byte == 0));
            }
            Write::Zero { .. } => panic!("{write:?} may become a hole"),
            Write::Barrier => {}
        }
    }
    assert!(covered.iter().all(|covered| *covered));
    volume.apply(&plan);
    assert!(!volume.opens("@key"));
}

#[test]
fn a_token_finds_the_keyslot_that_is_there() {
    let Some((volume, _)) = Volume::by_us(512, NewKdf::MACHINE, 0) else { return };
    let add = |keyslot| volume.header().unwrap().add_token(keyslot, &RecoveryKey::token(), &mut random);
    assert!(add(1).is_err(), "for a keyslot that is not there");
    let plan = add(0).unwrap();
    survives_power_cuts(&volume, &plan, 1, 1);
    volume.apply(&plan);
    assert!(volume.print("luksDump", &[]).contains("0: systemd-recovery\n\tKeyslot:    0"));
    assert_eq!(volume.header().unwrap().complaint(), None);
    assert!(volume.opens("@key"));
    for _ in 1..32 {
        volume.apply(&add(0).unwrap());
    }
    assert!(add(0).is_err(), "a thirty-third token");
}

#[test]
fn what_has_no_room_is_refused() {
    let Some((volume, key)) = Volume::by_us(512, NewKdf::MACHINE, 0) else { return };
    let passphrase = Secret::new(b"a word".to_vec());
    let new =
        AddKeyslot { key: &key, passphrase: &passphrase, kdf: NewKdf::MACHINE, number: None, token: None };
    let add = |new: &AddKeyslot| volume.header().unwrap().add_keyslot(new, &mut random);
    for number in [0, 32] {
        assert!(add(&AddKeyslot { number: Some(number), token: None, ..new }).is_err());
    }
    let long = json!({"type": "long", "text": "x".repeat(0x3000)});
    let error = add(&AddKeyslot { token: Some(long), ..new }).err().unwrap();
    assert_eq!(error.to_string(), "the LUKS2 header cannot be changed: there is no room for it");
    volume.edit(|header| header["config"]["requirements"] = json!({"mandatory": ["online-reencrypt-v2"]}));
    assert!(matches!(add(&new), Err(LuksError::Requirement(_))));
    assert!(matches!(volume.header().unwrap().kill_keyslot(0, &mut random), Err(LuksError::Requirement(_))));
}

#[test]
fn a_damaged_copy_is_written_again_from_its_twin() {
    let Some((volume, _)) = Volume::by_us(512, NewKdf::MACHINE, 0) else { return };
    volume.edit(|header| header["future"] = json!({"a": 1.50}));
    let good = fs::read(volume.disk()).unwrap();
    assert!(
        volume.header().unwrap().repair(&mut random).unwrap().is_none(),
        "nothing to mend, nothing written"
    );
    for offset in [0, 4096, 0x4000, 0x5000] {
        volume.damage(offset, 64);
        let plan = volume.header().unwrap().repair(&mut random).unwrap().expect("a plan");
        volume.apply(&plan);
        assert_eq!(volume.header().unwrap().complaint(), None);
        assert!(volume.opens("@key"));
        let disk = fs::read(volume.disk()).unwrap();
        for copy in [0, 0x4000] {
            assert!(
                disk[copy + 4096..copy + 0x4000] == good[copy + 4096..copy + 0x4000],
                "the text is the same"
            );
        }
        assert!(disk[0x8000..] == good[0x8000..], "and nothing else is touched");
        fs::write(volume.disk(), &good).unwrap();
    }
    // A newer copy that only we do not understand is left alone.
    let mut disk = good.clone();
    let newer = Volume::forge(&good[..0x4000], |header| {
        header["config"]["keyslots_size"] = json!("1");
    });
    disk[..0x4000].copy_from_slice(&newer);
    disk[16..24].copy_from_slice(&99u64.to_be_bytes());
    Volume::seal(&mut disk[..0x4000]);
    fs::write(volume.disk(), &disk).unwrap();
    let header = volume.header().unwrap();
    assert_eq!(header.complaint(), Some(Complaint::NewerInvalid(Origin::Primary)));
    assert!(header.repair(&mut random).unwrap().is_none());
}
