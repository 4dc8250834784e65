//! repart.d on a disk of any layout.

use hermetic_init::{
    disk::{
        partition::{Grid, Layout, Partition},
        types::{self, Role},
    },
    fragments::Facts,
    repart::{Definitions, Maker, Reading, Source, plan, refuse},
    units::{Lba, PartitionNumber},
};
use uuid::Uuid;

use crate::input::{Input, join, text};

/// A layout in numbers, then three files, the last one a drop-in of the second.
pub fn repart(data: &[u8]) {
    let mut input = Input::new(data);
    let layout = layout(&mut input);
    let [first, second, drop_in] = input.parts().map(text);
    let files = [
        Source { name: "50-root.conf".into(), path: "50".into(), text: first, drop_ins: Vec::new() },
        Source {
            name: "60-more.conf".into(),
            path: "60".into(),
            text: second,
            drop_ins: vec![("a.conf".into(), drop_in)],
        },
    ];
    let facts = Facts { hostname: Some("box".into()), ..Facts::default() };
    let definitions = match Definitions::parse(&files, Reading::new(&facts)) {
        Ok(definitions) => definitions.list,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let plan = match plan(&definitions, &layout, Uuid::from_u128(1)) {
        Ok(plan) => plan,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(plan.new.len() + plan.adopted.len() + plan.dropped.len(), definitions.len());
    assert_eq!(plan.adopted.len() + plan.foreign.len(), layout.partitions.len());
    let block = u64::from(layout.block_size);
    let end = |partition: &Partition| {
        let adopted = plan.adopted.iter().find(|adopted| adopted.number == partition.number);
        adopted.map_or(partition.last.0, |adopted| partition.first.0 + adopted.new_length.0 / block - 1)
    };
    let mut ranges: Vec<(u64, u64)> =
        layout.partitions.iter().map(|partition| (partition.first.0, end(partition))).collect();
    let mut numbers: Vec<u32> = layout.partitions.iter().map(|partition| partition.number.0).collect();
    for new in &plan.new {
        let first = new.offset.0 / block;
        assert!(
            new.offset.0 % 4096 == 0 && new.length.0 % 4096 == 0 && new.length.0 > 0,
            "{new:?} is not aligned"
        );
        assert_eq!((new.first.0, new.last.0 + 1), (first, first + new.length.0 / block));
        assert!(new.first >= layout.first_usable && new.last <= layout.last_usable, "{new:?} is outside");
        // A signature has one size, with any definition, as in systemd-repart.
        let signature = matches!(types::role(new.type_guid), Some(Role::RootVeritySig | Role::UsrVeritySig));
        assert!(signature || new.definition.size_min.is_none_or(|min| new.length.0 >= min));
        if let Err(error) = refuse(&new.definition, Maker::Boot) {
            assert!(!error.to_string().is_empty());
        }
        assert!((1..=layout.entries).contains(&new.number.0));
        ranges.push((new.first.0, new.last.0));
        numbers.push(new.number.0);
    }
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0), "partitions overlap: {ranges:?}");
    let all = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), all, "two partitions have one number");
    for adopted in &plan.adopted {
        let partition = layout.partitions.iter().find(|partition| partition.number == adopted.number);
        let partition = partition.expect("an adopted partition is on the disk");
        assert_eq!(partition.type_guid, adopted.definition.type_guid);
        assert!(
            adopted.new_length >= adopted.length && adopted.length == partition.length(layout.block_size)
        );
        assert!(!adopted.to_string().is_empty());
    }
}

/// A valid layout: gaps and lengths in MiB or in blocks, so that both round and crooked ones occur.
fn layout(input: &mut Input<'_>) -> Layout {
    let options = input.byte();
    let block_size = 512u32 << (options & 3);
    let unit = if options & 4 == 0 { (1 << 20) / u64::from(block_size) } else { 1 };
    let first_usable = Lba(2 + u64::from(input.byte()));
    let mut at = first_usable.0;
    let mut partitions = Vec::new();
    for number in 0..u32::from(input.byte() % 6) {
        let (gap, length) = (u64::from(input.short()) * unit, u64::from(input.short()) * unit + 1);
        let kind = if input.byte() & 1 == 0 { Role::Usr } else { Role::Root };
        partitions.push(Partition {
            number: PartitionNumber(number * 2 + 1),
            type_guid: types::native(kind),
            guid: Uuid::from_u128(u128::from(number) + 9),
            first: Lba(at + gap),
            last: Lba(at + gap + length - 1),
            attributes: 0,
            label: format!("p{number}"),
        });
        at += gap + length;
    }
    // The largest end of a disk is 2^63 bytes.
    let behind = u64::from(input.word()) << (input.byte() % 24);
    let last_usable = Lba((at + behind).min((1 << 63) / u64::from(block_size) - 1));
    let grid = Grid::of_disk(block_size);
    Layout { block_size, grid, first_usable, last_usable, entries: 4 + u32::from(options >> 3), partitions }
}

pub(crate) fn repart_seeds() -> Vec<Vec<u8>> {
    let root = b"[Partition]\nType=root\nFormat=ext4\nEncrypt=key-file\nSizeMinBytes=100M\nWeight=500\nPriority=2\n\
                 PaddingMinBytes=1M\nPaddingWeight=3\nCopyFiles=/a:/b\nMakeSymlinks=/l:x\nSubvolumes=/s:ro\nUUID=null\n";
    let more = b"# more\n[Partition]\nType=usr\nSupplementFor=50-root\nLabel=data%%1 %H\nFormat=ext4\nSizeMaxBytes=1.5G\\\n  \n[X-Own]\na=b\n";
    let files = join(&[root, more, b"[Partition]\nSizeMinBytes=64M\nFoo=1\n"]);
    // Options, first usable, partitions; gap, length, kind for each; the space behind them.
    let layouts: [&[u8]; 3] = [
        &[0x80, 32, 0, 0, 0x10, 0, 0, 12],
        &[0x80, 32, 2, 1, 0, 200, 0, 0, 0, 2, 90, 0, 0, 0, 0, 4, 0, 8],
        &[0x87, 3, 3, 9, 200, 7, 3, 1, 255, 255, 1, 1, 0, 1, 0, 5, 5, 0, 1, 1, 1, 1, 7],
    ];
    layouts.iter().map(|layout| [layout, &files[..]].concat()).collect()
}
