//! The proof of hermetic-init: from a bare Debian machine to a booted appliance, and the checks of the README's claims.
//!
//! ```text
//! setup      the host: packages, Rust targets
//! debian     Debian trees ── toolroot    QEMU, cryptsetup, systemd …: tools to run and to compare with
//!                         └─ appliance   Debian's systemd and kernel, before any variant
//! newest     both trees of Debian sid, where it is reached
//! apt        packages and sources, not installed ── reference   systemd's test files, packages' fragments
//! selinux    Debian's policy, and labels by it
//! usr        a recipe → /usr as a file system, verity, root hash (cached)
//! definition the two root partitions that most machines make
//! image      GPT, partitions, sectors → a disk image      repart      the same by systemd-repart, signed
//! signer     keys that sign ── uki         a unified kernel image     firmware    whose programs a machine starts
//!                           └─ esp         systemd-boot and its images
//! disk, tpm, machine, console, qmp, accel     a machine under QEMU and how it ended
//! nbd        a disk that stops answering
//! recording  the writes of a machine to its disk, and a replay of a part
//! volume     the content of an encrypted volume        bare_tpm    the content of a machine's TPM
//! bench      all of this made ready
//! cargo      the other packages, built        initramfs   the initramfs that `hermetic initramfs` makes
//! floor      the initramfs that does the least        numbers     time and size against it
//! claim      a ratio of two times, and when it fails
//! packages   Debian packages of the programs, judged by Debian
//! inside     the answers of a running systemd
//! vm         `cargo vm`: by hand                  demo        `cargo demo`: for people
//! prove      `cargo prove`: the checks ── cases   the machine tests ── report   how they ended
//!                                      ── series  the same boot, many times
//! ```
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod accel;
pub mod appliance;
pub mod apt;
pub mod arguments;
pub mod bare_tpm;
pub mod base64;
pub mod bench;
pub mod cache;
pub mod cargo;
pub mod cases;
pub mod claim;
pub mod command;
pub mod console;
pub mod cost;
pub mod debian;
pub mod definition;
pub mod demo;
pub mod disk;
pub mod esp;
pub mod firmware;
pub mod floor;
pub mod forged;
pub mod image;
pub mod initramfs;
pub mod inside;
pub mod machine;
pub mod memory;
pub mod nbd;
pub mod newest;
pub mod numbers;
pub mod packages;
pub mod progress;
pub mod prove;
pub mod qmp;
pub mod recording;
pub mod reference;
pub mod repart;
pub mod report;
pub mod selinux;
pub mod series;
pub mod setup;
pub mod signer;
pub mod toolroot;
pub mod tpm;
pub mod uki;
pub mod usr;
pub mod vm;
pub mod volume;
