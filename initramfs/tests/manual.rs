//! The manual pages and completions of `hermetic manual`, judged by mandoc, man-db's lexgrog and bash.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::{Scratch, tool};
use hermetic_init::config::options;

/// The files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut open, mut found) = (vec![directory.to_owned()], Vec::new());
    while let Some(place) = open.pop() {
        for entry in fs::read_dir(place).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

fn write(into: &Path) {
    let status = Command::new(env!("CARGO_BIN_EXE_hermetic")).arg("manual").arg(into).status().unwrap();
    assert!(status.success());
}

#[test]
fn pages_are_sound_for_mandoc_and_lexgrog() {
    let (Some(_), Some(_), Some(scratch)) = (tool("mandoc"), tool("lexgrog"), Scratch::new("manual")) else {
        return;
    };
    write(&scratch.host(""));
    let pages = files(&scratch.host("man"));
    let names: Vec<_> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    for name in [
        "hermetic-init.8",
        "hermetic-init.cmdline.7",
        "hermetic-etc.conf.5",
        "hermetic.1",
        "hermetic-initramfs.1",
        "hermetic-luks.1",
        "hermetic-repart.1",
    ] {
        assert!(names.contains(&name), "{name} is none of {names:?}");
    }
    for page in &pages {
        let inside = scratch.inside(page.strip_prefix(scratch.host("")).unwrap().to_str().unwrap());
        let lint = tool("mandoc").unwrap().args(["-T", "lint"]).arg(&inside).output().unwrap();
        let said =
            String::from_utf8_lossy(&lint.stdout).into_owned() + &String::from_utf8_lossy(&lint.stderr);
        assert!(lint.status.success() && said.is_empty(), "mandoc says of {}:\n{said}", page.display());
        let whatis = tool("lexgrog").unwrap().arg(&inside).output().unwrap();
        let said = String::from_utf8_lossy(&whatis.stdout).into_owned();
        let name = page.file_stem().unwrap().to_str().unwrap();
        assert!(whatis.status.success() && said.contains(&format!("\"{name} - ")), "lexgrog says {said}");
    }
}

#[test]
fn every_option_of_the_boot_and_of_the_tool_has_its_entry() {
    let scratch = Scratch::here("manual");
    write(&scratch.host(""));
    let page = fs::read_to_string(scratch.host("man/man7/hermetic-init.cmdline.7")).unwrap();
    for name in options::NAMES {
        let entry = format!(".TP\n\\fB{}=", name.replace('-', "\\-"));
        assert!(page.contains(&entry), "{name} has no entry");
    }
    let help = Command::new(env!("CARGO_BIN_EXE_hermetic")).args(["initramfs", "--help"]).output().unwrap();
    let page = fs::read_to_string(scratch.host("man/man1/hermetic-initramfs.1")).unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let words = help.split_whitespace().filter_map(|word| word.strip_prefix("--"));
    let words: Vec<&str> =
        words.map(|word| word.trim_end_matches(|sign: char| !sign.is_alphanumeric())).collect();
    assert!(words.len() > 15, "{words:?}");
    for word in words {
        assert!(page.contains(&format!("\\-\\-{}", word.replace('-', "\\-"))), "--{word} has no entry");
    }
}

#[test]
fn bash_completes_subcommands_and_options() {
    let Some(scratch) = Scratch::new("manual") else { return };
    write(&scratch.host(""));
    let script = "source \"$1\"; COMP_WORDS=(hermetic \"${@:2}\"); COMP_CWORD=$(($# - 1)); \
                  _hermetic hermetic \"${@: -1}\" \"${@: -2:1}\"; echo \"${COMPREPLY[*]}\"";
    let completed = |words: &[&str]| {
        let mut bash = tool("bash").unwrap();
        bash.args(["-c", script, "bash"]).arg(scratch.inside("completions/bash/hermetic")).args(words);
        let output = bash.output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(completed(&["initr"]), "initramfs");
    assert_eq!(completed(&["initramfs", "--strip"]), "--strip-signatures");
    assert_eq!(completed(&["rep"]), "repart");
}
