//! The lines of all files together: which count, and in which order they are carried out.

use std::prelude::v1::*;

use super::{
    item::Item,
    line::{Context, Line, parse},
    log::Log,
    path::{ancestors, show},
};
use crate::{
    fragments::{LineError, lines},
    glob,
    level::Level,
    map::Map,
    sort,
};

/// The longest line that is read, in bytes (systemd's `LONG_LINE_MAX`).
const MAX_LINE: usize = 1 << 20;

/// The lines for one path.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Group {
    path: Vec<u8>,
    /// By [`Item::rank`].
    items: Vec<Item>,
}

/// The operation of an item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// `--create`
    Create,
    /// `--remove`
    Remove,
}

/// The requests of all files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Definitions {
    /// Plain paths, then patterns; each in the order in which they were first named.
    groups: [Vec<Group>; 2],
    /// The index of a path in `groups`.
    places: [Map<usize>; 2],
    /// Lines that are wrong.
    pub invalid: Vec<LineError>,
    /// Lines that could not be read though they may be right.
    pub failed: Vec<LineError>,
}

impl Definitions {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads one more file. A wrong line is logged, kept in [`Definitions::invalid`] and passed over.
    pub fn parse(&mut self, file: &str, content: &[u8], context: &Context<'_>, log: &mut dyn Log) {
        for (index, line) in lines(content).enumerate() {
            let (line, number) = (line.trim_ascii(), index + 1);
            if line.is_empty() || line.starts_with(b"#") || context.selection.passes_over(line) {
                continue;
            }
            let mut say = |level, message: String| log.say(level, format!("{file}:{number}: {message}"));
            if line.len() > MAX_LINE {
                say(Level::Error, "Line is too long.".to_owned());
                continue;
            }
            match parse(line, context, &mut say) {
                Ok(Line::Skipped) => {}
                Ok(Line::Item(item)) => self.add(*item, &mut say),
                Err(refusal) => {
                    say(Level::Error, refusal.message.clone());
                    let list = if refusal.is_invalid { &mut self.invalid } else { &mut self.failed };
                    list.push(LineError { file: file.to_owned(), line: number, message: refusal.message });
                }
            }
        }
    }

    /// Adds an item, unless an earlier one for the same path says otherwise.
    fn add(&mut self, item: Item, say: &mut dyn FnMut(Level, String)) {
        let [plain, patterns] = &mut self.groups;
        let [plain_places, pattern_places] = &mut self.places;
        let (groups, places) = match item.kind.is_glob() {
            false => (plain, plain_places),
            true => (patterns, pattern_places),
        };
        let index = places.get(&item.path).copied().unwrap_or(groups.len());
        if index == groups.len() {
            places.insert(&*item.path, index);
            groups.push(Group { path: item.path.clone(), items: Vec::new() });
        }
        let Some(group) = groups.get_mut(index) else { return };
        if group.items.iter().any(|earlier| !item.may_follow(earlier)) {
            say(Level::Notice, format!("Duplicate line for path \"{}\", ignoring.", show(&item.path)));
            return;
        }
        group.items.push(item);
        sort::by_key(&mut group.items, Item::rank);
    }

    /// All items.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.groups.iter().flatten().flat_map(|group| &group.items)
    }

    /// Returns true when a line has exactly this path, and takes it as it is.
    pub fn names(&self, path: &[u8]) -> bool {
        self.places[0].contains_key(path)
    }

    /// Returns true when the pattern of a line matches this path.
    pub fn matches(&self, path: &[u8]) -> bool {
        self.groups[1].iter().any(|group| glob::path_matches(&group.path, path))
    }

    /// The items in the order in which one operation is carried out: when entries are made, plain paths before patterns
    /// and directories before their entries; when entries are removed, those below a path first.
    pub fn order(&self, operation: Operation) -> Vec<&Item> {
        let all: Vec<&Group> = self.groups.iter().flatten().collect();
        let parents: Vec<Option<usize>> = all.iter().map(|group| self.parent(&group.path)).collect();
        let mut children = vec![Vec::new(); all.len()];
        for (index, parent) in parents.iter().enumerate() {
            if let Some(children) = parent.and_then(|parent| children.get_mut(parent)) {
                children.push(index);
            }
        }
        let mut done = vec![false; all.len()];
        let mut order = Vec::new();
        for index in 0..all.len() {
            // The operations that have to come before it, the last first.
            let mut chain = Vec::new();
            match operation {
                Operation::Create => {
                    let mut next = Some(index);
                    while let Some(index) = next.filter(|&index| done.get(index) == Some(&false)) {
                        chain.push(index);
                        next = parents.get(index).copied().flatten();
                    }
                }
                Operation::Remove => {
                    let mut next = 0;
                    chain.push(index);
                    while let Some(&index) = chain.get(next) {
                        chain.extend(children.get(index).into_iter().flatten());
                        next += 1;
                    }
                }
            }
            for index in chain.into_iter().rev() {
                if let (Some(group), Some(done)) = (all.get(index), done.get_mut(index))
                    && !core::mem::replace(done, true)
                {
                    order.extend(&group.items);
                }
            }
        }
        order
    }

    /// The nearest lines above a path, by their place in all groups.
    fn parent(&self, path: &[u8]) -> Option<usize> {
        let [plain, patterns] = &self.places;
        ancestors(path).find_map(|above| {
            let pattern = || patterns.get(above).map(|index| index + self.groups[0].len());
            plain.get(above).copied().or_else(pattern)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::line::tests::with_context, *};

    fn order(text: &str, operation: Operation) -> Vec<String> {
        with_context(|context, log| {
            let mut definitions = Definitions::new();
            definitions.parse("f", text.as_bytes(), context, log);
            let items = definitions.order(operation);
            items
                .iter()
                .map(|item| format!("{}{}", char::from(item.kind.letter()), show(&item.path)))
                .collect()
        })
    }

    #[test]
    fn what_holds_a_path_comes_first_and_patterns_last() {
        let text = "z /a/b/c\nf /a/b/c\nd /x\nd /a\nw /a/b/c - - - - x\nd /a/b\nL /a/b/c - - - - x\n";
        assert_eq!(order(text, Operation::Create), ["d/a", "d/a/b", "f/a/b/c", "d/x", "w/a/b/c", "z/a/b/c"]);
        let text = "R /a\nr /a/b\nr /a/b/c\n";
        assert_eq!(order(text, Operation::Remove), ["r/a/b/c", "r/a/b", "R/a"]);
    }

    #[test]
    fn a_second_line_for_a_path_counts_if_it_says_the_same_or_something_else_entirely() {
        with_context(|context, log| {
            let mut definitions = Definitions::new();
            let text = "d /a 0755\nd /a 0700\nd /a 0755\na+ /a - - - - u:0:r\nf /b - - - - 1\nf /b - - - - 2\nw+ /b - - - - 3\nw+ /b - - - - 4\n";
            definitions.parse("f", text.as_bytes(), context, log);
            assert_eq!(definitions.items().count(), 6);
            let notices: Vec<&str> = log.messages.iter().map(|(_, message)| message.as_str()).collect();
            assert_eq!(
                notices,
                [
                    "f:2: Duplicate line for path \"/a\", ignoring.",
                    "f:6: Duplicate line for path \"/b\", ignoring."
                ]
            );
            assert!(definitions.names(b"/b") && !definitions.names(b"/c") && definitions.matches(b"/b"));
        });
    }
}
