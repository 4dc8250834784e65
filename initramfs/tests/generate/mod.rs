//! Cases for the comparison with systemd-repart: disks and definitions of every kind, the same ones in every run.

use std::{fs, path::Path};

const MIB: u64 = 1 << 20;

/// A small generator.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Identifiers and GUIDs of types that partitions and definitions have.
const TYPES: [(&str, &str); 9] = [
    ("root", "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"),
    ("usr", "8484680C-9521-48C6-9C11-B0720656F69E"),
    ("home", "933AC7E1-2EB4-4F13-B844-0E14E2AEF915"),
    ("linux-generic", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"),
    ("esp", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
    ("xbootldr", "BC13C2FF-59E6-4262-A352-B275FD6F7172"),
    ("usr-verity", "77FF5F63-E7B6-4633-ACF4-1565B864C0E6"),
    ("var", "4D21B016-B534-45C2-A9FB-5C16E091FD2D"),
    ("12345678-1234-1234-1234-123456789abc", "12345678-1234-1234-1234-123456789ABC"),
];

/// A disk, definitions, and the words for both tools.
#[derive(Clone, Debug)]
pub struct Case {
    /// Bytes of the disk when its table is made.
    pub size: u64,
    /// Bytes of the disk when it is worked on.
    pub grown: u64,
    /// Bytes in a block.
    pub block: u32,
    /// The script for sfdisk; None for a disk without a table.
    pub table: Option<String>,
    /// Files below the directory of definitions.
    pub definitions: Vec<(String, String)>,
    pub words: Vec<String>,
    pub seed: u128,
}

impl Case {
    /// A disk with nothing on it.
    pub fn empty(size: u64) -> Self {
        Self {
            size,
            grown: size,
            block: 512,
            table: None,
            definitions: Vec::new(),
            words: Vec::new(),
            seed: 0x750b_6cd5_c4ae_4012_a15e_7be3_c29e_6a47,
        }
    }

    /// Anything.
    pub fn random(random: &mut Random) -> Self {
        let block = random.pick(&[512, 512, 512, 4096]);
        let size = (48 + random.below(500)) * MIB;
        let mut case = Self { block, ..Self::empty(size) };
        case.seed = u128::from(random.next()) << 64 | u128::from(random.next()) | 1;
        case.words.push("--dry-run=no".into());
        case.words.push(format!("--sector-size={block}"));
        case.words.push(random.pick(&["--offline=yes", "--offline=auto"]).into());
        match random.below(12) {
            0 => case.words.push("--empty=force".into()),
            1 => case.words.push(format!("--empty={}", random.pick(&["allow", "require", "refuse"]))),
            _ => case.table = Some(table(random, size, block)),
        }
        // A disk with a table that may not be there, and one that starts over.
        if random.once_in(20) {
            case.table = Some(table(random, size, block));
        }
        if case.table.is_some() && random.once_in(5) {
            case.grown += random.below(200) * MIB + random.below(8) * 4096;
        }
        if random.once_in(12) {
            case.words.push(format!("--size={}M", size / MIB + random.below(200)));
        }
        match random.below(24) {
            0 => {
                case.words.push("--include-partitions=root,home,12345678-1234-1234-1234-123456789abc".into())
            }
            1 => case.words.push("--exclude-partitions=usr,esp".into()),
            2 => case.words.push("--defer-partitions=root,linux-generic".into()),
            3 => case.words.push("--architecture=arm64".into()),
            4 => case.words.push("--discard=no".into()),
            5 if !case.words.iter().any(|word| word.starts_with("--empty")) => {
                case.words.push("--factory-reset=yes".into());
            }
            _ => {}
        }
        case.definitions = definitions(random);
        case
    }

    /// Lays the case out.
    pub fn write(&self, place: &Path) {
        fs::create_dir_all(place.join("defs")).unwrap();
        let put = |name: &str, text: &str| fs::write(place.join(name), text).unwrap();
        put("size", &self.size.to_string());
        put("grown", &self.grown.to_string());
        put("block", &self.block.to_string());
        if let Some(table) = &self.table {
            put("table", table);
        }
        for (name, text) in &self.definitions {
            let path = place.join("defs").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, if text.is_empty() { String::new() } else { format!("[Partition]\n{text}") })
                .unwrap();
        }
        let mut words = self.words.clone();
        words.push(format!("--seed={:032x}", self.seed));
        words.push("--definitions=\"$case/defs\"".into());
        put("words", &words.join(" "));
    }
}

/// A table with partitions in some order of numbers, some of them beginning and ending off the grain.
fn table(random: &mut Random, size: u64, block: u32) -> String {
    let blocks = size / u64::from(block);
    let mut script = String::from("label: gpt\n");
    let first = match random.below(3) {
        0 => 34.max(2048 * 512 / u64::from(block)),
        1 => 34,
        _ => 35 + random.below(30),
    };
    script += &format!("first-lba: {first}\n");
    let unit = if random.once_in(2) { MIB / u64::from(block) } else { 1 };
    let (mut at, mut rows) = (first, Vec::new());
    for _ in 0..random.below(6) {
        let gap = random.below(90) * MIB / u64::from(block) / random.pick(&[1, 1, 2, 8]);
        let start = (at + gap).next_multiple_of(unit);
        let length = (1 + random.below(30 * MIB / u64::from(block))).next_multiple_of(unit);
        if start + length + 2 * 34 * 512 >= blocks {
            break;
        }
        rows.push((start, length));
        at = start + length;
    }
    let mut number = 0;
    while !rows.is_empty() {
        let (start, length) = rows.remove(random.below(rows.len() as u64) as usize);
        number += 1 + random.below(2) * random.below(3);
        let (_, kind) = random.pick(&TYPES);
        let name = random.pick(&["", "", "usr", "root-x86-64", "data"]);
        script += &format!("{number} : start={start}, size={length}, type={kind}, name=\"{name}\"");
        if random.once_in(8) {
            script += ", attrs=\"GUID:63,59\"";
        }
        script += "\n";
    }
    script
}

fn definitions(random: &mut Random) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let count = random.pick(&[1, 2, 2, 3, 3, 4, 5, 6]);
    let supplement = (count > 1 && random.once_in(6)).then(|| (1 + random.below(count - 1), 0));
    for index in 0..count {
        let pair = supplement.filter(|(of, to)| index == *of || index == *to);
        let mut text = definition(random, pair.is_some());
        if let Some((of, to)) = supplement
            && index == of
        {
            text += &format!("SupplementFor={to}0-part\n");
        }
        let name = format!("{index}0-part.conf");
        if random.once_in(12) {
            let more = random.pick(&["Weight=77\n", "Label=dropped in\n", "Priority=3\n", "Unknown=1\n"]);
            files.push((format!("{name}.d/10-more.conf"), more.to_owned()));
        }
        files.push((name, text));
    }
    if random.once_in(15) {
        files.push(("99-masked.conf".into(), String::new()));
    }
    files
}

/// A definition. One of a pair that may be merged has both least sizes: 257 takes a missing one for the larger.
fn definition(random: &mut Random, of_a_pair: bool) -> String {
    let (kind, _) = random.pick(&TYPES);
    let mut text = format!("Type={kind}\n");
    let min = random.below(90) * MIB + random.below(3) * 1000;
    if of_a_pair || random.once_in(3) {
        text += &format!("SizeMinBytes={min}\n");
    }
    if random.once_in(3) {
        text += &format!("SizeMaxBytes={}\n", min + random.below(100) * MIB + random.below(9000) + 4096);
    }
    if random.once_in(3) {
        text += &format!("Weight={}\n", random.pick(&[0, 1, 333, 1000, 5000, 1_000_000]));
    }
    if !of_a_pair && random.once_in(5) {
        let padding = random.below(20) * MIB + random.below(9000);
        text += &format!("PaddingMinBytes={padding}\n");
        if random.once_in(2) {
            text += &format!("PaddingMaxBytes={}\n", padding + random.below(20) * MIB + 8192);
        }
    }
    if random.once_in(5) {
        text += &format!("PaddingWeight={}\n", random.pick(&[0, 100, 1000]));
    }
    if random.once_in(3) {
        text += &format!("Priority={}\n", random.pick(&["-1", "1", "2", "10"]));
    }
    if random.once_in(4) {
        text += &format!("Label={}\n", random.pick(&["mine", "mein Wurzelwerk", "100%%", "x%a", "%"]));
    }
    if random.once_in(10) {
        text += &format!("UUID={:032x}\n", u128::from(random.next()) << 64 | 7);
    }
    if random.once_in(8) {
        text +=
            random.pick(&["NoAuto=yes\n", "NoAuto=no\n", "GrowFileSystem=yes\n", "Flags=0x2000000000000\n"]);
    }
    if random.once_in(8) {
        text += random.pick(&["ReadOnly=yes\n", "ReadOnly=no\n"]);
    }
    if random.once_in(4) {
        text += "FactoryReset=yes\n";
    }
    match random.below(30) {
        0 if !of_a_pair => text += "CopyBlocks=/tmp/hermetic-blob\n",
        1 => text += "Format=ext4\n",
        _ => {}
    }
    text
}
