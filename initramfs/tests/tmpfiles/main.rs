//! `hermetic tmpfiles` against systemd-tmpfiles 257: the same root twice, once for the tool and once for us, then both trees must be
//! equal (types, modes, owners, link targets, contents, devices, extended attributes, lists, file attributes), and so
//! must be how both ended and which lines they complained about.
//!
//! | file | content |
//! |---|---|
//! | [`bench`] | the two roots, and comparing them |
//! | [`os_release`] | what os-release says, however it is quoted |
//! | [`random`] | a thousand files that nobody thought of |
//! | [`packages`] | what Debian's packages ship |
//! | [`safety`] | what users could put in the way |
//! | [`subvolumes`] | the lines that make subvolumes |
//! | [`words`] | the command line |
//! | [`suite`] | systemd's own test suites |

mod bench;
mod os_release;
mod packages;
mod random;
mod safety;
mod subvolumes;
mod suite;
mod words;

#[path = "../common/mod.rs"]
mod common;
