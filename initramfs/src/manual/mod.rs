//! `hermetic manual`: the manual pages and the completions of shells, written into a directory. Each page has one source: the words of
//! clap for the tool, the pages of docs/ for the boot.
//!
//! | file | content |
//! |---|---|
//! | [`roff`] | the language of man(7) |
//! | [`markdown`] | a page of docs/ in it |
//! | [`commands`] | a subcommand in it |

mod commands;
mod markdown;
mod roff;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Command, ValueEnum as _};
use clap_complete::Shell;

use roff::Page;

use crate::names;

const BOOT: &str = include_str!("../../../docs/explanation/boot.md");
const OPTIONS: &str = include_str!("../../../docs/reference/options.md");
const FORMATS: &str = include_str!("../../../docs/reference/formats.md");
const ETC: &str = include_str!("../../../docs/how-to/etc.md");
const DEBUG: &str = include_str!("../../../docs/how-to/debug.md");

/// The words of `hermetic manual`.
#[derive(clap::Args)]
pub struct Args {
    /// The directory; below it man/man1 to man/man8 and completions are made.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// A file below that directory, and its content.
pub type File = (String, Vec<u8>);

/// Writes them. `command` is what clap knows of the whole tool.
///
/// # Errors
/// A file cannot be written.
pub fn run(args: &Args, command: Command) -> Result<(), String> {
    for (name, content) in files(command) {
        let path = args.directory.join(name);
        write(&path, &content).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content)
}

/// All files, in the order of their names' sections.
pub fn files(mut command: Command) -> Vec<File> {
    let mut files = vec![
        page("hermetic-init", 8, init()),
        page("hermetic-init.cmdline", 7, cmdline()),
        page("hermetic-etc.conf", 5, etc_conf()),
    ];
    let completed = names::ALL.iter().fold(command.clone(), |command, mirror| {
        command.subcommand(Command::new(mirror.subcommand).about(format!("As {}", mirror.original)))
    });
    command.build();
    let mirrors: Vec<(&str, &str)> =
        names::ALL.iter().map(|mirror| (mirror.subcommand, mirror.original)).collect();
    files.push(page("hermetic", 1, commands::whole(&command, &mirrors)));
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
        files.push(page(&format!("hermetic-{}", sub.get_name()), 1, commands::one(sub)));
    }
    for mirror in names::ALL {
        let text = commands::mirror(mirror.subcommand, mirror.original, mirror.help);
        files.push(page(&format!("hermetic-{}", mirror.subcommand), 1, text));
    }
    for shell in Shell::value_variants() {
        let name = match shell {
            Shell::Bash => "completions/bash/hermetic",
            Shell::Zsh => "completions/zsh/_hermetic",
            Shell::Fish => "completions/fish/hermetic.fish",
            _ => continue,
        };
        let mut content = Vec::new();
        clap_complete::generate(*shell, &mut completed.clone(), "hermetic", &mut content);
        files.push((name.to_owned(), content));
    }
    files
}

fn page(name: &str, section: u8, text: String) -> File {
    (format!("man/man{section}/{name}.{section}"), text.into_bytes())
}

fn init() -> String {
    let mut page =
        Page::new("hermetic-init", 8, "bring a machine from the kernel to systemd on a verified /usr");
    page.section("Synopsis");
    page.paragraph("`/init` of an initramfs, or `rdinit=/hermetic-init`, or `init=/hermetic-init`");
    page.section("Description");
    page.paragraph(
        "The whole userspace of an initramfs in one static program. It takes no words of its own and no shell; what it does follows from the \
         kernel command line, the initramfs, and the verified /usr. `hermetic-initramfs`(1) makes an initramfs with it.",
    );
    markdown::add(&mut page, BOOT);
    page.section("When it does not boot");
    markdown::add(&mut page, DEBUG);
    page.section("Files");
    for title in ["Files of the initramfs", "What it leaves in /run"] {
        markdown::add(&mut page, markdown::section(FORMATS, title));
    }
    page.section("See also");
    page.paragraph(
        "`hermetic-init.cmdline`(7), `hermetic-etc.conf`(5), `hermetic`(1), `repart.d`(5), `sysusers.d`(5), `systemd`(1)",
    );
    page.finish()
}

fn cmdline() -> String {
    let mut page = Page::new("hermetic-init.cmdline", 7, "the kernel command line that hermetic-init reads");
    page.section("Description");
    markdown::add(&mut page, OPTIONS);
    page.section("See also");
    page.paragraph(
        "`hermetic-init`(8), `kernel-command-line`(7), `systemd-gpt-auto-generator`(8), `veritytab`(5)",
    );
    page.finish()
}

fn etc_conf() -> String {
    let mut page =
        Page::new("hermetic-etc.conf", 5, "exceptions from the way in which /etc follows the factory");
    page.section("Synopsis");
    page.paragraph("`/usr/lib/hermetic-init/etc.conf`");
    page.section("Description");
    markdown::add(&mut page, markdown::section(FORMATS, "The exceptions of /etc"));
    page.section("How /etc follows");
    markdown::add(&mut page, ETC);
    page.section("See also");
    page.paragraph("`hermetic-init`(8), `hermetic-init.cmdline`(7), `hermetic-etc`(1), `tmpfiles.d`(5)");
    page.finish()
}
