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

#[test]
fn the_readme_is_short() {
    let size = text(&repository().join("README.md")).len();
    assert!(size <= MAX_README, "README.md has {size} bytes; {MAX_README} at most");
}
