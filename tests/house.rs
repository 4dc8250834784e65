//! The order of the house: arrows between rooms point down, files stand in no circle, and it speaks plain English. This list is
//! the architecture; who wants to know where something belongs reads it first.

#[path = "house/arrows.rs"]
mod arrows;
#[path = "house/english.rs"]
mod english;
#[path = "house/rules.rs"]
mod rules;
#[path = "house/source.rs"]
mod source;

use rules::{Exception, Rooms};
use std::path::{Path, PathBuf};

/// The rooms of hermetic-init, from the ground up. A room takes only from lines before its own; rooms on one line know nothing of
/// each other.
const ROOMS: [&[&str]; 16] = [
    &["units", "sort", "map", "secret", "level", "durable", "strerror", "printable", "glob", "progress"],
    &["os_release"],
    &["writes", "file_system", "verity", "pkcs7", "tpm", "tree"],
    &["disk"],
    &["sys"],
    &["mkfs", "luks"],
    &["config"],
    &["fragments"],
    &["sysusers"],
    &["etc"],
    &["tmpfiles"],
    &["furnish"],
    &["repart"],
    &["populate", "image"],
    &["boot"],
    &["main"],
];

/// The rooms of the boot: what it says, what the machine and its disks are, and the stages, which go by the means.
const BOOT: [&[&str]; 7] = [
    &["story"],
    &["failure"],
    &["disks", "random", "watch"],
    &["machine", "policy"],
    &["volume", "furnished"],
    &["means"],
    &["stage"],
];

/// The stages in their order: each takes only what those before it return.
const STAGES: [&[&str]; 7] =
    [&["early"], &["devices"], &["usr"], &["provision"], &["root"], &["etc"], &["handover"]];

/// The rooms of the host tool.
const TOOL: [&[&str]; 6] = [
    &["clock", "wait", "machine"],
    &["mirror", "modules", "populate", "luks", "uki"],
    &["mkfs", "etc", "repart", "sysusers", "tmpfiles"],
    &["initramfs", "plan", "names"],
    &["manual", "check"],
    &["main"],
];

/// Mutual needs that stay, with their reason.
const STAYS: &[Exception] = &[(
    "src/tpm/command.rs",
    "src/tpm/session.rs",
    "a command carries the sessions that authorize it, and a session is opened by a command",
)];

/// Everything that is ours, a crate each.
const SOURCES: [&str; 8] = [
    "src",
    "src/lanes/src",
    "initramfs/src",
    "initramfs/tests",
    "tests",
    "tests/fuzz/src",
    "tests/vm/src",
    "tests/vm/guest/src",
];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn arrows_of_hermetic_init_point_down() {
    let texts = source::read(&repository().join("src"));
    let rooms = [
        Rooms { within: &[], lines: &ROOMS },
        Rooms { within: &["boot"], lines: &BOOT },
        Rooms { within: &["boot", "stage"], lines: &STAGES },
    ];
    if let Err(wrong) = rules::check("hermetic_init", "src", &texts, &rooms, STAYS) {
        panic!("{wrong}");
    }
}

/// The front page of the library shows the same rooms in the same order.
#[test]
fn the_front_page_shows_the_rooms_from_the_ground_up() {
    let text = std::fs::read_to_string(repository().join("src/lib.rs")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("//! | ")?.split_once(" |"));
    let shown: Vec<&str> = rows.map(|(room, _)| room.trim_matches(['[', ']', '`'])).skip(1).collect();
    let line = |room: &&str| ROOMS.iter().position(|line| line.contains(room));
    assert!(shown.is_sorted_by_key(line), "another order than that of the list: {shown:?}");
    let missing = ROOMS.iter().copied().flatten().filter(|room| **room != "main" && !shown.contains(room));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn arrows_of_the_host_tool_point_down() {
    let texts = source::read(&repository().join("initramfs/src"));
    if let Err(wrong) =
        rules::check("hermetic", "initramfs/src", &texts, &[Rooms { within: &[], lines: &TOOL }], &[])
    {
        panic!("{wrong}");
    }
}

/// Fails when a comment of the source has lines of this sort.
fn none(what: &str, lines: fn(&str) -> Vec<usize>) {
    let mut found = Vec::new();
    for directory in SOURCES {
        for (path, text) in source::read(&repository().join(directory)) {
            found.extend(lines(&text).into_iter().map(|line| format!("{directory}/{path}:{line}")));
        }
    }
    assert!(found.is_empty(), "{what}:\n{}", found.join("\n"));
}

/// Every crate that is no test.
const CRATES: [&str; 10] = [
    "build.rs",
    "src/lib.rs",
    "src/main.rs",
    "src/lanes/src/lib.rs",
    "initramfs/src/main.rs",
    "tests/vm/src/lib.rs",
    "tests/vm/src/main.rs",
    "tests/vm/guest/src/bin/test-init/main.rs",
    "tests/vm/guest/src/bin/floor-init.rs",
    "tests/vm/guest/src/bin/observer.rs",
];

#[test]
fn no_crate_panics_but_tests() {
    const LAW: &str =
        "#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]";
    for path in CRATES {
        let text = std::fs::read_to_string(repository().join(path)).unwrap();
        assert!(text.lines().any(|line| line == LAW), "{path} lacks {LAW}");
    }
}

#[test]
fn doc_comments_begin_with_their_subject() {
    none("doc comments begin with What, Who, Whether, Where, How or Why", english::beginnings);
}

#[test]
fn comments_cite_what_everybody_can_read() {
    none("comments cite a paper that is not here", english::citations);
}
