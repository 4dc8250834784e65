//! Keys of repart.d, one by one and all at once.

use super::*;
use crate::{
    disk::types::{self, Role},
    file_system::FileSystem,
    repart::{CopyBlocks, CopyFiles, Encrypt, EncryptedVolume, Format, MountPoint, Subvolume, Symlink},
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
         Weight=0\nPaddingWeight=7\nSizeMinBytes=10000\nSizeMaxBytes=1.5G\nPaddingMinBytes=4097\nPaddingMaxBytes=8193\n\
         Format=btrfs\nCopyFiles=/a\nCopyFiles=/b/./:/c\\x3a\nExcludeFiles=/x/ \"/y z\"\nExcludeFilesTarget=/t\n\
         MakeDirectories=/usr /var/log /usr\nMakeSymlinks=/l:../t\nSubvolumes=/s /r:ro\nDefaultSubvolume=/s\n\
         Encrypt=Yes\nFactoryReset=on\nFlags=0x1\nNoAuto=yes\nReadOnly=no\nGrowFileSystem=yes\nMountPoint=/m:ro\n\
         MountPoint=/n\nEncryptedVolume=luks:/key:discard\nAddValidateFS=no\n[X-Mine]\nA=b\n",
    );
    let expected = Definition {
        file: "50-root.conf".into(),
        path: "/x/50-root.conf".into(),
        label: Some("100% box".into()),
        uuid: Some(Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef)),
        priority: -3,
        weight: 0,
        padding_weight: 7,
        size_min: Some(8192),
        size_max: Some(3 << 29),
        padding_min: Some(4096),
        padding_max: Some(12288),
        format: Some(Format::FileSystem(FileSystem::Btrfs)),
        copy_files: vec![
            CopyFiles { source: "/a".into(), target: "/a".into() },
            CopyFiles { source: "/b".into(), target: "/c:".into() },
        ],
        exclude_files: vec!["/x/".into(), "/y z".into()],
        exclude_files_target: vec!["/t".into()],
        make_directories: vec!["/usr".into(), "/var/log".into()],
        make_symlinks: vec![Symlink { path: "/l".into(), target: "../t".into() }],
        subvolumes: vec![
            Subvolume { path: "/s".into(), read_only: false },
            Subvolume { path: "/r".into(), read_only: true },
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
        }),
        add_validate_fs: false,
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
    assert_eq!(definition.subvolumes, [Subvolume { path: "/srv".into(), read_only: false }]);
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
fn compression_is_an_image_builder_s_and_refuses_where_it_would_change_what_is_made() {
    for (format, refused) in [("ext4", false), ("btrfs", true)] {
        let found = parse(&format!("[Partition]\nType=root\nFormat={format}\nCompression=zstd\n")).unwrap();
        let warning = "50-root.conf:4: Compression=zstd (for image builders only) is ignored";
        assert_eq!(found.warnings[0].to_string(), warning);
        let said = crate::repart::refuse(&found.list[0], crate::repart::Maker::Boot);
        let text = "50-root.conf:4: Compression= beside Format=btrfs is not supported; leave it to who builds the image";
        assert_eq!(said.err().map(|error| error.to_string()), refused.then(|| text.to_owned()));
    }
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
        ("CopyFiles=/a:/b:/c", ":3: CopyFiles=/a:/b:/c is not supported; say SOURCE"),
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
        ("Verity=data\nVerityMatchKey=x\nEncrypt=tpm2", ":3: Verity=data beside Encrypt="),
        ("Verity=data\nVerityMatchKey=x", ":3: no definition says Verity=hash and"),
        ("Verity=signature\nVerityMatchKey=x", ":3: Verity=signature is not supported"),
        ("VerityHashBlockSizeBytes=500", ":3: VerityHashBlockSizeBytes=500 is not supported"),
        (
            "Subvolumes=/a /b:nodatacow /c",
            ":3: Subvolumes=/a /b:nodatacow /c is not supported; the only flag",
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
