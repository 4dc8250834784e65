//! The command line as getopt_long(3) reads it, over clap: options may be cut short and repeated, the last one counts,
//! and errors have glibc's words and exit status 1.

use std::{ffi::OsString, process::ExitCode};

use clap::{
    Parser,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// Reads the words; the first is the program's name. A parser derives from clap, with `disable_help_flag` and
/// `disable_version_flag`: both are options of the mirror's own.
///
/// # Errors
/// The exit status of the process; the reason has been printed.
pub fn parse<P: Parser>(words: Vec<OsString>) -> Result<P, ExitCode> {
    let name = words.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    read(words.into_iter().skip(1)).map_err(|error| {
        eprintln!("{name}: {}", sentence(&error));
        ExitCode::FAILURE
    })
}

fn read<P: Parser>(words: impl Iterator<Item = OsString>) -> Result<P, clap::Error> {
    let command = P::command().no_binary_name(true).infer_long_args(true).args_override_self(true);
    P::from_arg_matches(&command.try_get_matches_from(words)?)
}

/// The sentence that glibc would print.
fn sentence(error: &clap::Error) -> String {
    let word = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => word.clone(),
        Some(ContextValue::Strings(words)) => words.join("' '"),
        _ => String::new(),
    };
    let invalid = word(ContextKind::InvalidArg);
    // clap names an option as its help does: `--root <PATH>`.
    let option = invalid.split([' ', '=', '<']).next().unwrap_or_default();
    match error.kind() {
        ErrorKind::UnknownArgument if invalid.starts_with("--") => format!("unrecognized option '{invalid}'"),
        ErrorKind::UnknownArgument => format!("invalid option -- '{}'", invalid.trim_start_matches('-')),
        ErrorKind::TooManyValues => format!("option '{option}' doesn't allow an argument"),
        ErrorKind::InvalidValue if word(ContextKind::InvalidValue).is_empty() => {
            format!("option '{option}' requires an argument")
        }
        _ => error.to_string().trim_start_matches("error: ").lines().next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Parser, Debug, PartialEq, Eq)]
    #[command(disable_help_flag = true, disable_version_flag = true)]
    struct Words {
        #[arg(long)]
        root: Option<String>,
        #[arg(long)]
        replace: Option<String>,
        #[arg(short, long)]
        help: bool,
        files: Vec<String>,
    }

    fn words(words: &[&str]) -> Result<Words, String> {
        read(words.iter().map(OsString::from)).map_err(|error| sentence(&error))
    }

    #[test]
    fn as_getopt_reads_them() {
        let read = words(&["a", "--root=/x", "-", "--ro", "/y", "-h", "--", "--b"]).unwrap();
        let files = ["a", "-", "--b"].map(str::to_owned).to_vec();
        assert_eq!(read, Words { root: Some("/y".to_owned()), replace: None, help: true, files });
        for (wrong, said) in [
            (&["--nonsense"][..], "unrecognized option '--nonsense'"),
            (&["-x"], "invalid option -- 'x'"),
            (&["--root"], "option '--root' requires an argument"),
            (&["--help=1"], "option '--help' doesn't allow an argument"),
        ] {
            assert_eq!(words(wrong).unwrap_err(), said);
        }
    }
}
