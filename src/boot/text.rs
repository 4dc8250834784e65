//! Small files of text.

use std::{fs::File, io};

use crate::tree::read::{self, Limit};

/// The most that such a file may have.
const LIMIT: Limit = Limit::mebibytes(1);

/// The text of a small file.
///
/// # Errors
/// It cannot be read, is too large, or is not UTF-8.
pub fn text_of(file: File) -> io::Result<String> {
    Ok(read::text(file, LIMIT)?)
}
