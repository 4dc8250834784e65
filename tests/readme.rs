//! The papers at the top level and below docs/ equal the code, and their links lead somewhere.

use hermetic_init::config::options;
use std::path::{Path, PathBuf};

/// The README is for a first visit; everything else has a page of its own.
const MAX_README: usize = 8 << 10;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The papers: the Markdown files of the top level and of docs/.
fn papers() -> Vec<PathBuf> {
    let mut papers = Vec::new();
    let mut directories = vec![repository().join("docs")];
    let top = std::fs::read_dir(repository()).unwrap().map(|entry| entry.unwrap().path());
    papers.extend(top.filter(|path| is_markdown(path)));
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if is_markdown(&path) {
                papers.push(path);
            }
        }
    }
    papers
}

fn is_markdown(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "md")
}

/// The targets of the links of a text that are paths of the repository.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

#[test]
fn the_options_of_the_reference_are_those_of_the_program() {
    let path = repository().join("docs/reference/options.md");
    let table = options::markdown();
    assert!(text(&path).contains(&table), "put this into {}:\n{table}", path.display());
}

#[test]
fn links_lead_somewhere() {
    assert_eq!(links("[a](b.md) [c](d.md#e) [f](https://g) [h](#i)").collect::<Vec<_>>(), ["b.md", "d.md"]);
    let mut dead = Vec::new();
    for paper in papers() {
        let text = text(&paper);
        let missing = links(&text).filter(|target| !paper.parent().unwrap().join(target).exists());
        dead.extend(missing.map(|target| format!("{}: {target}", paper.display())));
    }
    assert_eq!(dead, Vec::<String>::new());
}

#[test]
fn every_page_is_reached_and_asks_its_readers_question() {
    let papers = papers();
    let texts: Vec<String> = papers.iter().map(|paper| text(paper)).collect();
    for paper in papers.iter().filter(|paper| paper.starts_with(repository().join("docs"))) {
        let leads_here = |(other, text): (&PathBuf, &String)| {
            let mut targets = links(text).map(|target| other.parent().unwrap().join(target));
            other != paper && targets.any(|target| target.canonicalize().ok() == paper.canonicalize().ok())
        };
        assert!(papers.iter().zip(&texts).any(leads_here), "no paper leads to {}", paper.display());
        let first = text(paper).lines().next().unwrap_or_default().to_owned();
        assert!(
            first.starts_with("# ") && first.ends_with('?'),
            "{} begins with no question: {first}",
            paper.display()
        );
    }
}

/// Sources that a paper names in backticks, `tests/furnish/links.rs`: they show what it says.
#[test]
fn sources_that_are_named_exist() {
    let mut missing = Vec::new();
    for paper in papers() {
        let text = text(&paper);
        let quoted = text.split('`').skip(1).step_by(2);
        let sources = quoted.filter(|word| {
            word.ends_with(".rs") && word.contains('/') && !word.contains(char::is_whitespace)
        });
        let gone = sources.filter(|source| !repository().join(source).exists());
        missing.extend(gone.map(|source| format!("{}: {source}", paper.display())));
    }
    assert_eq!(missing, Vec::<String>::new());
}

/// The names of the machine cases and series, as the driver's table has them.
fn cases() -> Vec<String> {
    let table = text(&repository().join("tests/vm/src/cases/mod.rs"));
    table.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The names of cases that a paper gives: in quotes behind the word `case`, or in the last column of a table of who is kept from what.
fn named_cases(paper: &str) -> Vec<String> {
    let flat = paper.split_whitespace().collect::<Vec<_>>().join(" ");
    let quoted = flat.split("case \"").skip(1).filter_map(|rest| rest.split('"').next());
    let mut names: Vec<String> = quoted.map(str::to_owned).collect();
    if paper.contains("| is kept from | shown by |") {
        let rows = paper.lines().filter(|line| line.starts_with("| ") && line.matches('|').count() == 5);
        let cells = rows.skip(1).filter_map(|row| row.rsplit('|').nth(1));
        names.extend(cells.flat_map(|cell| cell.split("; ")).map(|name| name.trim().to_owned()));
    }
    names.retain(|name| !name.starts_with('`') && !name.is_empty());
    names
}

#[test]
fn cases_that_are_named_exist() {
    let known = cases();
    let (mut count, mut gone) = (0, Vec::new());
    for paper in papers() {
        for name in named_cases(&text(&paper)) {
            count += 1;
            if !known.contains(&name) {
                gone.push(format!("{}: {name}", paper.display()));
            }
        }
    }
    assert!(count > 25, "{count} cases are named");
    assert_eq!(gone, Vec::<String>::new());
    assert_eq!(named_cases("the machine case \"no such\nthing\" shows"), ["no such thing"]);
}

/// The string literals of the program, joined where the source breaks a line.
fn literals() -> String {
    let mut directories = vec![repository().join("src")];
    let mut all = String::new();
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let source = text(&path);
                let mut pieces = source.split("\\\n");
                all += pieces.next().unwrap_or_default();
                pieces.for_each(|piece| all += piece.trim_start());
            }
        }
    }
    all
}

/// The lines of the page about failures are the program's: what stands between two `…` is in a text of the source.
#[test]
fn lines_of_failures_are_the_programs() {
    let page = text(&repository().join("docs/how-to/debug.md"));
    let literals = literals();
    let lines: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(lines.len() > 15, "the table has gone");
    let is_there = |line: &str| {
        let mut parts = line.split('…').map(str::trim).filter(|part| part.len() > 3);
        parts.all(|part| literals.contains(part))
    };
    assert!(!is_there("the disk is on fire: …"));
    let strange: Vec<&str> = lines.into_iter().filter(|line| !is_there(line)).collect();
    assert_eq!(strange, Vec::<&str>::new());
}

/// Sentences of the prose: no code, no tables, no headings; a word in backticks counts as one, a link by its text.
fn sentences(text: &str) -> Vec<String> {
    let (mut blocks, mut block, mut is_code) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        let bare = line.trim_start();
        let is_fence = bare.starts_with("```");
        let is_prose = !is_code && !is_fence && !bare.is_empty() && !bare.starts_with(['|', '#']);
        let is_item = bare.starts_with("- ")
            || bare.split_once(". ").is_some_and(|(number, _)| number.parse::<u8>().is_ok());
        if !is_prose || is_item {
            blocks.push(std::mem::take(&mut block));
        }
        if is_prose {
            block = format!("{block} {bare}");
        }
        is_code ^= is_fence;
    }
    blocks.push(block);
    let as_words = |block: String| {
        let quoted = block.split('`').enumerate().map(|(at, part)| if at % 2 == 1 { "CODE" } else { part });
        let linked: Vec<String> = quoted.map(str::to_owned).collect();
        let mut parts = linked.concat();
        while let Some((before, target)) = parts.split_once("](") {
            parts = format!("{before}{}", target.split_once(')').map_or("", |(_, after)| after));
        }
        parts
    };
    let split = |text: String| -> Vec<String> {
        let ends = [". ", "! ", "? "];
        ends.iter().fold(vec![text], |parts, end| {
            parts.iter().flat_map(|part| part.split(end)).map(str::to_owned).collect()
        })
    };
    let all = blocks.into_iter().map(as_words).flat_map(split);
    all.filter(|sentence| sentence.split_whitespace().count() > 1).collect()
}

/// The largest number of words in a sentence, and the share of longer ones, in hundredths.
const WORDS: (usize, usize) = (30, 2);

#[test]
fn sentences_are_short() {
    let (mut count, mut long) = (0, Vec::new());
    for paper in papers().iter().filter(|paper| !paper.ends_with("CHANGELOG.md")) {
        for sentence in sentences(&text(paper)) {
            count += 1;
            let words = sentence.split_whitespace().count();
            if words > WORDS.0 {
                long.push(format!("{} words, {}: {}", words, paper.display(), sentence.trim()));
            }
        }
    }
    assert!(count > 400, "{count} sentences: the papers have gone");
    let list = long.join("\n");
    assert!(long.len() * 100 <= count * WORDS.1, "{} of {count} sentences are long:\n{list}", long.len());
}

#[test]
fn a_sentence_ends_at_its_point() {
    let text = "# A. B\n\nOne `x. y` two. Three [four](five.md#six) seven\neight.\n\n```\nno. code\n```\n| no. table |\n- nine ten\n- eleven twelve";
    let counts: Vec<usize> = sentences(text).iter().map(|line| line.split_whitespace().count()).collect();
    assert_eq!(counts, [3, 4, 3, 3]);
}

/// A page begins with what was run or written, before it explains: a block or a table stands among its first lines.
#[test]
fn every_page_begins_with_an_example() {
    for paper in papers().iter().filter(|paper| paper.starts_with(repository().join("docs"))) {
        let text = text(paper);
        let example = text.lines().position(|line| line.starts_with("```") || line.starts_with("| "));
        assert!(
            example.is_some_and(|line| line < 16),
            "{} has no example in its first lines",
            paper.display()
        );
    }
}

/// The formats that are ours have a section, which the code that reads or writes them cites.
#[test]
fn formats_are_cited_where_they_are_read() {
    const PAGE: &str = "docs/reference/formats.md";
    let page = text(&repository().join(PAGE));
    let sections: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let (mut cited, mut open) =
        (Vec::new(), vec![repository().join("src"), repository().join("initramfs/src")]);
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let source = text(&path);
            let mark = format!("{PAGE}, \"");
            let citations = source.split(&mark).skip(1).filter_map(|rest| rest.split('"').next());
            cited.extend(citations.map(str::to_owned));
        }
    }
    cited.sort();
    cited.dedup();
    assert!(cited.iter().all(|section| sections.contains(&section.as_str())), "{cited:?} of {sections:?}");
    let unread: Vec<_> =
        sections.iter().filter(|section| !cited.iter().any(|cited| cited == *section)).collect();
    assert_eq!(unread, Vec::<&&str>::new(), "no code cites these sections of {PAGE}");
}

#[test]
fn the_readme_is_short() {
    let size = text(&repository().join("README.md")).len();
    assert!(size <= MAX_README, "README.md has {size} bytes; {MAX_README} at most");
}
