//! Discoverable partition types: GUID ↔ systemd's identifier, for every architecture.
//!
//! Source: Discoverable Partitions Specification (UAPI.2).

use core::fmt;
use std::prelude::v1::*;

use uuid::Uuid;

use super::type_table::{ARCHITECTURES, COMMON};

/// The EFI system partition.
pub const ESP: Uuid = uuid::uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
/// The extended boot loader partition.
pub const XBOOTLDR: Uuid = uuid::uuid!("bc13c2ff-59e6-4262-a352-b275fd6f7172");

/// Swap space.
pub const SWAP: Uuid = uuid::uuid!("0657fd6d-a4ab-43c4-84e5-0933c84b4f4f");
/// Home directories.
pub const HOME: Uuid = uuid::uuid!("933ac7e1-2eb4-4f13-b844-0e14e2aef915");
/// Server data, /srv.
pub const SRV: Uuid = uuid::uuid!("3b8f8425-20e0-4f3b-907f-1a25a76f98e8");
/// Variable data, /var.
pub const VAR: Uuid = uuid::uuid!("4d21b016-b534-45c2-a9fb-5c16e091fd2d");
/// Temporary data, /var/tmp.
pub const TMP: Uuid = uuid::uuid!("7ec6f557-3bc5-4aca-b293-16ef5df639d1");
/// Anything.
pub const LINUX_GENERIC: Uuid = uuid::uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");

/// Attribute bit 59: the file system is grown to the partition's size when it is mounted.
pub const GROW_FILE_SYSTEM: u64 = 1 << 59;
/// Attribute bit 60: mount read-only.
pub const READ_ONLY: u64 = 1 << 60;
/// Attribute bit 63: never used by automatic discovery; explicit references still find it.
pub const NO_AUTO: u64 = 1 << 63;

/// The six types that differ by architecture.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Role {
    /// The root file system.
    Root,
    /// Its dm-verity hash tree.
    RootVerity,
    /// The signature of that tree's root hash.
    RootVeritySig,
    /// The /usr file system.
    Usr,
    /// Its dm-verity hash tree.
    UsrVerity,
    /// The signature of that tree's root hash.
    UsrVeritySig,
}

impl Role {
    const ALL: [Self; 6] =
        [Self::Root, Self::RootVerity, Self::RootVeritySig, Self::Usr, Self::UsrVerity, Self::UsrVeritySig];

    /// The text before and after the architecture in the identifier: `usr` and `-verity`.
    pub(super) const fn affixes(self) -> (&'static str, &'static str) {
        match self {
            Self::Root => ("root", ""),
            Self::RootVerity => ("root", "-verity"),
            Self::RootVeritySig => ("root", "-verity-sig"),
            Self::Usr => ("usr", ""),
            Self::UsrVerity => ("usr", "-verity"),
            Self::UsrVeritySig => ("usr", "-verity-sig"),
        }
    }
}

/// The architecture that this program was compiled for, under its name in systemd's identifiers.
pub const NATIVE_ARCHITECTURE: &str = if cfg!(target_arch = "x86_64") {
    "x86-64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else if cfg!(target_arch = "x86") {
    "x86"
} else if cfg!(target_arch = "arm") {
    "arm"
} else if cfg!(target_arch = "riscv64") {
    "riscv64"
} else if cfg!(target_arch = "riscv32") {
    "riscv32"
} else if cfg!(target_arch = "loongarch64") {
    "loongarch64"
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    "ppc64-le"
} else if cfg!(target_arch = "powerpc64") {
    "ppc64"
} else if cfg!(target_arch = "s390x") {
    "s390x"
} else {
    // No discoverable partitions on such a machine: nothing in the table has this name.
    "unknown"
};

/// The type of `role` for the architecture of this program; the nil GUID where the specification has none.
///
/// The nil GUID marks an unused entry, so no partition ever matches it.
pub fn native(role: Role) -> Uuid {
    of(role, NATIVE_ARCHITECTURE).unwrap_or_else(Uuid::nil)
}

/// The type of `role` for the architecture called `architecture` in systemd's identifiers (`x86-64`, `arm64`, ...).
pub fn of(role: Role, architecture: &str) -> Option<Uuid> {
    let row = ARCHITECTURES.iter().find(|row| row.name == architecture)?;
    row.guids.get(role as usize).copied()
}

/// The architecture whose programs run here as well, under its name in systemd's identifiers (`root-secondary`).
const SECONDARY_ARCHITECTURE: &str = if cfg!(target_arch = "x86_64") {
    "x86"
} else if cfg!(target_arch = "aarch64") {
    "arm"
} else if cfg!(all(target_arch = "powerpc64", target_endian = "little")) {
    "ppc64"
} else {
    ""
};

/// Other names of architectures, and the ones that they stand for.
const ALIASES: [(&str, &str); 16] = [
    ("aarch64", "arm64"),
    ("amd64", "x86-64"),
    ("armv7l", "arm"),
    ("hppa", "parisc"),
    ("i386", "x86"),
    ("i486", "x86"),
    ("i586", "x86"),
    ("i686", "x86"),
    ("loong64", "loongarch64"),
    ("mips64el", "mips64-le"),
    ("mipsel", "mips-le"),
    ("ppc64el", "ppc64-le"),
    ("ppc64le", "ppc64-le"),
    ("secondary", SECONDARY_ARCHITECTURE),
    ("x86_64", "x86-64"),
    ("", NATIVE_ARCHITECTURE),
];

/// The name in systemd's identifiers of an architecture that may be called otherwise.
pub fn architecture(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, name)| *name)
}

/// The role of a type that differs by architecture; None for all other types.
pub fn role(guid: Uuid) -> Option<Role> {
    ARCHITECTURES.iter().find_map(|row| {
        Role::ALL.iter().zip(&row.guids).find(|(_, candidate)| **candidate == guid).map(|(role, _)| *role)
    })
}

/// The type of the same role for the architecture called `architecture`; the same type when it has no role, or the
/// architecture has no type of its own.
pub fn of_architecture(guid: Uuid, architecture: &str) -> Uuid {
    role(guid).and_then(|role| of(role, architecture)).unwrap_or(guid)
}

/// Returns true when the bit [`GROW_FILE_SYSTEM`] has a meaning for this type.
pub fn knows_grow_file_system(guid: Uuid) -> bool {
    matches!(role(guid), Some(Role::Root | Role::Usr)) || [HOME, SRV, VAR, TMP, XBOOTLDR].contains(&guid)
}

/// Returns true when the bit [`READ_ONLY`] has a meaning for this type.
pub fn knows_read_only(guid: Uuid) -> bool {
    knows_grow_file_system(guid) || matches!(role(guid), Some(Role::RootVerity | Role::UsrVerity))
}

/// Returns true when the bit [`NO_AUTO`] has a meaning for this type.
pub fn knows_no_auto(guid: Uuid) -> bool {
    knows_read_only(guid) || guid == SWAP
}

/// The mount points of a partition of this type beside the root, as paths from there (systemd:
/// `gpt_partition_type_mountpoint_nulstr`). Empty for types that are not mounted, and for the root itself.
pub fn mount_points(guid: Uuid) -> &'static [&'static str] {
    match guid {
        ESP => &["/efi", "/boot"],
        XBOOTLDR => &["/boot"],
        HOME => &["/home"],
        SRV => &["/srv"],
        VAR => &["/var"],
        TMP => &["/var/tmp"],
        other if role(other) == Some(Role::Usr) => &["/usr"],
        _ => &[],
    }
}

/// Parses a type as people write it: an identifier (`root-x86-64`, `esp`; `root` and `usr-verity` are those of this
/// architecture) or a GUID.
pub fn parse(text: &str) -> Option<Uuid> {
    if let Some((_, guid)) = COMMON.iter().find(|(name, _)| *name == text) {
        return Some(*guid);
    }
    for role in Role::ALL {
        let (prefix, suffix) = role.affixes();
        let Some(middle) = text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix)) else {
            continue;
        };
        let guid = match middle.strip_prefix('-') {
            None if middle.is_empty() => of(role, NATIVE_ARCHITECTURE),
            Some("") | None => None,
            Some(name) => of(role, architecture(name)),
        };
        if guid.is_some() {
            return guid;
        }
    }
    Uuid::try_parse(text).ok()
}

/// Returns true when systemd has an identifier for this type.
pub fn has_identifier(guid: Uuid) -> bool {
    role(guid).is_some() || COMMON.iter().any(|(_, common)| *common == guid)
}

/// A type GUID that prints as systemd's identifier, or as the GUID itself when it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identifier(pub Uuid);

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((name, _)) = COMMON.iter().find(|(_, guid)| *guid == self.0) {
            return f.write_str(name);
        }
        for row in &ARCHITECTURES {
            for (role, guid) in Role::ALL.iter().zip(&row.guids) {
                if *guid == self.0 {
                    let (prefix, suffix) = role.affixes();
                    return write!(f, "{prefix}-{}{suffix}", row.name);
                }
            }
        }
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_those_of_systemd() {
        // As listed by systemd-id128(1) `show` and in repart.d(5).
        for (text, guid) in [
            ("root-x86-64", "4f68bce3-e8cd-4db1-96e7-fbcaf984b709"),
            ("root-x86-64-verity", "2c7357ed-ebd2-46d9-aec1-23d437ec2bf5"),
            ("usr-arm64-verity-sig", "c23ce4ff-44bd-4b00-b2d4-b41b3419e02a"),
            ("usr-mips64-le", "c97c1f32-ba06-40b4-9f22-236061b08aa8"),
            ("esp", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"),
            ("linux-generic", "0fc63daf-8483-4772-8e79-3d69d8477de4"),
        ] {
            let guid = Uuid::try_parse(guid).unwrap();
            assert_eq!(parse(text), Some(guid), "{text}");
            assert_eq!(Identifier(guid).to_string(), text);
        }
        assert_eq!(parse("esp"), Some(ESP));
        assert_eq!(parse("xbootldr"), Some(XBOOTLDR));
        assert_eq!(parse("root"), Some(native(Role::Root)));
        assert_eq!(parse("usr-verity"), Some(native(Role::UsrVerity)));
        assert_eq!(parse("root-aarch64-verity"), of(Role::RootVerity, "arm64"));
        assert_eq!(parse("usr-mipsel"), of(Role::Usr, "mips-le"));
        for text in ["", "root-", "rooty", "usr-x86-65", "root-x86-64-verity-sig-", "sys"] {
            assert_eq!(parse(text), None, "{text}");
        }
        let foreign = "00112233-4455-6677-8899-aabbccddeeff";
        assert_eq!(Identifier(parse(foreign).unwrap()).to_string(), foreign);
    }

    #[test]
    fn types_know_their_bits() {
        // As listed in repart.d(5) and the specification.
        for (text, bits) in [
            ("root", "gra"),
            ("usr-alpha", "gra"),
            ("root-verity", "ra"),
            ("usr-verity-sig", ""),
            ("home", "gra"),
            ("xbootldr", "gra"),
            ("esp", ""),
            ("swap", "a"),
            ("linux-generic", ""),
        ] {
            let guid = parse(text).unwrap();
            let knows = [
                (knows_grow_file_system(guid), 'g'),
                (knows_read_only(guid), 'r'),
                (knows_no_auto(guid), 'a'),
            ];
            let knows: String =
                knows.into_iter().filter(|(knows, _)| *knows).map(|(_, letter)| letter).collect();
            assert_eq!(knows, bits, "{text}");
        }
        assert_eq!(
            of_architecture(parse("usr-x86-64-verity").unwrap(), "arm64"),
            parse("usr-arm64-verity").unwrap()
        );
        assert_eq!(of_architecture(ESP, "arm64"), ESP);
    }

    #[test]
    fn types_are_mounted_where_systemd_mounts_them() {
        // The table of gpt_partition_type_mountpoint_nulstr (systemd 257: src/shared/gpt.c), which goes by designator.
        for (text, places) in [
            ("usr", "/usr"),
            ("usr-arm64", "/usr"),
            ("usr-alpha", "/usr"),
            ("usr-arm64-verity", ""),
            ("root-arm64", ""),
            ("esp", "/efi /boot"),
            ("var", "/var"),
            ("tmp", "/var/tmp"),
            ("swap", ""),
        ] {
            assert_eq!(mount_points(parse(text).unwrap()).join(" "), places, "{text}");
        }
    }

    #[test]
    fn no_guid_stands_for_two_types() {
        let mut all: Vec<Uuid> = ARCHITECTURES.iter().flat_map(|row| row.guids).collect();
        all.extend(COMMON.iter().map(|(_, guid)| *guid));
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
        for guid in all {
            assert_eq!(parse(&Identifier(guid).to_string()), Some(guid));
        }
    }
}
