//! The engines of hermetic-init: what stands between the kernel and systemd, as a library.
//!
//! From the ground up; `tests/house.rs` holds the order, and that each takes only from those before it.
//!
//! | room | content |
//! |---|---|
//! | [`units`] | bytes, sectors, LBAs, partition and device numbers |
//! | [`sort`] | sorting, compiled once |
//! | [`map`] | maps by name, compiled once |
//! | [`secret`] | keys and passphrases: wiped on drop, never printed |
//! | [`strerror`] | errors in the words of the C library (std) |
//! | [`printable`] | text of strangers as a terminal may see it |
//! | [`durable`] | the order in which changes reach the disk |
//! | [`level`] | levels of messages |
//! | [`glob`] | patterns of a shell |
//! | [`progress`] | the steps of a boot, counted |
//! | [`os_release`] | the name and the version of a /usr |
//! | [`writes`] | writes to a disk as a value: writes, zeroes, barriers |
//! | [`file_system`] | the vocabulary of file systems, one row each |
//! | [`verity`] | dm-verity superblock, signature and table |
//! | [`pkcs7`] | signatures in PKCS#7, checked against trusted certificates |
//! | [`tpm`] | TPM 2.0: sealing, unsealing, measuring |
//! | [`tree`] | trees of files that a stranger may have written: lookup, opening, bounded reads, attributes, replacing, removing |
//! | [`disk`] | GPT, discoverable partition types, superblock probing |
//! | `sys` | the kernel, thinly; all the unsafe code there is |
//! | [`mkfs`] | empty file systems as plans of writes |
//! | [`luks`] | LUKS2 header, keyslots, anti-forensic splitter |
//! | [`config`] | kernel command line and credentials → one checked `Config` |
//! | [`fragments`] | the common part of sysusers.d, tmpfiles.d and repart.d: search path, lines, words, specifiers |
//! | [`sysusers`] | sysusers.d definitions → passwd, group, shadow, gshadow |
//! | [`etc`] | base directories, the machine id, and how /etc follows the factory |
//! | [`tmpfiles`] | tmpfiles.d definitions → files, directories, links, modes, owners, attributes |
//! | [`furnish`] | a root that systemd can start on: the order of users, rules, factory and machine id, and its crash safety |
//! | [`repart`] | repart.d definitions → a decision of what is made on a disk |
//! | [`image`] | an image, judged: what the command line demands of its /usr and its root, and the program that comes next |
//! | [`populate`] | the files that a definition puts into a new file system |
//! | `boot` | the boot: early, devices, usr, provision, root, etc, handover; and the end of one that cannot go on |
//!
//! Formats and plans build without std, on core and alloc (`--no-default-features`). The feature `std` adds what
//! reads and writes files, the feature `boot` what only PID 1 does.
#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[cfg(not(feature = "std"))]
extern crate no_std_compat as std;

pub mod config;
pub mod disk;
pub mod durable;
pub mod etc;
pub mod file_system;
pub mod fragments;
#[cfg(feature = "std")]
pub mod furnish;
pub mod glob;
pub mod image;
pub mod level;
pub mod luks;
pub mod map;
pub mod mkfs;
pub mod os_release;
pub mod pkcs7;
#[cfg(feature = "std")]
pub mod populate;
pub mod printable;
pub mod progress;
pub mod repart;
pub mod secret;
pub mod sort;
#[cfg(feature = "std")]
pub mod strerror;
pub mod sysusers;
pub mod tmpfiles;
pub mod tpm;
#[cfg(feature = "std")]
pub mod tree;
pub mod units;
pub mod verity;
pub mod writes;

#[cfg(feature = "boot")]
pub mod boot;
#[cfg(feature = "std")]
pub mod sys;
