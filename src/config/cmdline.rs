//! The words of a command line: how text is cut into keys and values, and when two keys are the same.
//!
//! References: kernel-command-line(7), systemd's `proc-cmdline.c` (meaning, read), Linux
//! `Documentation/admin-guide/kernel-parameters.rst`.

use std::prelude::v1::*;

/// One word of the command line, `KEY` or `KEY=VALUE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// The text before the first `=`, without the prefix `rd.`; spelled as it was written.
    pub key: String,
    /// The text after the first `=`, quotes removed; None when there is no `=`.
    pub value: Option<String>,
    /// The key was written with the prefix `rd.`, that is for the initramfs alone.
    pub rd: bool,
}

impl Word {
    fn new(text: &str) -> Self {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_string())),
            None => (text, None),
        };
        let bare = key.strip_prefix("rd.");
        Self { key: bare.unwrap_or(key).to_string(), value, rd: bare.is_some() }
    }

    /// The key with every `-` turned into `_`: the two are the same to the kernel and to systemd.
    pub fn folded(&self) -> String {
        self.key.replace('-', "_")
    }
}

impl core::fmt::Display for Word {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(if self.rd { "rd." } else { "" })?;
        f.write_str(&self.key)?;
        match &self.value {
            Some(value) => write!(f, "={value}"),
            None => Ok(()),
        }
    }
}

/// The words of `text` in their order, up to a bare `--`: the words behind it belong to init alone.
///
/// Words end at white space; single and double quotes group, anywhere in a word, and are removed. A backslash is a
/// character like any other, and a quote that is never closed ends with the text (systemd reads both so).
pub fn words(text: &str) -> Words<'_> {
    Words { rest: text, done: false }
}

/// Iterator over the words of a command line, see [`words`].
#[derive(Clone, Debug)]
pub struct Words<'a> {
    rest: &'a str,
    done: bool,
}

impl Iterator for Words<'_> {
    type Item = Word;

    fn next(&mut self) -> Option<Word> {
        if self.done {
            return None;
        }
        // A NUL cannot come from the kernel, but EFI text may end with one: it separates like white space.
        let separates = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r' | '\0');
        let text = self.rest.trim_start_matches(separates);
        let mut word = String::new();
        let mut quote = None;
        let mut end = text.len();
        for (at, c) in text.char_indices() {
            match (quote, c) {
                (Some(open), _) if open == c => quote = None,
                (Some(_), _) => word.push(c),
                (None, '"' | '\'') => quote = Some(c),
                (None, _) if separates(c) => {
                    end = at;
                    break;
                }
                (None, _) => word.push(c),
            }
        }
        let (written, rest) = text.split_at_checked(end).unwrap_or((text, ""));
        self.rest = rest;
        if written.is_empty() || written == "--" {
            self.done = true;
            return None;
        }
        Some(Word::new(&word))
    }
}

/// A boolean as systemd reads it (`parse_boolean`, any case), or None when it is not one.
pub fn boolean(text: &str) -> Option<bool> {
    let is = |names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    if is(&["1", "yes", "y", "true", "t", "on"]) {
        Some(true)
    } else if is(&["0", "no", "n", "false", "f", "off"]) {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Vec<String> {
        words(text).map(|word| word.to_string()).collect()
    }

    #[test]
    fn text_is_cut_into_words() {
        for (text, expected) in [
            ("", vec![]),
            (" \t\n", vec![]),
            ("quiet  ro\n", vec!["quiet", "ro"]),
            ("root=\"LABEL=my root\" ro", vec!["root=LABEL=my root", "ro"]),
            ("root=LABEL='my root' ro", vec!["root=LABEL=my root", "ro"]),
            ("\"root=LABEL=my root\"", vec!["root=LABEL=my root"]),
            ("a='it \"is\"' b", vec!["a=it \"is\"", "b"]),
            (r"root=/dev/disk/by-label/my\x20root", vec![r"root=/dev/disk/by-label/my\x20root"]),
            ("a='never closed b c", vec!["a=never closed b c"]),
            ("quiet -- root=/dev/sda1", vec!["quiet"]),
            ("a '--' b", vec!["a", "--", "b"]),
            ("--x b", vec!["--x", "b"]),
            ("rd.break=pre-mount rd.shell", vec!["rd.break=pre-mount", "rd.shell"]),
            ("'' a", vec!["", "a"]),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_lose_rd_and_fold_dashes() {
        let word = words("rd.systemd.image-policy==a=b").next().unwrap();
        assert_eq!(word, Word { key: "systemd.image-policy".into(), value: Some("=a=b".into()), rd: true });
        assert_eq!(word.folded(), "systemd.image_policy");
    }

    #[test]
    fn booleans_are_those_of_systemd() {
        for (text, value) in [
            ("1", Some(true)),
            ("YES", Some(true)),
            ("t", Some(true)),
            ("Off", Some(false)),
            ("", None),
            ("2", None),
        ] {
            assert_eq!(boolean(text), value, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_cut_without_panic(text in any::<String>()) {
            prop_assert!(words(&text).count() <= text.len());
        }

        #[test]
        fn plain_words_come_back(list in proptest::collection::vec("[a-z.]{1,9}(=[a-zA-Z0-9/=:,+_-]{0,9})?", 0..9)) {
            prop_assert_eq!(shown(&list.join(" ")), list);
        }

        #[test]
        fn a_quoted_value_comes_back(value in "[^\"\0]{0,20}") {
            let text = format!("k=\"{value}\" end");
            prop_assert_eq!(words(&text).next().and_then(|word| word.value), Some(value));
        }
    }
}
