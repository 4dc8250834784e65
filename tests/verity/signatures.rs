//! Signatures of root hashes against those who make them: systemd-repart its partitions, OpenSSL everything else, and OpenSSL is
//! asked the question that systemd asks it.

use crate::common::{Scratch, tool};
use hermetic_init::{
    disk::{
        filter::Filter,
        partition::Partition,
        slot::{Choice, SlotError, select_usr},
    },
    pkcs7::{Certificate, Pkcs7Error, SignedData},
    units::{Lba, PartitionNumber},
    verity::{RootHash, Signature, SignatureError},
};
use std::{fs, process::Command};

const HASH: &str = "00112233445566778899aabbccddeeff0123456789abcdef0123456789abcdef";

/// Runs OpenSSL; `@name` is a file of the scratch directory.
fn openssl(scratch: &Scratch, words: &str) -> std::process::Output {
    let mut command = tool("openssl").unwrap();
    for word in words.split_ascii_whitespace() {
        command.arg(word.strip_prefix('@').map_or_else(|| word.into(), |name| scratch.inside(name)));
    }
    command.output().unwrap()
}

fn made(scratch: &Scratch, words: &str) {
    let output = openssl(scratch, words);
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A key and its certificate, `NAME.key` and `NAME.crt`.
fn key(scratch: &Scratch, name: &str, kind: &str) -> Certificate {
    made(
        scratch,
        &format!(
            "req -x509 -newkey {kind} -noenc -keyout @{name}.key -out @{name}.crt -days 9 -subj /O=x/CN={name}"
        ),
    );
    certificate(scratch, name).unwrap()
}

fn certificate(scratch: &Scratch, name: &str) -> Result<Certificate, Pkcs7Error> {
    Certificate::from_pem(&fs::read_to_string(scratch.host(&format!("{name}.crt"))).unwrap())
}

/// The answer of `PKCS7_verify` with PKCS7_NOINTERN and PKCS7_NOVERIFY, as systemd asks for it.
fn openssl_accepts(scratch: &Scratch, signature: &str, content: &str, certificate: &str) -> bool {
    let question = format!(
        "smime -verify -binary -nointern -noverify -inform DER -in @{signature} -content @{content} \
         -certfile @{certificate}.crt -out @out"
    );
    openssl(scratch, &question).status.success()
}

fn verify(
    scratch: &Scratch,
    signature: &str,
    content: &str,
    all: &[Certificate],
) -> Result<usize, Pkcs7Error> {
    let bytes = fs::read(scratch.host(signature)).unwrap();
    SignedData::parse(&bytes)?.verify(&fs::read(scratch.host(content)).unwrap(), all)
}

const RSA: &str = "rsa:2048";
const P256: &str = "ec -pkeyopt ec_paramgen_curve:P-256";
const P384: &str = "ec -pkeyopt ec_paramgen_curve:P-384";

#[test]
fn signatures_of_openssl_count_as_openssl_says() {
    let Some(scratch) = Scratch::new() else { return };
    fs::write(scratch.host("content"), HASH).unwrap();
    fs::write(scratch.host("other"), HASH.replace("00112233", "00112234")).unwrap();
    let stranger = key(&scratch, "stranger", P256);
    let mut count = 0;
    for (kind, digests) in [
        (RSA, &["sha256", "sha384", "sha512"][..]),
        ("rsa:3072", &["sha256"]),
        ("rsa:4096", &["sha512"]),
        (P256, &["sha256", "sha384", "sha512"]),
        (P384, &["sha256", "sha384", "sha512"]),
    ] {
        let signer = key(&scratch, "signer", kind);
        for digest in digests {
            for (tool, words) in [
                ("smime", "-noattr"),
                ("smime", "-noattr -nocerts"),
                ("smime", ""),
                ("cms", "-nosmimecap"),
                ("cms", "-noattr -nocerts"),
            ] {
                let what = format!("{tool} {words} {kind} {digest}");
                made(
                    &scratch,
                    &format!(
                        "{tool} -sign -binary {words} -md {digest} -in @content -signer @signer.crt -inkey @signer.key \
                         -outform DER -out @signature"
                    ),
                );
                for (content, name, certificate, expected) in [
                    ("content", "signer", &signer, true),
                    ("other", "signer", &signer, false),
                    ("content", "stranger", &stranger, false),
                ] {
                    let ours = verify(&scratch, "signature", content, std::slice::from_ref(certificate));
                    assert_eq!(ours.is_ok(), expected, "{what} {content} {name}: {ours:?}");
                    let theirs = openssl_accepts(&scratch, "signature", content, name);
                    assert_eq!(theirs, expected, "{what} {content} {name}: OpenSSL");
                }
                let both = [stranger.clone(), signer.clone()];
                assert_eq!(verify(&scratch, "signature", "content", &both), Ok(1), "{what}");
                count += 1;
            }
        }
        // A changed bit anywhere is another signature, or none at all.
        let mut bytes = fs::read(scratch.host("signature")).unwrap();
        let mut accepted = Vec::new();
        for place in 0..bytes.len() {
            bytes[place] ^= 1;
            let result = SignedData::parse(&bytes)
                .and_then(|data| data.verify(HASH.as_bytes(), std::slice::from_ref(&signer)));
            if result.is_ok() {
                accepted.push(place);
            }
            bytes[place] ^= 1;
        }
        // The version numbers and the set of digests in front vouch for nothing and are covered by nothing.
        assert!(accepted.len() <= 24, "{kind}: {accepted:?}");
    }
    eprintln!("{count} signatures");
}

#[test]
fn other_signatures_are_refused_by_name() {
    use Pkcs7Error::{Malformed, Mismatch, OtherContent, UnknownSigner, Unsupported};
    let Some(scratch) = Scratch::new() else { return };
    fs::write(scratch.host("content"), HASH).unwrap();
    let signer = key(&scratch, "signer", RSA);
    let sign = |words: &str| {
        made(&scratch, &format!("{words} -in @content -outform DER -out @signature"));
        let result = verify(&scratch, "signature", "content", std::slice::from_ref(&signer)).unwrap_err();
        assert!(!result.to_string().contains('\n'));
        result
    };
    const BY: &str = "-signer @signer.crt -inkey @signer.key";
    // What OpenSSL as systemd asks it takes and we do not, or the other way around, is none of these.
    for (words, what) in [
        (format!("cms -sign -binary -md sha1 {BY}"), "digest"),
        (format!("cms -sign -binary {BY} -keyopt rsa_padding_mode:pss"), "algorithm"),
        (format!("cms -sign -binary -keyid {BY}"), "key identifier"),
        (format!("cms -sign -binary -econtent_type 1.2.3 {BY}"), "type"),
        ("cms -encrypt -binary -aes128 -recip @signer.crt".into(), "signed data"),
        (format!("cms -sign -binary -stream -nodetach {BY}"), "DER"),
    ] {
        let error = sign(&words);
        assert!(matches!(error, Malformed(_) | Unsupported(_)), "{words}: {error:?}");
        assert!(error.to_string().contains(what), "{words}: {error}");
    }
    // Somebody else of the same name and number.
    made(
        &scratch,
        "req -x509 -newkey rsa:2048 -noenc -keyout @a.key -out @a.crt -days 9 -subj /CN=x -set_serial 7",
    );
    made(
        &scratch,
        "req -x509 -newkey rsa:2048 -noenc -keyout @b.key -out @b.crt -days 9 -subj /CN=x -set_serial 7",
    );
    made(
        &scratch,
        "smime -sign -binary -in @content -signer @a.crt -inkey @a.key -outform DER -out @signature",
    );
    let [a, b] = ["a", "b"].map(|name| certificate(&scratch, name).unwrap());
    assert_eq!(verify(&scratch, "signature", "content", std::slice::from_ref(&b)), Err(Mismatch));
    assert_eq!(verify(&scratch, "signature", "content", &[b, a.clone()]), Ok(1));
    assert_eq!(verify(&scratch, "signature", "signature", std::slice::from_ref(&a)), Err(OtherContent));
    // Every signer must be known.
    made(
        &scratch,
        &format!(
            "smime -sign -binary -in @content {BY} -signer @a.crt -inkey @a.key -outform DER -out @signature"
        ),
    );
    for (all, name, expected) in [
        (vec![signer.clone()], "signer", Err(UnknownSigner)),
        (vec![a.clone()], "a", Err(UnknownSigner)),
        (vec![a, signer.clone()], "both", Ok(1)),
    ] {
        let both =
            ["a", "signer"].map(|name| fs::read_to_string(scratch.host(&format!("{name}.crt"))).unwrap());
        fs::write(scratch.host("both.crt"), both.concat()).unwrap();
        let ours = verify(&scratch, "signature", "content", &all);
        assert_eq!(ours.is_ok(), expected.is_ok(), "{name}: {ours:?}");
        assert_eq!(openssl_accepts(&scratch, "signature", "content", name), expected.is_ok(), "{name}");
    }
    // Keys that nobody should sign with, and files that are no certificates.
    for (kind, name) in
        [("rsa:1024", "weak"), ("ed25519", "edwards"), ("ec -pkeyopt ec_paramgen_curve:P-521", "large")]
    {
        made(
            &scratch,
            &format!("req -x509 -newkey {kind} -noenc -keyout @k -out @{name}.crt -days 9 -subj /CN=x"),
        );
        assert!(matches!(certificate(&scratch, name), Err(Unsupported(_))), "{name}");
    }
    assert_eq!(
        Certificate::from_pem(&fs::read_to_string(scratch.host("a.key")).unwrap()),
        Err(Pkcs7Error::NotPem)
    );
    // Text in front of it, as `openssl x509 -text` writes it, and lines of any length.
    made(&scratch, "x509 -text -in @signer.crt -out @text.crt");
    assert_eq!(certificate(&scratch, "text"), Ok(signer.clone()));
    let fingerprint = openssl(&scratch, "x509 -noout -fingerprint -sha256 -in @signer.crt");
    let fingerprint = String::from_utf8(fingerprint.stdout).unwrap().replace(':', "").to_lowercase();
    let ours: String = signer.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(fingerprint.trim().rsplit('=').next(), Some(ours.as_str()));
}

/// systemd-repart, with its own /proc in the tool root; returns the table that it made.
fn repart(scratch: &Scratch, disk: &str, words: &[&str]) -> serde_json::Value {
    let root = std::env::var("HERMETIC_TOOLS").unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
    command.args(["--mount", "sh", "-c", script, &root]);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command.args(["systemd-repart", "--offline=yes", "--empty=create", "--size=16M", "--dry-run=no"]);
    command.args(["--json=short", "--no-pager", "--seed=11111111222233334444555555555555"]);
    command.arg(format!("--definitions={}", scratch.inside("definitions")));
    for (word, name) in [("private-key", "signer.key"), ("certificate", "signer.crt")] {
        command.arg(format!("--{word}={}", scratch.inside(name)));
    }
    let output = command.args(words).arg(scratch.inside(disk)).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The partitions of systemd-repart's table, and the content of that with the signature.
fn partitions(scratch: &Scratch, disk: &str, table: &serde_json::Value) -> (Vec<Partition>, Vec<u8>) {
    let mut signature = Vec::new();
    let rows = table.as_array().unwrap().iter().enumerate().map(|(index, row)| {
        let number = |name: &str| row[name].as_u64().unwrap() as usize;
        let kind = row["type"].as_str().unwrap();
        if kind.ends_with("-verity-sig") {
            let disk = fs::read(scratch.host(disk)).unwrap();
            signature = disk[number("offset")..number("offset") + number("raw_size")].to_vec();
        }
        Partition {
            number: PartitionNumber(index as u32 + 1),
            type_guid: hermetic_init::disk::types::parse(kind).unwrap(),
            guid: row["uuid"].as_str().unwrap().parse().unwrap(),
            first: Lba(number("offset") as u64 / 512),
            last: Lba((number("offset") + number("raw_size")) as u64 / 512 - 1),
            attributes: 0,
            label: row["label"].as_str().unwrap().into(),
        }
    });
    (rows.collect(), signature)
}

#[test]
fn partitions_of_systemd_repart_are_read_and_vouched_for() {
    let Some(scratch) = Scratch::new() else { return };
    fs::create_dir(scratch.host("definitions")).unwrap();
    fs::write(scratch.host("data"), vec![7; 1 << 20]).unwrap();
    let data = format!("CopyBlocks={}\n", scratch.inside("data"));
    for (name, kind, verity, more) in [
        ("10", "usr-verity-sig", "signature", ""),
        ("20", "usr-verity", "hash", "SizeMaxBytes=1M\n"),
        ("30", "usr", "data", data.as_str()),
    ] {
        let text =
            format!("[Partition]\nType={kind}\nLabel=os_1\nVerity={verity}\nVerityMatchKey=usr\n{more}");
        fs::write(scratch.host(&format!("definitions/{name}.conf")), text).unwrap();
    }
    for kind in [RSA, "rsa:4096", P256, P384] {
        let signer = key(&scratch, "signer", kind);
        let _fresh = fs::remove_file(scratch.host("disk"));
        let table = repart(&scratch, "disk", &[]);
        let (all, content) = partitions(&scratch, "disk", &table);
        let root_hash: RootHash = table[0]["roothash"].as_str().unwrap().parse().unwrap();
        let slot = select_usr(&all, Choice::RootHash(&root_hash), Filter::ALL).unwrap();
        let one = |number: u32| PartitionNumber(number);
        assert_eq!((slot.data, slot.verity, slot.signatures), (one(3), Some(one(2)), vec![one(1)]), "{kind}");
        let hidden = Filter::parse("usr-verity-sig=other_*").unwrap();
        assert_eq!(select_usr(&all, Choice::RootHash(&root_hash), &hidden).unwrap().signatures, [], "{kind}");

        assert_eq!(content.len(), 16384, "{kind}");
        let signature = Signature::parse(&content).unwrap();
        assert_eq!(signature.root_hash, root_hash, "{kind}");
        let fingerprint: String = signer.fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(signature.fingerprint, Some(fingerprint), "{kind}");
        let data = SignedData::parse(&signature.pkcs7).unwrap();
        assert_eq!(data.verify(signature.signed().as_bytes(), &[signer]), Ok(0), "{kind}");
        // The same question to OpenSSL.
        fs::write(scratch.host("signature"), &signature.pkcs7).unwrap();
        fs::write(scratch.host("content"), signature.signed()).unwrap();
        assert!(openssl_accepts(&scratch, "signature", "content", "signer"), "{kind}");
    }
    // The partition of an image that is to be signed later.
    let table = repart(&scratch, "deferred", &["--defer-partitions=usr-verity-sig"]);
    let (all, content) = partitions(&scratch, "deferred", &table);
    assert_eq!((content.len(), Signature::parse(&content)), (16384, Err(SignatureError::Empty)));
    let other: RootHash = HASH.parse().unwrap();
    assert!(matches!(
        select_usr(&all, Choice::RootHash(&other), Filter::ALL),
        Err(SlotError::Missing { .. })
    ));
}
