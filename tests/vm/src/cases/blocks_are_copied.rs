//! CopyBlocks= at the first boot: `auto` makes a second slot of the booted /usr and of its hash tree, a path copies a file
//! of the verified /usr. The copies are the same byte for byte. When the first slot is gone, the machine boots from the
//! second one with the same root hash, and makes another one in the first one's place. A type that nothing is booted from refuses.

use super::small::{self, PLAIN, Small};
use super::{Context, TEST_INIT, lasting};
use crate::command;
use crate::disk::Disk;
use crate::image::Image;
use crate::machine::Exit;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Files of repart.d beside that of root. The first two match existing partitions.
const DEFINITIONS: [(&str, &str); 5] = [
    ("10-usr", "Type=usr\nSizeMaxBytes=4K\n"),
    ("11-usr-verity", "Type=usr-verity\nSizeMaxBytes=4K\n"),
    ("20-usr-b", "Type=usr\nLabel=second\nCopyBlocks=auto\nSizeMaxBytes=4K\n"),
    ("21-usr-verity-b", "Type=usr-verity\nLabel=second\nCopyBlocks=auto\nSizeMaxBytes=4K\n"),
    ("30-data", "Type=linux-generic\nLabel=data\nCopyBlocks=/usr/share/blocks\nSizeMaxBytes=4K\n"),
];

/// The length of the file that the path names: not a multiple of the size of a copy step.
const BLOCKS: usize = (1 << 20) + 3 * 4096;

pub fn run(context: &Context<'_>) -> Result<()> {
    let blocks: Vec<u8> = (0..BLOCKS).map(|at| (at % 251) as u8).collect();
    let recipe = DEFINITIONS.iter().fold(small::recipe(context, PLAIN)?, |recipe, (name, text)| {
        let text = format!("[Partition]\n{text}SizeMinBytes=4K\n");
        recipe.file(&format!("lib/repart.d/{name}.conf"), text, 0o644)
    });
    let usr = context.usr(&recipe.file("share/blocks", blocks.clone(), 0o644))?;
    let image = Image { size: 512 << 20, ..small::image(context.partitions(&usr)?) };
    let small = Small { disk: context.disk("disk.raw", &image)?, usr };
    let machine = small.machine(context)?.cmdline(&format!("hermetic.init={TEST_INIT}"));
    let machine = machine.disk(Disk::new(&small.disk));

    let first = lasting::boots_first(context, &machine)?;
    let made = table(context, &small.disk)?;
    let names = ["appliance_1", "appliance_1_verity", "second", "second", "data", "root"];
    ensure!(made.iter().map(|row| row.label.as_str()).eq(names), "the first boot made {made:?}");
    let content = |number: usize| -> Result<Vec<u8>> {
        let row = made.get(number).context("no such partition")?;
        read(&small.disk, row.start, row.length)
    };
    for (from, to) in [(0, 2), (1, 3)] {
        let (source, copy) = (content(from)?, content(to)?);
        ensure!(source == copy, "partition {} is no copy of partition {}", to + 1, from + 1);
        ensure!(made.get(from).map(|row| &row.guid) == made.get(to).map(|row| &row.guid), "{made:?}");
    }
    ensure!(content(4)?.starts_with(&blocks), "the data partition is no copy of the file");

    // Both slots are there, and the first one counts.
    let again = context.run(&machine)?;
    again.expect(&Exit::PowerOff)?.line("/usr verified on vda1")?;

    // Its content goes with its entries: no block of it can be part of the booted /usr.
    for row in made.iter().take(2) {
        crate::image::overwrite(&small.disk, row.start, &vec![0; usize::try_from(row.length)?])?;
    }
    command::run(
        context.bench.tools.tool("sfdisk")?.args(["--quiet", "--delete"]).arg(&small.disk).args(["1", "2"]),
    )?;
    let outcome = context.run(&machine)?;
    outcome.expect(&Exit::PowerOff)?.line("/usr verified on vda3")?;
    ensure!(
        lasting::machine_id(&outcome.state()?)? == lasting::machine_id(&first)?,
        "the root is another one"
    );
    let repaired = table(context, &small.disk)?;
    ensure!(repaired.len() == made.len(), "the first slot was not made anew: {repaired:?}");
    // Its number is behind those of its type.
    let two = repaired.iter().find(|row| row.number == 3).context("no partition 3")?;
    let one = repaired.iter().find(|row| row.number != 3 && row.guid == two.guid).context("no copy of it")?;
    ensure!(
        read(&small.disk, one.start, two.length)? == read(&small.disk, two.start, two.length)?,
        "{repaired:?}"
    );

    let wrong = small::recipe(context, PLAIN)?.file(
        "lib/repart.d/20-home.conf",
        "[Partition]\nType=home\nCopyBlocks=auto\n",
        0o644,
    );
    let wrong = Small::of(context, &wrong)?;
    let says = ["20-home.conf:3", "CopyBlocks=auto is not supported"];
    small::refuses(context, &wrong.machine(context)?, &wrong.disk, "provision", &says)?;
    Ok(())
}

/// A partition of the table.
#[derive(Debug)]
struct Row {
    number: usize,
    label: String,
    guid: String,
    start: u64,
    length: u64,
}

/// The partitions of a table without fault, in the order of their numbers.
fn table(context: &Context<'_>, disk: &Path) -> Result<Vec<Row>> {
    lasting::faultless(context, disk, 512)?;
    let said = command::output(context.bench.tools.tool("sfdisk")?.arg("--json").arg(disk))?;
    let table: Value = serde_json::from_str(&said)?;
    let rows = table.pointer("/partitiontable/partitions").and_then(Value::as_array);
    let row = |row: &Value| -> Result<Row> {
        let text = |field: &str| row.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let bytes = |field: &str| row.get(field).and_then(Value::as_u64).map(|sectors| sectors * 512);
        let node = text("node");
        let digits = node.len() - node.bytes().rev().take_while(u8::is_ascii_digit).count();
        Ok(Row {
            number: node.get(digits..).unwrap_or_default().parse().context("a node without a number")?,
            label: text("name"),
            guid: text("uuid"),
            start: bytes("start").context("a partition without start")?,
            length: bytes("size").context("a partition without size")?,
        })
    };
    rows.context("sfdisk lists no partitions")?.iter().map(row).collect()
}

fn read(disk: &Path, start: u64, length: u64) -> Result<Vec<u8>> {
    use std::os::unix::fs::FileExt as _;
    let mut bytes = vec![0; usize::try_from(length)?];
    fs::File::open(disk)?.read_exact_at(&mut bytes, start)?;
    Ok(bytes)
}
