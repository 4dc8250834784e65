//! Every case of the table: update, a boot without news, rollback, update again.

use hermetic_init::tree::watch::Unwatched;

use super::{
    table::{Case, Machine, deviations},
    tree,
};

#[test]
fn every_case_of_the_table() {
    for case in Case::all() {
        let machine = Machine::new(&case, "track");
        let before = tree::read(&machine.etc());
        assert_eq!(machine.boot("v1", &Unwatched), Ok(None), "{}", case.name);
        assert_eq!(tree::read(&machine.etc()), before, "{}: a boot without news", case.name);

        let report = machine.boot("v2", &Unwatched).unwrap().unwrap();
        assert_eq!(tree::read(&machine.etc()), case.updated(), "{}: update", case.name);
        assert_eq!(deviations(&report), case.kept(), "{}: what does not follow", case.name);
        assert_eq!(machine.boot("v2", &Unwatched), Ok(None), "{}", case.name);

        machine.boot("v1", &Unwatched).unwrap().unwrap();
        assert_eq!(tree::read(&machine.etc()), case.rolled_back(), "{}: rollback", case.name);
        machine.boot("v2", &Unwatched).unwrap().unwrap();
        assert_eq!(tree::read(&machine.etc()), case.updated(), "{}: update again", case.name);
    }
}

#[test]
fn a_version_is_skipped_and_visited_on_the_way_back() {
    let mut count = 0;
    for case in Case::all() {
        let Some(skipped) = case.skipped() else { continue };
        count += 1;
        let machine = Machine::new(&case, "skip");
        machine.boot("v3", &Unwatched).unwrap().unwrap();
        assert_eq!(tree::read(&machine.etc()), skipped, "{}: version 3", case.name);
        machine.boot("v2", &Unwatched).unwrap().unwrap();
        let mut there = tree::read(&machine.etc());
        // A file that was put beside stays until a person has looked at it.
        there.retain(|path, _| !path.contains(".hermetic-new") || case.updated().contains_key(path));
        assert_eq!(there, case.updated(), "{}: version 2", case.name);
    }
    assert!(count >= 6, "{count}");
}

#[test]
fn the_table_has_all_kinds_of_cases() {
    assert!(Case::all().len() >= 35, "{}", Case::all().len());
}
