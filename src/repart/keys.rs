//! The keys of repart.d(5), a row for each: the field of a [`Definition`], its default, its name, its reader, its merge
//! with a supplement, and the makers that can carry it out. A new key is one more row; when it needs a type of its own,
//! that type reads itself ([`value`]).
//!
//! [`super::check`] has the implications of several keys together, [`super::support`] the combinations that cannot be
//! made.

use std::prelude::v1::*;

use uuid::Uuid;

use super::{
    CopyBlocks, CopyFiles, Encrypt, EncryptKdf, EncryptedVolume, Format, Integrity, MountPoint, Place,
    Subvolume, Symlink, Verity,
    merge::{greater, joined, kept, lesser, replaced},
    value::{self, Unread, Word},
    volume,
};
use crate::tpm::PcrMask;

/// The weight of a partition without a word for it, and of one without a definition.
pub(super) const DEFAULT_WEIGHT: u32 = 1000;

/// The maker of partitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Maker {
    /// The first boot.
    Boot,
    /// The host tool.
    Tool,
}

/// The makers that can carry out a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum MadeBy {
    /// The first boot and the host tool, or it depends on other keys.
    Both,
    /// Neither; the advice says what to do.
    Nobody(&'static str),
    /// This one alone; the advice is for the other.
    #[allow(dead_code, reason = "no key of today's")]
    Only(Maker, &'static str),
}

use MadeBy::{Both, Nobody};

/// Makes [`Definition`] of the rows, and the code for every field of it.
macro_rules! keys {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $default:expr, $key:literal, $read:path, $merge:path, $made:expr;)*) => {
        /// A partition that should exist. Paths are absolute and simplified, specifiers are expanded.
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct Definition {
            /// The name of the file that says so.
            pub file: String,
            /// The path of that file.
            pub path: String,
            /// The paths of its drop-ins.
            pub drop_ins: Vec<String>,
            /// The lines that say something; the last one for a key counts.
            pub places: Vec<Place>,
            /// The number of bytes that `CopyBlocks=` copies. Not in the file: the code that opens the source sets it
            /// before planning.
            pub copy_size: Option<u64>,
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Definition {
            /// A definition that says nothing but its type.
            pub fn of_type(type_guid: Uuid) -> Self {
                let mut definition = Self {
                    file: String::new(),
                    path: String::new(),
                    drop_ins: Vec::new(),
                    places: Vec::new(),
                    copy_size: None,
                    $($field: $default,)*
                };
                definition.type_guid = type_guid;
                definition
            }

            /// Takes one assignment.
            pub(super) fn assign(&mut self, key: &str, word: &mut Word<'_>) -> Result<(), Unread> {
                match key {
                    $($key => $read(&mut self.$field, word),)*
                    "SplitName" => {
                        word.reads_over("for image builders only");
                        Ok(())
                    }
                    _ => Err(Unread::Key),
                }
            }

            /// This definition with a supplement merged into it, as repart.d(5) says under `SupplementFor=`.
            pub(super) fn merged_with(&self, supplement: &Self) -> Self {
                let mut merged = self.clone();
                $($merge(&mut merged.$field, &supplement.$field);)*
                merged
            }

            /// The first key whose request this maker cannot carry out, and the advice.
            pub(super) fn beyond(&self, maker: Maker) -> Option<(&'static str, &'static str)> {
                // Said as a constant: of a key that both can make there is no code.
                $(if const { $made.is_limited() }
                    && let Some(advice) = $made.advice(maker)
                {
                    let unsaid: $type = $default;
                    if self.$field != unsaid {
                        return Some(($key, advice));
                    }
                })*
                None
            }
        }
    };
}

impl MadeBy {
    /// True when somebody cannot make it.
    const fn is_limited(self) -> bool {
        !matches!(self, Self::Both)
    }

    /// The advice for a maker that cannot carry it out; None for one that can.
    const fn advice(self, maker: Maker) -> Option<&'static str> {
        match (self, maker) {
            (Self::Both, _)
            | (Self::Only(Maker::Boot, _), Maker::Boot)
            | (Self::Only(Maker::Tool, _), Maker::Tool) => None,
            (Self::Nobody(advice) | Self::Only(_, advice), _) => Some(advice),
        }
    }
}

const BUILDER: MadeBy = Nobody("leave it to who builds the image");
const LIVE: &str = "leave it to systemd-repart in the running system";
const NO_TAGS: &str =
    "say Integrity=off: cryptsetup calls it experimental, and nothing here makes such volumes";

keys! {
    /// `Type=`.
    type_guid: Uuid = Uuid::nil(), "Type", value::partition_type, kept, Both;
    /// `Label=`; None for the default, systemd's identifier of the type.
    label: Option<String> = None, "Label", value::label, kept, Both;
    /// `VolumeLabel=`: the label of the LUKS2 header; None for one that follows from the partition's.
    volume_label: Option<String> = None, "VolumeLabel", value::label, kept, Both;
    /// `VolumeName=`: the name of the mapping that `BlockDeviceReplace=` leaves.
    volume_name: Option<String> = None, "VolumeName", value::file_name, kept, Both;
    /// `UUID=`; None for one that follows from the seed, nil for `null`.
    uuid: Option<Uuid> = None, "UUID", value::uuid, kept, Both;
    /// `Priority=`: above 0 the partition may be left out when not all fit, the largest number first.
    priority: i32 = 0, "Priority", value::priority, kept, Both;
    /// `Weight=`: its share of free space.
    weight: u32 = DEFAULT_WEIGHT, "Weight", value::weight, replaced, Both;
    /// `PaddingWeight=`: the share of the free space behind it.
    padding_weight: u32 = 0, "PaddingWeight", value::weight, replaced, Both;
    /// `SizeMinBytes=`: bytes, a multiple of 4096.
    size_min: Option<u64> = None, "SizeMinBytes", value::least_bytes, greater, Both;
    /// `SizeMaxBytes=`: bytes, a multiple of 4096.
    size_max: Option<u64> = None, "SizeMaxBytes", value::most_bytes, lesser, Both;
    /// `PaddingMinBytes=`: bytes, a multiple of 4096.
    padding_min: Option<u64> = None, "PaddingMinBytes", value::least_bytes, greater, Both;
    /// `PaddingMaxBytes=`: bytes, a multiple of 4096.
    padding_max: Option<u64> = None, "PaddingMaxBytes", value::most_bytes, lesser, Both;
    /// `CopyBlocks=`.
    copy_blocks: Option<CopyBlocks> = None, "CopyBlocks", CopyBlocks::read, kept, Both;
    /// `Format=`, or the format that follows from the type and the content of the partition.
    format: Option<Format> = None, "Format", Format::read, kept, Both;
    /// `FileSystemSectorSize=`: bytes, a power of two; None for that of the disk.
    file_system_sector: Option<u32> = None, "FileSystemSectorSize", value::sector_size, kept, Both;
    /// `Compression=`: for the formats that know some.
    compression: Option<String> = None, "Compression", value::text, kept, Both;
    /// `CompressionLevel=`.
    compression_level: Option<String> = None, "CompressionLevel", value::text, kept, Both;
    /// `BlockDeviceReplace=`: a mount point whose btrfs moves here.
    block_device_replace: Option<String> = None, "BlockDeviceReplace", value::path, kept, Nobody(LIVE);
    /// `CopyFiles=`.
    copy_files: Vec<CopyFiles> = Vec::new(), "CopyFiles", CopyFiles::read, joined, Both;
    /// `ExcludeFiles=`: paths of the source; with a slash at the end the directory stays and its content goes.
    exclude_files: Vec<String> = Vec::new(), "ExcludeFiles", value::excluded, joined, Both;
    /// `ExcludeFilesTarget=`: the same for paths of the new file system.
    exclude_files_target: Vec<String> = Vec::new(), "ExcludeFilesTarget", value::excluded, joined, Both;
    /// `MakeDirectories=`.
    make_directories: Vec<String> = Vec::new(), "MakeDirectories", value::directories, joined, Both;
    /// `MakeSymlinks=`.
    make_symlinks: Vec<Symlink> = Vec::new(), "MakeSymlinks", Symlink::read, kept, Both;
    /// `Subvolumes=`.
    subvolumes: Vec<Subvolume> = Vec::new(), "Subvolumes", Subvolume::read, joined, Both;
    /// `DefaultSubvolume=`: one of the subvolumes.
    default_subvolume: Option<String> = None, "DefaultSubvolume", value::path, kept, Both;
    /// `Encrypt=`.
    encrypt: Encrypt = Encrypt::Off, "Encrypt", Encrypt::read, kept, Both;
    /// `EncryptKDF=`: the derivation of the key file's key; None for one that follows from the key.
    encrypt_kdf: Option<EncryptKdf> = None, "EncryptKDF", EncryptKdf::read, kept, Both;
    /// `KeyFile=`: a path of the machine that makes the partition.
    key_file: Option<String> = None, "KeyFile", volume::key_file, kept, Both;
    /// `TPM2PCRs=`.
    tpm2_pcrs: Option<PcrMask> = None, "TPM2PCRs", volume::pcrs, kept, Both;
    /// `Integrity=`.
    integrity: Integrity = Integrity::Off, "Integrity", Integrity::read, kept, Nobody(NO_TAGS);
    /// `IntegrityAlgorithm=`.
    integrity_algorithm: Option<String> = None, "IntegrityAlgorithm", volume::algorithm, kept, Both;
    /// `Discard=`: the header asks for discards to be passed on; None for the default.
    discard: Option<bool> = None, "Discard", value::tristate, kept, Both;
    /// `Verity=`.
    verity: Verity = Verity::Off, "Verity", Verity::read, kept, Both;
    /// `VerityMatchKey=`: the common key of the partitions of one dm-verity image.
    verity_match_key: Option<String> = None, "VerityMatchKey", value::text, kept, Both;
    /// `VerityDataBlockSizeBytes=`: 512 to 4096.
    verity_data_block_size: Option<u32> = None, "VerityDataBlockSizeBytes", value::block_size, kept, Both;
    /// `VerityHashBlockSizeBytes=`: 512 to 4096.
    verity_hash_block_size: Option<u32> = None, "VerityHashBlockSizeBytes", value::block_size, kept, Both;
    /// `Minimize=`: the partition is no larger than its content.
    minimize: bool = false, "Minimize", value::minimize, kept, BUILDER;
    /// `FactoryReset=`: the partition goes when a factory reset is asked for.
    factory_reset: bool = false, "FactoryReset", value::boolean, kept, Both;
    /// `Flags=`: attribute bits.
    flags: u64 = 0, "Flags", value::flags, kept, Both;
    /// `NoAuto=`.
    no_auto: Option<bool> = None, "NoAuto", value::tristate, kept, Both;
    /// `ReadOnly=`; yes for dm-verity partitions that say nothing.
    read_only: Option<bool> = None, "ReadOnly", value::tristate, kept, Both;
    /// `GrowFileSystem=`; yes for types that know the bit, are not read-only and say nothing.
    grow_file_system: Option<bool> = None, "GrowFileSystem", value::tristate, kept, Both;
    /// `MountPoint=`.
    mount_points: Vec<MountPoint> = Vec::new(), "MountPoint", MountPoint::read, kept, Both;
    /// `EncryptedVolume=`.
    encrypted_volume: Option<EncryptedVolume> = None, "EncryptedVolume", EncryptedVolume::read, kept, Both;
    /// `SupplementFor=`: the name (without `.conf`) of the definition that this one is merged into where that fits.
    supplement_for: Option<String> = None, "SupplementFor", value::text, kept, Both;
    /// `AddValidateFS=`.
    add_validate_fs: bool = true, "AddValidateFS", value::boolean, kept, Both;
}
