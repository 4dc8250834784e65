//! Other programs: runs them, shows or keeps their output, and fails with it.

use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// Lines of a failed program's output that are repeated in the error.
const REPEATED: usize = 25;

/// Runs a program silently; its output appears in the error alone.
///
/// # Errors
/// The program cannot be started or exits with anything but 0.
pub fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// Runs a program and returns its standard output.
///
/// # Errors
/// As [`run`]; also output that is not UTF-8.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = describe(command);
    let result = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))?;
    let stderr = String::from_utf8_lossy(&result.stderr);
    let stdout = String::from_utf8_lossy(&result.stdout);
    if !result.status.success() {
        bail!("`{shown}` failed ({}):\n{}", result.status, tail(&format!("{stdout}{stderr}")));
    }
    String::from_utf8(result.stdout).with_context(|| format!("`{shown}` printed something that is not UTF-8"))
}

/// Runs a program and shows each line that it writes to standard error, indented, as progress.
///
/// # Errors
/// As [`run`].
pub fn show(command: &mut Command) -> Result<()> {
    let shown = describe(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{shown}`"))?;
    let mut said = String::new();
    let stderr = child.stderr.take().context("standard error is not piped")?;
    for line in lossy_lines(stderr) {
        eprintln!("    {line}");
        said.push_str(&line);
        said.push('\n');
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status}):\n{}", tail(&said));
    }
    Ok(())
}

/// Lines of a stream with any bytes, until it ends or cannot be read any more.
fn lossy_lines(stream: impl Read) -> impl Iterator<Item = String> {
    BufReader::new(stream)
        .split(b'\n')
        .map_while(Result::ok)
        .map(|line| String::from_utf8_lossy(&line).trim_end().to_owned())
}

/// The command as a person would type it, without the environment.
#[must_use]
pub fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The last lines of a text, where programs say what went wrong.
#[must_use]
pub fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(REPEATED)).map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_repeats_what_was_said() {
        let error = run(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c echo out; echo err >&2; exit 3` failed (exit status: 3):\n    out\n    err\n"
        );
    }

    #[test]
    fn output_is_standard_output_alone() {
        let said = output(Command::new("sh").args(["-c", "echo out; echo err >&2"])).unwrap();
        assert_eq!(said, "out\n");
    }

    #[test]
    fn tail_keeps_the_last_lines() {
        let text: String = (1..=30).map(|n| format!("{n}\n")).collect();
        assert_eq!(tail(&text).lines().next(), Some("    6"));
    }
}
