//! `track` beside an image whose own tmpfiles.d makes links into its factory, as ParticleOS does.

use std::{fs, path::Path};

use hermetic_init::etc::Strategy;

use super::table::Machine;

fn machine(conf: &str) -> Machine {
    let machine = Machine::empty("links", Strategy::Track);
    for version in ["v1", "v2"] {
        let usr = machine.usr(version);
        for directory in
            ["share/factory/etc/ssl", "share/factory/etc/pam.d", "lib/tmpfiles.d", "lib/hermetic-init"]
        {
            fs::create_dir_all(usr.join(directory)).unwrap();
        }
        for file in ["ssl/openssl.cnf", "pam.d/login", "hosts"] {
            fs::write(usr.join("share/factory/etc").join(file), version).unwrap();
        }
        let lines = "L /etc/ssl\nL? /etc/pam.d - - - - ../usr/share/factory/etc/pam.d\nL+ /etc/mtab - - - - ../proc/self/mounts\n\
                     L /etc/hosts - - - - /usr/lib/hosts\nL /etc/a*b\n";
        fs::write(usr.join("lib/tmpfiles.d/etc.conf"), lines).unwrap();
        fs::write(usr.join("lib/hermetic-init/etc.conf"), conf).unwrap();
    }
    machine.populate("v1");
    machine
}

fn target(machine: &Machine, name: &str) -> Option<String> {
    let target = fs::read_link(machine.etc().join(name)).ok()?;
    Some(target.to_str().unwrap().to_owned())
}

#[test]
fn a_link_into_the_factory_is_no_copy() {
    let machine = machine("");
    for version in ["v1", "v2"] {
        if version == "v2" {
            machine.follows(version).unwrap().unwrap();
        }
        assert_eq!(target(&machine, "ssl").as_deref(), Some("/usr/share/factory/etc/ssl"));
        assert_eq!(target(&machine, "pam.d").as_deref(), Some("/usr/share/factory/etc/pam.d"));
        // Its link leads elsewhere, and so systemd-tmpfiles leaves the copy.
        assert_eq!(fs::read_to_string(machine.etc().join("hosts")).unwrap(), version);
        assert!(!Path::new(&machine.etc().join("mtab")).exists());
    }
}

#[test]
fn etc_conf_has_the_last_word() {
    let machine = machine("/etc/ssl track\n");
    assert_eq!(target(&machine, "ssl"), None);
    assert_eq!(fs::read_to_string(machine.etc().join("ssl/openssl.cnf")).unwrap(), "v1");
    assert!(target(&machine, "pam.d").is_some());
}
