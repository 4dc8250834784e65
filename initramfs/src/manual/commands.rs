//! The page of a subcommand, from the words that clap knows of it.

use clap::{Arg, Command};

use super::roff::Page;

/// The longest of what a page says of its subject at its head, in bytes: it is one line with the page's name.
const SUBJECT: usize = 56;

/// The page of `hermetic` itself: its subcommands, and the tools of systemd that it stands in for.
pub fn whole(command: &Command, mirrors: &[(&str, &str)]) -> String {
    let mut page = Page::new("hermetic", 1, "build what hermetic-init boots");
    page.section("Synopsis");
    page.paragraph("**hermetic** COMMAND [OPTION...]");
    page.section("Description");
    page.paragraph(
        "The tool beside **hermetic-init**(8) on machines that build images: it makes the initramfs, and offers each engine of the boot.",
    );
    page.section("Commands");
    for sub in subcommands(command) {
        page.entry(&format!("`hermetic-{}`(1)", sub.get_name()), &about(sub));
    }
    for (name, original) in mirrors {
        let prose =
            format!("The words, messages and exit codes of `{original}`, also by a link of that name.");
        page.entry(&format!("`hermetic-{name}`(1)"), &prose);
    }
    options(&mut page, command);
    end(&mut page, "`hermetic-init`(8), `hermetic-init.cmdline`(7), `hermetic-etc.conf`(5)");
    page.finish()
}

/// The page of one subcommand.
pub fn one(command: &Command) -> String {
    let mut page = Page::new(&format!("hermetic-{}", command.get_name()), 1, &subject(command));
    page.section("Synopsis");
    match subcommands(command).next() {
        Some(_) => subcommands(command).for_each(|sub| synopsis(&mut page, sub)),
        None => synopsis(&mut page, command),
    }
    page.section("Description");
    page.paragraph(&format!("{}.", about(command).trim_end_matches('.')));
    options(&mut page, command);
    if subcommands(command).next().is_some() {
        page.section("Commands");
    }
    for sub in subcommands(command) {
        page.part(sub.get_name());
        page.paragraph(&about(sub));
        arguments(&mut page, sub);
    }
    end(&mut page, "`hermetic`(1), `hermetic-init`(8)");
    page.finish()
}

/// The page of a tool of systemd that is stood in for, by its own help.
pub fn mirror(name: &str, original: &str, help: &str) -> String {
    let mut page =
        Page::new(&format!("hermetic-{name}"), 1, &format!("stand in for {original} on a build machine"));
    page.section("Synopsis");
    page.paragraph(&format!("**hermetic {name}** [OPTION...] [FILE...]"));
    page.section("Description");
    page.paragraph(&format!(
        "The words, messages and exit codes of **{original}** of systemd 257. A link to **hermetic** by that name does the same."
    ));
    page.verbatim(help);
    page.section("See also");
    page.paragraph(&format!("**hermetic**(1), **{original}**(8)"));
    page.finish()
}

/// The subcommands but clap's own help.
fn subcommands(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set())
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// The subject of a page, as its head says it: no capital and no point.
fn subject(command: &Command) -> String {
    let about = about(command);
    let mut first = about.trim_end_matches('.');
    for end in [". ", ": ", ", "] {
        if first.len() > SUBJECT {
            first = first.split(end).next().unwrap_or_default();
        }
    }
    let mut signs = first.chars();
    signs.next().map(|sign| sign.to_lowercase().to_string() + signs.as_str()).unwrap_or_default()
}

fn synopsis(page: &mut Page, command: &Command) {
    let usage = command.clone().render_usage().to_string();
    let words = usage.trim_start_matches("Usage: ").split_whitespace().collect::<Vec<_>>().join(" ");
    page.paragraph(&words);
}

fn options(page: &mut Page, command: &Command) {
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        page.section("Options");
        arguments(page, command);
    }
}

fn arguments(page: &mut Page, command: &Command) {
    let (places, words): (Vec<&Arg>, Vec<&Arg>) =
        command.get_arguments().filter(|arg| !arg.is_hide_set()).partition(|arg| arg.is_positional());
    for arg in places.into_iter().chain(words) {
        page.entry(&name(arg), &help(arg));
    }
}

/// The names of an option and of its value.
fn name(arg: &Arg) -> String {
    let long = arg.get_long().map(|long| format!("`--{long}`"));
    let names: Vec<String> =
        arg.get_short().map(|short| format!("`-{short}`")).into_iter().chain(long).collect();
    let takes = arg.get_action().takes_values();
    let values = arg.get_value_names().unwrap_or_default().join(" ");
    match (names.join(", "), takes) {
        (names, _) if names.is_empty() => values,
        (names, true) => format!("{names} {values}"),
        (names, false) => names,
    }
}

/// The help of an option, the values that it may have, and its default.
fn help(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let mut help = format!("{}.", help.trim_end_matches('.'));
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set() && arg.get_action().takes_values())
        .map(|value| match value.get_help() {
            Some(help) => format!("`{}`: {}", value.get_name(), help),
            None => format!("`{}`", value.get_name()),
        })
        .collect();
    if !values.is_empty() {
        help += &format!(" Values: {}.", values.join("; "));
    }
    let defaults: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if arg.get_action().takes_values() && defaults.iter().any(|value| !value.is_empty()) {
        help += &format!(" Default: `{}`.", defaults.join(" "));
    }
    help
}

fn end(page: &mut Page, also: &str) {
    page.section("Exit status");
    page.paragraph("0 when it was done; 1 when it was not, with the reason in one line on standard error; 2 for words that are not understood.");
    page.section("See also");
    page.paragraph(also);
}
