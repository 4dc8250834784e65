//! The definitions of Debian's packages: those of the appliance, those of the tool root, and 40 further ones.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{
    bench::{Given, compare},
    common::skip,
};

fn definitions(from: &Path) -> Vec<(String, String)> {
    let Ok(entries) = fs::read_dir(from.join("usr/lib/sysusers.d")) else { return Vec::new() };
    let files = entries.map(|entry| {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (format!("usr/lib/sysusers.d/{name}"), fs::read_to_string(path).unwrap())
    });
    files.collect()
}

/// The four databases; the appliance of the machine tests has its /etc in the factory.
fn databases(from: &Path) -> Vec<(String, String)> {
    let read = |name: &str| {
        let places =
            ["etc", "usr/share/factory/etc"].map(|etc| fs::read_to_string(from.join(etc).join(name)));
        places.into_iter().flatten().next().map(|content| (format!("etc/{name}"), content))
    };
    ["passwd", "group", "shadow", "gshadow"].into_iter().filter_map(read).collect()
}

fn place(variable: &str) -> Option<PathBuf> {
    let place = env::var_os(variable).map(PathBuf::from);
    if place.is_none() {
        skip(variable);
    }
    place
}

fn check(name: &str, files: &[(String, String)]) {
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    compare(name, &files, Given::default());
}

#[test]
fn whole_systems_on_empty_and_populated_roots() {
    let (Some(tools), Some(appliance)) = (place("HERMETIC_TOOLS"), place("HERMETIC_APPLIANCE")) else {
        return;
    };
    for from in [tools, appliance] {
        for populated in [false, true] {
            for extra in ["", "u neu - \"Neu\"\nm neu adm\nm neu neu\nm _apt neu\n"] {
                let mut files = definitions(&from);
                files.push(("etc/sysusers.d/zz.conf".to_owned(), extra.to_owned()));
                if populated {
                    files.extend(databases(&from));
                }
                check(&format!("{} {populated}", from.display()), &files);
            }
        }
    }
}

#[test]
fn every_package_alone_and_all_together() {
    let (Some(fragments), Some(appliance)) = (place("HERMETIC_FRAGMENTS"), place("HERMETIC_APPLIANCE"))
    else {
        return;
    };
    let populated = databases(&appliance);
    let mut all = Vec::new();
    let mut packages = 0;
    for entry in fs::read_dir(fragments).unwrap() {
        let path = entry.unwrap().path();
        let own = definitions(&path);
        if own.is_empty() {
            continue;
        }
        packages += 1;
        check(&format!("{} on an empty root", path.display()), &own);
        check(&format!("{} on Debian's", path.display()), &[own.clone(), populated.clone()].concat());
        all.extend(own);
    }
    assert!(packages >= 25, "only {packages} packages have sysusers.d");
    check("all on an empty root", &all);
    check("all on Debian's", &[all.clone(), populated].concat());
    eprintln!("{packages} packages compared, {} files", all.len());
}
