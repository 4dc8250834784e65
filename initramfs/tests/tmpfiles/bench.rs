//! Two copies of one root, and the question whether both tools made the same of them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::{
        fd::AsRawFd as _,
        unix::{
            ffi::OsStrExt as _,
            fs::{FileTypeExt as _, MetadataExt as _},
        },
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::common::{Scratch, tool};

/// The input of both: lines on stdin (or none: then the search path counts) and words besides `--root=`.
#[derive(Clone)]
pub struct Round {
    /// Names the round when it fails.
    pub name: String,
    /// Lines; None: those of the root's search path.
    pub lines: Option<String>,
    /// Words of the command line.
    pub words: &'static str,
}

/// The result of one of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    /// Exit status.
    pub status: String,
    /// The messages about lines: `NUMBER: TEXT`, or `FILE:NUMBER: TEXT`.
    pub of_lines: Vec<String>,
    /// All messages.
    pub said: String,
    /// Every path, and its entry.
    pub tree: BTreeMap<String, String>,
}

/// Runs a word list in a directory for every round: `$1` is the directory, one round after the other.
const LOOP: &str = r#"
for round in "$1"/*/; do
    round=${round%/}
    read -r words < "$round/words"
    if [ -e "$round/lines" ]; then input=$round/lines dash=-; else input=/dev/null dash=; fi
    CREDENTIALS_DIRECTORY=$round/credentials PROGRAM $words --root="$round/root" $dash < "$input" > "$round/out" 2>&1
    echo $? > "$round/status"
done
"#;

/// Both, over roots that `lay` makes; one pair for each round. None without the tool. A pair whose trees, exit statuses
/// or complaints differ fails the test.
pub fn compare(rounds: &[Round], lay: &dyn Fn(&Path)) -> Option<Vec<[Done; 2]>> {
    let mut theirs = tool("sh")?;
    let scratch = Scratch::new("tmpfiles")?;
    for side in ["theirs", "ours"] {
        for (number, round) in rounds.iter().enumerate() {
            let place = scratch.host(&format!("{side}/{number:04}"));
            fs::create_dir_all(place.join("root")).unwrap();
            fs::create_dir_all(place.join("credentials")).unwrap();
            fs::write(place.join("credentials/motd"), "from a credential\n").unwrap();
            lay(&place.join("root"));
            fs::write(place.join("words"), format!("{}\n", round.words)).unwrap();
            if let Some(lines) = &round.lines {
                fs::write(place.join("lines"), lines).unwrap();
            }
        }
    }
    // The tool with /proc mounted for it alone: without, it refuses to work.
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "sh",
        "-c",
        "mount -t proc proc \"$1/proc\" && mount -t tmpfs tmpfs \"$1/run\" && exec chroot \"$@\"",
        "sh",
    ]);
    theirs.args(["-c", &LOOP.replace("PROGRAM", "systemd-tmpfiles"), "sh", &scratch.inside("theirs")]);
    let program = format!("{} tmpfiles", env!("CARGO_BIN_EXE_hermetic"));
    let mut ours = Command::new("sh");
    ours.args(["-c", &LOOP.replace("PROGRAM", &program), "sh"]).arg(scratch.host("ours"));
    // Side by side: neither sees the other's roots.
    let both = [start(command.args(theirs.get_args())), start(&mut ours)];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    let (mut pairs, mut differences) = (Vec::new(), Vec::new());
    for (number, round) in rounds.iter().enumerate() {
        let pair = ["theirs", "ours"].map(|side| {
            let place = format!("{side}/{number:04}");
            let (host, inside) = (scratch.host(&place), scratch.inside(&place));
            let read = |name: &str| String::from_utf8_lossy(&fs::read(host.join(name)).unwrap()).into_owned();
            let said = read("out")
                .replace(&format!("{}/root", host.display()), "")
                .replace(&format!("{inside}/root"), "");
            let mut of_lines: Vec<String> = said
                .lines()
                .filter(|line| is_about_a_line(line) && !UNPLACED.iter().any(|text| line.contains(text)))
                .map(str::to_owned)
                .collect();
            of_lines.sort();
            let mut tree = BTreeMap::new();
            snapshot(&host.join("root"), "", &mut tree);
            Done { status: read("status"), of_lines, said, tree }
        });
        if let Err(difference) = equal(&pair) {
            let [theirs, ours] = &pair;
            let lines = round.lines.as_deref().unwrap_or_default();
            differences.push(format!(
                "=== {}\n{lines}--- {difference}\n--- the tool said:\n{}--- we said:\n{}",
                round.name, theirs.said, ours.said
            ));
        }
        pairs.push(pair);
    }
    let shown: Vec<&str> = differences.iter().take(20).map(String::as_str).collect();
    assert!(
        differences.is_empty(),
        "{} of {} differ:\n{}",
        differences.len(),
        rounds.len(),
        shown.join("\n")
    );
    Some(pairs)
}

/// The first difference.
fn equal([theirs, ours]: &[Done; 2]) -> Result<(), String> {
    for (path, thing) in &theirs.tree {
        let other = ours.tree.get(path);
        if other != Some(thing) {
            return Err(format!("{path}: the tool: {thing}; we: {other:?}"));
        }
    }
    if let Some(path) = ours.tree.keys().find(|path| !theirs.tree.contains_key(*path)) {
        return Err(format!("only we made {path}"));
    }
    if (&theirs.status, &theirs.of_lines) != (&ours.status, &ours.of_lines) {
        return Err(format!(
            "the tool: {} {:?}; we: {} {:?}",
            theirs.status, theirs.of_lines, ours.status, ours.of_lines
        ));
    }
    Ok(())
}

fn start(command: &mut Command) -> Child {
    command.env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The messages of the tool without file and line, though they are about a line; ours have both.
const UNPLACED: [&str; 4] =
    ["Failed to parse ACL", "xtended attribute", "file attribute", "Failed to unescape"];

/// `FILE:NUMBER: TEXT`
fn is_about_a_line(line: &str) -> bool {
    let mut parts = line.split(": ").next().unwrap_or_default().rsplit(':');
    parts.next().is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        && parts.next().is_some()
}

/// Everything below a directory.
fn snapshot(place: &Path, shown: &str, tree: &mut BTreeMap<String, String>) {
    let stat = fs::symlink_metadata(place).unwrap();
    let kind = stat.file_type();
    let content = if kind.is_symlink() {
        format!("-> {}", fs::read_link(place).unwrap().display())
    } else if kind.is_file() {
        let content = fs::read(place).unwrap();
        format!("{} links, {:?}, flags {:x}", stat.nlink(), String::from_utf8_lossy(&content), flags(place))
    } else if kind.is_dir() {
        format!("directory, flags {:x}", flags(place))
    } else if kind.is_fifo() {
        "fifo".to_owned()
    } else if kind.is_socket() {
        "socket".to_owned()
    } else {
        let kind = if kind.is_block_device() { "block" } else { "char" };
        format!("{kind} {:x}", stat.rdev())
    };
    let owner = format!("{:o} {}:{}", stat.mode() & 0o7777, stat.uid(), stat.gid());
    tree.insert(format!("{shown}/"), format!("{owner} {content} {:?}", xattrs(place)));
    if kind.is_dir() {
        for entry in fs::read_dir(place).unwrap() {
            let name = entry.unwrap().file_name();
            snapshot(&place.join(&name), &format!("{shown}/{}", name.to_string_lossy()), tree);
        }
    }
}

/// File attributes. With either tool the state of the disk decides if ext4 takes a file's extents away (`h … =`).
fn flags(place: &Path) -> u32 {
    const EXTENTS: u32 = 0x8_0000;
    rustix::fs::ioctl_getflags(File::open(place).unwrap()).map_or(0, |flags| flags.bits() & !EXTENTS)
}

/// Names and values, lists among them.
fn xattrs(place: &Path) -> BTreeMap<String, Vec<u8>> {
    // The path of the open directory: a link is not followed.
    let directory = File::open(place.parent().unwrap()).unwrap();
    let path = format!(
        "/proc/self/fd/{}/{}",
        directory.as_raw_fd(),
        String::from_utf8_lossy(place.file_name().unwrap().as_bytes())
    );
    let mut buffer = vec![0; 65536];
    let length = rustix::fs::llistxattr(&path, &mut buffer).unwrap_or(0);
    let names = buffer[..length].to_vec();
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let length = rustix::fs::lgetxattr(&path, name, &mut buffer).unwrap();
            (String::from_utf8_lossy(name).into_owned(), buffer[..length].to_vec())
        })
        .collect()
}
