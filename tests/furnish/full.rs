//! A root without room: nothing of /etc is changed, and the line says so.

use std::fs;

use hermetic_init::etc::Strategy;

use super::{
    states::{files, named},
    table::Machine,
};

/// A root of so many KiB.
struct Small<'a>(&'a Machine);

impl<'a> Small<'a> {
    fn new(machine: &'a Machine, size: &str) -> Self {
        let flags = rustix::mount::MountFlags::empty();
        let data = std::ffi::CString::new(format!("size={size}")).unwrap();
        rustix::mount::mount("tmpfs", machine.root(), "tmpfs", flags, Some(data.as_c_str())).unwrap();
        Self(machine)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _gone_with_the_machine =
            rustix::mount::unmount(self.0.root(), rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_full_root_keeps_its_etc_and_says_so() {
    let machine = Machine::empty("full", Strategy::Track);
    for version in ["v1", "v2"] {
        let etc = machine.usr(version).join("share/factory/etc");
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("large"), version.repeat(100_000)).unwrap();
        fs::write(etc.join("small"), version).unwrap();
    }
    let small = Small::new(&machine, "1m");
    machine.populate("v1");
    // Room for the journal and more, but not for the new file: and then for nothing.
    for left in [150_000, 0] {
        let ballast = machine.root().join("ballast");
        let _not_there = fs::remove_file(&ballast);
        let room = rustix::fs::statvfs(machine.root()).unwrap();
        let room = usize::try_from(room.f_bfree * room.f_frsize).unwrap() - left;
        fs::write(&ballast, vec![1; room]).unwrap();
        for _ in 0..2 {
            let before = files(&machine.root());
            let report = machine.follows("v2").unwrap().unwrap();
            let lines = named(&report);
            assert!(lines.len() == 1 && lines[0].starts_with("/etc: "), "{lines:?}");
            assert!(lines[0].contains("the root partition is full"), "{lines:?}");
            assert!(!lines[0].contains("too small"), "{lines:?}");
            assert_eq!(files(&machine.root()), before);
            assert_eq!(fs::read_to_string(machine.etc().join("small")).unwrap(), "v1");
        }
        fs::remove_file(&ballast).unwrap();
    }
    let report = machine.follows("v2").unwrap().unwrap();
    assert_eq!(named(&report), [""; 0]);
    assert_eq!(fs::read_to_string(machine.etc().join("small")).unwrap(), "v2");
    assert!(machine.follows("v2").unwrap().is_none());
    drop(small);
}
