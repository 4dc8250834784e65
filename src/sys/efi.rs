//! EFI variables, through efivarfs (Documentation/filesystems/efivarfs.rst;
//! <https://systemd.io/BOOT_LOADER_INTERFACE>).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// There on machines with EFI firmware.
pub const FIRMWARE: &str = "/sys/firmware/efi";

/// The mount point of efivarfs.
pub const MOUNT: &str = super::mount::EFIVARFS.target;

/// The vendor of the boot loader interface.
pub const LOADER: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The vendor of systemd's variables.
pub const SYSTEMD: &str = "8cf2644b-4b0b-428f-9387-6d876050dc67";

/// NON_VOLATILE, BOOTSERVICE_ACCESS and RUNTIME_ACCESS of the UEFI specification's SetVariable().
const ATTRIBUTES: u32 = 7;

/// More than any variable of text has, bytes.
const MAX_LENGTH: u64 = 64 << 10;

/// Returns true when the machine was started by EFI firmware with readable variables.
pub fn is_available() -> bool {
    super::mount::is_mount_point(MOUNT)
}

/// The text of a variable that holds UTF-16LE, without its end mark. None when there is no such variable.
///
/// # Errors
/// The firmware fails to return it, or it is not UTF-16LE.
pub fn text(name: &str, vendor: &str) -> io::Result<Option<String>> {
    let path = format!("{MOUNT}/{name}-{vendor}");
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    if file.take(MAX_LENGTH).read_to_end(&mut bytes)? as u64 == MAX_LENGTH {
        return Err(io::ErrorKind::InvalidData.into());
    }
    decode(&bytes).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sets a variable to a text in UTF-16LE with its end mark, in one write. It stays when the power goes, and the running system sees it.
///
/// # Errors
/// The firmware does not take it; the error of efivarfs.
pub fn write_text(name: &str, vendor: &str, text: &str) -> io::Result<()> {
    let path = format!("{MOUNT}/{name}-{vendor}");
    if let Ok(old) = File::open(&path) {
        make_mutable(&old)?;
    }
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&path)?;
    let units = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes);
    let bytes: Vec<u8> = ATTRIBUTES.to_le_bytes().into_iter().chain(units).collect();
    file.write_all(&bytes)
}

/// Removes a variable. One that is not there is removed.
///
/// # Errors
/// The firmware keeps it.
pub fn remove(name: &str, vendor: &str) -> io::Result<()> {
    let path = format!("{MOUNT}/{name}-{vendor}");
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file?,
    };
    make_mutable(&file)?;
    drop(file);
    fs::remove_file(path)
}

/// efivarfs makes the variables that it does not know immutable, so that those of the firmware are not removed by mistake.
fn make_mutable(file: &File) -> io::Result<()> {
    let flags = ioctl_getflags(file)?;
    if flags.contains(IFlags::IMMUTABLE) {
        ioctl_setflags(file, flags.difference(IFlags::IMMUTABLE))?;
    }
    Ok(())
}

/// The text in a variable's file: four bytes of attributes, then UTF-16LE up to the first NUL. None when it is invalid.
pub fn decode(file: &[u8]) -> Option<String> {
    let (units, rest) = file.get(4..)?.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let units: Vec<u16> =
        units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0).collect();
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_utf_16_after_four_bytes_of_attributes() {
        assert_eq!(decode(b"\x06\0\0\0a\0B\0\0\0").as_deref(), Some("aB"));
        assert_eq!(decode(b"\x06\0\0\0a\0B\0").as_deref(), Some("aB"));
        assert_eq!(decode(b"\x06\0\0\0a\0B"), None);
        assert_eq!(decode(b"\x06\0"), None);
        assert_eq!(decode(b"\x06\0\0\0\x00\xd8"), None);
    }
}
