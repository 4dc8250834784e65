//! A thousand random roots.

use crate::bench::{Given, compare};

/// A small linear congruential generator: the same numbers on every machine.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % limit
    }

    pub fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// The number of roots, each of as many files of definitions as there are places; `HERMETIC_ROOTS` asks for more.
const ROUNDS: usize = 200;
const PLACES: [&str; 5] = [
    "usr/lib/sysusers.d/one.conf",
    "etc/sysusers.d/two.conf",
    "run/sysusers.d/three.conf",
    "usr/local/lib/sysusers.d/four.conf",
    "usr/lib/sysusers.d/five.conf",
];
const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "_g", "root", "h-1", "x%%"];
const IDS: [&str; 28] = [
    "-",
    "-",
    "-",
    "5",
    "6",
    "7",
    "5:6",
    "6:7",
    "-:a",
    "-:b",
    "7:c",
    "-:f",
    "/owned",
    "/other",
    "999",
    "998",
    "65535",
    "x",
    "0",
    "'-'",
    "997:997",
    "996:a",
    "-:5",
    "/none",
    "9999999999",
    "5:",
    "07",
    "/owned/../%m",
];

fn lines(numbers: &mut Numbers) -> String {
    let mut text = String::new();
    for _ in 0..1 + numbers.below(9) {
        let name = numbers.pick(&NAMES);
        match numbers.below(12) {
            0..4 => {
                let kind = numbers.pick(&["u", "u", "u!", "u!!", "'u'"]);
                let id = numbers.pick(&IDS);
                let gecos =
                    numbers.pick(&["", "-", "\"G x\"", "'%a'", "a:b", "%T", "%m", "%Z", "'", "\\x", "ü"]);
                let home = numbers.pick(&["", "-", "/h", "//h/./x/", "h", "/..", "/h%V"]);
                let shell =
                    numbers.pick(&["", "-", "/bin/sh", "/usr/bin/false", "sh", "/bin/dash", "/bin/true"]);
                match gecos {
                    "" => text += &format!("{kind} {name} {id}\n"),
                    _ if home.is_empty() => text += &format!("{kind} {name} {id} {gecos}\n"),
                    _ => text += &format!("{kind} {name} {id} {gecos} {home} {shell}\n"),
                }
            }
            4..6 => text += &format!("g {name} {}\n", numbers.pick(&IDS)),
            6..9 => text += &format!("m {name} {}\n", numbers.pick(&NAMES)),
            9 => {
                text += &format!(
                    "r - {}\n",
                    numbers.pick(&["5-8", "500", "100-110", "9-1", "990-1200", "x", "5-"])
                )
            }
            10 => {
                text += numbers
                    .pick(&["# c\n", "\n", ";\n", "u\n", "x y\n", "\"\" a\n", "g! b\n", "r a 5\n", "m a\n"])
            }
            _ => {
                text += &format!(
                    "g {name} {} {}\n",
                    numbers.pick(&IDS),
                    numbers.pick(&["-", "x", "- /h", "- - /s", "- - - z"])
                )
            }
        }
    }
    text
}

fn database(numbers: &mut Numbers, line: impl Fn(&str, usize) -> String) -> String {
    let mut text = String::new();
    for name in &NAMES[..9] {
        if numbers.below(3) == 0 {
            text += &line(name, numbers.pick(&["0", "5", "6", "998", "999", "100"]).parse().unwrap());
            text.push('\n');
        }
    }
    text
}

#[test]
fn a_thousand_random_files() {
    let rounds = std::env::var("HERMETIC_ROOTS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    let mut numbers = Numbers(257);
    for round in 0..rounds {
        let definitions = PLACES.map(|place| (place, lines(&mut numbers)));
        let populated = numbers.below(2) == 0;
        let nis = numbers.below(4) == 0;
        let mut passwd = database(&mut numbers, |name, id| format!("{name}:x:{id}:{id}:G:/:/bin/sh"));
        let mut group = database(&mut numbers, |name, id| format!("{name}:x:{id}:a,zz"));
        let shadow = database(&mut numbers, |name, id| format!("{name}:!:{id}:0:99999:7:::"));
        let gshadow = database(&mut numbers, |name, _| format!("{name}:!:x:zz,b"));
        if nis {
            passwd += "+::::::\n";
            group += "+:::\n";
        }
        let mut files: Vec<_> = definitions.iter().map(|(place, lines)| (*place, lines.as_str())).collect();
        files.extend([("owned", "@997:996"), ("other", "@5:500"), ("bin/sh", "->dash")]);
        if populated {
            files.extend([
                ("etc/passwd", passwd.as_str()),
                ("etc/group", &group),
                ("etc/shadow", &shadow),
                ("etc/gshadow", &gshadow),
            ]);
        }
        if compare(&format!("round {round}\n{files:#?}"), &files, Given::default()).is_none() {
            return;
        }
    }
    eprintln!("{} files compared", PLACES.len() * rounds);
}
