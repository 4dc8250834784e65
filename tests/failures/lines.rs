//! The lines that a source can show: its texts, as far as they are sentences and no log of what went well.

/// The first word of an advice, which stands behind a reason and is none.
const ADVICE: [&str; 16] = [
    "say", "name", "add", "use", "give", "build", "leave", "let", "write", "make", "correct", "remove",
    "check", "boot", "pad", "raise",
];

/// Macros whose texts are no failures: what went well, and what no user sees.
const QUIET: [&str; 7] = ["info", "debug", "notice", "assert", "debug_assert", "panic", "unreachable"];

/// The lines of a source, in the shape that the page has them in.
pub fn lines(source: &str) -> Vec<String> {
    shapes(source).into_iter().filter(|line| is_line(line)).collect()
}

/// All texts of a source in that shape, steps and advice among them.
pub fn shapes(source: &str) -> Vec<String> {
    texts(source).iter().map(|text| shape(text)).collect()
}

/// A text of the source with `…` for what is named in it.
pub fn shape(text: &str) -> String {
    let joined =
        text.split("\\\n").enumerate().map(|(at, part)| if at == 0 { part } else { part.trim_start() });
    let text = joined.collect::<String>().replace("\\r\\n", " ").replace("\\n", " ");
    let mut shape = String::new();
    let mut signs = text.chars().peekable();
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => shape.extend(signs.next()),
            '{' | '}' if signs.peek() == Some(&sign) => shape.extend(signs.next()),
            '{' => {
                while signs.next_if(|sign| *sign != '}').is_some() {}
                signs.next();
                if shape.trim_end().ends_with('…') {
                    shape.truncate(shape.trim_end().len());
                } else {
                    shape.push('…');
                }
            }
            sign => shape.push(sign),
        }
    }
    let words: Vec<&str> = shape.split_whitespace().collect();
    words.join(" ").trim_matches([';', ' ']).to_owned()
}

/// True for a sentence that says what is wrong. Of `cannot … …: …` the page has one row for all; what comes behind the word
/// `cannot` in other lines is a step of it.
fn is_line(line: &str) -> bool {
    let words = line.split_whitespace().filter(|word| word.contains(char::is_alphabetic)).count();
    let first = line.trim_start_matches(['…', ' ', ':']).split_whitespace().next().unwrap_or_default();
    let is_step = [" of", " in", " for"].iter().any(|end| line.ends_with(end))
        || ["put in place", "create special file"].contains(&line);
    words >= 3 && first != "cannot" && !is_step && !ADVICE.contains(&first)
}

/// The texts of a source up to its tests, without those of [`QUIET`].
fn texts(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let (mut found, mut word) = (Vec::new(), String::new());
    // The depths of parentheses at which a quiet macro began.
    let (mut depth, mut quiet) = (0_usize, Vec::new());
    let mut rest = source;
    while let Some(sign) = rest.chars().next() {
        let mut taken = sign.len_utf8();
        match sign {
            '/' if rest.starts_with("//") => taken = rest.find('\n').unwrap_or(rest.len()),
            '(' => {
                depth += 1;
                if QUIET.iter().any(|name| word.strip_suffix('!') == Some(name)) {
                    quiet.push(depth);
                }
            }
            ')' => {
                quiet.retain(|begin| *begin < depth);
                depth = depth.saturating_sub(1);
            }
            '\'' => taken = after_character(rest),
            '"' => {
                let end = end_of_text(rest);
                if quiet.is_empty() {
                    found.push(rest[1..end].to_owned());
                }
                taken = end + 1;
            }
            _ => {}
        }
        if sign.is_alphanumeric() || sign == '_' || sign == '!' {
            word.push(sign);
        } else {
            word.clear();
        }
        rest = &rest[taken.min(rest.len())..];
    }
    found
}

/// The place of the quote that ends a text which begins with one.
fn end_of_text(rest: &str) -> usize {
    let mut signs = rest.char_indices().skip(1);
    while let Some((at, sign)) = signs.next() {
        match sign {
            '\\' => drop(signs.next()),
            '"' => return at,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a character with its quotes; of a lifetime the length of its quote.
fn after_character(rest: &str) -> usize {
    let signs: Vec<char> = rest.chars().take(4).collect();
    match signs[..] {
        ['\'', '\\', ..] => rest[3..].find('\'').map_or(rest.len(), |at| at + 4),
        ['\'', sign, '\'', ..] => 2 + sign.len_utf8(),
        _ => 1,
    }
}
