//! Unified kernel images: the sections of a PE file.
//!
//! References: the UAPI group's Unified Kernel Image specification (UAPI.5); Microsoft's PE format.

/// The content of a PE section: 40 bytes of table entry each, behind the optional header. Of an image with several profiles it is
/// that of the first, which is the default: sections before the first `.profile` belong to all of them.
pub fn section<'a>(image: &'a [u8], name: &[u8; 8]) -> Option<&'a [u8]> {
    if image.get(..2)? != b"MZ" {
        return None;
    }
    let pe = number(image, 0x3c)?;
    let header = image.get(pe..)?;
    if header.get(..4)? != b"PE\0\0" {
        return None;
    }
    let short = |at: usize| Some(usize::from(u16::from_le_bytes(header.get(at..at + 2)?.try_into().ok()?)));
    let table = header.get(24 + short(20)?..)?;
    let (mut profiles, mut found) = (0, None);
    for entry in table.chunks_exact(40).take(short(6)?) {
        profiles += u32::from(entry.starts_with(b".profile"));
        if profiles > 1 {
            break;
        }
        if entry.starts_with(name) {
            found = Some(entry);
        }
    }
    let entry = found?;
    // The size in memory is the content's; the size in the file is rounded up to the alignment.
    let (size, at) = (number(entry, 8)?.min(number(entry, 16)?), number(entry, 20)?);
    image.get(at..at.checked_add(size)?)
}

/// The 32-bit little-endian number at `at`.
pub fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_le_bytes(four.try_into().ok()?)).ok()
}

/// The kernel command line in an image, as sd-stub hands it over: without what is invisible at its ends. None for an image without
/// one, or for another file.
pub fn command_line(image: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(section(image, b".cmdline")?);
    let is_invisible = |sign: char| sign.is_whitespace() || sign.is_control();
    Some(text.trim_matches(is_invisible).replace(is_invisible, " "))
}

/// os-release in an image.
pub fn os_release(image: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(section(image, b".osrel\0\0")?);
    Some(text.trim_end_matches('\0').to_owned())
}
