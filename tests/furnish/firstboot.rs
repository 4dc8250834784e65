//! The settings of systemd-firstboot that come as credentials: what is written is what that program writes, and the factory's files do
//! not stand against it.

use std::{fs, path::Path};

use hermetic_init::etc::Strategy;

use super::{
    common::{Scratch, tool},
    table::Machine,
};

/// A machine whose /usr brings these credentials, the program, two time zones, and a factory with all four files.
fn machine(strategy: Strategy, credentials: &[(&str, &str)]) -> Machine {
    let machine = Machine::empty("firstboot", strategy);
    let usr = machine.usr("v1");
    for directory in ["share/factory/etc", "lib/credstore", "lib/tmpfiles.d", "bin", "share/zoneinfo/Europe"]
    {
        fs::create_dir_all(usr.join(directory)).unwrap();
    }
    for (name, content) in credentials {
        fs::write(usr.join("lib/credstore").join(name), content).unwrap();
    }
    for file in ["hostname", "locale.conf", "localtime", "vconsole.conf"] {
        fs::write(usr.join("share/factory/etc").join(file), "of the factory").unwrap();
    }
    fs::write(usr.join("bin/systemd-firstboot"), "").unwrap();
    for zone in ["UTC", "Europe/Berlin"] {
        fs::write(usr.join("share/zoneinfo").join(zone), "TZif").unwrap();
    }
    machine
}

/// A file of /etc: its content, the target of a link behind an arrow, or nothing.
fn file(etc: &Path, name: &str) -> Option<String> {
    let path = etc.join(name);
    match fs::read_link(&path) {
        Ok(target) => Some(format!("-> {}", target.display())),
        Err(_) => fs::read_to_string(path).ok(),
    }
}

/// The files that systemd-firstboot writes into an empty /etc, told by its options: of 257 not all of these credentials are known.
fn written(credentials: &[(&str, &str)], names: &[&str]) -> Option<Vec<Option<String>>> {
    let scratch = Scratch::new()?;
    for directory in ["root/etc", "root/usr/share/zoneinfo/Europe"] {
        fs::create_dir_all(scratch.host(directory)).unwrap();
    }
    for zone in ["UTC", "Europe/Berlin"] {
        fs::write(scratch.host("root/usr/share/zoneinfo").join(zone), "TZif").unwrap();
    }
    let mut program = tool("systemd-firstboot")?;
    program.arg(format!("--root={}", scratch.inside("root")));
    program.args(credentials.iter().map(|(name, value)| name.replace("firstboot.", "--") + "=" + value));
    let output = program.output().unwrap();
    assert!(output.status.success(), "{credentials:?}: {}", String::from_utf8_lossy(&output.stderr));
    Some(names.iter().map(|name| file(&scratch.host("root/etc"), name)).collect())
}

#[test]
fn what_is_written_is_what_the_program_writes() {
    for credentials in [
        &[("firstboot.hostname", "box")][..],
        &[("firstboot.hostname", "a-1.example.org")],
        &[("firstboot.locale", "de_DE.UTF-8")],
        &[("firstboot.locale-messages", "C.UTF-8")],
        &[("firstboot.locale", "de_DE.UTF-8"), ("firstboot.locale-messages", "en_US.UTF-8")],
        &[("firstboot.locale", "sr_RS.UTF-8@latin"), ("firstboot.locale-messages", "sr_RS.UTF-8@latin")],
        &[("firstboot.timezone", "Europe/Berlin")],
    ] {
        let names = ["hostname", "locale.conf", "localtime"];
        let Some(written) = written(credentials, &names) else { return };
        let machine = machine(Strategy::Track, credentials);
        machine.populate("v1");
        let untouched = |name: &str| match file(&machine.etc(), name) {
            Some(text) if text == "of the factory" => None,
            other => other,
        };
        assert_eq!(names.map(untouched).to_vec(), written, "{credentials:?}");
    }
}

#[test]
fn the_keymap_finds_its_place_free() {
    for (strategy, line) in
        [(Strategy::Track, ""), (Strategy::Symlink, "L+ /etc/vconsole.conf - - - - default/keyboard\n")]
    {
        let settings = [("firstboot.keymap", "de"), ("firstboot.timezone", "UTC")];
        for credentials in [&settings[..], &[]] {
            let machine = machine(strategy, credentials);
            fs::write(machine.usr("v1").join("lib/tmpfiles.d/etc.conf"), line).unwrap();
            machine.populate("v1");
            assert_eq!(
                file(&machine.etc(), "vconsole.conf").is_none(),
                !credentials.is_empty(),
                "{strategy:?}"
            );
            // UTC is what a machine has without the link.
            let has_zone = file(&machine.etc(), "localtime").is_some();
            assert_eq!(has_zone, credentials.is_empty() && strategy == Strategy::Track, "{strategy:?}");
            // The next /usr fills neither place, whatever its factory has there and without the credentials.
            if strategy == Strategy::Track && !credentials.is_empty() {
                let next = machine.usr("v2").join("share/factory/etc");
                fs::create_dir_all(&next).unwrap();
                for name in ["localtime", "vconsole.conf", "new"] {
                    fs::write(next.join(name), "of the next factory").unwrap();
                }
                machine.follows("v2").unwrap();
                let now = ["localtime", "vconsole.conf", "new"].map(|name| file(&machine.etc(), name));
                assert_eq!(now, [None, None, Some("of the next factory".to_owned())]);
            }
        }
    }
    // Without the program nobody would write it.
    let machine = machine(Strategy::Track, &[("firstboot.keymap", "de")]);
    fs::remove_file(machine.usr("v1").join("bin/systemd-firstboot")).unwrap();
    machine.populate("v1");
    assert_eq!(file(&machine.etc(), "vconsole.conf").as_deref(), Some("of the factory"));
}

/// A value that says nothing leads nowhere, and keeps nothing from being copied.
#[test]
fn a_value_that_is_not_valid_is_named() {
    for (name, value, place) in [
        ("firstboot.hostname", "", "hostname"),
        ("firstboot.hostname", "two words", "hostname"),
        ("firstboot.hostname", "-x.org", "hostname"),
        ("firstboot.hostname", "a..b", "hostname"),
        ("firstboot.locale", "de\nLD_PRELOAD=x", "locale.conf"),
        ("firstboot.locale", "../x", "locale.conf"),
        ("firstboot.timezone", "../../../etc/shadow", "localtime"),
        ("firstboot.timezone", "/UTC", "localtime"),
        ("firstboot.timezone", "Mars/Olympus", "localtime"),
        ("firstboot.timezone", "Europe", "localtime"),
    ] {
        let machine = machine(Strategy::Track, &[(name, value)]);
        let messages = machine.tells("v1");
        let expected = format!("the credential {name} is not valid; it is left to systemd-firstboot");
        assert_eq!(messages, [expected], "{value:?}");
        assert_eq!(file(&machine.etc(), place).as_deref(), Some("of the factory"), "{value:?}");
    }
}
