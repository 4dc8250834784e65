//! The names of devices in `root=`, `mount.usr=` and `systemd.verity_usr_{data,hash}=`.
//!
//! References: kernel-command-line(7), systemd-gpt-auto-generator(8), systemd-fstab-generator(8), fstab(5). The names
//! below /dev/disk are udev's; there is no udev here, so they are taken apart and compared with the content of the
//! disk.

use core::fmt;
use std::prelude::v1::*;

use crate::units::DeviceNumber;

/// One block device, as it was named.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceSpec {
    /// `/dev/NAME`: the kernel's name, without `/dev/` (`vda3`, `nvme0n1p2`, `cciss/c0d0p1`).
    Name(String),
    /// `/dev/block/MAJ:MIN`: the device's number.
    Number(DeviceNumber),
    /// `UUID=`: of the file system or LUKS header, folded to lower case when it has the shape of a UUID. A FAT or NTFS
    /// serial number stays as written.
    Uuid(String),
    /// `LABEL=`: of the file system or LUKS header.
    Label(String),
    /// `PARTUUID=`: of the partition table's entry, in lower case.
    PartUuid(String),
    /// `PARTLABEL=`: the name in the GPT entry.
    PartLabel(String),
}

impl fmt::Display for DeviceSpec {
    /// As fstab(5) writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "/dev/{name}"),
            Self::Number(number) => write!(f, "/dev/block/{number}"),
            Self::Uuid(text) => write!(f, "UUID={text}"),
            Self::Label(text) => write!(f, "LABEL={text}"),
            Self::PartUuid(text) => write!(f, "PARTUUID={text}"),
            Self::PartLabel(text) => write!(f, "PARTLABEL={text}"),
        }
    }
}

/// Everything that can stand behind `root=` and `mount.usr=`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// `gpt-auto`, `dissect`: by partition type, on the disk that we booted from. With `force` (`gpt-auto-force`,
    /// `dissect-force`) also while a factory reset is under way.
    Auto {
        /// True for the `-force` spelling.
        force: bool,
    },
    /// `/dev/mapper/NAME`: a mapping of this program, `root` or `usr`.
    Mapper(String),
    /// `tmpfs`.
    Tmpfs,
    /// `fstab`: the entry of the initramfs' /etc/fstab.
    Fstab,
    /// `off`: none.
    Off,
    /// This device.
    Device(DeviceSpec),
}

/// The reason why a device's name cannot be used, and what to write instead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SpecError {
    /// Nothing behind the `=`.
    Empty,
    /// A place in the network.
    Network,
    /// `bind:PATH`.
    Bind,
    /// A name below /dev that only udev or LVM makes.
    OnlyUdev,
    /// A path below /dev with empty, `.` or `..` components.
    Path,
    /// Not a PARTUUID: hexadecimal digits and dashes.
    PartUuid,
    /// `PARTUUID=.../PARTNROFF=`.
    PartNrOff,
    /// A `\xNN` that is not a byte, or bytes that are invalid UTF-8.
    Escape,
    /// `/dev/block/` without MAJ:MIN.
    Number,
    /// Nothing that we know.
    Unknown,
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "names nothing; write PARTUUID=, PARTLABEL=, UUID=, LABEL=, /dev/NAME or gpt-auto",
            Self::Network => "is in the network, which hermetic-init does not bring up; name a local device",
            Self::Bind => "is a bind mount, which is not supported; name a device",
            Self::OnlyUdev => "is a name that only udev or LVM makes; use PARTUUID=, PARTLABEL=, UUID= or LABEL=",
            Self::Path => "is not a plain path below /dev; remove empty, . and .. components",
            Self::PartUuid => "is not a partition UUID (hexadecimal digits and dashes); compare with `lsblk -o PARTUUID`",
            Self::PartNrOff => "counts partitions from another one, which is not supported; name its own PARTUUID",
            Self::Escape => "has an escape that is not \\xNN of UTF-8; compare with `ls /dev/disk`",
            Self::Number => "is not a device number; write /dev/block/MAJOR:MINOR",
            Self::Unknown => {
                "is not a known device name; write PARTUUID=, PARTLABEL=, UUID=, LABEL=, /dev/NAME or gpt-auto"
            }
        })
    }
}

impl core::error::Error for SpecError {}

impl Source {
    /// Reads the value of `root=` or `mount.usr=`.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        Ok(match text {
            "gpt-auto" | "dissect" | "/dev/gpt-auto-root" | "/dev/gpt-auto-root-luks" => {
                Self::Auto { force: false }
            }
            "gpt-auto-force" | "dissect-force" => Self::Auto { force: true },
            "tmpfs" => Self::Tmpfs,
            "fstab" => Self::Fstab,
            "off" => Self::Off,
            "/dev/mapper/root" | "/dev/mapper/usr" => {
                Self::Mapper(text.trim_start_matches("/dev/mapper/").into())
            }
            _ => Self::Device(DeviceSpec::parse(text)?),
        })
    }
}

impl DeviceSpec {
    /// Reads the name of one device.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        if text.is_empty() {
            return Err(SpecError::Empty);
        }
        for (tag, make) in TAGS {
            if let Some(value) = text.strip_prefix(tag) {
                return make(unquoted(value).to_string());
            }
        }
        match text.strip_prefix("/dev/") {
            Some(below) => Self::below_dev(below),
            None if text.starts_with("bind:") => Err(SpecError::Bind),
            None if looks_like_network(text) => Err(SpecError::Network),
            None => Err(SpecError::Unknown),
        }
    }

    fn below_dev(below: &str) -> Result<Self, SpecError> {
        if below.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(SpecError::Path);
        }
        match below.split_once('/') {
            None => Ok(Self::Name(below.into())),
            Some(("disk", by)) => {
                let (by, value) = by.split_once('/').ok_or(SpecError::OnlyUdev)?;
                match by {
                    "by-uuid" => uuid(unescaped(value)?),
                    "by-label" => label(unescaped(value)?),
                    "by-partuuid" => partuuid(unescaped(value)?),
                    "by-partlabel" => partlabel(unescaped(value)?),
                    _ => Err(SpecError::OnlyUdev),
                }
            }
            Some(("block", number)) => Ok(Self::Number(number.parse().map_err(|()| SpecError::Number)?)),
            Some(("mapper", _)) => Err(SpecError::OnlyUdev),
            // Some drivers name their devices with a directory (cciss/c0d0p1), and devtmpfs makes it.
            Some(_) => Ok(Self::Name(below.into())),
        }
    }
}

type Make = fn(String) -> Result<DeviceSpec, SpecError>;

const TAGS: [(&str, Make); 4] =
    [("PARTUUID=", partuuid), ("PARTLABEL=", partlabel), ("UUID=", uuid), ("LABEL=", label)];

fn uuid(text: String) -> Result<DeviceSpec, SpecError> {
    let folded = text.to_ascii_lowercase();
    match text.as_str() {
        "" => Err(SpecError::Empty),
        _ if uuid::Uuid::try_parse(&text).is_ok_and(|uuid| uuid.hyphenated().to_string() == folded) => {
            Ok(DeviceSpec::Uuid(folded))
        }
        _ => Ok(DeviceSpec::Uuid(text)),
    }
}

fn label(text: String) -> Result<DeviceSpec, SpecError> {
    if text.is_empty() { Err(SpecError::Empty) } else { Ok(DeviceSpec::Label(text)) }
}

/// A GPT entry's UUID, or disk signature and number on an MBR disk (`1234abcd-02`): hexadecimal either way.
fn partuuid(text: String) -> Result<DeviceSpec, SpecError> {
    match text.as_str() {
        "" => Err(SpecError::Empty),
        _ if text.contains("/PARTNROFF=") => Err(SpecError::PartNrOff),
        _ if text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-') => {
            Ok(DeviceSpec::PartUuid(text.to_ascii_lowercase()))
        }
        _ => Err(SpecError::PartUuid),
    }
}

fn partlabel(text: String) -> Result<DeviceSpec, SpecError> {
    if text.is_empty() { Err(SpecError::Empty) } else { Ok(DeviceSpec::PartLabel(text)) }
}

/// Without the one pair of quotes that fstab(5) allows around a tag's value.
fn unquoted(text: &str) -> &str {
    let inside = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    inside('"').or_else(|| inside('\'')).unwrap_or(text)
}

/// Takes udev's encoding back: every byte that may not stand in a name below /dev/disk is written `\xNN` there.
fn unescaped(text: &str) -> Result<String, SpecError> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).ok_or(SpecError::Escape)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(SpecError::Escape);
        }
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| SpecError::Escape)?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text),
        _ => Err(SpecError::Escape),
    }
}

/// True for what dracut, systemd and the kernel take for a place in the network: NFS, iSCSI, NBD, CIFS, a live image's address,
/// `ADDRESS:PATH`, or a path that is not below /dev (an NFS path on the server that DHCP names).
fn looks_like_network(text: &str) -> bool {
    let schemes = [
        "nfs", "nbd", "iscsi", "fcoe", "cifs", "smb", "live", "http", "https", "ftp", "tftp", "net", "dhcp",
        "ssh",
    ];
    let scheme = text.split(':').next().unwrap_or(text);
    schemes.contains(&scheme.trim_end_matches(|c: char| c.is_ascii_digit()))
        || text.starts_with('/')
        || text.split_once(':').is_some_and(|(_, path)| path.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_of_a_device() {
        use DeviceSpec::*;
        const UPPER: &str = "8484680C-9521-48C6-9C11-B0720656F69E";
        let lower = UPPER.to_lowercase();
        for (text, expected) in [
            ("/dev/vda3".to_string(), Ok(Name("vda3".into()))),
            ("/dev/mmcblk0p2".into(), Ok(Name("mmcblk0p2".into()))),
            ("/dev/cciss/c0d0p1".into(), Ok(Name("cciss/c0d0p1".into()))),
            ("/dev/block/254:3".into(), Ok(Number(DeviceNumber { major: 254, minor: 3 }))),
            (format!("UUID={UPPER}"), Ok(Uuid(lower.clone()))),
            (format!("/dev/disk/by-uuid/{UPPER}"), Ok(Uuid(lower.clone()))),
            ("UUID=ABCD-1234".into(), Ok(Uuid("ABCD-1234".into()))),
            (format!("PARTUUID=\"{UPPER}\""), Ok(PartUuid(lower.clone()))),
            (format!("/dev/disk/by-partuuid/{UPPER}"), Ok(PartUuid(lower))),
            ("PARTUUID=1234ABCD-02".into(), Ok(PartUuid("1234abcd-02".into()))),
            ("LABEL='my root'".into(), Ok(Label("my root".into()))),
            (r"LABEL=my\x20root".into(), Ok(Label(r"my\x20root".into()))),
            (r"/dev/disk/by-label/my\x20root".into(), Ok(Label("my root".into()))),
            (r"/dev/disk/by-partlabel/a\x2fb\xc3\xa4".into(), Ok(PartLabel("a/bä".into()))),
            ("PARTLABEL=Debian_13".into(), Ok(PartLabel("Debian_13".into()))),
            ("".into(), Err(SpecError::Empty)),
            ("UUID=".into(), Err(SpecError::Empty)),
            ("LABEL=\"\"".into(), Err(SpecError::Empty)),
            ("PARTUUID=xyz".into(), Err(SpecError::PartUuid)),
            ("PARTUUID=00-01/PARTNROFF=1".into(), Err(SpecError::PartNrOff)),
            (r"/dev/disk/by-label/\xg0".into(), Err(SpecError::Escape)),
            (r"/dev/disk/by-label/\x+1".into(), Err(SpecError::Escape)),
            (r"/dev/disk/by-label/\xff".into(), Err(SpecError::Escape)),
            (r"/dev/disk/by-label/\x2".into(), Err(SpecError::Escape)),
            ("/dev/disk/by-id/nvme-x".into(), Err(SpecError::OnlyUdev)),
            ("/dev/disk/by-path".into(), Err(SpecError::OnlyUdev)),
            ("/dev/mapper/vg-lv".into(), Err(SpecError::OnlyUdev)),
            ("/dev/block/x".into(), Err(SpecError::Number)),
            ("/dev/".into(), Err(SpecError::Path)),
            ("/dev/../etc".into(), Err(SpecError::Path)),
            ("/dev//vda".into(), Err(SpecError::Path)),
            ("bind:/x".into(), Err(SpecError::Bind)),
            ("vda3".into(), Err(SpecError::Unknown)),
        ] {
            assert_eq!(DeviceSpec::parse(&text), expected, "{text}");
        }
    }

    #[test]
    fn the_network_is_refused() {
        for text in [
            "nfs:server:/root",
            "nfs4:server:/root",
            "dhcp",
            "dhcp6",
            "10.0.0.1:/srv/root",
            "/srv/root",
            "cifs://s/x",
            "iscsi:@10.0.0.1::::iqn",
            "live:http://x/y.img",
            "nbd:10.0.0.1:1",
            "https://x/y",
        ] {
            assert_eq!(Source::parse(text), Err(SpecError::Network), "{text}");
        }
    }

    #[test]
    fn the_words_that_are_no_device() {
        for (text, expected) in [
            ("gpt-auto", Source::Auto { force: false }),
            ("dissect", Source::Auto { force: false }),
            ("gpt-auto-force", Source::Auto { force: true }),
            ("dissect-force", Source::Auto { force: true }),
            ("tmpfs", Source::Tmpfs),
            ("fstab", Source::Fstab),
            ("off", Source::Off),
            ("/dev/mapper/usr", Source::Mapper("usr".into())),
            ("/dev/mapper/root", Source::Mapper("root".into())),
            ("/dev/vda", Source::Device(DeviceSpec::Name("vda".into()))),
        ] {
            assert_eq!(Source::parse(text), Ok(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in any::<String>()) {
            let _ = Source::parse(&text);
            let _ = Source::parse(&format!("/dev/disk/by-label/{text}"));
        }

        #[test]
        fn what_is_printed_is_read_back(text in "(UUID|LABEL|PARTLABEL)=[a-zA-Z0-9_ .-]{1,20}|/dev/[a-z0-9]{1,9}") {
            let spec = DeviceSpec::parse(&text).unwrap();
            prop_assert_eq!(DeviceSpec::parse(&spec.to_string()), Ok(spec));
        }

        #[test]
        fn udev_names_are_decoded(label in "[^\0/]{1,12}") {
            // udev writes every byte that is not a plain character as \xNN.
            let name: String = label.bytes().map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => (b as char).to_string(),
                _ => format!("\\x{b:02x}"),
            }).collect();
            prop_assert_eq!(DeviceSpec::parse(&format!("/dev/disk/by-label/{name}")), Ok(DeviceSpec::Label(label)));
        }
    }
}
