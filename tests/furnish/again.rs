//! A path that could not follow is tried again: by the same version, by another one, after a power cut, after a change by a person.

use std::fs;

use hermetic_init::{
    etc::store,
    tree::{open, watch::Unwatched},
};
use std::os::fd::AsFd;

use super::{
    states::{FOLLOWED, check, fix, free, machine, named},
    table::Machine,
};

fn followed(machine: &Machine) -> Option<String> {
    store::followed(open::root(&machine.root()).unwrap().as_fd()).unwrap().map(|head| head.usr)
}

#[test]
fn the_way_back_and_on_again_is_whole() {
    let machine = machine("back");
    let hosts = machine.etc().join("hosts");
    fix(&hosts);
    let stays = machine.follows("v2").unwrap().unwrap();
    assert_eq!((named(&stays).len(), followed(&machine)), (1, None));
    // The file that could not follow is that of version 1.
    let back = machine.follows("v1").unwrap().unwrap();
    assert_eq!((named(&back), followed(&machine)), (vec![], Some("image:test/v1".to_owned())));
    check("back", &machine.etc(), &[("hosts", "v1\n"), ("issue", "v1\n"), ("d/x", "v1\n")]);
    let stays = machine.follows("v2").unwrap().unwrap();
    assert_eq!(named(&stays).len(), 1);
    free(&hosts);
    machine.boot("v2", &Unwatched).unwrap().unwrap();
    check("on", &machine.etc(), FOLLOWED);
    assert_eq!(followed(&machine), Some("image:test/v2".to_owned()));
}

#[test]
fn a_change_by_a_person_meanwhile_stays() {
    let machine = machine("meanwhile");
    let hosts = machine.etc().join("hosts");
    fix(&hosts);
    machine.follows("v2").unwrap().unwrap();
    free(&hosts);
    fs::write(&hosts, "mine\n").unwrap();
    let report = machine.boot("v2", &Unwatched).unwrap().unwrap();
    assert_eq!(named(&report), ["/etc/hosts: changed here and in /usr, stays"]);
    check("mine", &machine.etc(), &[("hosts", "mine\n"), ("issue", "v2\n")]);
    assert_eq!(followed(&machine), Some("image:test/v2".to_owned()));
}

/// With the power cut before every change of an update that one file stands against: nothing of the rest is lost.
#[test]
fn a_cut_of_an_update_that_is_not_whole_is_survived() {
    let mut cuts = 0;
    loop {
        let machine = machine("fixed");
        let hosts = machine.etc().join("hosts");
        fix(&hosts);
        let power = super::cuts::Power::new(&machine, cuts);
        let is_cut = machine.boot("v2", &power).is_err();
        free(&hosts);
        if !is_cut {
            break;
        }
        power.lose();
        fix(&hosts);
        let report = machine.follows("v2");
        free(&hosts);
        assert_eq!(named(&report.unwrap().unwrap()).len(), 1, "cut {cuts}");
        machine.boot("v2", &Unwatched).unwrap().unwrap();
        check("after the cut", &machine.etc(), FOLLOWED);
        cuts += 1;
    }
    assert!(cuts > 20, "{cuts}");
}
