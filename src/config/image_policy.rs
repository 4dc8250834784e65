//! The image policy: what protection /usr and the root must have before they are used.
//!
//! The language is systemd.image-policy(7), of systemd 260 and later: `DESIGNATOR=FLAG[+FLAG...][:...][:=DEFAULT]`. Here only the
//! designators `usr` and `root` decide anything; the others are checked for their grammar and left to systemd.

use core::fmt;
use std::prelude::v1::*;

use crate::map::Names;

/// The ways in which a partition may be used, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Uses(u8);

impl Uses {
    /// Protected by dm-verity with a root hash that is known.
    pub const VERITY: Self = Self(1);
    /// Protected by dm-verity with a root hash whose signature was checked.
    pub const SIGNED: Self = Self(2);
    /// Inside LUKS.
    pub const ENCRYPTED: Self = Self(4);
    /// As it is.
    pub const UNPROTECTED: Self = Self(8);
    /// It may exist, and is not used.
    pub const UNUSED: Self = Self(16);
    /// It may be missing. What a first boot makes is not missing when it is used, as after systemd-repart.
    pub const ABSENT: Self = Self(32);
    /// Inside LUKS with dm-integrity below it. Not made and not opened here.
    pub const ENCRYPTED_WITH_INTEGRITY: Self = Self(64);
    /// All of them.
    pub const OPEN: Self = Self(127);
    /// `ignore` of systemd: unused or absent.
    pub const IGNORE: Self = Self(48);

    /// True when every bit of `other` is in here.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Uses {
    /// As the policy language writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (name, flag) in NAMES {
            if self.contains(flag) {
                write!(f, "{separator}{name}")?;
                separator = "+";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Uses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

const NAMES: [(&str, Uses); 7] = [
    ("verity", Uses::VERITY),
    ("signed", Uses::SIGNED),
    ("encrypted", Uses::ENCRYPTED),
    ("encryptedwithintegrity", Uses::ENCRYPTED_WITH_INTEGRITY),
    ("unprotected", Uses::UNPROTECTED),
    ("unused", Uses::UNUSED),
    ("absent", Uses::ABSENT),
];

/// The file systems that a policy can demand, a bit each in this order.
const FILE_SYSTEMS: [&str; 7] = ["btrfs", "erofs", "ext4", "f2fs", "squashfs", "vfat", "xfs"];

/// The policy for one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartitionPolicy {
    /// The ways in which it may be used.
    pub uses: Uses,
    /// The demanded GPT attribute 60 (read-only); None when it does not matter.
    pub read_only: Option<bool>,
    /// The demanded GPT attribute 59 (grow file system); None when it does not matter.
    pub growfs: Option<bool>,
    /// The file systems that it may hold, a bit for each of [`FILE_SYSTEMS`]; 0 when it does not matter.
    file_systems: u8,
}

impl PartitionPolicy {
    /// In any way, with anything in it.
    pub const OPEN: Self = Self::of(Uses::OPEN);

    const fn of(uses: Uses) -> Self {
        Self { uses, read_only: None, growfs: None, file_systems: 0 }
    }

    /// True when the partition may be used in this way.
    pub const fn allows(self, uses: Uses) -> bool {
        self.uses.contains(uses)
    }

    /// True when the partition may hold the file system of this name.
    pub fn allows_file_system(self, name: &str) -> bool {
        self.file_systems == 0 || file_system(name).is_some_and(|bit| self.file_systems & bit != 0)
    }

    /// The names of the file systems that it may hold; empty when it does not matter.
    pub fn file_systems(self) -> impl Iterator<Item = &'static str> {
        FILE_SYSTEMS.into_iter().filter(move |name| self.file_systems != 0 && self.allows_file_system(name))
    }
}

/// The bit of a file system; None for one that no policy names.
fn file_system(name: &str) -> Option<u8> {
    FILE_SYSTEMS.iter().position(|known| *known == name).map(|index| 1 << index)
}

/// The policy for the partitions that an initramfs mounts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImagePolicy {
    /// For the /usr partition.
    pub usr: PartitionPolicy,
    /// For the root partition. It has no verity here, but the words are kept: `root=signed` must refuse.
    pub root: PartitionPolicy,
}

impl Default for ImagePolicy {
    /// systemd's own policy for the host: /usr and root in any way, or absent.
    fn default() -> Self {
        Self { usr: PartitionPolicy::OPEN, root: PartitionPolicy::OPEN }
    }
}

/// The reason why a policy is invalid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyError {
    /// An entry without `=`.
    NoFlags(String),
    /// A flag that we do not know.
    UnknownFlag(String),
    /// Two entries for the same designator (empty: for the default).
    Twice(String),
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFlags(entry) => write!(f, "entry \"{entry}\" has no =; write DESIGNATOR=FLAG+FLAG"),
            Self::UnknownFlag(flag) => {
                f.write_str("flag \"")?;
                write!(f, "{flag}\" is not known; known are ")?;
                for (name, _) in NAMES {
                    write!(f, "{name}, ")?;
                }
                f.write_str("open, ignore, read-only-on, read-only-off, growfs-on, growfs-off, ")?;
                f.write_str(&FILE_SYSTEMS.join(", "))
            }
            Self::Twice(designator) if designator.is_empty() => f.write_str("the default is given twice"),
            Self::Twice(designator) => write!(f, "{designator} is given twice"),
        }
    }
}

impl core::error::Error for PolicyError {}

impl ImagePolicy {
    /// Reads a policy. The empty text is `-`, as in systemd.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let everywhere = |uses| Ok(Self { usr: PartitionPolicy::of(uses), root: PartitionPolicy::of(uses) });
        match text {
            "*" => return everywhere(Uses::OPEN),
            "" | "-" => return everywhere(Uses::IGNORE),
            "~" => return everywhere(Uses::ABSENT),
            _ => {}
        }
        let mut seen = Names::new();
        let (mut usr, mut root, mut default) = (None, None, PartitionPolicy::of(Uses::IGNORE));
        for entry in text.split(':') {
            let (designator, flags) =
                entry.split_once('=').ok_or_else(|| PolicyError::NoFlags(entry.to_string()))?;
            let designator = designator.trim();
            if seen.insert(designator, ()).is_some() {
                return Err(PolicyError::Twice(designator.to_string()));
            }
            let policy = partition(flags.trim())?;
            match designator {
                "" => default = policy,
                "usr" => usr = Some(policy),
                "root" => root = Some(policy),
                _ => {}
            }
        }
        Ok(Self { usr: usr.unwrap_or(default), root: root.unwrap_or(default) })
    }
}

/// Reads the flags of one entry. None that says how to use it means open; `-` and nothing say that as well.
fn partition(text: &str) -> Result<PartitionPolicy, PolicyError> {
    let mut policy = PartitionPolicy::of(Uses(0));
    let (mut read_only, mut growfs) = ((false, false), (false, false));
    if !matches!(text, "" | "-") {
        for flag in text.split('+').map(str::trim) {
            match flag {
                "open" => policy.uses = policy.uses.with(Uses::OPEN),
                "ignore" => policy.uses = policy.uses.with(Uses::IGNORE),
                "read-only-on" => read_only.0 = true,
                "read-only-off" => read_only.1 = true,
                "growfs-on" => growfs.0 = true,
                "growfs-off" => growfs.1 = true,
                _ => match (NAMES.iter().find(|(name, _)| *name == flag), file_system(flag)) {
                    (Some((_, bit)), _) => policy.uses = policy.uses.with(*bit),
                    (None, Some(bit)) => policy.file_systems |= bit,
                    (None, None) => return Err(PolicyError::UnknownFlag(flag.to_string())),
                },
            }
        }
    }
    if policy.uses == Uses(0) {
        policy.uses = Uses::OPEN;
    }
    let demand = |(on, off): (bool, bool)| (on != off).then_some(on);
    policy.read_only = demand(read_only);
    policy.growfs = demand(growfs);
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `open`, in words.
    const OPEN: &str = "verity+signed+encrypted+encryptedwithintegrity+unprotected+unused+absent";

    /// The expected sides are what `systemd-analyze image-policy` of systemd 262 prints for the policy.
    #[test]
    fn policies_mean_what_systemd_says() {
        for (text, usr, root) in [
            ("*", OPEN, OPEN),
            ("-", "unused+absent", "unused+absent"),
            ("", "unused+absent", "unused+absent"),
            ("~", "absent", "absent"),
            ("usr=signed:root=encrypted+absent", "signed", "encrypted+absent"),
            ("root=encrypted", "unused+absent", "encrypted"),
            ("usr=verity:=absent", "verity", "absent"),
            ("usr=:root=-:=absent", OPEN, OPEN),
            ("usr=ignore:root=open", "unused+absent", OPEN),
            (" usr = verity + signed :no-such=verity:=unprotected", "verity+signed", "unprotected"),
            ("usr=read-only-on", OPEN, "unused+absent"),
            ("root=encryptedwithintegrity+ext4:usr=erofs", OPEN, "encryptedwithintegrity"),
        ] {
            let policy = ImagePolicy::parse(text).unwrap();
            assert_eq!(
                (policy.usr.uses.to_string().as_str(), policy.root.uses.to_string().as_str()),
                (usr, root),
                "{text}"
            );
        }
    }

    #[test]
    fn the_policy_of_particleos() {
        let text = "esp=unprotected:xbootldr=unprotected+unused+absent:usr=signed:root=encrypted+absent:\
                    swap=encrypted+unused+absent:home=unprotected+absent:=ignore";
        let policy = ImagePolicy::parse(text).unwrap();
        assert!(policy.usr.allows(Uses::SIGNED) && !policy.usr.allows(Uses::VERITY));
        assert!(policy.root.allows(Uses::ABSENT) && !policy.root.allows(Uses::UNPROTECTED));
    }

    /// As `systemd-analyze image-policy` of systemd 262 shows them in its column FSTYPE.
    #[test]
    fn file_systems_may_be_restricted() {
        for (text, usr, root) in [
            ("usr=verity+ext4", "ext4", ""),
            ("root=ext4+btrfs+read-only-on", "", "btrfs+ext4"),
            ("root=xfs+f2fs:=erofs+squashfs", "erofs+squashfs", "f2fs+xfs"),
            ("*", "", ""),
        ] {
            let policy = ImagePolicy::parse(text).unwrap();
            let names = |policy: PartitionPolicy| policy.file_systems().collect::<Vec<_>>().join("+");
            assert_eq!((names(policy.usr).as_str(), names(policy.root).as_str()), (usr, root), "{text}");
        }
        let usr = ImagePolicy::parse("usr=verity+ext4").unwrap().usr;
        assert!(usr.allows_file_system("ext4"));
        assert!(!usr.allows_file_system("erofs") && !usr.allows_file_system("minix"));
        assert!(PartitionPolicy::OPEN.allows_file_system("minix"));
    }

    #[test]
    fn attributes_matter_only_when_one_side_is_named() {
        for (flags, read_only, growfs) in [
            ("read-only-on", Some(true), None),
            ("read-only-off+growfs-on", Some(false), Some(true)),
            ("read-only-on+read-only-off+growfs-off", None, Some(false)),
            ("verity", None, None),
        ] {
            let usr = ImagePolicy::parse(&format!("usr={flags}")).unwrap().usr;
            assert_eq!((usr.read_only, usr.growfs), (read_only, growfs), "{flags}");
        }
    }

    #[test]
    fn what_is_not_understood_refuses() {
        for (text, error) in [
            ("usr", PolicyError::NoFlags("usr".into())),
            ("usr=verity:", PolicyError::NoFlags("".into())),
            ("usr=veritas", PolicyError::UnknownFlag("veritas".into())),
            ("home=veritas", PolicyError::UnknownFlag("veritas".into())),
            ("usr=verity++signed", PolicyError::UnknownFlag("".into())),
            ("usr=verity:usr=signed", PolicyError::Twice("usr".into())),
            ("=verity:usr=signed:=signed", PolicyError::Twice("".into())),
        ] {
            assert_eq!(ImagePolicy::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            let _ = ImagePolicy::parse(&text);
        }

        #[test]
        fn what_is_printed_is_read_back(bits in 1u8..128, more in 1u8..128) {
            let text = format!("usr={}:root={}", Uses(bits), Uses(more));
            let policy = ImagePolicy::parse(&text).unwrap();
            prop_assert_eq!((policy.usr.uses, policy.root.uses), (Uses(bits), Uses(more)));
        }
    }
}
