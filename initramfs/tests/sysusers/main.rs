//! `hermetic sysusers` against systemd-sysusers 257: the same root twice, once for the tool and once for us, then all
//! four databases and their backups must be equal (every byte, mode and owner), and so must be the messages and exit
//! statuses.
//!
//! | file | content |
//! |---|---|
//! | [`bench`] | the two roots, and comparing them |
//! | [`cases`] | one root for every feature |
//! | [`random`] | a thousand random roots |
//! | [`packages`] | the definitions of Debian's packages |
//! | [`words`] | the command line |
//! | [`suite`] | systemd's own test suite |

mod bench;
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod packages;
mod random;
mod suite;
mod words;
