//! The common ground of the mirrors of systemd's tools: words of a command line, messages, the root, the machine, definitions from files.

pub mod cat;
pub mod log;
pub mod machine;
pub mod root;
pub mod source;
pub mod words;

/// Prints what `--version` does: the version of the tools that are mirrored first, as scripts look for it there.
pub fn print_version() {
    println!("systemd 257 (hermetic {})", env!("CARGO_PKG_VERSION"));
}
