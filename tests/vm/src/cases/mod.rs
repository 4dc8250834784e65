//! The machine tests: one behaviour or one attack per file, named after it. The head of a file says what is broken on
//! purpose and what must come of it.

mod all_partitions_are_made;
mod blocks_are_copied;
mod boot_is_measured;
mod btrfs_is_used_hard;
mod btrfs_root_grows;
mod context;
mod corruption_acts_when_it_is_read;
mod disk_is_too_small;
mod driver_names_a_panic;
mod etc_follows_usr;
mod factory_reset;
mod factory_reset_is_refused;
mod failure_is_acted_upon;
mod file_systems_are_filled;
mod first_boots;
mod grown_disk_grows_root;
mod growth_is_left_to_systemd;
mod image_is_sound;
mod image_policy_is_violated;
mod init_to_systemd;
mod key_is_wrong_or_missing;
mod keys_have_many_places;
mod luks_header_is_forged;
mod nothing_is_left;
mod passphrase_is_typed;
mod policy_is_not_understood;
mod power_fails;
mod power_fails_in_an_update;
mod processor_has_no_aes;
mod repart_suite;
mod root_belongs_elsewhere;
mod root_hash_matches_nothing;
mod root_is_damaged;
mod root_is_not_encrypted;
mod root_is_sealed;
mod root_outlives_its_definition;
mod script;
mod selinux_is_told;
mod small;
mod systemd_comes_up_twice;
mod systemd_seals_root;
mod tpm2;
mod users_and_credentials;
mod usr_has_no_systemd;
mod usr_is_not_there;
mod usr_was_changed;
mod volatile;
mod word_is_not_known;

mod board_names_its_devices;
mod disk_comes_late;
mod disk_has_large_sectors;
mod disk_is_larger_than_the_image;
mod disk_is_nvme_or_scsi;
mod lasting;
mod newest_usr_is_booted;
mod primary_table_is_destroyed;
mod root_is_btrfs;
mod root_is_plain;
mod root_is_reencrypted;
mod root_was_made_by_cryptsetup;
mod secrets_are_gone;
mod starts_without_initramfs;
mod systemd_runs_beside_init_word;
mod systemd_runs_on_every_kind;
mod two_disks_look_the_same;
mod usr_is_not_verified;
mod usr_is_squashfs_or_ext4;
mod ways_in;

use crate::prove::Level;
use crate::series::Series;
use anyhow::Result;
pub use context::{Context, TEST_INIT};

/// A machine test.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The behaviour in a few words, as the report prints it.
    pub name: &'static str,
    /// From which level on it runs.
    pub level: Level,
    /// The test; an error is its failure.
    pub run: fn(&Context<'_>) -> Result<()>,
}

const fn normal(name: &'static str, run: fn(&Context<'_>) -> Result<()>) -> Case {
    Case { name, level: Level::Normal, run }
}

/// All of them, in the order in which they start.
pub const ALL: &[Case] = &[
    normal("the driver names a kernel panic", driver_names_a_panic::run),
    normal("an image is sound for sfdisk and veritysetup", image_is_sound::run),
    normal("without a /usr nothing is waited for in vain or written", usr_is_not_there::run),
    normal("a root hash that matches no partition is refused", root_hash_matches_nothing::run),
    normal("a changed byte of /usr is refused before it is mounted", usr_was_changed::run),
    normal("a /usr without systemd is refused before the disk is partitioned", usr_has_no_systemd::run),
    normal("a disk that is too small is refused", disk_is_too_small::run),
    normal("repart.d that is not understood is refused", policy_is_not_understood::run),
    normal("a wrong or missing key file is refused and destroys nothing", key_is_wrong_or_missing::run),
    normal(
        "a key comes from a credential, or from the file that luks.* words name",
        keys_have_many_places::run,
    ),
    normal("an unknown word of ours is refused", word_is_not_known::run),
    normal("every failure policy acts", failure_is_acted_upon::run),
    normal("a changed byte elsewhere acts when it is read", corruption_acts_when_it_is_read::run),
    normal("a plain root is refused where policy says encrypted", root_is_not_encrypted::run),
    normal("a forged LUKS2 header is refused", luks_header_is_forged::run),
    normal("a passphrase is typed at a console", passphrase_is_typed::run),
    normal("what the image policy does not allow is neither mounted nor made", image_policy_is_violated::run),
    normal("a measured boot tells the TPM what its log says", boot_is_measured::run),
    normal("a root sealed to the TPM opens by itself, and nowhere else", root_is_sealed::run),
    normal("what systemd-cryptenroll seals opens root, by PIN and by signature too", systemd_seals_root::run),
    normal("nothing of ours is left at the hand-over", nothing_is_left::run),
    normal(
        "all partitions of repart.d are made at once, and the last one grows",
        all_partitions_are_made::run,
    ),
    normal("CopyBlocks= makes a second slot that boots", blocks_are_copied::run),
    normal("a root outlives a definition that it cannot follow", root_outlives_its_definition::run),
    normal("a grown disk grows root: partition, dm-crypt, ext4", grown_disk_grows_root::run),
    normal("growth is left to systemd, or to nobody", growth_is_left_to_systemd::run),
    normal("file systems of ours are filled by the kernel and stay sound", file_systems_are_filled::run),
    normal("systemd's test of systemd-repart passes in a machine", repart_suite::run),
    normal("a root whose file system belongs elsewhere is refused", root_belongs_elsewhere::run),
    normal("a damaged root is reported and never made anew", root_is_damaged::run),
    normal("a factory reset erases what it is to erase, once", factory_reset::run),
    normal("a factory reset that leads nowhere is refused", factory_reset_is_refused::run),
    normal("a power failure during a first boot or a factory reset does no harm", power_fails::few),
    Case { name: "200 power failures do no harm", level: Level::Long, run: power_fails::many },
    normal("systemd comes up twice on an encrypted root", systemd_comes_up_twice::run),
    normal(
        "systemd comes up twice on a plain root and a /usr of squashfs",
        systemd_runs_on_every_kind::plain_root,
    ),
    normal("systemd comes up twice on an unverified /usr", systemd_runs_on_every_kind::unverified_usr),
    normal("systemd comes up twice on a /usr of ext4", systemd_runs_on_every_kind::ext4_usr),
    normal("systemd comes up twice without an initramfs", systemd_runs_on_every_kind::no_initramfs),
    normal("/etc follows an update of /usr and a rollback", etc_follows_usr::run),
    normal(
        "users, passwords and credentials are what the image and the machine ask for",
        users_and_credentials::run,
    ),
    normal("what is made on a root is listed for SELinux to label", selinux_is_told::run),
    normal("a power failure while /etc follows does no harm", power_fails_in_an_update::run),
    Case {
        name: "fifty power failures while /etc follows do no harm",
        level: Level::Long,
        run: power_fails_in_an_update::run_long,
    },
    normal("root=tmpfs comes up", volatile::tmpfs),
    normal("systemd.volatile=yes comes up", volatile::yes),
    normal("systemd.volatile=overlay comes up", volatile::overlay),
    normal("systemd.volatile=state comes up", volatile::state),
    normal("hermetic.etc=copy comes up", volatile::copied),
    normal("hermetic.etc=symlink comes up", volatile::linked),
    normal("hermetic.etc=none comes up", volatile::none),
    normal("the time from /init to systemd", init_to_systemd::run),
    normal("a plain root is made and found again", root_is_plain::run),
    normal("systemd comes up twice on a btrfs root", root_is_btrfs::plain),
    normal("systemd comes up twice on an encrypted btrfs root", root_is_btrfs::encrypted),
    normal("a btrfs root grows with its partition", btrfs_root_grows::plain),
    normal("an encrypted btrfs root grows with its partition", btrfs_root_grows::encrypted),
    normal("a kernel fills, scrubs, balances and snapshots our btrfs", btrfs_is_used_hard::run),
    normal("an unverified /usr boots", usr_is_not_verified::run),
    normal("a /usr of squashfs, ext4 or btrfs boots", usr_is_squashfs_or_ext4::run),
    normal("a disk with sectors of 4096 bytes boots", disk_has_large_sectors::run),
    normal("NVMe, SCSI and SATA disks boot", disk_is_nvme_or_scsi::run),
    normal("a processor without AES instructions boots", processor_has_no_aes::run),
    normal("a disk larger than its image is used whole", disk_is_larger_than_the_image::run),
    normal("a destroyed primary table is no obstacle", primary_table_is_destroyed::run),
    normal("a disk that is plugged in late boots", disk_comes_late::run),
    normal("the newest /usr is booted, or the one that the root hash names", newest_usr_is_booted::run),
    normal("a board that names its devices boots", board_names_its_devices::run),
    normal("a root made by cryptsetup and mkfs.ext4 is opened", root_was_made_by_cryptsetup::run),
    normal("a root that cryptsetup has encrypted anew is opened", root_is_reencrypted::run),
    normal("no secret is left in memory but the volume key where dm-crypt has it", secrets_are_gone::run),
    normal("of two disks that look the same the firmware's boots, or none", two_disks_look_the_same::run),
    normal("every way into the initramfs ends in systemd, once", ways_in::run),
    normal("init=/hermetic-init works without an initramfs", starts_without_initramfs::run),
    normal("init=/hermetic-init beside an initramfs ends in systemd", systemd_runs_beside_init_word::run),
];

/// What is repeated by `cargo prove --long`.
pub const SERIES: &[Series] = &[
    Series { name: "first boots into the test init", times: 300, boot: first_boots::into_test_init },
    Series { name: "first boots into systemd", times: 20, boot: first_boots::into_systemd },
];
