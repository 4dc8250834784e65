//! Sentences of the documentation: a doc comment has its subject first, and cites what everybody can read.

/// The words that no sentence of a doc comment begins with.
const NO_BEGINNINGS: [&str; 6] = ["What", "Who", "Whether", "Where", "How", "Why"];

/// The words of papers that are not in the repository.
const UNKNOWN_PAPERS: [&str; 2] = ["contract", "design, "];

/// The lines of doc comments that begin with one of the words.
pub fn beginnings(text: &str) -> Vec<usize> {
    let begins = |line: &str| {
        let line = line.trim_start();
        let said = line.strip_prefix("//!").or_else(|| line.strip_prefix("///")).map(str::trim_start);
        let word = said.and_then(|said| said.split(|c: char| !c.is_alphanumeric()).next());
        word.is_some_and(|word| NO_BEGINNINGS.contains(&word))
    };
    lines(text, begins)
}

/// The lines of comments that cite a paper that is not there.
pub fn citations(text: &str) -> Vec<usize> {
    let cites = |line: &str| {
        let comment = line.split_once("//").map_or("", |(_, comment)| comment);
        UNKNOWN_PAPERS.iter().any(|paper| comment.contains(paper))
    };
    lines(text, cites)
}

fn lines(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<usize> {
    (1..).zip(text.lines()).filter(|(_, line)| wanted(line)).map(|(number, _)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_are_those_of_doc_comments() {
        let text = "//! What a room is.\n/// Whether it is.\n    /// How?\n// Why not.\n/// Whose.\n/// Says what.\nWhat";
        assert_eq!(beginnings(text), [1, 2, 3]);
    }

    #[test]
    fn citations_are_those_of_comments() {
        let [one, two] = UNKNOWN_PAPERS;
        let text = format!("//! See {one} §1.\n// ({two}law 3)\nlet text = \"{one} 2\";");
        assert_eq!(citations(&text), [1, 2]);
    }
}
