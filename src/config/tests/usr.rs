//! The words about /usr and its protection.

use super::*;

#[test]
fn a_root_hash_names_its_partitions() {
    let text = format!("usrhash={}", HASH.to_uppercase());
    let verity = config(&text).usr.verity.unwrap();
    assert_eq!(verity.root_hash.to_string(), HASH);
    assert_eq!(verity.root_hash.data_guid().to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    assert_eq!(verity.root_hash.verity_guid().to_string(), "10213243-5465-7687-98a9-bacbdcedfe0f");
    assert_eq!((verity.data, verity.hash), (None, None));
    // An empty word takes an earlier one back; somebody who did not mean that is told.
    for empty in ["usrhash=", "usrhash"] {
        let (taken_back, warnings) = Config::from_cmdline(&format!("usrhash={HASH} {empty}"), None).unwrap();
        assert_eq!((taken_back.usr.verity, warnings.len()), (None, 1), "{empty}");
        assert!(config(&format!("{empty} usrhash={HASH}")).usr.verity.is_some());
    }
    for same in [format!("rd.usrhash={HASH}"), format!("usrhash=00 usrhash={HASH} mount.usr=/dev/mapper/usr")]
    {
        assert_eq!(config(&same).usr, config(&text).usr, "{same}");
    }
}

#[test]
fn verity_devices_and_options_are_named() {
    let usr = config(&format!(
        "usrhash={HASH} systemd.verity-usr-data=/dev/sda1 rd.systemd.verity_usr_hash=PARTLABEL=h \
         systemd.verity_usr_options=panic-on-corruption,,hash=sha256"
    ))
    .usr;
    assert_eq!(usr.verity_options, ["panic-on-corruption", "hash=sha256"]);
    let verity = usr.verity.unwrap();
    assert_eq!(verity.data, Some(DeviceSpec::Name("sda1".into())));
    assert_eq!(verity.hash, Some(DeviceSpec::PartLabel("h".into())));

    // The device of mount.usr= is the one that is verified, never one that is mounted without the verification.
    let usr = config(&format!("usrhash={HASH} mount.usr=/dev/sda1")).usr;
    assert_eq!(usr.verity.unwrap().data, Some(DeviceSpec::Name("sda1".into())));
}

/// Words of veritytab(5) and of systemd's documentation of kernel words.
#[test]
fn a_signature_has_an_origin() {
    for (options, source) in [
        ("root-hash-signature=auto", SignatureSource::Partition),
        ("panic-on-corruption,root-hash-signature=/usr.p7s", SignatureSource::File("/usr.p7s".into())),
        ("root-hash-signature=auto,root-hash-signature=base64:AQI=", SignatureSource::Bytes(vec![1, 2])),
        ("nofail", SignatureSource::Discovered),
    ] {
        let usr = config(&format!("systemd.verity_usr_options={options}")).usr;
        assert_eq!(usr.signature, Some(source), "{options}");
        assert!(usr.verity_options.iter().all(|option| !option.starts_with("root")), "{options}");
    }
    assert_eq!(config("systemd.verity=no").usr.signature, None);
    assert!(!config("systemd.allow_userspace_verity=no").usr.user_space_vouches);
}

#[test]
fn verity_is_switched_off_aloud() {
    let (config, warnings) =
        Config::from_cmdline(&format!("usrhash={HASH} systemd.verity=no"), None).unwrap();
    assert_eq!((config.usr.verity, warnings.len()), (None, 1));
    let text = format!("usrhash={HASH} mount.usrflags=rw");
    let (config, warnings) = Config::from_cmdline(&text, None).unwrap();
    assert_eq!((config.usr.mount.read_write, warnings.len()), (false, 1));
}
