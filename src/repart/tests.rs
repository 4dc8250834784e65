//! The planner as a whole: what systemd's own test expects, and what must hold for any disk and any definitions.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{
    disk::{
        partition::{Grid, Layout, Partition},
        types::{self, Role},
    },
    file_system::FileSystem,
    fragments::Facts,
    units::{Lba, PartitionNumber},
};

fn definitions(texts: &[(&str, &str)]) -> Vec<Definition> {
    let sources: Vec<Source> = texts
        .iter()
        .map(|(name, text)| Source {
            name: format!("{name}.conf"),
            path: String::new(),
            text: format!("[Partition]\n{text}"),
            drop_ins: vec![],
        })
        .collect();
    let facts = Facts::default();
    Definitions::parse(&sources, Reading::new(&facts)).unwrap().list
}

/// A disk of 1 GiB with an empty table as libfdisk makes it.
fn empty() -> Layout {
    Layout {
        block_size: 512,
        grid: Grid::of_disk(512),
        first_usable: Lba(2048),
        last_usable: Lba(2_097_118),
        entries: 128,
        partitions: vec![],
    }
}

#[test]
fn sizes_places_and_uuids_are_those_of_systemd_s_test() {
    // test/units/TEST-58-REPART.sh of systemd 257, "basic" part 2, on x86-64; home and swap were made first.
    let seed = Uuid::from_u128(0x750b_6cd5_c4ae_4012_a15e_7be3_c29e_6a47);
    let wanted = definitions(&[
        ("home", "Type=home\nLabel=home-first\n"),
        ("root", "Type=root-x86-64\n"),
        ("root2", "Type=root-x86-64\n"),
        ("swap", "Type=swap\nSizeMaxBytes=64M\nPaddingMinBytes=92M\n"),
    ]);
    let plan = plan(&wanted, &empty(), seed).unwrap();
    let seen: Vec<_> = plan
        .new
        .iter()
        .map(|new| {
            let blocks = new.last.0 + 1 - new.first.0;
            (new.number.0, new.first.0, blocks, new.guid.to_string().to_uppercase(), new.label.as_str())
        })
        .collect();
    let row = |number, first, blocks, guid: &str, label| (number, first, blocks, guid.to_owned(), label);
    assert_eq!(
        seen,
        [
            row(1, 2048, 591_856, "4980595D-D74A-483A-AA9E-9903879A0EE5", "home-first"),
            row(2, 593_904, 591_856, "60F33797-1D71-4DCB-AA6F-20564F036CD0", "root-x86-64"),
            row(3, 1_185_760, 591_864, "73A4CCD2-EAF5-44DA-A366-F99188210FDC", "root-x86-64-2"),
            row(4, 1_777_624, 131_072, "78C92DB8-3D2B-4823-B0DC-792B78F66F1E", "swap"),
        ]
    );
    assert_eq!(disk_uuid(seed), uuid::uuid!("1D2CE291-7CCE-4F7D-BC83-FDB49AD74EBD"));
    assert!(plan.changes() && plan.adopted.is_empty() && plan.dropped.is_empty());
}

fn partition(number: u32, first: u64, last: u64, type_guid: Uuid, label: &str) -> Partition {
    Partition {
        number: PartitionNumber(number),
        type_guid,
        guid: Uuid::from_u128(u128::from(number)),
        first: Lba(first),
        last: Lba(last),
        attributes: 0,
        label: label.into(),
    }
}

#[test]
fn what_exists_is_adopted_by_type_and_the_log_says_why() {
    let root = types::native(Role::Root);
    let mut layout = empty();
    layout.partitions =
        vec![partition(2, 2048, 206_847, root, "Foreign OS"), partition(5, 1_000_000, 1_999_999, root, "")];
    let wanted = definitions(&[
        ("50-root", "Type=root\nWeight=0\n"),
        ("60-data", "Type=root\nLabel=data\nUUID=null\nPriority=3\nSizeMinBytes=2G\n"),
        ("70-big", "Type=home\nSizeMinBytes=9G\nPriority=7\n"),
    ]);
    let plan = plan(&wanted, &layout, Uuid::from_u128(7)).unwrap();
    assert_eq!(plan.adopted.len(), 1);
    let adopted = &plan.adopted[0];
    assert_eq!((adopted.number.0, adopted.earlier, adopted.label.as_str()), (2, 0, "Foreign OS"));
    assert!(adopted.to_string().starts_with(
        "partition 2 (\"Foreign OS\", 100 MiB) is taken for 50-root.conf: number 1 of type root-"
    ));
    // The second cannot grow to 2 GiB and is left as it is, the home of 9 GiB is left out.
    assert_eq!(plan.foreign.len(), 1);
    assert_eq!(plan.foreign[0].partition.number.0, 5);
    let dropped: Vec<_> = plan.dropped.iter().map(ToString::to_string).collect();
    assert_eq!(
        dropped,
        [
            "60-data.conf: partition 5 cannot grow and stays as it is (Priority=3)",
            "70-big.conf: does not fit and is left out (Priority=7)"
        ]
    );
}

#[test]
fn a_supplement_is_merged_where_it_fits() {
    let texts = [
        ("10-esp", "Type=esp\nFormat=vfat\nSizeMinBytes=10M\nCopyFiles=/a\n"),
        ("20-boot", "Type=xbootldr\nFormat=vfat\nSizeMinBytes=100M\nSupplementFor=10-esp\nCopyFiles=/b\n"),
    ];
    let merged = plan(&definitions(&texts), &empty(), Uuid::nil()).unwrap();
    assert_eq!(merged.new.len(), 1);
    assert!(merged.new[0].length.0 >= 100 << 20);
    assert_eq!(merged.new[0].definition.copy_files.len(), 2);
    assert_eq!(merged.dropped[0].to_string(), "20-boot.conf: is merged into 10-esp.conf");
    // An ESP that cannot grow stays small, and the supplement is made as it is written.
    let mut layout = empty();
    layout.partitions = vec![
        partition(1, 2048, 22_527, types::ESP, "esp"),
        partition(2, 22_528, 43_007, types::LINUX_GENERIC, "x"),
    ];
    let apart = plan(&definitions(&texts), &layout, Uuid::nil()).unwrap();
    assert_eq!((apart.adopted.len(), apart.new.len(), apart.dropped.len()), (1, 1, 0));
    assert_eq!(apart.new[0].type_guid, types::XBOOTLDR);
}

#[test]
fn a_file_system_says_where_it_belongs() {
    use crate::disk::validatefs::{Constraint, Place};
    // As in systemd-repart 258: label and type of the partition, MountPoint= or else the mount points of the type, with
    // NULs between alternatives and none at the end; not on FAT, swap or copied partitions.
    const HOME: &str = "933ac7e1-2eb4-4f13-b844-0e14e2aef915";
    const LINUX: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
    for (text, expected) in [
        ("Type=home\nFormat=ext4", vec!["home", HOME, "/home"]),
        ("Type=home\nFormat=btrfs\nLabel=mine\nEncrypt=key-file", vec!["mine", HOME, "/home"]),
        ("Type=home\nFormat=ext4\nMountPoint=/a\nMountPoint=/b:ro", vec!["home", HOME, "/a\0/b"]),
        ("Type=linux-generic\nFormat=ext4", vec!["linux-generic", LINUX]),
        ("Type=root-x86-64\nFormat=ext4", vec!["root-x86-64", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709", "/"]),
        ("Type=esp\nFormat=ext4", vec!["esp", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "/efi\0/boot"]),
        ("Type=esp\nFormat=vfat", vec![]),
        ("Type=swap", vec![]),
        ("Type=usr\nFormat=empty", vec![]),
        ("Type=home\nCopyBlocks=/a", vec![]),
        ("Type=home", vec![]),
        ("Type=home\nFormat=ext4\nAddValidateFS=no", vec![]),
    ] {
        let plan = plan(&definitions(&[("60", text)]), &empty(), Uuid::nil()).unwrap();
        let said = constraints(&plan.new[0]);
        assert_eq!(said.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), expected, "{text}");
        let kinds = [Constraint::Label, Constraint::Type, Constraint::MountPoint];
        assert!(said.iter().map(|(kind, _)| kind).eq(&kinds[..said.len()]), "{text}");
        // The check of the boot reads the attributes that are written.
        let partition = partition(1, 2048, 4095, plan.new[0].type_guid, &plan.new[0].label);
        let mount_point = expected.get(2).map_or("/", |places| places.split('\0').next().unwrap());
        let place = Place { mount_point, partition: Some(&partition) };
        assert!(said.iter().all(|(kind, value)| kind.admits(value.as_bytes(), &place).is_ok()), "{text}");
    }
}

#[test]
fn lack_of_space_names_the_definition_and_a_full_table_says_so() {
    let wanted = definitions(&[("10-a", "Type=home\n"), ("50-root", "Type=root\nSizeMinBytes=2G\n")]);
    let error = plan(&wanted, &empty(), Uuid::nil()).unwrap_err().to_string();
    assert!(error.starts_with("50-root.conf: the partition needs 2 GiB and the largest free"), "{error}");
    let full = Layout { entries: 1, ..empty() };
    let wanted = definitions(&[("10-a", "Type=home\n"), ("50-root", "Type=root\n")]);
    let error = plan(&wanted, &full, Uuid::nil()).unwrap_err().to_string();
    assert!(error.starts_with("50-root.conf: the partition needs an entry and all 1 of"), "{error}");
}

const TYPES: [&str; 4] = ["root", "home", "esp", "linux-generic"];

proptest! {
    /// For any disk and any definitions, new partitions are aligned, within bounds, in gaps, and apart from each other;
    /// no existing partition shrinks or moves.
    #[test]
    fn places_are_free_and_as_wished(
        rows in proptest::collection::vec((0_u64..5000, 1_u64..5000, 0_usize..4), 0..6),
        wishes in proptest::collection::vec(
            (0_usize..4, 0_u64..3000, proptest::option::of(0_u64..4000), 0_u32..1_000_001, 0_u64..200, 0_i32..3),
            1..6,
        ),
        wide in any::<bool>(),
    ) {
        let (block_size, mut at) = (if wide { 4096 } else { 512 }, 34);
        let mut partitions = Vec::new();
        for (index, (gap, length, kind)) in rows.into_iter().enumerate() {
            let type_guid = types::parse(TYPES[kind]).unwrap();
            partitions.push(partition(index as u32 + 1, at + gap, at + gap + length - 1, type_guid, ""));
            at += gap + length;
        }
        let layout = Layout {
            block_size,
            grid: Grid::of_disk(block_size),
            first_usable: Lba(34),
            last_usable: Lba(at + 90_000),
            entries: 128,
            partitions,
        };
        let wanted: Vec<Definition> = wishes
            .into_iter()
            .map(|(kind, min, more, weight, padding, priority)| Definition {
                size_min: Some(min * 4096),
                size_max: more.map(|more| (min + more) * 4096),
                weight,
                padding_min: Some(padding * 4096),
                priority,
                ..Definition::of_type(types::parse(TYPES[kind]).unwrap())
            })
            .collect();
        let Ok(plan) = plan(&wanted, &layout, Uuid::from_u128(9)) else { return Ok(()) };
        prop_assert_eq!(plan.new.len() + plan.adopted.len() + plan.dropped.len(), wanted.len());
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for new in &plan.new {
            let definition = &new.definition;
            let min = definition.size_min.unwrap().max(4096);
            prop_assert!(new.length.0 >= min && new.offset.0 % 4096 == 0 && new.length.0 % 4096 == 0);
            prop_assert!(definition.size_max.is_none_or(|max| new.length.0 <= max.max(min)));
            prop_assert!(new.padding.0 >= definition.padding_min.unwrap());
            taken.push((new.offset.0, new.offset.0 + new.length.0 + new.padding.0));
        }
        for adopted in &plan.adopted {
            prop_assert!(adopted.new_length >= adopted.length);
            taken.push((adopted.offset.0, adopted.offset.0 + adopted.new_length.0));
        }
        for foreign in &plan.foreign {
            taken.push((foreign.offset.0, foreign.offset.0 + foreign.length.0));
        }
        taken.sort_unstable();
        prop_assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{taken:?}");
        let block = u64::from(block_size);
        let end = (layout.last_usable.0 + 1) * block;
        prop_assert!(taken.iter().all(|(from, to)| *from >= 34 * block && *to <= end), "{taken:?}");
    }
}

/// A machine with given answers, which records the questions.
#[derive(Default)]
struct Bench {
    lacks_mount: bool,
    lacks_map: bool,
    lacks_tpm: bool,
    was_opened: bool,
    asked: Vec<String>,
}

impl Surroundings for Bench {
    type Error = RepartError;

    fn refused(&self, error: RepartError) -> RepartError {
        error
    }

    fn mounts(&mut self, system: crate::file_system::FileSystem) -> Result<bool, RepartError> {
        self.asked.push(format!("mounts {system}"));
        Ok(!self.lacks_mount)
    }

    fn maps(&mut self) -> Result<bool, RepartError> {
        self.asked.push("maps".into());
        Ok(!self.lacks_map)
    }

    fn lacks_tpm(&mut self, new: &NewPartition) -> Result<Option<Unsealed>, RepartError> {
        self.asked.push("tpm".into());
        let opened =
            (self.was_opened && new.definition.is_root()).then_some(Unsealed::NotNow("a root was opened"));
        Ok(self.lacks_tpm.then_some(Unsealed::NoTpm("there is none")).or(opened))
    }

    fn key_file(&mut self) -> Result<(), RepartError> {
        self.asked.push("key".into());
        Ok(())
    }

    fn populates(&mut self, _: &NewPartition) -> Result<(), RepartError> {
        self.asked.push("populates".into());
        Ok(())
    }

    fn random(&mut self, _: &NewPartition) -> Result<[u8; 16], RepartError> {
        Ok([7; 16])
    }
}

fn boot(words: &str) -> Terms<'static> {
    let (config, _) = crate::config::Config::from_cmdline(words, None).unwrap();
    Terms::of_boot(&config, 4096, 1_700_000_000)
}

/// One definition as a boot with these words, or the tool, decides it.
fn decided(bench: &mut Bench, terms: &Terms<'_>, text: &str) -> Result<String, String> {
    let plan = plan(&definitions(&[("50-root", text)]), &empty(), Uuid::nil()).unwrap();
    let creations = creations(&plan, 512, terms, bench).map_err(|error| error.to_string())?;
    let Creation { room, content, opened_by, filling, unconstrained, .. } =
        creations.into_iter().next().unwrap();
    let content = match content {
        Content::Blocks => "blocks".into(),
        Content::FileSystem(system, recipe) => {
            assert!(!recipe.as_writes().unwrap().0.is_empty());
            format!("{system} in sectors of {}", room.sector_size)
        }
        Content::Nothing => "nothing".into(),
    };
    let openers = opened_by.map(|Openers { key_file, tpm, recovery }| {
        [(key_file, "key"), (tpm, "tpm"), (recovery, "recovery")]
            .into_iter()
            .filter_map(|(has, word)| has.then_some(word))
            .collect::<Vec<_>>()
            .join("+")
    });
    let filling = filling.map(|filling| {
        format!(
            "{}{} {} attributes{}",
            filling.options,
            if filling.is_furnished { " root" } else { "" },
            filling.constraints.len(),
            filling.read_only.iter().map(|path| format!(" {path}:ro")).collect::<String>(),
        )
    });
    let left_out = if unconstrained.is_some() { " unconstrained" } else { "" };
    let or = |part: Option<String>| part.unwrap_or_else(|| "-".into());
    Ok(format!("{content}, {}, {}{left_out}", or(openers), or(filling)))
}

#[test]
fn each_definition_has_one_decision_for_the_boot_and_one_for_the_tool() {
    let tool = Terms::of_tool(1_700_000_000, Deferred::default());
    let boot = boot("");
    let ext4 = "Type=root\nFormat=ext4\n";
    let btrfs = "Type=home\nFormat=btrfs\nSubvolumes=/a:ro\nAddValidateFS=no\n";
    let key = "Type=home\nEncrypt=key-file\n";
    for (terms, text, expected) in [
        (&boot, ext4, "ext4 in sectors of 512, -, noinit_itable root 3 attributes"),
        (&tool, ext4, "ext4 in sectors of 512, -, noinit_itable 3 attributes"),
        (&boot, key, "ext4 in sectors of 4096, key, noinit_itable 3 attributes"),
        (&tool, key, "ext4 in sectors of 4096, key, - unconstrained"),
        (&boot, btrfs, "btrfs in sectors of 512, -, -"),
        (&boot, "Type=swap\nEncrypt=tpm2\n", "swap in sectors of 4096, tpm, -"),
        (&boot, "Type=swap\nEncrypt=key-file+tpm2\n", "swap in sectors of 4096, key+tpm, -"),
        (&boot, "Type=esp\nFormat=vfat\nMakeDirectories=/EFI\n", "vfat in sectors of 512, -,  0 attributes"),
        (&boot, "Type=linux-generic\n", "nothing, -, -"),
        (&boot, "Type=linux-generic\nCopyBlocks=/usr/x\n", "blocks, -, -"),
        (
            &boot,
            "Type=root\nFormat=btrfs\nSubvolumes=/a:ro\n",
            "btrfs in sectors of 512, -, subvolid=5 root 3 attributes /a:ro",
        ),
    ] {
        assert_eq!(decided(&mut Bench::default(), terms, text).as_deref(), Ok(expected), "{text}");
    }
    // Two runs are to give the same bytes: nothing is mounted for attributes alone, unless they are asked for.
    let twice = Terms { is_reproducible: true, ..Terms::of_tool(1_700_000_000, Deferred::default()) };
    for (text, expected) in [
        ("", "ext4 in sectors of 512, -, - unconstrained"),
        ("AddValidateFS=yes\n", "ext4 in sectors of 512, -, noinit_itable 3 attributes"),
        ("MakeDirectories=/x\n", "ext4 in sectors of 512, -, noinit_itable 3 attributes"),
    ] {
        let made = decided(&mut Bench::default(), &twice, &format!("{ext4}{text}"));
        assert_eq!(made.as_deref(), Ok(expected), "{text}");
    }
    // The questions to the machine, in their order.
    let mut bench = Bench::default();
    decided(&mut bench, &boot, "Type=root\nEncrypt=key-file+tpm2\nCopyFiles=/usr/x:/x\n").unwrap();
    assert_eq!(bench.asked, ["mounts ext4", "populates", "maps", "tpm", "key"]);
}

#[test]
fn what_is_in_the_way_refuses_before_the_first_write() {
    let tpm = "Type=root\nEncrypt=tpm2\n";
    let without = || Bench { lacks_tpm: true, ..Bench::default() };
    for (words, expected) in [("hermetic.no-tpm=key-file", "key"), ("hermetic.no-tpm=recovery", "recovery")] {
        let made = decided(&mut without(), &boot(words), tpm).unwrap();
        assert!(made.contains(&format!(", {expected}, ")), "{words}: {made}");
    }
    // Of a root alone no key can be sealed once a root was opened; the key file of another definition opens it all the same.
    let opened = || Bench { was_opened: true, ..Bench::default() };
    for (words, text, expected) in [
        ("hermetic.no-tpm=key-file", tpm, "key"),
        ("hermetic.no-tpm=recovery", tpm, "recovery"),
        ("", "Type=root\nEncrypt=key-file+tpm2\n", "key"),
        ("hermetic.no-tpm=recovery", "Type=root\nEncrypt=key-file+tpm2\n", "key"),
        ("", "Type=home\nEncrypt=tpm2\n", "tpm"),
    ] {
        let made = decided(&mut opened(), &boot(words), text).unwrap();
        assert!(made.contains(&format!(", {expected}, ")), "{words} {text}: {made}");
    }
    let none = Bench::default;
    let tool = Terms::of_tool(1_700_000_000, Deferred::default());
    let (mount, map) = (|| Bench { lacks_mount: true, ..none() }, || Bench { lacks_map: true, ..none() });
    for (mut bench, terms, text, says) in [
        (without(), boot(""), tpm, "50-root.conf: Encrypt=tpm2, but there is none; hermetic.no-tpm=recovery"),
        (
            opened(),
            boot(""),
            tpm,
            "50-root.conf: Encrypt=tpm2, but a root was opened; hermetic.no-tpm=recovery",
        ),
        (
            none(),
            boot("systemd.image_policy=root=encrypted+absent"),
            "Type=root\nFormat=ext4\n",
            "to be unprotected",
        ),
        (
            none(),
            boot("systemd.image_policy=root=encryptedwithintegrity"),
            tpm,
            "does not allow root to be encrypted",
        ),
        (
            none(),
            boot("systemd.image_policy=root=btrfs"),
            "Type=root\nFormat=ext4\n",
            "does not allow root to be ext4",
        ),
        (
            none(),
            boot(""),
            "Type=swap\nSizeMinBytes=16K\nSizeMaxBytes=16K\n",
            "50-root.conf: swap: 16 KiB is too small",
        ),
        (
            none(),
            Terms { page_size: 65536, ..boot("") },
            "Type=swap\nSizeMinBytes=64K\nSizeMaxBytes=64K\n",
            "too small",
        ),
        (
            mount(),
            boot(""),
            "Type=root\nFormat=ext4\n",
            "50-root.conf:3: Format=ext4, but neither the kernel nor the initramfs has ext4; build it with --preset generic, or with --add-module ext4",
        ),
        (
            map(),
            boot(""),
            tpm,
            "50-root.conf:3: Encrypt=tpm2, but neither the kernel nor the initramfs has dm-crypt",
        ),
        (
            mount(),
            tool.clone(),
            "Type=root\nFormat=ext4\nAddValidateFS=yes\n",
            "50-root.conf:4: AddValidateFS=yes is not supported",
        ),
        (none(), tool.clone(), tpm, "50-root.conf:3: Encrypt=tpm2 is not supported"),
        (
            none(),
            tool,
            "Type=root\nFormat=ext4\nMinimize=best\n",
            "50-root.conf:4: Minimize=best is not supported",
        ),
    ] {
        let error = decided(&mut bench, &terms, text).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }
}

#[test]
fn advice_lists_the_formats_that_are_taken() {
    // One that is read-only asks for files, and is refused for another reason without them.
    let may_be_empty = |name: &&str| FileSystem::defined(name).is_some_and(|system| !system.is_read_only());
    let names = FileSystem::ALL.iter().map(|system| system.name()).filter(may_be_empty);
    let names: Vec<&str> = names.chain(["empty"]).collect();
    for (kind, wrong, maker) in [
        ("linux-generic", "f2fs", Maker::Boot),
        ("linux-generic", "f2fs", Maker::Tool),
        ("root", "vfat", Maker::Boot),
    ] {
        let judged = |format: &str| {
            let text = format!("Type={kind}\nFormat={format}\n");
            support::refuse(&definitions(&[("10-a", &text)])[0], maker)
        };
        let Err(RepartError::Refused { advice, .. }) = judged(wrong) else { panic!("{wrong} is taken") };
        let list =
            advice.strip_prefix("say Format=").unwrap().replace(", or no system could start on it", "");
        let listed: Vec<&str> = list.split(", ").flat_map(|part| part.split(" or ")).collect();
        let taken: Vec<&str> = names.iter().copied().filter(|name| judged(name).is_ok()).collect();
        assert_eq!(listed, taken, "{kind} by {maker:?}: {advice}");
    }
}
