//! The lines of systemd's configuration files: sections, assignments, comments, continued lines.
//!
//! Source: systemd.syntax(7). Any other text is refused, where systemd warns line by line: a damaged policy is not a
//! policy.

use std::prelude::v1::*;

/// One meaningful line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Item {
    /// `[Name]`.
    Section(String),
    /// `Key=Value`, both without the white space around them.
    Assignment(String, String),
}

/// The reason why a text is not a configuration file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct IniError {
    /// The line, from 1.
    pub line: u32,
    /// The fault.
    pub what: &'static str,
}

/// Splits a text into its items with their line numbers, those where a continued line began.
pub(super) fn parse(text: &str) -> Result<Vec<(u32, Item)>, IniError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut items = Vec::new();
    let mut in_section = false;
    let mut continued: Option<(u32, String)> = None;
    for (number, raw) in (1_u32..).zip(text.lines()) {
        let trimmed = raw.trim_start();
        // Comments may stand between the parts of a continued line.
        if trimmed.starts_with(['#', ';']) {
            continue;
        }
        let (line, mut logical) = match continued.take() {
            Some((line, mut start)) => {
                start.push_str(raw);
                (line, start)
            }
            None => (number, raw.into()),
        };
        if ends_with_continuation(&logical) {
            logical.pop();
            logical.push(' ');
            continued = Some((line, logical));
            continue;
        }
        if let Some(item) = item(line, logical.trim(), &mut in_section)? {
            items.push((line, item));
        }
    }
    if let Some((line, logical)) = continued
        && let Some(item) = item(line, logical.trim(), &mut in_section)?
    {
        items.push((line, item));
    }
    Ok(items)
}

/// A backslash at the end continues the line, unless another one takes its meaning away.
fn ends_with_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

fn item(line: u32, text: &str, in_section: &mut bool) -> Result<Option<Item>, IniError> {
    let refuse = |what| Err(IniError { line, what });
    if text.is_empty() {
        return Ok(None);
    }
    if text.contains('\0') {
        return refuse("a zero byte");
    }
    if let Some(rest) = text.strip_prefix('[') {
        let Some(name) = rest.strip_suffix(']').filter(|name| !name.is_empty()) else {
            return refuse("a section without its closing bracket");
        };
        *in_section = true;
        return Ok(Some(Item::Section(name.into())));
    }
    let Some((key, value)) = text.split_once('=') else {
        return refuse("a line without '='");
    };
    let key = key.trim_end();
    if key.is_empty() {
        return refuse("an assignment without a name");
    }
    if !*in_section {
        return refuse("an assignment before the first section");
    }
    Ok(Some(Item::Assignment(key.into(), value.trim_start().into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assignment(line: u32, key: &str, value: &str) -> (u32, Item) {
        (line, Item::Assignment(key.into(), value.into()))
    }

    #[test]
    fn lines_are_read_as_systemd_reads_them() {
        // The example of continued lines is that of systemd.syntax(7).
        let text = "\u{feff}# c\n\n[Section A]\nKeyOne=value 1\r\n KeyTwo = a=b \n ; c\n\
                    [Section C]\nKeyThree=value 3\\\n# this line is ignored\n; this line is ignored too\n       value 3 continued\nLast=x\\";
        assert_eq!(
            parse(text).unwrap(),
            [
                (3, Item::Section("Section A".into())),
                assignment(4, "KeyOne", "value 1"),
                assignment(5, "KeyTwo", "a=b"),
                (7, Item::Section("Section C".into())),
                assignment(8, "KeyThree", "value 3        value 3 continued"),
                assignment(12, "Last", "x"),
            ]
        );
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn what_is_no_such_file_is_refused_with_its_line() {
        for (text, line) in [
            ("Key=value", 1),
            ("[S]\nwords\n", 2),
            ("[S\nKey=value", 1),
            ("[]\n", 1),
            ("[S]\n=value", 2),
            ("[S]\nK=a\0b", 2),
            ("\u{7f}ELF", 1),
            ("[S]\nA=1\\\n2\nnone", 4),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn parsing_is_total(text in "([\\[\\]=#;\\\\ \\n\\rA-z\0]|\\PC){0,200}") {
            let _total = parse(&text);
        }
    }
}
