//! The header images of cryptsetup's own test suite: those that its `luks2-validation-test` makes by script, and those
//! that its other tests carry packed. An image that cryptsetup finds damaged is refused here as well; one that it finds
//! valid is accepted, or refused by the rule that [`GENERATED`] and [`PACKED`] name.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use hermetic_init::{
    luks::{Budget, Header, LuksError, VolumeKey},
    secret::Secret,
};

use crate::{
    common::{Scratch, tool},
    volume::MEMORY,
};

use Outcome::{Accepted, Opens, Refused};

/// The result for an image here.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    /// The header is read and its segment may be opened; the passphrase is not known.
    Accepted,
    /// And this passphrase opens it.
    Opens(&'static str),
    /// The refusal says this.
    Refused(&'static str),
}

/// The images that scripts make: each changes one detail of a valid header, most of them in the primary copy after they
/// have destroyed the secondary one.
const GENERATED: &[(&str, Outcome)] = &[
    ("luks2-area-in-json-hdr-space-json0", Refused("keyslots/0/area: too small for its stripes")),
    ("luks2-argon2-leftover-params", Accepted),
    ("luks2-correct-full-json0", Accepted),
    ("luks2-corrupted-hdr0-with-correct-chks", Accepted),
    ("luks2-corrupted-hdr1-with-correct-chks", Accepted),
    (
        "luks2-invalid-checksum-both-hdrs",
        Refused("primary: its checksum is wrong; secondary: its checksum is wrong"),
    ),
    ("luks2-invalid-checksum-hdr0", Accepted),
    ("luks2-invalid-checksum-hdr1", Accepted),
    ("luks2-invalid-json-size-c0", Refused("config/json_size: not the size of the JSON area")),
    ("luks2-invalid-json-size-c1", Refused("config/json_size: not the size of the JSON area")),
    ("luks2-invalid-json-size-c2", Refused("config/json_size: not the size of the JSON area")),
    (
        "luks2-invalid-keyslots-size-c0",
        Refused("segments/0/offset: not a multiple of 512 behind the keyslots area"),
    ),
    ("luks2-invalid-keyslots-size-c1", Refused("config/keyslots_size: not a multiple of 4096 up to 128 MiB")),
    ("luks2-invalid-keyslots-size-c2", Refused("keyslots/6: its area is not within the keyslots area")),
    ("luks2-invalid-object-type-json0", Refused("JSON area: the text does not begin with {")),
    ("luks2-invalid-opening-char-json0", Refused("JSON area: the text does not begin with {")),
    ("luks2-invalid-tokens", Refused("tokens: not an object")),
    ("luks2-invalid-top-objects", Refused("keyslots: not an object")),
    ("luks2-keyslot-invalid-af", Refused("keyslots/0/af/type: not a string")),
    ("luks2-keyslot-invalid-area", Refused("keyslots/0/area/offset: missing")),
    ("luks2-keyslot-invalid-area-size", Refused("keyslots/0/area: empty or beyond 64 bits")),
    ("luks2-keyslot-invalid-objects", Refused("keyslots/0/af/type: missing")),
    ("luks2-keyslot-missing-digest", Refused(": it does not belong to exactly one digest")),
    ("luks2-keyslot-too-many-digests", Refused(": it does not belong to exactly one digest")),
    ("luks2-metadata-size-128k", Accepted),
    ("luks2-metadata-size-128k-secondary", Accepted),
    ("luks2-metadata-size-16k-secondary", Accepted),
    ("luks2-metadata-size-1m", Accepted),
    ("luks2-metadata-size-1m-secondary", Accepted),
    ("luks2-metadata-size-256k", Accepted),
    ("luks2-metadata-size-256k-secondary", Accepted),
    ("luks2-metadata-size-2m", Accepted),
    ("luks2-metadata-size-2m-secondary", Accepted),
    ("luks2-metadata-size-32k", Accepted),
    ("luks2-metadata-size-32k-secondary", Accepted),
    ("luks2-metadata-size-4m", Accepted),
    ("luks2-metadata-size-4m-secondary", Accepted),
    ("luks2-metadata-size-512k", Accepted),
    ("luks2-metadata-size-512k-secondary", Accepted),
    ("luks2-metadata-size-64k", Accepted),
    ("luks2-metadata-size-64k-inv-area-c0", Refused("keyslots/0: its area is not within the keyslots area")),
    ("luks2-metadata-size-64k-inv-area-c1", Refused("keyslots/7: its area is not within the keyslots area")),
    (
        "luks2-metadata-size-64k-inv-keyslots-size-c0",
        Refused("segments/0/offset: not a multiple of 512 behind the keyslots area"),
    ),
    ("luks2-metadata-size-64k-secondary", Accepted),
    (
        "luks2-metadata-size-invalid",
        Refused("primary: its length is not one that LUKS2 has; secondary: absent"),
    ),
    (
        "luks2-metadata-size-invalid-secondary",
        Refused("primary: absent; secondary: its length is not one that LUKS2 has"),
    ),
    (
        "luks2-missing-keyslot-referenced-in-digest",
        Refused("digests/0: it belongs to a keyslot that is not there"),
    ),
    (
        "luks2-missing-keyslot-referenced-in-token",
        Refused("tokens/0: it belongs to a keyslot that is not there"),
    ),
    (
        "luks2-missing-segment-referenced-in-digest",
        Refused("digests/0: it belongs to a segment that is not there"),
    ),
    ("luks2-missing-trailing-null-byte-json0", Refused("JSON area: no NUL ends the text")),
    ("luks2-non-null-byte-beyond-json0", Refused("JSON area: the text is not JSON")),
    ("luks2-non-null-bytes-beyond-json0", Refused("JSON area: something follows the text")),
    ("luks2-overlapping-areas-c0-json0", Refused("keyslots/7: its area overlaps that of another keyslot")),
    ("luks2-overlapping-areas-c1-json0", Refused("keyslots/7: its area overlaps that of another keyslot")),
    ("luks2-overlapping-areas-c2-json0", Refused("keyslots/7: its area overlaps that of another keyslot")),
    ("luks2-pbkdf2-leftover-params-0", Accepted),
    ("luks2-pbkdf2-leftover-params-1", Accepted),
    ("luks2-segment-crypt-empty-encryption", Refused("segments/0/encryption is \"\", not supported")),
    ("luks2-segment-crypt-missing-encryption", Refused("segments/0/encryption: missing")),
    ("luks2-segment-crypt-missing-ivoffset", Refused("segments/0/iv_tweak: missing")),
    ("luks2-segment-crypt-missing-sectorsize", Refused("segments/0/sector_size: missing")),
    ("luks2-segment-crypt-wrong-encryption", Refused("segments/0/encryption: not a string")),
    ("luks2-segment-crypt-wrong-ivoffset", Refused("segments/0/iv_tweak: not a decimal number of 64 bits")),
    (
        "luks2-segment-crypt-wrong-sectorsize-0",
        Refused("segments/0/sector_size: not 512, 1024, 2048 or 4096"),
    ),
    ("luks2-segment-crypt-wrong-sectorsize-1", Refused("segments/0/sector_size: not an integer of 32 bits")),
    ("luks2-segment-crypt-wrong-sectorsize-2", Refused("segments/0/sector_size: not an integer of 32 bits")),
    ("luks2-segment-missing-offset", Refused("segments/0/offset: missing")),
    ("luks2-segment-missing-size", Refused("segments/0/size: missing")),
    ("luks2-segment-missing-type", Refused("segments/0/type: missing")),
    ("luks2-segment-two", Refused("segments is more than one segment, not supported")),
    ("luks2-segment-unknown-type", Refused("segments/0/type is \"some_type\", not supported")),
    ("luks2-segment-wrong-backup-key-0", Refused("segments is more than one segment, not supported")),
    ("luks2-segment-wrong-backup-key-1", Refused("segments: a member's name is not a number in range")),
    ("luks2-segment-wrong-flags", Refused("segments/0/flags: not an array")),
    ("luks2-segment-wrong-flags-element", Refused("segments/0/flags: not an array of strings")),
    ("luks2-segment-wrong-offset", Refused("segments/0/offset: not a decimal number of 64 bits")),
    ("luks2-segment-wrong-size-0", Refused("segments/0/size: not a string")),
    ("luks2-segment-wrong-size-1", Refused("segments/0/size: not a decimal number of 64 bits")),
    ("luks2-segment-wrong-size-2", Refused("segments/0/size: not a number of whole sectors")),
    ("luks2-segment-wrong-type", Refused("segments/0/type: not a string")),
    ("luks2-uint64-max-segment-size", Refused("segments/0/size: not a number of whole sectors")),
    ("luks2-uint64-overflow-segment-size", Refused("segments/0/size: not a decimal number of 64 bits")),
    ("luks2-uint64-signed-segment-size", Refused("segments/0/size: not a decimal number of 64 bits")),
];

const LUKS1: Outcome = Refused("this is a LUKS1 header");
/// The header of a volume whose data is on another device: the root's header stands before its data.
const DETACHED: Outcome = Refused("segments/0/offset: not a multiple of 512 behind the keyslots area");

/// A cipher beside the one that is opened.
const CIPHER: Outcome = Refused("segments/0/encryption is \"aes-cbc-essiv:sha256\", not supported");

/// The images that come packed.
const PACKED: &[(&str, Outcome)] = &[
    (
        "blkid-luks2-pv.img",
        Refused("the device begins with LVM2_member, and behind it is the secondary header"),
    ),
    ("compatimage.img", LUKS1),
    ("compatimage2.img", CIPHER),
    ("compatv10image.img", LUKS1),
    ("evil_hdr-keyslot_overlap", LUKS1),
    ("evil_hdr-luks_hdr_damage", LUKS1),
    ("evil_hdr-payload_overwrite", LUKS1),
    ("evil_hdr-small_luks_device", LUKS1),
    ("evil_hdr-stripes_payload_dmg", LUKS1),
    ("l1_128b", LUKS1),
    ("l1_128b_det", LUKS1),
    ("l1_256b", LUKS1),
    ("l1_256b_det", LUKS1),
    ("l1_256b_legacy_offset", LUKS1),
    ("l1_256b_unmovable", LUKS1),
    ("l1_512b", LUKS1),
    ("l1_512b_det", LUKS1),
    ("l2_128b", CIPHER),
    ("l2_128b_det", DETACHED),
    ("l2_128b_det_full", DETACHED),
    ("l2_128b_full", CIPHER),
    ("l2_256b", Opens("aaablabl")),
    ("l2_256b_det", DETACHED),
    ("l2_256b_det_full", DETACHED),
    ("l2_256b_full", Opens("aaablabl")),
    ("l2_512b", Opens("aaablabl")),
    ("l2_512b_det", DETACHED),
    ("l2_512b_det_full", DETACHED),
    ("l2_512b_full", Opens("aaablabl")),
    ("luks1_aes-cbc-essiv-sha256-sha1.img", LUKS1),
    ("luks1_aes-lrw-plain64-sha1.img", LUKS1),
    ("luks1_aes-xts-essiv-wp256-whirlpool.img", LUKS1),
    ("luks1_aes-xts-plain64-sha1.img", LUKS1),
    ("luks1_aes-xts-plain64-sha256.img", LUKS1),
    ("luks1_aes-xts-plain64-whirlpool.img", LUKS1),
    ("luks1_serpent-xts-plain64-sha1.img", LUKS1),
    ("luks1_serpent-xts-plain64-sha256.img", LUKS1),
    ("luks1_serpent-xts-plain64-whirlpool.img", LUKS1),
    ("luks1_twofish-xts-plain64-sha1.img", LUKS1),
    ("luks1_twofish-xts-plain64-sha256.img", LUKS1),
    ("luks1_twofish-xts-plain64-whirlpool.img", LUKS1),
    ("luks2_header_requirements", Refused("requires \"req0\", which is not supported")),
    ("luks2_header_requirements_free", Opens("blablabl")),
    ("luks2_invalid_cipher.img", Refused("segments/0/encryption is \"capi:xts(ecb(aes-generic))-plain64\"")),
    ("luks2_keyslot_unassigned.img", Opens("compatkey")),
    ("luks2_valid_hdr.img", Accepted),
    ("test_image_1024", Opens("Qx3qn46vq0v")),
    ("test_image_128", Opens("Qx3qn46vq0v")),
    ("test_image_16", Opens("Qx3qn46vq0v")),
    ("test_image_2048", Opens("Qx3qn46vq0v")),
    ("test_image_256", Opens("Qx3qn46vq0v")),
    ("test_image_32", Opens("Qx3qn46vq0v")),
    ("test_image_4096", Opens("Qx3qn46vq0v")),
    ("test_image_512", Opens("Qx3qn46vq0v")),
    ("test_image_64", Opens("Qx3qn46vq0v")),
    ("valid_header_file", LUKS1),
];

/// jq, for files that end with NULs.
const JQ: &str = r#"#!/bin/bash
words=()
for word; do
    if [ -f "$word" ]; then
        tr -d '\000' <"$word" >"$word.text"
        word="$word.text"
    fi
    words+=("$word")
done
exec jq-1.7 "${words[@]}"
"#;

/// cryptsetup's source, as far as `cargo vm references` keeps it.
fn source() -> Option<PathBuf> {
    given("HERMETIC_CRYPTSETUP_SOURCE")
}

fn given(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os(name).map(PathBuf::from);
    if path.is_none() {
        assert!(std::env::var_os("HERMETIC_NO_SKIP").is_none_or(|no| no != "1"), "needs {name}");
        eprintln!("SKIPPED: needs {name}");
    }
    path
}

/// Reads the header and opens it, as far as `outcome` knows how. None: it is accepted.
fn refusal(image: &Path, outcome: Outcome) -> Option<LuksError> {
    let disk = fs::File::open(image).unwrap();
    let opened = Header::read(&disk).and_then(|header| {
        header.segment()?;
        match outcome {
            Opens(passphrase) => header
                .unlock(&disk, &Secret::new(passphrase.as_bytes().to_vec()), &mut Budget::with_memory(MEMORY))
                .map(Some),
            _ => Ok(None::<VolumeKey>),
        }
    });
    opened.err()
}

/// Compares with the table; a difference is a line of the answer.
fn compare(name: &str, image: &Path, outcome: Outcome) -> Option<String> {
    match (outcome, refusal(image, outcome)) {
        (Refused(rule), Some(error)) if error.to_string().contains(rule) => None,
        (Accepted | Opens(_), None) => None,
        (_, found) => {
            let found = found.map_or("accepted".to_owned(), |error| format!("refused: {error}"));
            Some(format!("{name} must be {outcome:?}, and is {found}"))
        }
    }
}

/// Returns true when cryptsetup accepts the header. It may repair the image.
fn cryptsetup_takes(scratch: &Scratch, name: &str) -> bool {
    let mut dump = tool("cryptsetup").unwrap();
    let output = dump.arg("luksDump").arg(scratch.inside(name)).output().unwrap();
    output.status.success()
}

/// The results that luks2-validation-test expects of each image: R is for "read", F for "failure".
fn expectations(script: &str) -> BTreeMap<String, bool> {
    let runs = script.lines().filter_map(|line| line.strip_prefix("RUN "));
    runs.map(|run| {
        let mut words = run.split_whitespace();
        let (name, expected) = (words.next().unwrap(), words.next().unwrap());
        (name.trim_end_matches(".img").to_owned(), expected == "\"R\"")
    })
    .collect()
}

#[test]
fn every_generated_image() {
    let (Some(source), Some(judges), Some(scratch)) = (source(), given("HERMETIC_JUDGES"), Scratch::new())
    else {
        return;
    };
    let tests = source.join("tests");
    // The scripts want jq and xxd beside the tool root's programs.
    for name in [tests.join("generators"), judges.join("usr/bin"), judges.join("usr/lib")] {
        let copied = Command::new("cp").arg("--recursive").arg(&name).arg(scratch.host("")).status().unwrap();
        assert!(copied.success(), "{}", name.display());
    }
    // jq 1.7 stumbles over the NULs behind a header's text, of which jq 1.6 made nothing.
    fs::rename(scratch.host("bin/jq"), scratch.host("bin/jq-1.7")).unwrap();
    fs::write(scratch.host("bin/jq"), JQ).unwrap();
    fs::set_permissions(scratch.host("bin/jq"), fs::Permissions::from_mode(0o755)).unwrap();
    let unpacked = Command::new("xz")
        .args(["--decompress", "--stdout"])
        .arg(tests.join("luks2_valid_hdr.img.xz"))
        .stdout(fs::File::create(scratch.host("luks2_valid_hdr.img")).unwrap())
        .status()
        .unwrap();
    assert!(unpacked.success());

    let expected = expectations(&fs::read_to_string(tests.join("luks2-validation-test")).unwrap());
    let known: Vec<_> = GENERATED.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(expected.keys().cloned().collect::<Vec<_>>(), known, "the table is not that of this suite");
    let mut complaints = Vec::new();
    for (name, outcome) in GENERATED {
        let mut generate = tool("bash").unwrap();
        generate.env("PATH", format!("{}:/usr/sbin:/usr/bin", scratch.inside("bin")));
        generate.env("LD_LIBRARY_PATH", scratch.inside("lib/x86_64-linux-gnu"));
        generate.args([
            "-c",
            r#"cd "$1/generators" && exec "./generate-$2.img.sh" "$1" "$1/luks2_valid_hdr.img""#,
        ]);
        let output = generate.args(["bash", &scratch.inside(""), name]).output().unwrap();
        assert!(output.status.success(), "{name}: {output:?}");
        let image = scratch.host(&format!("{name}.img"));
        complaints.extend(compare(name, &image, *outcome));
        let takes = cryptsetup_takes(&scratch, &format!("{name}.img"));
        assert_eq!(takes, expected[*name], "cryptsetup does not say of {name} what its suite says");
        if !takes && !matches!(outcome, Refused(_)) {
            complaints.push(format!("{name} is invalid for cryptsetup"));
        }
        fs::remove_file(image).unwrap();
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Unpacks the images of the other tests of the suite, and names them.
fn unpack(tests: &Path, scratch: &Scratch) -> Vec<String> {
    for entry in fs::read_dir(tests).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(name) = name.strip_suffix(".xz") else { continue };
        let mut unpack = match name.strip_suffix(".tar") {
            Some(_) => {
                let mut tar = Command::new("tar");
                tar.arg("--extract").arg("--directory").arg(scratch.host("")).arg("--file").arg(&path);
                tar.args(["--transform", "s,.*/,,", "--exclude=README", "--exclude=keyfile*"]);
                tar
            }
            None => {
                let mut xz = Command::new("xz");
                xz.args(["--decompress", "--stdout"]).arg(&path);
                xz.stdout(fs::File::create(scratch.host(name)).unwrap());
                xz
            }
        };
        assert!(unpack.status().unwrap().success(), "{}", path.display());
    }
    let files = fs::read_dir(scratch.host("")).unwrap().map(|entry| entry.unwrap());
    let files = files.filter(|entry| entry.file_type().unwrap().is_file());
    let mut names: Vec<_> = files.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_packed_image() {
    let (Some(source), Some(scratch)) = (source(), Scratch::new()) else { return };
    let names = unpack(&source.join("tests"), &scratch);
    assert_eq!(
        names,
        PACKED.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "the table is not that of this suite"
    );
    let mut complaints = Vec::new();
    for (name, outcome) in PACKED {
        let image = scratch.host(name);
        complaints.extend(compare(name, &image, *outcome));
        if let (Opens(passphrase), None) = (outcome, refusal(&image, *outcome)) {
            complaints.extend(same_key(&scratch, name, passphrase));
        }
        if !matches!(outcome, Refused(_)) && !cryptsetup_takes(&scratch, name) {
            complaints.push(format!("{name} is invalid for cryptsetup"));
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Compares the volume key with cryptsetup's.
fn same_key(scratch: &Scratch, name: &str, passphrase: &str) -> Option<String> {
    fs::write(scratch.host("passphrase"), passphrase).unwrap();
    let _of_the_image_before = fs::remove_file(scratch.host("key"));
    let mut dump = tool("cryptsetup").unwrap();
    dump.args(["luksDump", "--batch-mode", "--dump-volume-key", "--key-file", &scratch.inside("passphrase")]);
    let output =
        dump.args(["--volume-key-file", &scratch.inside("key"), &scratch.inside(name)]).output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    let disk = fs::File::open(scratch.host(name)).unwrap();
    let header = Header::read(&disk).unwrap();
    let key = header
        .unlock(&disk, &Secret::new(passphrase.as_bytes().to_vec()), &mut Budget::with_memory(MEMORY))
        .ok()?;
    let same = key.key.expose() == fs::read(scratch.host("key")).unwrap();
    (!same).then(|| format!("{name}: another volume key than cryptsetup's"))
}
