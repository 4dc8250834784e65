//! The rules of the house: an arrow between rooms points down, files stand in no circle, an exception is one as long as it is
//! needed.

use super::{
    arrows::{Arrow, Crate},
    source,
};
use std::collections::BTreeSet;

/// Two files, and why the first may take from the second although it breaks a rule.
pub type Exception = (&'static str, &'static str, &'static str);

/// The rooms within a room (or within the crate), from the ground up; those on one line stand beside each other.
#[derive(Clone, Copy)]
pub struct Rooms<'a> {
    pub within: &'a [&'a str],
    pub lines: &'a [&'a [&'a str]],
}

impl Rooms<'_> {
    /// The room that a file stands in. The head of what is divided stands in none: it only names the rooms.
    fn room<'f>(&self, found: &'f Crate<'_>, file: usize) -> Option<&'f str> {
        let module = &found.files[file].module;
        let within = module.len() > self.within.len() && module.iter().zip(self.within).all(|(a, b)| a == b);
        within.then(|| module[self.within.len()].as_str())
    }

    fn line(&self, room: &str) -> Option<usize> {
        self.lines.iter().position(|line| line.contains(&room))
    }

    /// True when an arrow leads to another room, on the same line or on one above it.
    fn points_up(&self, found: &Crate<'_>, arrow: &Arrow) -> bool {
        match (self.room(found, arrow.from), self.room(found, arrow.to)) {
            (Some(from), Some(to)) if from != to => {
                self.line(from).zip(self.line(to)).is_some_and(|(from, to)| from <= to)
            }
            _ => false,
        }
    }

    /// Rooms that are not on the list, and names on the list that are no rooms.
    fn unknown(&self, found: &Crate<'_>) -> Vec<String> {
        let are: BTreeSet<&str> = (0..found.files.len()).filter_map(|file| self.room(found, file)).collect();
        let named: BTreeSet<&str> = self.lines.iter().copied().flatten().copied().collect();
        let missing = are.difference(&named).map(|room| format!("the room {room} is not on the list"));
        let invented = named.difference(&are).map(|room| format!("the list names {room}, which is no room"));
        missing.chain(invented).collect()
    }
}

/// Checks the files of a crate.
///
/// # Errors
/// The faults, a line each.
pub fn check(
    name: &str,
    source: &str,
    texts: &[(String, String)],
    rooms: &[Rooms<'_>],
    exceptions: &[Exception],
) -> Result<(), String> {
    let files = source::files(source, texts);
    let found = Crate::new(name, &files);
    let mut wrong: Vec<String> = rooms.iter().flat_map(|rooms| rooms.unknown(&found)).collect();
    let is_excepted = |arrow: &Arrow, exception: &Exception| {
        found.files[arrow.from].path == exception.0 && found.files[arrow.to].path == exception.1
    };
    let points_up = |arrow: &&Arrow| rooms.iter().any(|rooms| rooms.points_up(&found, arrow));
    let upward: Vec<&Arrow> = found.arrows.iter().filter(points_up).collect();
    let excepted = |arrow: &Arrow| exceptions.iter().any(|exception| is_excepted(arrow, exception));
    for arrow in upward.iter().filter(|arrow| !excepted(arrow)) {
        wrong.push(format!("points up: {}", found.describe(arrow)));
    }
    let circles = circles(&found, &|arrow| !excepted(arrow));
    for circle in &circles {
        wrong.push("a circle of files:".to_owned());
        let is_inside = |arrow: &Arrow| circle.contains(&arrow.from) && circle.contains(&arrow.to);
        let counts = |arrow: &Arrow| is_inside(arrow) && !excepted(arrow) && counts(&found, arrow);
        let inside = found.arrows.iter().filter(|arrow| counts(arrow));
        let mut inside: Vec<String> = inside.map(|arrow| format!("  {}", found.describe(arrow))).collect();
        inside.sort();
        wrong.extend(inside);
    }
    for exception in exceptions {
        let is_upward = upward.iter().any(|arrow| is_excepted(arrow, exception));
        let others = |arrow: &Arrow| !excepted(arrow) || is_excepted(arrow, exception);
        let closes = found.arrows.iter().filter(|arrow| is_excepted(arrow, exception)).any(|arrow| {
            let circles = self::circles(&found, &others);
            circles.iter().any(|circle| circle.contains(&arrow.from) && circle.contains(&arrow.to))
        });
        if !is_upward && !closes {
            let (from, to, _) = exception;
            wrong.push(format!("no exception any more, take it off the list: {from} takes from {to}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// True when an arrow counts in a circle: it stays in its room. The head of a folder names its files and holds what they all go
/// by, so it is no circle that they take that from it.
fn counts(found: &Crate<'_>, arrow: &Arrow) -> bool {
    let [from, to] = [arrow.from, arrow.to].map(|place| &found.files[place].module);
    from.first() == to.first() && !from.starts_with(to)
}

/// The sets of files that can all be reached from one another.
fn circles(found: &Crate<'_>, wanted: &dyn Fn(&Arrow) -> bool) -> Vec<BTreeSet<usize>> {
    let mut next = vec![BTreeSet::new(); found.files.len()];
    for arrow in found.arrows.iter().filter(|arrow| counts(found, arrow) && wanted(arrow)) {
        next[arrow.from].insert(arrow.to);
    }
    let reached = |start: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(file) = open.pop() {
            open.extend(next[file].iter().filter(|file| seen.insert(**file)));
        }
        seen
    };
    let reached: Vec<BTreeSet<usize>> = (0..next.len()).map(reached).collect();
    let circle = |file: usize| -> BTreeSet<usize> {
        reached[file].iter().copied().filter(|other| reached[*other].contains(&file)).collect()
    };
    let all: BTreeSet<BTreeSet<usize>> =
        (0..next.len()).map(circle).filter(|circle| !circle.is_empty()).collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A house of three rooms on two floors.
    const ROOMS: [&[&str]; 3] = [&["ground", "beside"], &["first"], &["main"]];

    /// Two rooms within one of them.
    const GROUND: [&[&str]; 2] = [&["stone"], &["wood"]];

    fn house(changes: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut texts = vec![
            ("lib.rs", "pub mod beside; pub mod first; pub mod ground;"),
            ("beside.rs", "pub struct Brick;"),
            ("ground/mod.rs", "mod stone; mod wood;\npub use stone::Stone;\npub struct Size;"),
            ("ground/stone.rs", "use super::Size;\npub struct Stone(Size);"),
            (
                "ground/wood.rs",
                "use super::{Size, Stone};\n/// Not [`crate::first`].\npub struct Wood(Size);",
            ),
            ("first/mod.rs", "mod stairs;\nuse crate::{beside::Brick, ground};\nfn f() { stairs::up() }"),
            ("first/stairs.rs", "pub fn up() -> crate::ground::Size { panic!(\"crate::main\") }"),
            ("main.rs", "use crate_name::first;\nfn main() {}"),
        ];
        for (path, text) in changes {
            texts.retain(|(old, _)| old != path);
            texts.push((path, text));
        }
        texts.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect()
    }

    fn checked(changes: &[(&str, &str)], exceptions: &[Exception]) -> Result<(), String> {
        let rooms = [Rooms { within: &[], lines: &ROOMS }, Rooms { within: &["ground"], lines: &GROUND }];
        check("crate_name", "src", &house(changes), &rooms, exceptions)
    }

    #[test]
    fn a_house_in_order_passes() {
        assert_eq!(checked(&[], &[]), Ok(()));
    }

    #[test]
    fn an_arrow_that_points_up_is_found() {
        for (text, takes) in [
            ("\n\nuse crate::first::stairs;", "crate::first::stairs from src/first/stairs.rs"),
            ("\n\nuse crate::{self, first as f};", "crate::first from src/first/mod.rs"),
            (
                "\n\nfn f() { crate::first::stairs::up() }",
                "crate::first::stairs::up from src/first/stairs.rs",
            ),
            ("\n\nuse super::first::Floor;", "super::first::Floor from src/first/mod.rs"),
            ("\n\nuse crate::ground::Stone;", "crate::ground::Stone from src/ground/stone.rs"),
        ] {
            let wrong = format!("points up: src/beside.rs:3 takes {takes}");
            assert_eq!(checked(&[("beside.rs", text)], &[]), Err(wrong), "{text}");
        }
    }

    #[test]
    fn an_arrow_that_points_up_within_a_room_is_found() {
        let stone = ("ground/stone.rs", "use super::wood::Wood;\npub struct Stone;");
        let wood = ("ground/wood.rs", "pub struct Wood;");
        let wrong = "points up: src/ground/stone.rs:1 takes super::wood::Wood from src/ground/wood.rs";
        assert_eq!(checked(&[stone, wood], &[]), Err(wrong.to_owned()));
    }

    #[test]
    fn an_arrow_of_a_macro_is_found() {
        let first = ("first/mod.rs", "#[macro_export]\nmacro_rules! say { () => {} }\nmod stairs;");
        let below = ("beside.rs", "fn f() { crate::say!() }");
        let wrong = "points up: src/beside.rs:1 takes crate::say from src/first/mod.rs";
        assert_eq!(checked(&[first, below], &[]), Err(wrong.to_owned()));
    }

    #[test]
    fn a_circle_is_found_also_through_a_name_that_is_passed_on() {
        let first = ("first/mod.rs", "mod door; mod stairs;\npub use stairs::Stairs;");
        let door = ("first/door.rs", "use super::Stairs;\npub struct Door;");
        let stairs = ("first/stairs.rs", "\npub struct Stairs;\nfn f(door: super::door::Door) {}");
        let wrong = "a circle of files:\n  \
                     src/first/door.rs:1 takes super::Stairs from src/first/stairs.rs\n  \
                     src/first/stairs.rs:3 takes super::door::Door from src/first/door.rs";
        assert_eq!(checked(&[first, door, stairs], &[]), Err(wrong.to_owned()));
    }

    #[test]
    fn a_room_that_is_not_on_the_list_is_found() {
        let wrong = "the room attic is not on the list";
        assert_eq!(checked(&[("attic.rs", "")], &[]), Err(wrong.to_owned()));
    }

    #[test]
    fn an_exception_is_one_as_long_as_it_is_needed() {
        let up = ("src/beside.rs", "src/first/mod.rs", "a reason");
        let around = ("src/ground/stone.rs", "src/ground/wood.rs", "a reason");
        let planted = [
            ("beside.rs", "use crate::first;"),
            ("ground/stone.rs", "use super::wood::Wood;\npub struct Stone;"),
        ];
        assert_eq!(checked(&planted, &[up, around]), Ok(()));
        let wrong = "no exception any more, take it off the list: src/beside.rs takes from src/first/mod.rs\n\
                     no exception any more, take it off the list: src/ground/stone.rs takes from src/ground/wood.rs";
        assert_eq!(checked(&[], &[up, around]), Err(wrong.to_owned()));
    }
}
