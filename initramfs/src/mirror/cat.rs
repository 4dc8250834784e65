//! `--cat-config` and `--tldr`: configuration files one after the other, each under its path.

use std::io::{self, Write as _};

/// Prints files as systemd's tools do, paths and contents given; `tldr` leaves comments and empty lines out.
///
/// # Errors
/// stdout cannot be written.
pub fn print<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>, tldr: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(&text(files, tldr))?;
    out.flush()
}

fn text<'a>(files: impl Iterator<Item = (&'a str, &'a [u8])>, tldr: bool) -> Vec<u8> {
    let mut text = Vec::new();
    for (number, (path, content)) in files.enumerate() {
        if number > 0 {
            text.push(b'\n');
        }
        text.extend_from_slice(format!("# {path}\n").as_bytes());
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        if content.is_empty() {
            continue;
        }
        for line in content.split(|byte| *byte == b'\n') {
            let is_comment = matches!(line.trim_ascii_start().first(), None | Some(b'#' | b';'));
            if !(tldr && is_comment) {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_or_without_comments() {
        let files = [("/a", &b"# c\n\n u a\n;\nu b"[..]), ("/b", b"")];
        let shown = |tldr| String::from_utf8(text(files.into_iter(), tldr)).unwrap();
        assert_eq!(shown(false), "# /a\n# c\n\n u a\n;\nu b\n\n# /b\n");
        assert_eq!(shown(true), "# /a\n u a\nu b\n\n# /b\n");
    }
}
