//! Keys of repart.d, one by one and all at once.

use super::*;
use crate::{
    disk::types::{self, Role},
    file_system::FileSystem,
    mkfs::btrfs::SubvolumeFlags,
    repart::{
        CopyBlocks, CopyFiles, Encrypt, EncryptKdf, EncryptedVolume, Format, MountPoint, Subvolume, Symlink,
    },
    tpm::PcrMask,
};
use proptest::prelude::*;
use uuid::Uuid;

fn facts() -> Facts {
    Facts { hostname: Some("box.example".into()), ..Facts::default() }
}

fn parse(text: &str) -> Result<Definitions, RepartError> {
    let source = Source {
        name: "50-root.conf".into(),
        path: "/x/50-root.conf".into(),
        text: text.into(),
        drop_ins: vec![],
    };
    Definitions::parse(&[source], Reading::new(&facts()))
}

/// The definition that was read, without its place.
fn one(text: &str) -> Definition {
    let mut found = parse(text).unwrap();
    assert_eq!(found.warnings, [], "{text}");
    let mut definition = found.list.remove(0);
    definition.places.clear();
    definition
}

#[test]
fn every_key_is_read() {
    let found = one(
        "[Partition]\nType=root\nLabel=100%% %l\nUUID=0123456789abcdef0123456789abcdef\nPriority=-3\n\
         Weight=0\nPaddingWeight=7\nSizeMinBytes=10000\nSizeMaxBytes=1.5G\nPaddingMinBytes=4097\nPaddingMaxBytes=12287\n\
         Format=btrfs\nCopyFiles=/a\nCopyFiles=/b/./:/c\\x3a\nExcludeFiles=/x/ \"/y z\"\nExcludeFilesTarget=/t\n\
         MakeDirectories=/usr /var/log /usr\nMakeSymlinks=/l:../t\nSubvolumes=/s /r:ro\nDefaultSubvolume=/s\n\
         Encrypt=Yes\nFactoryReset=on\nFlags=0x1\nNoAuto=yes\nReadOnly=no\nGrowFileSystem=yes\nMountPoint=/m:ro\n\
         MountPoint=/n\nEncryptedVolume=luks:/key:discard\nAddValidateFS=no\nVolumeLabel=%l\nFileSystemSectorSize=4K\n\
         TPM2PCRs=7\nTPM2PCRs=11+14\nKeyFile=/k\nEncryptKDF=minimal\nDiscard=no\nCompression=zstd\nCompressionLevel=3\n\
         Integrity=off\nIntegrityAlgorithm=hmac-sha512\n[X-Mine]\nA=b\n",
    );
    let expected = Definition {
        file: "50-root.conf".into(),
        path: "/x/50-root.conf".into(),
        label: Some("100% box".into()),
        uuid: Some(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)),
        priority: -3,
        weight: 0,
        padding_weight: 7,
        size_min: Some(12288),
        size_max: Some(3 << 29),
        padding_min: Some(8192),
        padding_max: Some(8192),
        format: Some(Format::FileSystem(FileSystem::Btrfs)),
        copy_files: vec![
            CopyFiles { source: "/a".into(), target: "/a".into(), fs_verity: false },
            CopyFiles { source: "/b".into(), target: "/c:".into(), fs_verity: false },
        ],
        exclude_files: vec!["/x/".into(), "/y z".into()],
        exclude_files_target: vec!["/t".into()],
        make_directories: vec!["/usr".into(), "/var/log".into()],
        make_symlinks: vec![Symlink { path: "/l".into(), target: "../t".into() }],
        subvolumes: vec![
            Subvolume { path: "/s".into(), flags: SubvolumeFlags::default() },
            Subvolume { path: "/r".into(), flags: SubvolumeFlags { read_only: true, no_cow: false } },
        ],
        default_subvolume: Some("/s".into()),
        encrypt: Encrypt::KeyFile,
        factory_reset: true,
        flags: 1,
        no_auto: Some(true),
        read_only: Some(false),
        grow_file_system: Some(true),
        mount_points: vec![
            MountPoint { path: "/m".into(), options: "ro".into() },
            MountPoint { path: "/n".into(), options: String::new() },
        ],
        encrypted_volume: Some(EncryptedVolume {
            name: "luks".into(),
            key_file: "/key".into(),
            options: "discard".into(),
            fixes_key: false,
        }),
        add_validate_fs: false,
        volume_label: Some("box".into()),
        file_system_sector: Some(4096),
        tpm2_pcrs: PcrMask::parse("7+11+14"),
        key_file: Some("/k".into()),
        encrypt_kdf: Some(EncryptKdf::Minimal),
        discard: Some(false),
        compression: Some("zstd".into()),
        compression_level: Some("3".into()),
        integrity_algorithm: Some("hmac-sha512".into()),
        ..Definition::of_type(types::native(Role::Root))
    };
    assert_eq!(found, expected);
    let found = one("[Partition]\nType=esp\nCopyBlocks=/dev/x\nCopyBlocks=auto\nUUID=null\n");
    let expected = Definition {
        file: "50-root.conf".into(),
        path: "/x/50-root.conf".into(),
        copy_blocks: Some(CopyBlocks::Auto),
        uuid: Some(Uuid::nil()),
        ..Definition::of_type(types::ESP)
    };
    assert_eq!(found, expected);
}

#[test]
fn formats_and_bits_follow_from_the_rest() {
    for (text, format, bits) in [
        ("Type=root", None, (None, None, Some(true))),
        ("Type=root\nEncrypt=tpm2", Some(Format::FileSystem(FileSystem::Ext4)), (None, None, Some(true))),
        (
            "Type=root\nReadOnly=yes\nMakeDirectories=/a",
            Some(Format::FileSystem(FileSystem::Ext4)),
            (None, Some(true), None),
        ),
        ("Type=esp\nCopyFiles=/a:/", Some(Format::FileSystem(FileSystem::Vfat)), (None, None, None)),
        ("Type=swap", Some(Format::FileSystem(FileSystem::Swap)), (None, None, None)),
        ("Type=usr\nFormat=empty", Some(Format::Empty), (Some(true), None, Some(true))),
        ("Type=usr-verity", None, (None, Some(true), None)),
        ("Type=usr-verity-sig", None, (None, None, None)),
        ("Type=home\nEncrypt=tpm2\nCopyBlocks=/a", None, (None, None, Some(true))),
    ] {
        let found = one(&format!("[Partition]\n{text}\n"));
        assert_eq!(found.format, format, "{text}");
        assert_eq!((found.no_auto, found.read_only, found.grow_file_system), bits, "{text}");
    }
    assert_eq!(one("[Partition]\nType=usr\nFormat=empty\n").label.as_deref(), Some("_empty"));
}

#[test]
fn what_systemd_reads_over_is_read_over_with_file_and_line() {
    let text = "[Partition]\nType=root\nLabel=first\nLabel=home-always-too-long-xxxxxxxxxxxxxx-%v\nWeight=1000001\n\
         MakeDirectories=relative\nFoo=1\nSplitName=x\n[Other]\nA=b\n";
    let found = parse(text).unwrap();
    assert_eq!(found.list[0].label.as_deref(), Some("first"));
    let warnings: Vec<_> = found.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(
        warnings,
        [
            "50-root.conf:4: Label=home-always-too-long-xxxxxxxxxxxxxx-%v (a specifier that has no value here, or too long) is ignored",
            "50-root.conf:5: Weight=1000001 (a weight is a number from 0 to 1000000) is ignored",
            "50-root.conf:6: MakeDirectories=relative (no absolute path) is ignored",
            "50-root.conf:7: the unknown key Foo= is ignored",
            "50-root.conf:8: SplitName=x (for image builders only) is ignored",
            "50-root.conf:9: the unknown section [Other] is ignored",
        ]
    );
}

#[test]
fn a_bad_word_takes_no_good_one_with_it() {
    // As config_parse_make_dirs, _make_symlinks and _subvolumes of 257 go on with the next word.
    let text = "[Partition]\nType=root\nFormat=btrfs\nMakeDirectories=relative /var %Q/x /srv\n\
         MakeSymlinks=/none b:c /a:b\nSubvolumes=var /srv\n";
    let found = parse(text).unwrap();
    let definition = &found.list[0];
    assert_eq!(definition.make_directories, ["/var", "/srv"]);
    assert_eq!(definition.make_symlinks, [Symlink { path: "/a".into(), target: "b".into() }]);
    assert_eq!(definition.subvolumes, [Subvolume { path: "/srv".into(), flags: SubvolumeFlags::default() }]);
    let warnings: Vec<_> = found.warnings.iter().map(Warning::to_string).collect();
    assert_eq!(
        warnings,
        [
            "50-root.conf:4: MakeDirectories=relative (no absolute path) is ignored",
            "50-root.conf:4: MakeDirectories=%Q/x (a specifier that has no value here) is ignored",
            "50-root.conf:5: MakeSymlinks=/none (say PATH:TARGET) is ignored",
            "50-root.conf:5: MakeSymlinks=b:c (no absolute path) is ignored",
            "50-root.conf:6: Subvolumes=var (no absolute path) is ignored",
        ]
    );
}

#[test]
fn what_cannot_be_carried_out_refuses_by_name_and_is_read() {
    use crate::repart::{Maker, refuse};
    for (text, boot, tool) in [
        ("Format=ext4\nCompression=lzma", "", ""),
        ("Format=btrfs\nCompression=zstd\nCompressionLevel=15", "", ""),
        ("Format=btrfs\nCompression=lzma", "Compression=lzma", "Compression=lzma"),
        ("Format=btrfs\nCompression=lzo\nCompressionLevel=1", "CompressionLevel=1", "CompressionLevel=1"),
        ("Format=ext4\nFileSystemSectorSize=512", "", ""),
        ("Format=ext4\nFileSystemSectorSize=8192", "FileSystemSectorSize=8192", "FileSystemSectorSize=8192"),
        ("Encrypt=key-file\nKeyFile=/k", "KeyFile=", ""),
        ("Encrypt=tpm2\nKeyFile=/k", "", "Encrypt=tpm2"),
        ("Encrypt=tpm2\nTPM2PCRs=7", "", "Encrypt=tpm2"),
        ("Encrypt=tpm2\nTPM2PCRs=7:sha256", "TPM2PCRs=7:sha256", "TPM2PCRs=7:sha256"),
        ("Encrypt=key-file\nIntegrity=inline", "Integrity=inline", "Integrity=inline"),
        ("Encrypt=key-file\nIntegrityAlgorithm=hmac-sha1", "", ""),
        ("Encrypt=key-file\nEncryptKDF=pbkdf2", "", ""),
        ("BlockDeviceReplace=/a", "BlockDeviceReplace=/a", "BlockDeviceReplace=/a"),
        ("CopyFiles=/a:/b:fsverity=copy", "fsverity=copy", "fsverity=copy"),
    ] {
        let found = one_with_places(&format!("[Partition]\nType=home\n{text}\n"));
        for (maker, expected) in [(Maker::Boot, boot), (Maker::Tool, tool)] {
            let said = refuse(&found, maker).err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(said.is_empty(), expected.is_empty(), "{text}: {said}");
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}

fn one_with_places(text: &str) -> Definition {
    parse(text).unwrap().list.remove(0)
}

#[test]
fn policy_that_is_not_understood_refuses_with_file_line_and_advice() {
    for (line, expected) in [
        ("Type=lair", ":3: Type=lair is not supported; say a type"),
        ("Type=00000000-0000-0000-0000-000000000000", ":3: Type=0"),
        ("Encrypt=maybe", ":3: Encrypt=maybe is not supported; say off"),
        ("Format=ntfs", ":3: Format=ntfs is not supported; say a file system"),
        ("Format=", ":3: Format= is not supported"),
        ("SizeMinBytes=much", ":3: SizeMinBytes=much is not supported; a size is"),
        ("SizeMaxBytes=", ":3: SizeMaxBytes= is not supported; a size is"),
        ("PaddingMinBytes=-1", ":3: PaddingMinBytes=-1 is not supported; a size is"),
        ("CopyBlocks=here", ":3: CopyBlocks=here is not supported; say auto"),
        ("CopyFiles=/a:/b:/c:/d", ":3: CopyFiles=/a:/b:/c:/d is not supported; say SOURCE"),
        ("Verity=yes", ":3: Verity=yes is not supported; say off"),
        ("words", ":3: a line without '=': this is no definition file; see repart.d(5)"),
        ("SizeMinBytes=2M\nSizeMaxBytes=1M", ":3: SizeMinBytes= is 2097152 and"),
        ("PaddingMaxBytes=0\nPaddingMinBytes=4K", ":4: PaddingMinBytes= is 4096 and"),
        ("CopyBlocks=auto\nFormat=ext4", ":3: CopyBlocks= beside Format= or files; say one"),
        ("CopyBlocks=auto\nMakeDirectories=/a", ":3: CopyBlocks= beside Format= or files; say one"),
        ("Format=swap\nMakeDirectories=/a", ":3: files in a partition without"),
        ("Format=erofs", ":3: Format=erofs without anything to put into it"),
        ("Minimize=best", ":3: Minimize= without Format="),
        ("Verity=data", ":3: Verity=data without VerityMatchKey="),
        ("VerityMatchKey=x", ":3: VerityMatchKey= without Verity="),
        ("Verity=hash\nVerityMatchKey=x\nFormat=ext4", ":3: Verity=hash beside"),
        ("Verity=hash\nVerityMatchKey=x\nEncrypt=tpm2", ":3: Verity=hash beside Encrypt="),
        ("Verity=data\nVerityMatchKey=x", ":3: no definition says Verity=hash and"),
        ("Verity=signature\nVerityMatchKey=x", ":3: no definition says Verity=data and"),
        ("Verity=signature\nVerityMatchKey=x\nSizeMinBytes=1M", ":3: Verity=signature beside SizeMinBytes="),
        ("VerityHashBlockSizeBytes=500", ":3: VerityHashBlockSizeBytes=500 is not supported"),
        (
            "Subvolumes=/a /b:cow /c",
            ":3: Subvolumes=/a /b:cow /c is not supported; the flags of a subvolume are",
        ),
        ("DefaultSubvolume=/a", ":3: DefaultSubvolume=/a is none of Subvolumes="),
        ("SupplementFor=50-root", ":3: SupplementFor=50-root names no definition"),
        ("SupplementFor=a/b", ":3: SupplementFor=a/b is no name"),
        ("SupplementFor=x\nEncrypt=tpm2", ":3: SupplementFor= beside"),
    ] {
        let error = parse(&format!("[Partition]\nType=root\n{line}\n")).unwrap_err().to_string();
        assert!(error.starts_with(&format!("50-root.conf{expected}")), "{line}: {error}");
    }
    let error = parse("[Partition]\nFormat=ext4\n").unwrap_err();
    assert_eq!(error.to_string(), "50-root.conf: no Type= in section [Partition]; say Type=root");
}

#[test]
fn files_are_taken_by_name_masks_define_nothing_and_drop_ins_come_last() {
    let text = "[Partition]\nType=root\nWeight=5\n";
    let source = |name: &str, text: &str| Source {
        name: name.into(),
        path: format!("/{name}"),
        text: text.into(),
        drop_ins: vec![],
    };
    let mut second = source("20.conf", text);
    second.drop_ins.push(("/a/20.conf.d/10.conf".into(), "[Partition]\nWeight=7\nWeight=x\n".into()));
    let esp = source("15.conf", "[Partition]\nType=esp\nSizeMinBytes=2M\nSizeMaxBytes=1M\n");
    let files = [second, source("30.conf", ""), source("10.conf", text), esp];
    let facts = Facts::default();
    let filter = Filter::Without(&[types::ESP]);
    let reading = Reading { filter, architecture: Some("arm64"), ..Reading::new(&facts) };
    let found = Definitions::parse(&files, reading).unwrap();
    let seen: Vec<_> = found.list.iter().map(|d| (d.file.as_str(), d.weight)).collect();
    assert_eq!(seen, [("10.conf", 5), ("20.conf", 7)]);
    assert_eq!(found.list[1].drop_ins, ["/a/20.conf.d/10.conf"]);
    assert_eq!(Some(found.list[1].type_guid), types::of(Role::Root, "arm64"));
    assert_eq!(found.warnings[0].file, "20.conf.d/10.conf");
    let reading = Reading { filter: Filter::Only(&[types::ESP]), ..Reading::new(&facts) };
    assert!(Definitions::parse(&files, reading).is_err());
}

proptest! {
    #[test]
    fn parsing_is_total(
        lines in proptest::collection::vec(
            "(Type|Label|UUID|Format|Encrypt|SizeMinBytes|PaddingMaxBytes|Weight|Verity|VerityMatchKey|CopyBlocks|CopyFiles|ExcludeFiles|MakeSymlinks|Subvolumes|MountPoint|EncryptedVolume|SupplementFor|Flags|X)=(root|ext4|off|auto|/a:/b|%|[0-9]{0,25}[KMGTPE]?|\\PC{0,40})",
            0..12,
        ),
    ) {
        let _total = parse(&format!("[Partition]\n{}\n", lines.join("\n")));
    }
}

/// Keys of systemd 258 to 262: their values, and what systemd-repart 262 refuses.
#[test]
fn keys_of_the_newest_systemd_are_read() {
    let found =
        one("[Partition]\nType=root\nMakeSymlinks=/a-%%:../%l\nSubvolumes=/a:nodatacow,ro /b:nodatacow\n\
         CopyFiles=/x:/y:fsverity=copy\nEncryptedVolume=:/k:a:fixate-volume-key\n");
    assert_eq!(found.make_symlinks, [Symlink { path: "/a-%".into(), target: "../box".into() }]);
    let flags: Vec<_> = found.subvolumes.iter().map(|one| (one.flags.read_only, one.flags.no_cow)).collect();
    assert_eq!(flags, [(true, true), (false, true)]);
    assert!(found.copy_files[0].fs_verity);
    let volume = found.encrypted_volume.unwrap();
    assert!(volume.name.is_empty() && volume.fixes_key && volume.options == "a");
    for (text, refused) in [
        ("FileSystemSectorSize=1000", true),
        ("FileSystemSectorSize=256", false),
        ("TPM2PCRs=bogus", true),
        ("TPM2PCRs=7:sha256", false),
        ("KeyFile=relative", false),
        ("EncryptKDF=bogus", true),
        ("Integrity=bogus", true),
        ("Integrity=inline", true),
        ("Integrity=inline\nEncrypt=key-file\nDiscard=yes", true),
        ("Integrity=inline\nEncrypt=key-file", false),
        ("VolumeName=x", true),
        ("VolumeName=x/y\nBlockDeviceReplace=/a", true),
        ("VolumeName=x\nBlockDeviceReplace=/a", false),
        ("BlockDeviceReplace=/a\nFormat=ext4", true),
        ("BlockDeviceReplace=/a\nCopyBlocks=/b", true),
        ("BlockDeviceReplace=/a\nEncrypt=key-file", false),
        ("SizeMinBytes=4097\nSizeMaxBytes=5000", false),
        ("SizeMinBytes=1000000000\nSizeMaxBytes=1000000000", false),
        ("PaddingMinBytes=4097\nPaddingMaxBytes=4097", false),
        ("SizeMinBytes=8193\nSizeMaxBytes=5000", true),
        ("TPM2PCRs=secure-boot-policy+kernel-boot", false),
        ("TPM2PCRs=secure-boot-policies", true),
        ("Subvolumes=/a:bogus", true),
    ] {
        let found = parse(&format!("[Partition]\nType=home\n{text}\n"));
        assert_eq!(found.is_err(), refused, "{text}: {found:?}");
    }
}
