//! A page of docs/ as a part of a manual page: the few forms of Markdown that those pages have.

use super::roff::Page;

/// Adds a page of docs/, or what stands below one of its headings, without that heading.
pub fn add(page: &mut Page, text: &str) {
    let mut block = Block::default();
    let mut code: Option<String> = None;
    for line in text.lines() {
        let bare = line.trim_start();
        if bare.starts_with("```") {
            match code.take() {
                Some(text) => page.verbatim(&text),
                None => {
                    block.end(page);
                    code = Some(String::new());
                }
            }
        } else if let Some(code) = &mut code {
            *code += line;
            code.push('\n');
        } else if let Some(title) = bare.strip_prefix('#') {
            block.end(page);
            // The page's own title is its question, and a manual page has its name there.
            if let Some(title) = title.strip_prefix('#') {
                page.part(title.trim_matches(['#', ' ', '?']));
            }
        } else if let Some(row) = bare.strip_prefix('|') {
            block.end(page);
            add_row(page, row);
        } else if bare.is_empty() {
            block.end(page);
        } else if let Some((mark, rest)) = item(bare) {
            block.end(page);
            block = Block { mark: Some(mark.to_owned()), prose: rest.to_owned() };
        } else {
            block.prose.push(' ');
            block.prose += bare;
        }
    }
    block.end(page);
}

/// The part of a page below the heading with this title.
pub fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let after = text.split_once(&format!("\n## {title}\n")).map_or("", |(_, after)| after);
    after.split("\n## ").next().unwrap_or_default()
}

/// A paragraph or a point of a list, of several lines.
#[derive(Default)]
struct Block {
    mark: Option<String>,
    prose: String,
}

impl Block {
    fn end(&mut self, page: &mut Page) {
        let Self { mark, prose } = std::mem::take(self);
        let prose = without_links(prose.trim());
        match mark {
            _ if prose.is_empty() => {}
            Some(mark) => page.point(&mark, &prose),
            None => page.paragraph(&prose),
        }
    }
}

/// The mark and the rest of a line that begins a point of a list.
fn item(line: &str) -> Option<(&str, &str)> {
    let (mark, rest) = line.split_once(' ')?;
    let is_number = mark.strip_suffix('.').is_some_and(|number| number.parse::<u8>().is_ok());
    (mark == "-" || is_number).then_some((mark, rest))
}

/// A row of a table: its first cell names what the others are about. The row of titles and the line below it go.
fn add_row(page: &mut Page, row: &str) {
    let row = row.replace("\\|", "\u{1}");
    let cells: Vec<String> =
        row.split('|').map(|cell| without_links(cell.trim()).replace('\u{1}', "|")).collect();
    let [name, rest @ .., _] = cells.as_slice() else { return };
    let is_head = !name.contains('`') && (name.starts_with('-') || !rest.iter().any(|cell| cell.len() > 24));
    if !is_head && !name.is_empty() {
        let rest: Vec<&str> = rest.iter().map(String::as_str).filter(|cell| !cell.is_empty()).collect();
        page.entry(name, &rest.join("; "));
    }
}

/// The text with what links say in place of links.
fn without_links(text: &str) -> String {
    let (mut said, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('[') {
        said += before;
        match after.split_once("](").and_then(|(name, after)| Some((name, after.split_once(')')?.1))) {
            Some((name, after)) => {
                said += name;
                rest = after;
            }
            None => {
                said.push('[');
                rest = after;
            }
        }
    }
    said + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_markdown_are_those_of_man() {
        let mut page = Page::new("x", 7, "y");
        let text = "# A question?\n\nSee [the page](a.md#b) of\n`x`.\n\n- one\n  more\n- two\n\n## Part?\n\n| word | default |\n|---|---|\n\
                    | `a=b\\|c` | none | It is so. |\n\n```\nas it is\n```\n";
        add(&mut page, text);
        let text = page.finish();
        let rest = text.split_once("\\- y\n").unwrap().1;
        assert_eq!(
            rest,
            ".PP\nSee the page of \\fBx\\fR.\n.IP \"\\(bu\" 4\none more\n.IP \"\\(bu\" 4\ntwo\n.SS \"Part\"\n.TP\n\\fBa=b|c\\fR\n\
             none; It is so.\n.PP\n.RS 4\n.nf\nas it is\n.fi\n.RE\n"
        );
    }

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let text = "# T\n\n## A\n\nx\n\n### B\n\n## C\n\nz\n";
        assert_eq!(section(text, "A"), "\nx\n\n### B\n");
        assert_eq!(section(text, "D"), "");
    }
}
