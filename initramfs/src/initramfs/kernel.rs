//! Which kernel an image holds: its release, as `uname -r` prints it.
//!
//! References: Documentation/arch/x86/boot.rst (`kernel_version`); drivers/firmware/efi/libstub/zboot-header.S; the UAPI
//! group's Unified Kernel Image specification (`.uname`, `.linux`); Microsoft's PE format.

use crate::{
    modules::file::decompress,
    uki::{number, section},
};

/// A UKI holds a kernel, and that one may be compressed; nothing nests deeper.
const DEPTH: u32 = 3;

/// The release of the kernel in `image`: a bzImage, a Unified Kernel Image, an EFI zboot image, or an uncompressed or
/// gzip or zstd compressed kernel. None for anything else.
pub fn release(image: &[u8]) -> Option<String> {
    nested(image, DEPTH)
}

fn nested(image: &[u8], depth: u32) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    if image.get(0x202..0x206) == Some(b"HdrS") {
        let at = usize::from(u16::from_le_bytes(image.get(0x20e..0x210)?.try_into().ok()?)) + 0x200;
        return word(image.get(at..)?);
    }
    if image.get(..2) == Some(b"MZ") && image.get(4..8) == Some(b"zimg") {
        let at = number(image, 8)?;
        let payload = image.get(at..at.checked_add(number(image, 12)?)?)?;
        return nested(&decompress(payload.to_vec()).ok()?, depth);
    }
    if let Some(found) = section(image, b".uname\0\0").and_then(word) {
        return Some(found);
    }
    if let Some(linux) = section(image, b".linux\0\0") {
        return nested(linux, depth);
    }
    if image.starts_with(b"\x1f\x8b") || image.starts_with(b"\x28\xb5\x2f\xfd") {
        return nested(&decompress(image.to_vec()).ok()?, depth);
    }
    banner(image)
}

/// The text up to a space or the end; None when it does not look like a release.
fn word(bytes: &[u8]) -> Option<String> {
    let word = bytes.split(|byte| matches!(byte, 0 | b' ' | b'\n')).next()?;
    let text = std::str::from_utf8(word).ok()?;
    (text.starts_with(|c: char| c.is_ascii_digit()) && !text.contains('/')).then(|| text.to_owned())
}

/// `linux_banner` of init/version.c, in a kernel that is not compressed.
fn banner(image: &[u8]) -> Option<String> {
    const KEY: &[u8] = b"Linux version ";
    image
        .windows(KEY.len())
        .enumerate()
        .filter(|(_, window)| *window == KEY)
        .find_map(|(at, _)| word(image.get(at + KEY.len()..)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bz_image() -> Vec<u8> {
        let mut image = vec![0; 0x400];
        image[..2].copy_from_slice(b"MZ");
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        image[0x300..0x317].copy_from_slice(b"6.12.1-cloud (deb@x) #1");
        image
    }

    fn uki(name: &[u8; 8], content: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x200];
        image[..2].copy_from_slice(b"MZ");
        image[0x3c] = 0x40;
        image[0x40..0x44].copy_from_slice(b"PE\0\0");
        image[0x46] = 1;
        image[0x54] = 8;
        let entry = &mut image[0x40 + 24 + 8..][..40];
        entry[..8].copy_from_slice(name);
        entry[8..12].copy_from_slice(&(content.len() as u32).to_le_bytes());
        entry[16..20].copy_from_slice(&0x1000u32.to_le_bytes());
        entry[20..24].copy_from_slice(&0x200u32.to_le_bytes());
        image.extend_from_slice(content);
        image
    }

    #[test]
    fn releases_are_found_where_each_format_keeps_them() {
        let raw = b"...Linux version %s (%s)\0...Linux version 6.6.0-arm64 (build@host)".to_vec();
        let mut zboot = b"MZ\0\0zimg\x20\0\0\0".to_vec();
        let packed = zstd::bulk::compress(&raw, 1).unwrap();
        zboot.extend_from_slice(&(packed.len() as u32).to_le_bytes());
        zboot.resize(0x20, 0);
        zboot.extend_from_slice(&packed);
        for (image, expected) in [
            (bz_image(), Some("6.12.1-cloud")),
            (uki(b".uname\0\0", b"6.1.0-7\n"), Some("6.1.0-7")),
            (uki(b".linux\0\0", &bz_image()), Some("6.12.1-cloud")),
            (raw, Some("6.6.0-arm64")),
            (packed, Some("6.6.0-arm64")),
            (zboot, Some("6.6.0-arm64")),
            (b"no kernel".to_vec(), None),
            (b"Linux version ../../etc".to_vec(), None),
        ] {
            assert_eq!(release(&image).as_deref(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_image_makes_it_panic(
            magic in prop::sample::select(vec![&b""[..], b"MZ", b"MZ\0\0zimg"]),
            bytes in prop::collection::vec(any::<u8>(), 0..1200),
        ) {
            release(&[magic, &bytes].concat());
        }

        #[test]
        fn no_change_of_one_byte_makes_it_panic(at in 0usize..0x300, byte in any::<u8>()) {
            let mut image = uki(b".linux\0\0", &bz_image());
            image[at] = byte;
            release(&image);
        }
    }
}
