//! Fragments of configuration: the common part of sysusers.d and tmpfiles.d; repart.d shares words and escapes.
//!
//! They are directories of `*.conf` files that are searched in /etc, /run, /usr/local/lib and /usr/lib and read in the
//! order of their names, line by line; the columns of a line may be quoted, and specifiers stand for facts of the
//! machine.
//!
//! | module | content |
//! |---|---|
//! | [`mod@lines`] | lines of a file, and a message about one |
//! | [`words`] | columns of a line, with quotes |
//! | [`escape`] | C-style escapes |
//! | [`facts`] | the machine's facts, and the specifiers that stand for them |
//! | [`search`] | the files that count, and reading them (std) |
//! | [`systemd`] | the version of the systemd in a /usr (std) |
//! | [`usr`] | the file by which a /usr says what it is (std) |

pub mod escape;
pub mod facts;
pub mod lines;
pub mod words;

#[cfg(feature = "std")]
pub mod search;
#[cfg(feature = "std")]
pub mod systemd;
#[cfg(feature = "std")]
pub mod usr;

pub use facts::Facts;
pub use lines::{LineError, lines};
