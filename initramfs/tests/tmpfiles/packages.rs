//! The lines of Debian's packages: those of the appliance, and 40 further ones, each alone and all together.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    bench::{Round, compare},
    common::{Scratch, skip, tool},
};

const WORDS: &str = "--create --remove --boot";

fn place(variable: &str) -> Option<PathBuf> {
    let place = env::var_os(variable).map(PathBuf::from);
    if place.is_none() {
        skip(variable);
    }
    place
}

/// The files below a directory of a tree, by their path from its root.
fn files(from: &Path, directory: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(from.join(directory)) else { return Vec::new() };
    let entries = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    entries
        .map(|name| format!("{directory}/{name}"))
        .map(|path| (path.clone(), fs::read(from.join(&path)).unwrap()))
        .collect()
}

fn write(root: &Path, files: &[(String, Vec<u8>)]) {
    for (path, content) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// The users that these definitions make, as systemd-sysusers makes them.
fn databases(definitions: &[(String, Vec<u8>)]) -> Option<Vec<(String, Vec<u8>)>> {
    let scratch = Scratch::new("users")?;
    let root = scratch.host("root");
    write(&root, definitions);
    let mut words: Vec<_> = tool("systemd-sysusers")?.get_args().map(ToOwned::to_owned).collect();
    words.push(format!("--root={}", scratch.inside("root")).into());
    // Some ask for files that are missing; the rest is enough.
    Command::new("chroot").args(words).output().unwrap();
    Some(
        ["passwd", "group"]
            .map(|name| (format!("etc/{name}"), fs::read(root.join("etc").join(name)).unwrap_or_default()))
            .into(),
    )
}

/// Compares over an empty root that has these files, the factory's files, and their users.
fn check(
    name: &str,
    definitions: &[(String, Vec<u8>)],
    users: &[(String, Vec<u8>)],
    factory: &Path,
) -> Option<usize> {
    let round = Round { name: name.to_owned(), lines: None, words: WORDS };
    let lay = |root: &Path| {
        write(root, definitions);
        write(root, users);
        let factory = factory.join("usr/share/factory/etc");
        for name in ["issue", "nsswitch.conf", "pam.d"] {
            let to = root.join("usr/share/factory/etc");
            fs::create_dir_all(&to).unwrap();
            Command::new("cp").arg("-a").arg(factory.join(name)).arg(to).output().unwrap();
        }
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/machine-id"), "0123456789abcdef0123456789abcdef\n").unwrap();
        fs::write(root.join("etc/os-release"), "ID=debian\nVERSION_ID=13\n").unwrap();
    };
    let pairs = compare(&[round], &lay)?;
    let [theirs, _] = &pairs[0];
    Some(theirs.tree.len())
}

#[test]
fn packages_of_debian() {
    let (Some(fragments), Some(appliance)) = (place("HERMETIC_FRAGMENTS"), place("HERMETIC_APPLIANCE"))
    else {
        return;
    };
    let own = files(&appliance, "usr/lib/tmpfiles.d");
    assert!(!own.is_empty());
    let mut all = own.clone();
    let mut definitions = files(&appliance, "usr/lib/sysusers.d");
    let mut packages = Vec::new();
    let mut paths: Vec<PathBuf> =
        fs::read_dir(fragments).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let lines = files(&path, "usr/lib/tmpfiles.d");
        definitions.extend(files(&path, "usr/lib/sysusers.d"));
        all.extend(lines.clone());
        if !lines.is_empty() {
            packages.push((path.file_name().unwrap().to_string_lossy().into_owned(), lines));
        }
    }
    assert!(packages.len() >= 25, "{} packages ship tmpfiles.d", packages.len());
    let Some(users) = databases(&definitions) else { return };
    let objects = check("the appliance", &own, &users, &appliance).unwrap();
    assert!(objects > 100, "the appliance's files make {objects} objects");
    for (name, lines) in &packages {
        check(name, lines, &users, &appliance).unwrap();
        // Without users most lines are wrong, and both must say so of the same ones.
        check(&format!("{name} without users"), lines, &[], &appliance).unwrap();
    }
    check("all together", &all, &users, &appliance).unwrap();
    eprintln!("{} packages, {objects} objects of the appliance alone", packages.len());
}
