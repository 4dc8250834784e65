//! A module's bytes: read, decompressed by its first bytes, and checked to be for this kernel.
//!
//! Nothing is stripped: distributions append a signature over the whole file, and a locked-down kernel refuses a module
//! whose signature does not match.

use std::{fs, io::Read};

use super::{Error, Index, ModuleName};

/// No module is larger than this when decompressed; a file that claims more is damaged.
const MAX_SIZE: u64 = 256 << 20;

/// A module, decompressed.
#[derive(Clone, Debug)]
pub struct ModuleFile {
    /// Its file name, `dm-mod.ko`.
    pub file_name: String,
    /// The bytes for finit_module(2).
    pub bytes: Vec<u8>,
}

impl ModuleFile {
    /// Reads the module `name` of `index`.
    ///
    /// # Errors
    /// When it cannot be read or decompressed, or is not a module of the index's kernel.
    pub fn read(index: &Index, name: &ModuleName) -> Result<Self, Error> {
        let path = index.path(name).unwrap_or_default();
        let raw = fs::read(&path).map_err(|error| Error::Read { path: path.clone(), error })?;
        let bytes = decompress(raw).and_then(|bytes| check(&bytes, index.release()).map(|()| bytes));
        let bytes = bytes.map_err(|why| Error::Content { path: path.clone(), why })?;
        // The stem is kept as the kernel's build spells it, with its `-`.
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = file.split_once(".ko").map_or(file.as_ref(), |(stem, _)| stem);
        Ok(Self { file_name: format!("{stem}.ko"), bytes })
    }
}

/// The content of `raw`, which is xz, zstd, gzip or not compressed.
///
/// # Errors
/// The error of the decoder, or that the content is larger than any module.
pub fn decompress(raw: Vec<u8>) -> Result<Vec<u8>, String> {
    match raw.get(..6).unwrap_or_default() {
        [0xfd, b'7', b'z', b'X', b'Z', 0] => all(lzma_rust2::XzReader::new(raw.as_slice(), true), "xz"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            all(zstd::stream::read::Decoder::new(raw.as_slice()).map_err(|e| e.to_string())?, "zstd")
        }
        [0x1f, 0x8b, ..] => all(flate2::read::GzDecoder::new(raw.as_slice()), "gzip"),
        _ => Ok(raw),
    }
}

fn all(reader: impl Read, format: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    match reader.take(MAX_SIZE + 1).read_to_end(&mut bytes) {
        Err(error) => Err(format!("{format} data is damaged: {error}: install the kernel package again")),
        Ok(_) if bytes.len() as u64 > MAX_SIZE => Err(format!(
            "{format} data holds more than {} MiB: install the kernel package again",
            MAX_SIZE >> 20
        )),
        Ok(_) => Ok(bytes),
    }
}

/// Checks that `bytes` are an ELF file whose `vermagic` begins with `release`: the kernel compares this first
/// (kernel/module/version.c, `same_magic`).
fn check(bytes: &[u8], release: &str) -> Result<(), String> {
    const KEY: &[u8] = b"vermagic=";
    if !bytes.starts_with(b"\x7fELF") {
        return Err("no ELF file: install the kernel package again".into());
    }
    let magic = bytes
        .windows(KEY.len())
        .position(|window| window == KEY)
        .and_then(|at| bytes.get(at + KEY.len()..))
        .and_then(|rest| rest.split(|byte| *byte == 0 || *byte == b' ').next())
        .ok_or("no kernel module, it has no vermagic: install the kernel package again")?;
    if magic != release.as_bytes() {
        return Err(format!(
            "made for kernel {}, expected {release}: name the directory of the kernel that will boot",
            String::from_utf8_lossy(magic)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_compression_gives_the_same_bytes() {
        let bytes = b"\x7fELF and so on ".repeat(1000);
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gz.write_all(&bytes).unwrap();
        assert_eq!(decompress(gz.finish().unwrap()).as_ref(), Ok(&bytes));
        assert_eq!(decompress(zstd::bulk::compress(&bytes, 3).unwrap()).as_ref(), Ok(&bytes));
        assert_eq!(decompress(bytes.clone()).as_ref(), Ok(&bytes));
    }

    #[test]
    fn damaged_data_is_an_error() {
        for damaged in [b"\xfd7zXZ\0\0\x01".as_slice(), b"\x28\xb5\x2f\xfd\xff\xff", b"\x1f\x8b\x08\0\0\0"] {
            let error = decompress(damaged.to_vec()).unwrap_err();
            assert!(error.contains("is damaged"), "{error}");
        }
    }

    #[test]
    fn a_module_of_another_kernel_is_refused() {
        let module = b"\x7fELF....\0vermagic=6.12.1-x SMP preempt\0";
        assert_eq!(check(module, "6.12.1-x"), Ok(()));
        assert_eq!(
            check(module, "6.12.1"),
            Err("made for kernel 6.12.1-x, expected 6.12.1: name the directory of the kernel that will boot"
                .into())
        );
        assert!(check(b"\x7fELF", "6.12.1").is_err());
        assert!(check(b"vermagic=6.12.1 ", "6.12.1").is_err());
    }
}
