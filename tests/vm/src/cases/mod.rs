//! The machine tests: one behaviour or one attack per file, named after it. The head of a file names the fault that is
//! made on purpose and the expected result.

mod context;
mod first_boots;
pub mod lasting;
mod script;
mod small;
mod tpm2;

use crate::debian::Suite;
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
    /// The release whose system its machines run.
    pub suite: Suite,
    /// The test; an error is its failure.
    pub run: fn(&Context<'_>) -> Result<()>,
}

/// The release of a case: trixie, unless its row names another.
macro_rules! suite {
    () => {
        Suite::Trixie
    };
    ($suite:ident) => {
        Suite::$suite
    };
}

/// The table of all cases: the file, and each of its tests by function, level and name. A line here and the file make a new case; a
/// second line with `of Sid` runs it with the newest system as well.
/// rustfmt does not see these files: `cargo prove` names them to it.
macro_rules! cases {
    ($($file:ident { $($run:ident: $level:ident $(of $suite:ident)?, $name:literal);+ $(;)? })+) => {
        $(mod $file;)+

        /// All of them, in the order in which they start.
        pub const ALL: &[Case] = &[$($(Case { name: $name, level: Level::$level, suite: suite!($($suite)?), run: $file::$run }),+),+];
    };
}

cases! {
    driver_names_a_panic { run: Normal, "the driver names a kernel panic" }
    image_is_sound { run: Normal, "an image is sound for sfdisk and veritysetup" }
    usr_is_not_there { run: Normal, "without a /usr nothing is waited for in vain or written" }
    root_hash_matches_nothing { run: Normal, "a root hash that matches no partition is refused" }
    usr_was_changed { run: Normal, "a changed byte of /usr is refused before it is mounted" }
    medium_fails { run: Normal, "a disk that cannot read /usr is told apart from a changed /usr" }
    usr_is_signed {
        run: Normal, "a signed /usr boots, and one that nobody vouches for does not";
        others: Long, "every other signature of /usr is refused by name";
        by_kernel: Long, "the kernel vouches for a signed /usr by a certificate of the firmware";
    }
    usr_has_no_systemd { run: Normal, "a /usr without systemd is refused before the disk is partitioned" }
    disk_is_too_small { run: Normal, "a disk that is too small is refused" }
    policy_is_not_understood { run: Normal, "repart.d that is not understood is refused" }
    key_is_wrong_or_missing { run: Normal, "a wrong or missing key file is refused and destroys nothing" }
    keys_have_many_places { run: Normal, "a key comes from a credential, or from the file that luks.* words name" }
    word_is_not_known { run: Normal, "an unknown word of ours is refused" }
    failure_is_acted_upon { run: Normal, "every failure policy acts" }
    failed_boots_are_counted {
        run: Normal, "a failed boot is counted, and the next one says why";
        by_systemd_boot: Long, "systemd-boot counts failed boots, and starts the image before";
    }
    console_is_stopped { run: Normal, "a stopped console holds nothing up, and nothing polls" }
    disk_stops_answering {
        ends: Normal, "a stage that hangs ends like a failure, or by the watchdog";
        slow: Normal, "a first boot on a slow disk comes up";
        runs_on: Long, "the watchdog is left to systemd";
    }
    root_links_lead_away {
        few: Normal, "nothing is mounted through a link of a stranger's root";
        all: Long, "nothing is mounted through any link of a stranger's root";
    }
    corruption_acts_when_it_is_read { run: Normal, "a changed byte elsewhere acts when it is read" }
    root_is_not_encrypted { run: Normal, "a plain root is refused where policy says encrypted" }
    partition_is_not_encrypted {
        run: Normal, "a plain swap, /home or /var is refused where policy says encrypted";
        by_systemd: Long, "systemd does with what another key opens what it does without us";
    }
    luks_header_is_forged { run: Normal, "a forged LUKS2 header is refused" }
    passphrase_is_typed { run: Normal, "a passphrase is typed at a console" }
    image_policy_is_violated { run: Normal, "what the image policy does not allow is neither mounted nor made" }
    boot_is_measured { run: Normal, "a measured boot tells the TPM what its log says" }
    tpm_fails { run: Normal, "a TPM that fails while it is told ends a boot that has keys in it" }
    root_is_sealed {
        run: Normal, "a root sealed to the TPM opens by itself, and nowhere else";
        under_firmware: Long, "strangers' roots learn nothing where sd-stub measured the kernel";
        further: Long, "a root sealed to a phase, and one that is not bound to PCR 15";
        later_phase: Long, "a signature for a later phase opens no root in the running system";
    }
    systemd_seals_root { run: Normal, "what systemd-cryptenroll seals opens root, by PIN and by signature too" }
    pin_is_not_wasted {
        run: Long of Sid, "a right PIN of sid's systemd-cryptenroll opens root, and none is shown for a token that is not known"
    }
    particleos {
        run: Normal, "an image of ParticleOS's shape comes up twice, with what systemd-repart makes";
        linked: Long, "an image of ParticleOS's shape comes up twice with its links in /etc";
    }
    uki_is_signed {
        run: Normal, "a signed UKI seals root for its successors, and no other image opens it or starts";
        further: Long, "a UKI that was signed for something else opens nothing";
    }
    nothing_is_left { run: Normal, "nothing of ours is left at the hand-over" }
    all_partitions_are_made { run: Normal, "all partitions of repart.d are made at once, and the last one grows" }
    blocks_are_copied { run: Normal, "CopyBlocks= makes a second slot that boots" }
    root_outlives_its_definition { run: Normal, "a root outlives a definition that it cannot follow" }
    grown_disk_grows_root { run: Normal, "a grown disk grows root: partition, dm-crypt, ext4" }
    growth_is_left_to_systemd { run: Normal, "growth is left to systemd, or to nobody" }
    file_systems_are_filled { run: Normal, "file systems of ours are filled by the kernel and stay sound" }
    repart_suite { run: Normal, "systemd's test of systemd-repart passes in a machine" }
    root_belongs_elsewhere { run: Normal, "a root whose file system belongs elsewhere is refused" }
    root_is_damaged { run: Normal, "a damaged root is reported and never made anew" }
    factory_reset { run: Normal, "a factory reset erases what it is to erase, once" }
    factory_reset_is_refused { run: Normal, "a factory reset that leads nowhere is refused" }
    power_fails {
        few: Normal, "a power failure during a first boot or a factory reset does no harm";
        many: Long, "200 power failures do no harm";
    }
    systemd_comes_up_twice {
        run: Normal, "systemd comes up twice on an encrypted root";
        run: Normal of Sid, "systemd of sid comes up twice on an encrypted root";
    }
    systemd_runs_on_every_kind {
        plain_root: Long, "systemd comes up twice on a plain root and a /usr of squashfs";
        plain_root: Normal of Sid, "systemd of sid comes up twice on a plain root and a /usr of squashfs";
        unverified_usr: Long, "systemd comes up twice on an unverified /usr";
        unverified_usr: Long of Sid, "systemd of sid comes up twice on an unverified /usr";
        ext4_usr: Long, "systemd comes up twice on a /usr of ext4";
        ext4_usr: Long of Sid, "systemd of sid comes up twice on a /usr of ext4";
        no_initramfs: Long, "systemd comes up twice without an initramfs";
        no_initramfs: Long of Sid, "systemd of sid comes up twice without an initramfs";
    }
    systemd_is_updated { run: Long of Sid, "one root under systemd 257, under that of sid, and under 257 again" }
    etc_follows_usr { run: Normal, "/etc follows an update of /usr and a rollback" }
    etc_cannot_follow {
        most: Normal, "systemd comes up on twelve kinds of roots that stand against an update of /etc";
        all: Long, "systemd comes up on every kind of root that stands against an update of /etc";
    }
    users_and_credentials { run: Normal, "users, passwords and credentials are what the image and the machine ask for" }
    getting_started { run: Long, "getting started boots as its page says" }
    mkosi_builds_around_it {
        run: Normal, "what mkosi builds around our initramfs boots, and has no other";
        newest: Long, "what the newest mkosi builds around our initramfs boots, and has no other";
        signed: Long, "what mkosi builds and signs boots twice under Secure Boot, and nowhere else";
    }
    selinux_is_told { run: Normal, "what is made on a root is listed for SELinux to label" }
    systemd_runs_under_ipe { run: Long, "systemd comes up under IPE where the kernel vouched for /usr, and nowhere else" }
    systemd_runs_under_selinux { run: Long, "systemd comes up under SELinux, and nothing is without a label" }
    power_fails_in_an_update {
        run: Normal, "a power failure while /etc follows does no harm";
        run_long: Long, "fifty power failures while /etc follows do no harm";
    }
    volatile {
        tmpfs: Normal, "root=tmpfs comes up";
        yes: Normal, "systemd.volatile=yes comes up";
        overlay: Normal, "systemd.volatile=overlay comes up";
        state: Long, "systemd.volatile=state comes up";
        copied: Normal, "hermetic.etc=copy comes up";
        linked: Normal, "hermetic.etc=symlink comes up";
        none: Long, "hermetic.etc=none comes up";
    }
    init_to_systemd {
        later: Normal, "the time from /init to systemd";
        all: Long, "the time from /init to systemd and on to multi-user.target";
    }
    disks_and_partitions { run: Long, "the time of many partitions and of many disks" }
    root_is_plain { run: Normal, "a plain root is made and found again" }
    root_is_btrfs {
        plain: Long, "systemd comes up twice on a btrfs root";
        encrypted: Long, "systemd comes up twice on an encrypted btrfs root";
    }
    btrfs_root_grows {
        plain: Normal, "a btrfs root grows with its partition";
        encrypted: Normal, "an encrypted btrfs root grows with its partition";
    }
    btrfs_is_used_hard { run: Normal, "a kernel fills, scrubs, balances and snapshots our btrfs" }
    usr_is_not_verified { run: Normal, "an unverified /usr boots" }
    usr_is_squashfs_or_ext4 { run: Normal, "a /usr of squashfs, ext4 or btrfs boots" }
    disk_is_read_only {
        run: Normal, "a read-only disk boots read-only, and gets no first boot";
        damaged: Long, "a read-only disk with damages boots read-only, or says why not";
    }
    clock_is_lost { run: Normal, "a clock of 1970 begins when /usr was made" }
    disk_has_large_sectors { run: Normal, "a disk with sectors of 4096 bytes boots" }
    disk_is_nvme_or_scsi { run: Normal, "NVMe, SCSI and SATA disks boot" }
    processor_has_no_aes { run: Normal, "a processor without AES instructions boots" }
    disk_is_larger_than_the_image { run: Normal, "a disk larger than its image is used whole" }
    primary_table_is_destroyed { run: Normal, "a destroyed primary table is no obstacle" }
    disk_comes_late { run: Normal, "a disk that is plugged in late boots" }
    disk_does_not_answer {
        run: Normal, "a disk that does not answer holds up no boot";
        shutdown: Long, "a disk that does not answer holds up no shutdown";
    }
    newest_usr_is_booted { run: Normal, "the newest /usr is booted, or the one that the root hash names" }
    board_names_its_devices { run: Normal, "a board that names its devices boots" }
    root_was_made_by_cryptsetup { run: Normal, "a root made by cryptsetup and mkfs.ext4 is opened" }
    root_is_reencrypted { run: Normal, "a root that cryptsetup has encrypted anew is opened" }
    secrets_are_gone { run: Normal, "no secret is left in memory but the volume key where dm-crypt has it" }
    two_disks_look_the_same { run: Normal, "of two disks that look the same the firmware's boots, or none" }
    ways_in { run: Normal, "every way into the initramfs ends in systemd, once" }
    starts_without_initramfs { run: Normal, "init=/hermetic-init works without an initramfs" }
    systemd_runs_beside_init_word { run: Normal, "init=/hermetic-init beside an initramfs ends in systemd" }
}

/// The series that `cargo prove --long` repeats.
pub const SERIES: &[Series] = &[
    Series { name: "first boots into the test init", times: 300, boot: first_boots::into_test_init },
    Series { name: "first boots into systemd", times: 20, boot: first_boots::into_systemd },
];
