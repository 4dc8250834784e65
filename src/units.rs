//! Units as types: a number of bytes and a number of sectors are different types.

use core::fmt;

/// A count or an offset of bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Bytes(pub u64);

impl Bytes {
    /// 2^10 bytes.
    pub const KIB: u64 = 1 << 10;
    /// 2^20 bytes.
    pub const MIB: u64 = 1 << 20;
    /// 2^30 bytes.
    pub const GIB: u64 = 1 << 30;

    /// The same length in sectors of 512 bytes, or None when it is not a multiple of 512 bytes.
    pub fn sectors(self) -> Option<Sector512> {
        self.0.is_multiple_of(512).then_some(Sector512(self.0 / 512))
    }
}

impl fmt::Display for Bytes {
    /// As people read it: the largest binary unit of which at least one fits, with one decimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1u64 << 40, "TiB"), (Self::GIB, "GiB"), (Self::MIB, "MiB"), (Self::KIB, "KiB")]
        {
            if self.0 >= unit {
                let tenths = (self.0 % unit) as u128 * 10 / unit as u128;
                return match tenths {
                    0 => write!(f, "{} {name}", self.0 / unit),
                    _ => write!(f, "{}.{tenths} {name}", self.0 / unit),
                };
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// A count or an offset of sectors of 512 bytes: the unit of the block layer and of device-mapper, with any logical
/// block of the disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Sector512(pub u64);

impl Sector512 {
    /// The same length in bytes, or None when it does not fit.
    pub fn bytes(self) -> Option<Bytes> {
        self.0.checked_mul(512).map(Bytes)
    }
}

impl fmt::Display for Sector512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A logical block address of a disk: its unit is the disk's logical block (512 or 4096 bytes).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Lba(pub u64);

impl Lba {
    /// The offset of this block in bytes, on a disk with blocks of `block_size` bytes.
    pub fn offset(self, block_size: u32) -> Option<Bytes> {
        self.0.checked_mul(u64::from(block_size)).map(Bytes)
    }
}

impl fmt::Display for Lba {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a partition: 1 for the first entry of the table, as the kernel and sfdisk count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionNumber(pub u32);

impl fmt::Display for PartitionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A block device's number, printed as `MAJOR:MINOR`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DeviceNumber {
    /// The driver.
    pub major: u32,
    /// The device among those of the driver.
    pub minor: u32,
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

impl core::str::FromStr for DeviceNumber {
    type Err = ();

    /// Parses `MAJOR:MINOR`, as sysfs and device-mapper print it; a trailing newline is ignored.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.trim_end().split_once(':').ok_or(())?;
        Ok(Self { major: major.parse().map_err(drop)?, minor: minor.parse().map_err(drop)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_print_as_people_read_them() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (16 * Bytes::MIB, "16 MiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn device_numbers_parse_as_sysfs_prints_them() {
        assert_eq!("253:0\n".parse(), Ok(DeviceNumber { major: 253, minor: 0 }));
        assert_eq!("253".parse::<DeviceNumber>(), Err(()));
        assert_eq!("a:b".parse::<DeviceNumber>(), Err(()));
    }
}
