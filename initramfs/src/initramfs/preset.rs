//! The modules that a kind of machine needs, before they are compared with those of its kernel.

use clap::ValueEnum;

/// A named set of modules.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Preset {
    /// A virtual machine: virtio-pci, virtio-blk, dm-verity, dm-crypt, erofs, efivarfs and the algorithms of these.
    Virtio,
    /// Any machine: that, and NVMe, AHCI, SCSI, MMC, USB storage and HID, squashfs, ext4, btrfs, FAT, overlay, TPM.
    Generic,
    /// Nothing: the kernel has everything built in.
    None,
}

/// Something that the boot uses by name, with the algorithms behind it.
pub struct Use {
    /// The record's name in modules.demand.
    pub name: &'static str,
    /// The module itself.
    pub module: &'static str,
    /// Accelerated variants of its algorithm, the best of an architecture first. The first that the kernel has is
    /// loaded before the module.
    pub accelerated: &'static [&'static str],
    /// The portable modules of the same algorithms, for a processor that cannot use the variant.
    pub portable: &'static [&'static str],
}

/// dm-verity hashes with sha256. The algorithm itself is built in when module signatures are checked.
pub const VERITY: Use = Use {
    name: "dm-verity",
    module: "dm-verity",
    accelerated: &["sha256-ssse3", "sha2-ce", "sha256-arm64", "sha256-riscv64"],
    portable: &["sha256_generic"],
};

/// dm-crypt encrypts with `xts(aes)`, which systemd's and cryptsetup's LUKS2 use.
const CRYPT: Use = Use {
    name: "dm-crypt",
    module: "dm-crypt",
    accelerated: &["aesni-intel", "aes-ce-blk", "aes-riscv64"],
    portable: &["aes_generic", "xts"],
};

/// The firmware's variables: which disk the boot loader came from.
const EFIVARFS: Use = Use { name: "efivarfs", module: "efivarfs", accelerated: &[], portable: &[] };

const VIRTIO: [&str; 2] = ["virtio_pci", "virtio_blk"];

/// vmd is the bus behind which many Intel boards put their NVMe drives; the last five are the disks of VMware, Xen, Hyper-V
/// (with its bus) and of large servers.
const HARDWARE: [&str; 28] = [
    "nvme",
    "vmd",
    "ahci",
    "ata_piix",
    "ata_generic",
    "sd_mod",
    "virtio_scsi",
    "mmc_block",
    "sdhci-pci",
    "sdhci-acpi",
    "usb-storage",
    "uas",
    "xhci-pci",
    "ehci-pci",
    "ohci-pci",
    "uhci-hcd",
    "usbhid",
    "hid-generic",
    "tpm_tis",
    "tpm_crb",
    "virtio_pci",
    "virtio_blk",
    "virtio_mmio",
    "vmw_pvscsi",
    "xen-blkfront",
    "hv_vmbus",
    "hv_storvsc",
    "mpi3mr",
];

impl Preset {
    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Virtio => "virtio",
            Self::Generic => "generic",
            Self::None => "none",
        }
    }

    /// Drivers, to be loaded for the hardware that is found.
    pub fn drivers(self) -> &'static [&'static str] {
        match self {
            Self::Virtio => &VIRTIO,
            Self::Generic => &HARDWARE,
            Self::None => &[],
        }
    }

    /// The modules that the boot uses by name.
    pub fn uses(self) -> &'static [Use] {
        match self {
            Self::Virtio | Self::Generic => &[VERITY, CRYPT, EFIVARFS],
            Self::None => &[],
        }
    }

    /// File systems, by module.
    pub fn file_systems(self) -> &'static [&'static str] {
        match self {
            Self::Virtio => &["erofs"],
            Self::Generic => &["erofs", "squashfs", "ext4", "btrfs", "vfat", "overlay"],
            Self::None => &[],
        }
    }
}
