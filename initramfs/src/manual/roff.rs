//! A manual page under way, in the language of man(7).

/// The day of the last change of the pages: the same source gives the same bytes.
const DATE: &str = "2026-11-30";

/// The longest line of a page's source, in bytes (mandoc(1), `-T lint`).
const WIDTH: usize = 78;

/// A manual page.
pub struct Page {
    text: String,
}

impl Page {
    /// A page of this name and section that says in a line what its subject is.
    pub fn new(name: &str, section: u8, subject: &str) -> Self {
        let title = name.to_uppercase();
        let version = env!("CARGO_PKG_VERSION");
        let mut page = Self {
            text: format!(
                ".TH \"{title}\" {section} \"{DATE}\" \"hermetic-init {version}\" \"hermetic-init\"\n"
            ),
        };
        page.section("Name");
        page.text += &format!("{name} \\- {}\n", escape(subject));
        page
    }

    /// The whole text.
    pub fn finish(self) -> String {
        self.text
    }

    /// A heading.
    pub fn section(&mut self, title: &str) {
        self.text += &format!(".SH \"{}\"\n", escape(&title.to_uppercase()));
    }

    /// A heading within a section.
    pub fn part(&mut self, title: &str) {
        self.text += &format!(".SS \"{}\"\n", escape(title));
    }

    /// A paragraph of prose, in which backticks and `**` stand around what is bold.
    pub fn paragraph(&mut self, prose: &str) {
        // Behind a heading a paragraph begins by itself.
        let heading = self.text.trim_end().rsplit('\n').next().unwrap_or_default();
        if !heading.starts_with(".SH") && !heading.starts_with(".SS") {
            self.text += ".PP\n";
        }
        self.prose(prose);
    }

    /// An entry of a list: its name, and what is to be said of it.
    pub fn entry(&mut self, name: &str, prose: &str) {
        self.text += &format!(".TP\n{}\n", inline(name));
        self.prose(prose);
    }

    /// A point of a list.
    pub fn point(&mut self, mark: &str, prose: &str) {
        self.text += &format!(".IP \"{}\" 4\n", if mark == "-" { "\\(bu" } else { mark });
        self.prose(prose);
    }

    /// Text as it is.
    pub fn verbatim(&mut self, text: &str) {
        self.text += ".PP\n.RS 4\n.nf\n";
        for line in text.lines() {
            self.text += &guard(&escape(line));
            self.text.push('\n');
        }
        self.text += ".fi\n.RE\n";
    }

    /// Prose in lines that are not too long; a sentence begins a line of its own.
    fn prose(&mut self, prose: &str) {
        let mut line = String::new();
        for word in inline(prose).split_whitespace() {
            let is_full = line.len() + 1 + word.len() > WIDTH;
            let is_sentence = line.ends_with(['.', '?', '!', ':']) && !line.ends_with("e.g.");
            if !line.is_empty() && (is_full || is_sentence) {
                self.text += &guard(&line);
                self.text.push('\n');
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line += word;
        }
        if !line.is_empty() {
            self.text += &guard(&line);
            self.text.push('\n');
        }
    }
}

/// A line that is no request.
fn guard(line: &str) -> String {
    if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
}

/// Prose with its bold words. Blanks within them do not end a line.
fn inline(prose: &str) -> String {
    let mut text = String::new();
    for (at, part) in prose.replace("**", "`").split('`').enumerate() {
        match at % 2 {
            1 => text += &format!("\\fB{}\\fR", escape(part)),
            _ => text += &escape(part),
        }
    }
    text
}

/// Text without signs that mean something in roff, and in ASCII.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for sign in text.chars() {
        match sign {
            '\\' => escaped += "\\e",
            '-' => escaped += "\\-",
            '"' => escaped += "\\(dq",
            '~' => escaped += "\\(ti",
            '^' => escaped += "\\(ha",
            '…' => escaped += "...",
            '\'' => escaped += "\\(aq",
            '`' => escaped += "\\(ga",
            sign => escaped.push(sign),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_is_escaped() {
        let mut page = Page::new("a-b", 7, "what it is");
        page.section("Description");
        page.paragraph("It does `--this`. 'That' is \\.\n.SH none");
        page.entry("`-x`", "X");
        page.verbatim(".nf\n  a");
        let text = page.finish();
        assert!(text.starts_with(".TH \"A-B\" 7 \""), "{text}");
        let rest = text.split_once('\n').unwrap().1;
        assert_eq!(
            rest,
            ".SH \"NAME\"\na-b \\- what it is\n.SH \"DESCRIPTION\"\nIt does \\fB\\-\\-this\\fR.\n\\(aqThat\\(aq is \\e.\n\\&.SH none\n\
             .TP\n\\fB\\-x\\fR\nX\n.PP\n.RS 4\n.nf\n\\&.nf\n  a\n.fi\n.RE\n"
        );
    }
}
