//! Errors in the words of the C library: strerror(3).

use std::io;

/// The sentence of an error, without the number that std adds, as systemd's messages end (`%m`).
pub fn strerror(error: &io::Error) -> String {
    let mut text = error.to_string();
    if error.raw_os_error().is_some()
        && let Some(end) = text.rfind(" (os error ")
    {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn the_number_is_left_out() {
        assert_eq!(strerror(&Errno::NOENT.into()), "No such file or directory");
        assert_eq!(strerror(&io::Error::other("bad (os error 2)")), "bad (os error 2)");
    }
}
