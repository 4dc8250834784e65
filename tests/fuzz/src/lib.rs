//! Fuzz targets of hermetic-init: one plain function for each parser and each planner, with inputs to begin with.
//!
//! A target gets bytes and panics when a condition does not hold; the library itself must never panic. Two programs
//! call them: the driver of this crate, on stable Rust and without any tool (`cargo run --release -- --seconds 5`), and
//! libFuzzer, which is guided by coverage (`cargo +nightly fuzz run --fuzz-dir tests/fuzz gpt`).
//!
//! | file | parsers |
//! |---|---|
//! | [`config`] | people's: command line, policies, device names, os-release |
//! | [`disk`] | strangers' disks: GPT, superblocks, labels |
//! | [`verity`], [`luks`], [`tpm`] | their protection |
//! | [`repart`], [`sysusers`], [`tmpfiles`], [`mkfs`] | the plans of the first boot |
//! | [`etc`] | the files that an earlier boot kept on the root |
//! | [`machine`] | kernel's and firmware's |
//! | [`input`], [`medium`], [`mutate`] | inputs, disks in memory, new inputs from old ones |
#![warn(missing_docs)]

pub mod config;
pub mod disk;
pub mod etc;
pub mod input;
pub mod luks;
pub mod machine;
pub mod medium;
pub mod mkfs;
pub mod mutate;
pub mod repart;
pub mod sysusers;
pub mod tmpfiles;
pub mod tpm;
pub mod verity;

/// A target.
pub struct Target {
    /// Its name, also that of its binary for libFuzzer.
    pub name: &'static str,
    /// The function that takes an input. It panics when something is wrong.
    pub run: fn(&[u8]),
    /// Inputs to begin with, valid ones among them.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// The longest input that the driver makes, in bytes.
    pub longest: usize,
}

macro_rules! targets {
    ($($room:ident: $($name:ident $seeds:ident $longest:expr),+;)+) => {
        /// All of them.
        pub const TARGETS: &[Target] = &[$($(
            Target { name: stringify!($name), run: $room::$name, seeds: $room::$seeds, longest: $longest },
        )+)+];
    };
}

targets! {
    config: command_line command_line_seeds 4096, image_policy image_policy_seeds 1024, device device_seeds 512,
        os_release os_release_seeds 4096, credentials credentials_seeds 8192, factory_reset factory_reset_seeds 2048,
        history history_seeds 4096;
    disk: gpt gpt_seeds 1 << 18, superblock superblock_seeds 4096, label label_seeds 256;
    verity: verity verity_seeds 1024, pkcs7 pkcs7_seeds 4096, verity_signature verity_signature_seeds 2048;
    luks: luks_header luks_header_seeds 1 << 16, luks_json luks_json_seeds 1 << 15;
    repart: repart repart_seeds 4096;
    sysusers: sysusers sysusers_seeds 8192;
    tmpfiles: tmpfiles tmpfiles_seeds 8192;
    etc: manifest manifest_seeds 4096, users users_seeds 4096;
    machine: machine_id machine_id_seeds 128, uevent uevent_seeds 4096, modules modules_seeds 4096,
        efi_text efi_text_seeds 1024;
    mkfs: ext4 ext4_seeds 128, btrfs btrfs_seeds 512, vfat vfat_seeds 128, swap swap_seeds 128;
    tpm: tpm_token tpm_token_seeds 4096, tpm_signature tpm_signature_seeds 4096,
        tpm_response tpm_response_seeds 2048;
}

/// An error from a stranger's disk is one printable line, with any content of the disk.
fn one_line(error: &impl std::fmt::Display) {
    let text = error.to_string();
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_passes_and_every_target_has_one() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{}", target.name);
            seeds.iter().for_each(|seed| (target.run)(seed));
        }
    }

    #[test]
    fn every_target_has_a_binary_for_libfuzzer() {
        for target in TARGETS {
            let path = format!("{}/fuzz_targets/{}.rs", env!("CARGO_MANIFEST_DIR"), target.name);
            assert!(
                std::fs::read_to_string(path).is_ok_and(|text| text.contains(target.name)),
                "{}",
                target.name
            );
        }
    }
}
