//! Small files of text.

use std::{
    fs::File,
    io::{self, Read as _},
};

/// The text of a small file, at most 1 MiB of it.
///
/// # Errors
/// It cannot be read, is larger, or is not UTF-8.
pub fn text_of(file: File) -> io::Result<String> {
    const LIMIT: u64 = 1 << 20;
    let mut text = String::new();
    if file.take(LIMIT).read_to_string(&mut text)? as u64 == LIMIT {
        return Err(io::Error::other("it has more than 1 MiB"));
    }
    Ok(text)
}
